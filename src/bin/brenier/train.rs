//! `brenier train`: a network trained on data or a law, and judged.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::experiment::Evaluate;
use brenier::field::Field;
use brenier::field::network::{Clock, Features, Order, Time};
use brenier::io::write_network;
use brenier::measure::{Cloud, Measure};
use brenier::path::{PREDICTIONS, Prediction, Schedule};
use brenier::program::Activation;
use brenier::random::Stream;
use brenier::sampler::{self, Course, Moves, Options};
use brenier::train::{Coupling, Objective, PairSource, TrainError, Trained, Trainer};
use brenier::watch::{Progress, Watch};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::output::{self, Summary, count, number};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal, values};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/train";
/// Frequencies of the time features, and the period of the slowest.
const FREQUENCIES: usize = 32;
const PERIOD: f64 = 1e3;
/// Steps of the samples that the network is judged by, and how many there are.
const SAMPLING_STEPS: usize = 20;
const SAMPLES: u32 = 2048;
/// Steps that a line of loss.csv is the mean of.
const LINE: usize = 10;
/// Steps that the loss in the record is the mean of.
const TOLD: usize = 100;
/// Parts of a checkpoint.
const WEIGHTS: &str = "training";
const JUDGED: &str = "judging";

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
    /// How the source and the target of a batch are paired
    #[arg(long, value_enum, default_value = "independent")]
    coupling: Coupling,
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
    /// Hidden layers
    #[arg(long, value_name = "L", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    layers: u32,
    /// Units of a hidden layer
    #[arg(long, value_name = "W", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    width: u32,
    /// Rate of Adam at first; it falls to 0 as a cosine
    #[arg(long, value_name = "R", default_value_t = 1e-3, allow_negative_numbers = true, value_parser = values::positive)]
    rate: f64,
    /// Largest norm of a gradient
    #[arg(long, value_name = "C", default_value_t = 1.0, allow_negative_numbers = true, value_parser = values::positive)]
    clip: f64,
    /// Decay of the running mean of the weights, which is the network that is kept
    #[arg(long, value_name = "D", default_value_t = 0.999, allow_negative_numbers = true, value_parser = values::decay)]
    ema: f64,
}

/// What is learnt.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The velocity of straight lines from source to target (Lipman et al. 2023)
    FlowMatching,
    /// What undoes noise, on a schedule (Vincent 2011; Ho et al. 2020)
    Score,
}

#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    method: &'static str,
    coupling: &'static str,
    steps: usize,
    batch: u32,
    weights: usize,
    d: usize,
    /// Mean of the last hundred steps.
    loss: f64,
    /// Of samples in 20 Heun steps to held-out points, and of independent clouds at these sizes.
    heldout_divergence: f64,
    noise_floor: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nn_train: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nn_heldout: Option<f64>,
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
        match self.method {
            Method::FlowMatching if self.schedule.is_some() => refuse("--schedule", "score"),
            Method::FlowMatching if self.prediction.is_some() => refuse("--prediction", "score"),
            Method::Score if self.coupling != Coupling::Independent => refuse("--coupling", "flow-matching"),
            Method::Score if self.source != "normal" => refuse("--source", "flow-matching"),
            _ => Ok(()),
        }
    }

    fn train(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let (source, target) = input::ends(session, (&self.source, None), (&self.target, None))?;
        let d = target.dim();
        let (training, heldout) = halves(&target, seed)?;
        let trainer = self.trainer(seed)?;
        // What cannot be sampled is refused before it is trained.
        self.course(&Field::Network(trainer.initial(d)?), device)?;
        let inputs = d + 2 * FREQUENCIES;
        let width = self.width as usize;
        let weights = (inputs + 1) * width + (self.layers as usize - 1) * (width + 1) * width + (width + 1) * d;
        // The weights with Adam's moments and the mean; what the layers took, their slopes and what comes back.
        let batch = self.batch as usize;
        memory::require("a network of that size", (6 * weights + batch * (inputs + 3 * width * self.layers as usize)) as u64)?;
        let folder = session.folder(Some(FOLDER))?;
        let bar = progress::bar(session, "train", self.steps as usize);
        let begun = Instant::now();
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            bar.set_message(now.value.map_or("train".into(), |loss| format!("loss {}", number(loss))));
            !signal::interrupted()
        };
        let pairs = PairSource { source: &source, target: &training, coupling: self.coupling, seed, device };
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
        self.judge(session, (&source, &training, &heldout), &trained, (device, begun), checkpoint)
    }
}

impl Train {
    /// How the network is trained.
    fn trainer(&self, seed: u32) -> Result<Trainer, Failure> {
        let (schedule, prediction) = match self.method {
            Method::FlowMatching => (Schedule::CondOt, Prediction::Velocity),
            Method::Score => {
                (Schedule::parse(self.schedule())?, self.prediction.as_deref().map_or(Ok(Prediction::V), prediction)?)
            }
        };
        let features = Features::sinusoidal(FREQUENCIES, PERIOD, 1.0, Order::SinesFirst);
        Ok(Trainer {
            hidden: vec![self.width as usize; self.layers as usize],
            activation: Activation::Silu,
            time: Time { clock: Clock::Time, scale: PERIOD, offset: 0.0, features },
            objective: Objective::Prediction(prediction),
            schedule,
            steps: self.steps as usize,
            batch: self.batch as usize,
            rate: self.rate,
            clip: self.clip,
            decay: self.ema,
            seed,
        })
    }

    /// How the network is sampled.
    fn course(&self, field: &Field, device: &Device) -> Result<Course, Failure> {
        let entry = sampler::named(if self.method == Method::FlowMatching { "fm-heun" } else { "pf-heun" })?;
        let course = entry.course(field, &Options { steps: Some(SAMPLING_STEPS), ..Options::default() }, device)?;
        if let Moves::Program(program) = &course.moves {
            program.run(field, &vec![0.0; field.dim()], Noise::NONE, device)?;
        }
        Ok(course)
    }

    /// Samples of the trained network against held-out points, and the end of the run.
    fn judge(
        &self,
        session: &Session,
        (source, training, heldout): (&Measure, &Measure, &Measure),
        trained: &Trained,
        (device, begun): (&Device, Instant),
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let spinner = progress::spinner(session, "judging");
        let field = Field::Network(trained.network.clone());
        let d = field.dim();
        let n = if let Measure::Finite(cloud) = heldout { cloud.len().clamp(2, SAMPLES as usize) as u32 } else { SAMPLES };
        let course = self.course(&field, device)?;
        let start = match self.method {
            Method::FlowMatching => source.sample(n as usize, seed, Stream::Noise, 0).points().to_vec(),
            Method::Score => sampler::start(course.first, d, 0..n, seed),
        };
        let Moves::Program(program) = &course.moves else { return Err("the method of judging is a program".into()) };
        let samples = Cloud::new(program.run(&field, &start, Noise::NONE, device)?, d)?;
        let train = if let Measure::Finite(cloud) = training { Some(cloud) } else { None };
        let evaluate = Evaluate { n: SAMPLES as usize, seed, train, permutations: 0, ..Evaluate::default() };
        let tell = |_: Progress<'_>| !signal::interrupted();
        let watch = Watch::telling(&tell).keeping(checkpoint.part(JUDGED));
        let found = evaluate.run(&Measure::Finite(samples), heldout, device, watch)?;
        let taken = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        let folder = session.folder(Some(FOLDER))?;
        let told = trained.losses.len().min(TOLD);
        let record = Record {
            source: &self.source,
            target: &self.target,
            method: if self.method == Method::FlowMatching { "flow-matching" } else { "score" },
            coupling: self.coupling.name(),
            steps: trained.losses.len(),
            batch: self.batch,
            weights: trained.network.layers().iter().map(|layer| layer.weight.len() + layer.bias.len()).sum(),
            d,
            loss: trained.losses[trained.losses.len() - told..].iter().sum::<f64>() / told as f64,
            heldout_divergence: found.divergence,
            noise_floor: found.noise_floor.divergence,
            nn_train: found.nn_train,
            nn_heldout: found.nn_heldout,
        };
        let record = session.stamped("train", record, device, taken).flagged(found.flags);
        let own = &record.own;
        let mut summary = Summary::new(format!("train {} by {}", self.target, own.method));
        let shape = format!("in {} layers of {}, {} weights", self.layers, self.width, count(own.weights));
        summary.line("steps", count(own.steps), format!("of {} pairs; {shape}", count(self.batch as usize)));
        summary.line("loss", number(own.loss), "mean of the last hundred steps");
        let against =
            format!("to held-out points, noise floor {}; {n} samples in {SAMPLING_STEPS} Heun steps", number(own.noise_floor));
        summary.line("divergence", number(own.heldout_divergence), against);
        if let Some((near, heldout)) = own.nn_train.zip(own.nn_heldout) {
            let remark = format!("median distance to the points trained on; {} for held-out points", number(heldout));
            summary.line("nearest trained on", number(near), remark);
        }
        if let Some(flags) = record.flags.as_ref().filter(|flags| !flags.is_empty()) {
            summary.line("flags", output::in_words(flags), "");
        }
        record.time(&mut summary);
        session.finish(&record, folder.as_ref(), &summary.text())
    }
}

/// What is trained on and what is held out: halves of points, the same law twice.
fn halves(target: &Measure, seed: u32) -> Result<(Measure, Measure), Failure> {
    Ok(match target {
        Measure::Finite(cloud) => {
            let (training, heldout) = cloud.halves(seed)?;
            (Measure::Finite(training), Measure::Finite(heldout))
        }
        law => (law.clone(), law.clone()),
    })
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
