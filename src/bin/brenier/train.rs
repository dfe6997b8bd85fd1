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
use brenier::measure::Measure;
use brenier::path::{PREDICTIONS, Prediction, Schedule};
use brenier::program::Activation;
use brenier::random::Stream;
use brenier::sampler::{self, Course, IN_THE_PLANE, Moves, Options};
use brenier::train::{EnergyMatching, Looks, Objective, TrainError, Trainer, Widths};
use brenier::watch::{Progress, Watch};
use clap::{Args, ValueEnum};

use crate::output::{self, number};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal, values};
use judge::{Finished, Judge};
use pairs::{PairFlags, Pairing};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/train";
/// Frequencies of the time features, and the period of the slowest.
const FREQUENCIES: usize = 32;
const PERIOD: f64 = 1e3;
/// Steps of the samples that the network is judged by.
const SAMPLING_STEPS: usize = 20;
/// Steps of the chains of Energy Matching, and of its samples: time 2, of which half at the temperature of the data.
const CHAIN_STEPS: usize = 200;
/// Noise on the points between source and target, in units of the coordinates.
const SMOOTHING: f64 = 0.1;
/// Weight of the contrast, and the share of the steps that have it.
const CONTRAST: f64 = 2.0;
const CONTRAST_SHARE: u32 = 5;
/// The prediction with Karras' preconditioning.
const EDM: &str = "edm";
/// Draws by which the width of a law is known.
const LAW_DRAWS: usize = 4096;
/// Hidden layers and their units.
const LAYERS: u32 = 4;
const WIDTH: u32 = 256;
/// Looks at the network on the way.
const LOOKS: usize = 20;
/// Steps that a line of loss.csv is the mean of.
const LINE: usize = 10;
/// Parts of a checkpoint: the weights, and the potential of a semidiscrete coupling.
const WEIGHTS: &str = "training";
const POTENTIAL: &str = "potential";

/// Train a network on data or a law, and judge what it makes
///
/// Flow matching learns the velocity from source to target, score matching what undoes noise. A finite target is split: the network is
/// trained on one half, and its samples are judged against the other: nn_train beside nn_heldout and the flag memorised tell what was
/// learnt by heart. The folder (brenier-out/train unless --out is given) gets model.safetensors, which sample, compare and evaluate take,
/// loss.csv, report.html with its figures, and run.json.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier train 8gaussians",
    "brenier train data.npy --coupling minibatch --steps 20000 --out model",
    "brenier train digits --method score --schedule cosine --prediction v",
    "brenier train moons --method energy-matching --batch 256",
    "brenier train data.npy --labels classes.npy --coupling sinkhorn",
    "brenier train data.npy --pairs brenier-out/couple",
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
    /// What a network of score matching predicts: eps, x0 or v, or edm: x0 by the preconditioned network of Karras et al. 2022, which is
    /// trained at their levels of noise, on ve:0.002,80 unless --schedule is given [default: v]
    #[arg(long, value_name = "P")]
    prediction: Option<String>,
    /// Weight of the contrast between data and samples of the potential, in the second phase of Energy Matching [default: 2]
    #[arg(long, value_name = "L", allow_negative_numbers = true, value_parser = values::positive)]
    contrast: Option<f64>,
    /// The last steps of Energy Matching, which are its second phase; 0 for none [default: a fifth of --steps]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    contrast_steps: Option<u32>,
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
    /// Look at the network twenty times, at samples of it beside a part of the held-out points; end when the divergence has not fallen for
    /// K looks, and keep the network at its least
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=20))]
    patience: Option<u32>,
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
    /// A potential whose descent goes from source to target and whose Langevin law is the target (Balcerak et al. 2025)
    EnergyMatching,
}

impl Method {
    /// Whether a way from a source is learnt.
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
        let usual = match (self.method, self.prediction.as_deref()) {
            (Method::Score, Some(EDM)) => "ve:0.002,80",
            (Method::Score, _) => "linear-vp",
            _ => "condot",
        };
        self.schedule.as_deref().unwrap_or(usual)
    }

    /// Refuses flags that the method does not look at.
    fn check(&self) -> Result<(), Failure> {
        self.pairs.check(self.pairing())?;
        let refuse = |flag: &str, why: &str| Err(flags::bad_usage(format!("{flag} is of --method {why}; leave it out")));
        let of_score = [("--schedule", self.schedule.is_some()), ("--prediction", self.prediction.is_some())];
        if let (true, Some((flag, _))) = (self.method.is_flow(), of_score.into_iter().find(|(_, given)| *given)) {
            return refuse(flag, "score");
        }
        let of_energy = [("--contrast", self.contrast.is_some()), ("--contrast-steps", self.contrast_steps.is_some())];
        if let (true, Some((flag, _))) = (self.method != Method::EnergyMatching, of_energy.into_iter().find(|(_, given)| *given))
        {
            return refuse(flag, "energy-matching");
        }
        let of_reflow = [("--model", self.model.is_some()), ("--n", self.n.is_some())];
        match (self.method, of_reflow.into_iter().find(|(_, given)| *given)) {
            (Method::Score, _) if self.pairs.coupling.is_some_and(|given| given != Pairing::Independent) => {
                refuse("--coupling", "flow-matching")
            }
            (Method::Score, _) if self.pairs.pairs.is_some() => refuse("--pairs", "flow-matching"),
            (Method::Score, _) if self.source != "normal" => refuse("--source", "flow-matching"),
            (Method::Reflow, _) if self.model.is_none() => {
                Err(flags::bad_usage("--method reflow makes pairs of a model; name it with --model FILE"))
            }
            (Method::Reflow, _) if self.pairs.pairs.is_some() || self.pairs.coupling.is_some() => {
                Err(flags::bad_usage("--method reflow makes its pairs itself; leave --coupling and --pairs out"))
            }
            (Method::Reflow, _) if self.layers.is_some() || self.width.is_some() => {
                Err(flags::bad_usage("--method reflow goes on from the layers of --model; leave --layers and --width out"))
            }
            (Method::FlowMatching | Method::Score | Method::EnergyMatching, Some((flag, _))) => refuse(flag, "reflow"),
            (Method::EnergyMatching, None) if self.contrast_steps.is_some_and(|steps| steps > self.steps) => {
                Err(flags::bad_usage("--contrast-steps are some of --steps; give no more"))
            }
            _ => Ok(()),
        }
    }

    fn train(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let (seed, folder) = (session.shared.seed, session.folder(Some(FOLDER))?);
        let (source, target) = input::ends(session, (&self.source, None), (&self.target, None))?;
        let split = self.pairs.split(&target, seed)?;
        let mut trainer = self.trainer(&split.training, seed)?;
        let is_fitted = self.pairing() == Pairing::Semidiscrete && self.pairs.pairs.is_none();
        let fit = |checkpoint: &mut Checkpoint| self.pairs.fit((&source, &split), session, device, checkpoint.part(POTENTIAL));
        let fitted = is_fitted.then(|| fit(checkpoint)).transpose()?;
        let coupling = self.pairs.made(self.pairing(), self.batch, fitted.as_ref());
        let (pairs, mut unseen) = match &self.model {
            Some(model) => {
                let pairs = reflow::pairs(self, (&mut trainer, model), (&source, &split), session, (device, checkpoint))?;
                (pairs, split.unseen.clone())
            }
            None => self.pairs.source((&source, &split), coupling, seed, device)?,
        };
        let condition = pairs.told().map(|told| &told.condition);
        // What cannot be sampled is refused before it is trained.
        self.course(&Field::from(trainer.initial(target.dim(), condition)?), device)?;
        self.require_memory(&trainer.widths(target.dim(), condition))?;
        let judge = Judge { train: self, source: &source, device, seed };
        let looked_at = self.patience.map(|_| unseen.part(seed)).transpose()?;
        let look = looked_at.as_ref().map(|unseen| judge.look(unseen)).transpose()?;
        let bar = progress::bar(session, "train", self.steps as usize);
        let begun = Instant::now();
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            bar.set_message(now.value.map_or("train".into(), |loss| format!("loss {}", number(loss))));
            !signal::interrupted()
        };
        let watch = Watch::telling(&tell).keeping(checkpoint.part(WEIGHTS));
        let looks = look.as_ref().map(|value| Looks {
            every: trainer.steps.div_ceil(LOOKS),
            patience: self.patience.map_or(LOOKS, |patience| patience as usize),
            value,
        });
        let outcome = match device.precision() {
            Precision::F32 => trainer.run::<f32>(&pairs, looks, watch),
            Precision::F64 => trainer.run::<f64>(&pairs, looks, watch),
        };
        bar.finish_and_clear();
        let (trained, failed) = match outcome {
            Ok(trained) => (trained, None),
            Err((why @ TrainError::NotFinite { .. }, Some(kept))) => (*kept, Some(why)),
            Err((why, _)) => return Err(why.into()),
        };
        if let Some(folder) = &folder {
            folder.clear(&["model.safetensors", "loss.csv", "looks.csv", "report.html"])?;
            write_network(&folder.path().join("model.safetensors"), &trained.network, self.schedule(), session.float())?;
            folder.text("loss.csv", &table(&trained.losses))?;
        }
        if let Some(why) = failed {
            output::error(&why.to_string());
            return Ok(ExitCode::FAILURE);
        }
        let loss_floor = self.field(&split.training).map_or(Ok(None), |field| trainer.loss_floor(&field, &pairs))?;
        let (training, pair_cost) = (&split.training, pairs.cost());
        let finished = Finished { trained: &trained, training, unseen: &unseen, loss_floor, pair_cost, begun };
        judge.finish(&finished, session, checkpoint)
    }

    /// The exact field of what is trained on, where its source is normal and it has one.
    fn field(&self, training: &Measure) -> Option<Field> {
        match training {
            Measure::Law(law) if self.source == "normal" => Some(Field::Mixture(law.clone())),
            Measure::Finite(cloud) if self.source == "normal" => Some(Field::DataSet(cloud.clone())),
            _ => None,
        }
    }

    /// How the pairs of a batch are made: for a potential by plans, since its lines of descent cannot cross.
    fn pairing(&self) -> Pairing {
        let usual = if self.method == Method::EnergyMatching { Pairing::Minibatch } else { Pairing::Independent };
        self.pairs.coupling.unwrap_or(usual)
    }

    /// What is learnt of the points of `training`.
    fn objective(&self, training: &Measure, seed: u32) -> Result<Objective, Failure> {
        Ok(match (self.method, self.prediction.as_deref()) {
            (Method::EnergyMatching, _) => Objective::Energy(EnergyMatching {
                sampler: IN_THE_PLANE,
                contrast_steps: self.contrast_steps.unwrap_or(self.steps / CONTRAST_SHARE) as usize,
                contrast: self.contrast.unwrap_or(CONTRAST),
                chain_steps: CHAIN_STEPS,
                smoothing: SMOOTHING,
            }),
            (Method::Score, Some(EDM)) => {
                let drawn;
                let cloud = match training {
                    Measure::Finite(cloud) => cloud,
                    law => {
                        drawn = law.sample(LAW_DRAWS, seed, Stream::Source, 0);
                        &drawn
                    }
                };
                Objective::Preconditioned { sigma_data: (cloud.variance() / cloud.dim() as f64).sqrt() }
            }
            (Method::Score, named) => Objective::Prediction(named.map_or(Ok(Prediction::V), prediction)?),
            _ => Objective::Prediction(Prediction::Velocity),
        })
    }

    /// How the network is trained on the points of `training`.
    fn trainer(&self, training: &Measure, seed: u32) -> Result<Trainer, Failure> {
        let (schedule, objective) = (Schedule::parse(self.schedule())?, self.objective(training, seed)?);
        let features = Features::sinusoidal(FREQUENCIES, PERIOD, 1.0, Order::SinesFirst);
        Ok(Trainer {
            hidden: vec![self.width.unwrap_or(WIDTH) as usize; self.layers.unwrap_or(LAYERS) as usize],
            activation: Activation::Silu,
            time: Time { clock: Clock::Time, scale: PERIOD, offset: 0.0, features },
            objective,
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
    /// their slopes and what comes back, of a potential also the tangent, its adjoint and the curvatures.
    fn require_memory(&self, widths: &Widths) -> Result<(), Failure> {
        let arrays = if self.method == Method::EnergyMatching { 6 } else { 3 };
        let (weights, states) = (widths.weights(), arrays * widths.0.iter().sum::<usize>());
        memory::require("a network of that size", (6 * weights + self.batch as usize * states) as u64)
    }

    /// How the network is sampled, in words.
    fn sampling(&self) -> String {
        match self.method {
            Method::EnergyMatching => format!("{CHAIN_STEPS} Langevin steps"),
            _ => format!("{SAMPLING_STEPS} Heun steps"),
        }
    }

    /// How the network is sampled.
    fn course(&self, field: &Field, device: &Device) -> Result<Course, Failure> {
        let (method, steps) = match self.method {
            Method::FlowMatching | Method::Reflow => ("fm-heun", SAMPLING_STEPS),
            Method::Score => ("pf-heun", SAMPLING_STEPS),
            Method::EnergyMatching => ("energy-matching", CHAIN_STEPS),
        };
        let course = sampler::named(method)?.course(field, &Options { steps: Some(steps), ..Options::default() }, device)?;
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
        .ok_or_else(|| flags::bad_usage(format!("--prediction {name:?}: a network of score matching predicts eps, x0, v or edm")))
}

/// The mean loss of every ten steps, as .csv.
fn table(losses: &[f64]) -> String {
    let line = |(k, losses): (usize, &[f64])| {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        format!("{},{mean}\n", LINE * k + losses.len())
    };
    std::iter::once("step,loss\n".to_owned()).chain(losses.chunks(LINE).enumerate().map(line)).collect()
}
