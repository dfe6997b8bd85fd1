//! `brenier train`: a network trained on data or a law, and judged.

mod judge;
mod pairs;
mod reflow;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::field::Field;
use brenier::field::network::{Clock, Features, Order, Time};
use brenier::io::write_network;
use brenier::path::{PREDICTIONS, Prediction, Schedule};
use brenier::program::Activation;
use brenier::sampler::{self, Course, Moves, Options};
use brenier::train::{TrainError, Trainer, Widths};
use brenier::watch::{Progress, Watch};
use clap::{Args, ValueEnum};

use crate::output::{self, number};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal, values};
use judge::Judged;
use pairs::{PairFlags, Pairing};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/train";
/// Frequencies of the time features, and the period of the slowest.
const FREQUENCIES: usize = 32;
const PERIOD: f64 = 1e3;
/// Steps of the samples that the network is judged by.
const SAMPLING_STEPS: usize = 20;
/// Hidden layers and their units.
const LAYERS: u32 = 4;
const WIDTH: u32 = 256;
/// Steps that a line of loss.csv is the mean of.
const LINE: usize = 10;
/// The part of a checkpoint with the weights.
const WEIGHTS: &str = "training";

/// Train a network on data or a law, and judge what it makes
///
/// Flow matching learns the velocity from source to target, score matching what undoes noise. A finite target is split: the network is
/// trained on one half, and its samples are judged against the other: nn_train beside nn_heldout and the flag memorised tell what was
/// learnt by heart. The folder (brenier-out/train unless --out is given) gets model.safetensors, which sample, compare and evaluate take,
/// loss.csv and run.json.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier train 8gaussians",
    "brenier train data.npy --coupling minibatch --steps 20000 --out model",
    "brenier train digits --method score --schedule cosine --prediction v",
    "brenier train data.npy --labels classes.npy --coupling sinkhorn",
    "brenier couple normal data.npy --pairs 1000000 && brenier train data.npy --pairs brenier-out/couple",
    "brenier train data.npy --method reflow --model brenier-out/train/model.safetensors --out straight",
    "brenier compare brenier-out/train/model.safetensors --target data.npy",
]))]
pub struct Train {
    /// A file of points, or a law such as 8gaussians or a .json mixture
    target: String,
    /// Where flow matching starts
    #[arg(long, value_name = "S", default_value = "normal")]
    source: String,
    /// What is learnt
    #[arg(long, value_enum, default_value = "flow-matching")]
    method: Method,
    /// Schedule of score matching, such as linear-vp, cosine or ve:0.002,80 [default: linear-vp]
    #[arg(long, value_name = "S")]
    schedule: Option<String>,
    /// What a network of score matching predicts: eps, x0 or v [default: v]
    #[arg(long, value_name = "P")]
    prediction: Option<String>,
    /// Steps
    #[arg(long, value_name = "K", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    steps: u32,
    /// Pairs a step
    #[arg(long, value_name = "B", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Hidden layers [default: 4]
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(u32).range(1..=64))]
    layers: Option<u32>,
    /// Units of a hidden layer [default: 256]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    width: Option<u32>,
    /// The flow-matching network that --method reflow makes pairs of, and goes on from
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Pairs that --method reflow makes [default: 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    n: Option<u32>,
    /// Rate of Adam at first; it falls to 0 as a cosine
    #[arg(long, value_name = "R", default_value_t = 1e-3, allow_negative_numbers = true, value_parser = values::positive)]
    rate: f64,
    /// Largest norm of a gradient
    #[arg(long, value_name = "C", default_value_t = 1.0, allow_negative_numbers = true, value_parser = values::positive)]
    clip: f64,
    /// Decay of the running mean of the weights, which is the network that is kept
    #[arg(long, value_name = "D", default_value_t = 0.999, allow_negative_numbers = true, value_parser = values::decay)]
    ema: f64,
    #[command(flatten)]
    pairs: PairFlags,
}

/// What is learnt.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The velocity of straight lines from source to target (Lipman et al. 2023)
    FlowMatching,
    /// What undoes noise, on a schedule (Vincent 2011; Ho et al. 2020)
    Score,
    /// The velocity of the straight lines from the starts of a model's own paths to their ends (Liu et al. 2023)
    Reflow,
}

impl Method {
    /// Whether a velocity from a source is learnt.
    fn is_flow(self) -> bool {
        self != Self::Score
    }
}

impl Train {
    /// Trains and judges.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        self.check()?;
        let precision = session.precision();
        let device = match session.shared.device.as_str() {
            "auto" | "cpu" => Device::cpu(precision),
            _ => session.processor_for("train")?,
        };
        session.resumable("train", Some(FOLDER), &device, |checkpoint| self.train(session, &device, checkpoint))
    }

    /// The name of the schedule.
    fn schedule(&self) -> &str {
        let usual = if self.method == Method::Score { "linear-vp" } else { "condot" };
        self.schedule.as_deref().unwrap_or(usual)
    }

    /// Refuses flags that the method does not look at.
    fn check(&self) -> Result<(), Failure> {
        let refuse = |flag: &str, why: &str| Err(flags::bad_usage(format!("{flag} is of --method {why}; leave it out")));
        let of_score = [("--schedule", self.schedule.is_some()), ("--prediction", self.prediction.is_some())];
        if let (true, Some((flag, _))) = (self.method.is_flow(), of_score.into_iter().find(|(_, given)| *given)) {
            return refuse(flag, "score");
        }
        let of_reflow = [("--model", self.model.is_some()), ("--n", self.n.is_some())];
        match (self.method, of_reflow.into_iter().find(|(_, given)| *given)) {
            (Method::Score, _) if self.pairs.coupling != Pairing::Independent => refuse("--coupling", "flow-matching"),
            (Method::Score, _) if self.pairs.pairs.is_some() => refuse("--pairs", "flow-matching"),
            (Method::Score, _) if self.source != "normal" => refuse("--source", "flow-matching"),
            (Method::Reflow, _) if self.model.is_none() => {
                Err(flags::bad_usage("--method reflow makes pairs of a model; name it with --model FILE"))
            }
            (Method::Reflow, _) if self.pairs.pairs.is_some() || self.pairs.coupling != Pairing::Independent => {
                Err(flags::bad_usage("--method reflow makes its pairs itself; leave --coupling and --pairs out"))
            }
            (Method::Reflow, _) if self.layers.is_some() || self.width.is_some() => {
                Err(flags::bad_usage("--method reflow goes on from the layers of --model; leave --layers and --width out"))
            }
            (Method::FlowMatching | Method::Score, Some((flag, _))) => refuse(flag, "reflow"),
            _ => Ok(()),
        }
    }

    fn train(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let (seed, folder) = (session.shared.seed, session.folder(Some(FOLDER))?);
        let (source, target) = input::ends(session, (&self.source, None), (&self.target, None))?;
        let mut split = self.pairs.split(&target, seed)?;
        let mut trainer = self.trainer(seed)?;
        let pairs = match &self.model {
            Some(model) => reflow::pairs(self, (&mut trainer, model), (&source, &mut split), session, (device, checkpoint))?,
            None => self.pairs.source((&source, &mut split), (self.batch, seed), device)?,
        };
        let condition = pairs.told().map(|told| &told.condition);
        // What cannot be sampled is refused before it is trained.
        self.course(&Field::Network(trainer.initial(target.dim(), condition)?), device)?;
        self.require_memory(&trainer.widths(target.dim(), condition))?;
        let bar = progress::bar(session, "train", self.steps as usize);
        let begun = Instant::now();
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            bar.set_message(now.value.map_or("train".into(), |loss| format!("loss {}", number(loss))));
            !signal::interrupted()
        };
        let watch = Watch::telling(&tell).keeping(checkpoint.part(WEIGHTS));
        let outcome = match device.precision() {
            Precision::F32 => trainer.run::<f32>(&pairs, watch),
            Precision::F64 => trainer.run::<f64>(&pairs, watch),
        };
        bar.finish_and_clear();
        let (trained, failed) = match outcome {
            Ok(trained) => (trained, None),
            Err((why @ TrainError::NotFinite { .. }, Some(kept))) => (*kept, Some(why)),
            Err((why, _)) => return Err(why.into()),
        };
        if let Some(folder) = &folder {
            folder.clear(&["model.safetensors", "loss.csv"])?;
            write_network(&folder.path().join("model.safetensors"), &trained.network, self.schedule(), session.float())?;
            folder.text("loss.csv", &table(&trained.losses))?;
        }
        if let Some(why) = failed {
            output::error(&why.to_string());
            return Ok(ExitCode::FAILURE);
        }
        drop(pairs);
        Judged { train: self, source: &source, split: &split, trained: &trained, device, begun }.finish(session, checkpoint)
    }

    /// How the network is trained.
    fn trainer(&self, seed: u32) -> Result<Trainer, Failure> {
        let (schedule, prediction) = if self.method.is_flow() {
            (Schedule::CondOt, Prediction::Velocity)
        } else {
            (Schedule::parse(self.schedule())?, self.prediction.as_deref().map_or(Ok(Prediction::V), prediction)?)
        };
        let features = Features::sinusoidal(FREQUENCIES, PERIOD, 1.0, Order::SinesFirst);
        Ok(Trainer {
            hidden: vec![self.width.unwrap_or(WIDTH) as usize; self.layers.unwrap_or(LAYERS) as usize],
            activation: Activation::Silu,
            time: Time { clock: Clock::Time, scale: PERIOD, offset: 0.0, features },
            prediction,
            schedule,
            steps: self.steps as usize,
            batch: self.batch as usize,
            rate: self.rate,
            clip: self.clip,
            decay: self.ema,
            withheld: self.pairs.withhold,
            start: None,
            seed,
        })
    }

    /// Refuses a network and a batch that the memory does not hold: the weights with Adam's moments and their mean; what the layers took,
    /// their slopes and what comes back.
    fn require_memory(&self, widths: &Widths) -> Result<(), Failure> {
        let (weights, states) = (widths.weights(), 3 * widths.0.iter().sum::<usize>());
        memory::require("a network of that size", (6 * weights + self.batch as usize * states) as u64)
    }

    /// How the network is sampled.
    fn course(&self, field: &Field, device: &Device) -> Result<Course, Failure> {
        let entry = sampler::named(if self.method.is_flow() { "fm-heun" } else { "pf-heun" })?;
        let course = entry.course(field, &Options { steps: Some(SAMPLING_STEPS), ..Options::default() }, device)?;
        if let Moves::Program(program) = &course.moves {
            program.run(field, &vec![0.0; field.dim()], Noise::NONE, device)?;
        }
        Ok(course)
    }
}

/// The prediction called `name`.
fn prediction(name: &str) -> Result<Prediction, Failure> {
    let known = PREDICTIONS.iter().find(|(known, _)| *known == name && ["eps", "x0", "v"].contains(known));
    known
        .map(|(_, prediction)| *prediction)
        .ok_or_else(|| flags::bad_usage(format!("--prediction {name:?}: a network of score matching predicts eps, x0 or v")))
}

/// The mean loss of every ten steps, as .csv.
fn table(losses: &[f64]) -> String {
    let line = |(k, losses): (usize, &[f64])| {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        format!("{},{mean}\n", LINE * k + losses.len())
    };
    std::iter::once("step,loss\n".to_owned()).chain(losses.chunks(LINE).enumerate().map(line)).collect()
}
