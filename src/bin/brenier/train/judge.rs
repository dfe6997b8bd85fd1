//! What a trained network makes, judged against the points held out.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise};
use brenier::checkpoint::Checkpoint;
use brenier::experiment::Evaluate;
use brenier::field::{Field, Network};
use brenier::measure::{Cloud, Measure};
use brenier::metric::{MetricError, Ruler, distances};
use brenier::random::{Philox, Stream};
use brenier::report;
use brenier::sampler::{self, Course, Ensemble, Moves};
use brenier::train::{TrainError, Trained};
use brenier::transport::TransportError;
use brenier::watch::{Progress, Watch};
use clap::ValueEnum;
use serde::Serialize;

use super::pairs::Unseen;
use super::{FOLDER, Train};
use crate::output::{self, Folder, Summary, count, number};
use crate::session::{Session, Stamped};
use crate::{Failure, progress, signal};

/// The most samples that the network is judged by.
const SAMPLES: u32 = 2048;
/// Steps that the loss in the record is the mean of.
const TOLD: usize = 100;
/// Tells the draws of a law that looks are at from those that it is judged by.
const LOOKED_AT: u32 = 2;
/// The part of a checkpoint with the judgement.
const JUDGED: &str = "judging";

/// What makes samples of a network.
pub struct Judge<'a> {
    pub train: &'a Train,
    pub source: &'a Measure,
    pub device: &'a Device,
    pub seed: u32,
}

/// A network that is trained, and what it is to be judged by.
pub struct Finished<'a> {
    pub trained: &'a Trained,
    pub training: &'a Measure,
    pub unseen: &'a Unseen,
    /// The least loss that there can be, where it is known.
    pub loss_floor: Option<f64>,
    /// The mean of |x1 - x0|² of pairs made before.
    pub pair_cost: Option<f64>,
    pub begun: Instant,
}

#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    method: String,
    coupling: String,
    steps: usize,
    batch: u32,
    weights: usize,
    d: usize,
    /// Mean of the last hundred steps.
    loss: f64,
    /// That of the exact field of what was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_floor: Option<f64>,
    /// Of pairs made before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pair_cost: Option<f64>,
    /// The step whose network is kept, where it was looked at on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_step: Option<usize>,
    /// Of samples to held-out points, and of independent clouds at these sizes.
    heldout_divergence: f64,
    noise_floor: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nn_train: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nn_heldout: Option<f64>,
}

impl Judge<'_> {
    /// As many samples of `network` as there are unseen points, under their conditions.
    fn samples(&self, network: &Network, unseen: &Unseen) -> Result<Cloud, Failure> {
        let n = if let Measure::Finite(cloud) = &unseen.points { cloud.len().clamp(2, SAMPLES as usize) as u32 } else { SAMPLES };
        let field = Field::from(match &unseen.conditions {
            Some(conditions) => network.under(&conditions.of_particles(0..n as usize)?)?,
            None => network.clone(),
        });
        let (d, Course { moves, first, .. }) = (field.dim(), self.train.course(&field, self.device)?);
        let start = if self.train.method.is_flow() {
            self.source.sample(n as usize, self.seed, Stream::Noise, 0).points().to_vec()
        } else {
            sampler::start(first, d, 0..n, self.seed)
        };
        let noise = Noise::Counter { philox: Philox::new(self.seed, Stream::Noise), first: 0 };
        let points = match moves {
            Moves::Program(program) => program.run(&field, &start, noise, self.device)?,
            Moves::Loop(looped) => {
                let ensemble = Ensemble { field: &field, start: &start, noise, device: self.device };
                looped.resume(ensemble, &mut Checkpoint::none(), &mut |_| !signal::interrupted())?.points
            }
        };
        Ok(Cloud::new(points, d)?)
    }

    /// What a look at the network finds: the divergence of its samples to unseen points.
    pub fn look<'a>(&'a self, unseen: &'a Unseen) -> Result<impl Fn(&Network) -> Result<f64, TrainError> + 'a, Failure> {
        let reference = match &unseen.points {
            Measure::Finite(cloud) => cloud.clone(),
            law => law.sample(SAMPLES as usize, self.seed, Stream::Source, LOOKED_AT),
        };
        let ruler = Ruler::new(&reference, self.seed, self.device)?;
        Ok(move |network: &Network| {
            let samples = self.samples(network, unseen).map_err(|error| TrainError::Look(error.to_string()))?;
            match ruler.divergence(&samples, self.device) {
                // So far out that the precision does not reach.
                Err(MetricError::Transport(TransportError::EpsTooSmall { .. })) => Ok(f64::INFINITY),
                found => found.map_err(|error| TrainError::Look(error.to_string())),
            }
        })
    }

    /// The judgement, and the end of the run.
    pub fn finish(&self, finished: &Finished<'_>, session: &Session, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let (&Self { train, device, seed, .. }, &Finished { trained, unseen, loss_floor, .. }) = (self, finished);
        let spinner = progress::spinner(session, "judging");
        let samples = self.samples(&trained.network, unseen)?;
        let (n, d) = (samples.len(), samples.dim());
        let training = if let Measure::Finite(cloud) = finished.training { Some(cloud) } else { None };
        let evaluate = Evaluate { n: SAMPLES as usize, seed, train: training, permutations: 0, ..Evaluate::default() };
        let tell = |_: Progress<'_>| !signal::interrupted();
        let watch = Watch::telling(&tell).keeping(checkpoint.part(JUDGED));
        let found = evaluate.run(&Measure::Finite(samples.clone()), &unseen.points, device, watch)?;
        let taken = finished.begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        let told = trained.losses.len().min(TOLD);
        let least = trained.looks.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let record = Record {
            source: &train.source,
            target: &train.target,
            method: train.method.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
            coupling: train.pairs.coupling(train.pairing()),
            steps: trained.losses.len(),
            batch: train.batch,
            weights: trained.network.layers().iter().map(|layer| layer.weight.len() + layer.bias.len()).sum(),
            d,
            loss: trained.losses[trained.losses.len() - told..].iter().sum::<f64>() / told as f64,
            loss_floor,
            pair_cost: finished.pair_cost,
            kept_step: least.map(|(step, _)| *step),
            heldout_divergence: found.divergence,
            noise_floor: found.noise_floor.divergence,
            nn_train: found.nn_train,
            nn_heldout: found.nn_heldout,
        };
        let record = session.stamped("train", record, device, taken).flagged(found.flags);
        let folder = session.folder(Some(FOLDER))?.map(|folder| folder.with(&["figures"])).transpose()?;
        if let Some(folder) = &folder {
            self.report(&record, finished, &samples, folder)?;
        }
        let own = &record.own;
        let mut summary = Summary::new(format!("train {} by {}", train.target, own.method));
        let layers = trained.network.layers();
        let shape = format!("{} hidden layers, {} weights", layers.len() - 1, count(own.weights));
        summary.line("steps", count(own.steps), format!("of {} pairs; {shape}", count(train.batch as usize)));
        if let Some((step, value)) = least {
            let remark = format!("where samples were nearest to part of the held-out points, {}", number(*value));
            summary.line("kept", count(*step), remark);
        }
        let best = loss_floor.map_or(String::new(), |floor| format!("; that of the exact field is {}", number(floor)));
        summary.line("loss", number(own.loss), format!("mean of the last hundred steps{best}"));
        let against = format!("to held-out points, noise floor {}; {n} samples in {}", number(own.noise_floor), train.sampling());
        summary.line("divergence", number(own.heldout_divergence), against);
        if let Some((near, heldout)) = own.nn_train.zip(own.nn_heldout) {
            let remark = format!("median distance to the points trained on; {} for held-out points", number(heldout));
            summary.line("nearest trained on", number(near), remark);
        }
        if let Some(flags) = record.flags.as_ref().filter(|flags| !flags.is_empty()) {
            summary.line("flags", output::in_words(flags), "");
        }
        record.time(&mut summary);
        let code = session.finish(&record, folder.as_ref(), &summary.text())?;
        if let Some(folder) = &folder {
            session.note(&format!("open {} for the pictures", folder.path().join("report.html").display()));
        }
        Ok(code)
    }

    /// The page with its figures.
    fn report(
        &self,
        record: &Stamped<Record<'_>>,
        finished: &Finished<'_>,
        samples: &Cloud,
        folder: &Folder,
    ) -> Result<(), Failure> {
        let (own, trained) = (&record.own, finished.trained);
        let heldout = match &finished.unseen.points {
            Measure::Finite(cloud) => cloud.clone(),
            law => law.sample(SAMPLES as usize, self.seed, Stream::Source, 1),
        };
        let near = match finished.training {
            Measure::Finite(cloud) => {
                Some((cloud, distances(samples, cloud, self.device)?, distances(&heldout, cloud, self.device)?))
            }
            _ => None,
        };
        let maybe = |value: Option<f64>| value.map_or("–".into(), number);
        let facts = [
            ("method", own.method.clone()),
            ("pairs", own.coupling.clone()),
            ("steps", format!("{} of {} pairs", count(own.steps), count(own.batch as usize))),
            ("kept of step", own.kept_step.map_or("the last".into(), count)),
            ("weights", count(own.weights)),
            ("loss", number(own.loss)),
            ("loss of the exact field", maybe(own.loss_floor)),
            ("divergence to held-out points", number(own.heldout_divergence)),
            ("noise floor, divergence", number(own.noise_floor)),
            ("nearest trained on, samples", maybe(own.nn_train)),
            ("nearest trained on, held-out", maybe(own.nn_heldout)),
        ];
        let shape = heldout.shape();
        let image = match shape[..] {
            [.., height, width] if height * width == own.d => Some((height, width)),
            _ => (self.train.target == "digits").then_some((8, 8)),
        };
        let report = report::draw_training(&report::Training {
            target: &self.train.target,
            facts: &facts,
            losses: &trained.losses,
            loss_floor: own.loss_floor,
            looks: &trained.looks,
            samples,
            heldout: &heldout,
            near: near.as_ref().map(|(train, samples, heldout)| (*train, &samples[..], &heldout[..])),
            image,
            flags: record.flags.as_deref().unwrap_or_default(),
        })?;
        folder.report(&report)?;
        if !trained.looks.is_empty() {
            folder.text("looks.csv", &report.rows_csv)?;
        }
        Ok(())
    }
}
