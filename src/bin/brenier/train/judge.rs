//! What a trained network makes, judged against the points held out.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise};
use brenier::checkpoint::Checkpoint;
use brenier::experiment::Evaluate;
use brenier::field::Field;
use brenier::measure::{Cloud, Measure};
use brenier::random::Stream;
use brenier::sampler::{self, Course, Moves};
use brenier::train::Trained;
use brenier::watch::{Progress, Watch};
use clap::ValueEnum;
use serde::Serialize;

use super::pairs::Split;
use super::{FOLDER, SAMPLING_STEPS, Train};
use crate::output::{self, Summary, count, number};
use crate::session::Session;
use crate::{Failure, progress, signal};

/// The most samples that the network is judged by.
const SAMPLES: u32 = 2048;
/// Steps that the loss in the record is the mean of.
const TOLD: usize = 100;
/// The part of a checkpoint with the judgement.
const JUDGED: &str = "judging";

/// A network that is trained, and what it is to be judged by.
pub struct Judged<'a> {
    pub train: &'a Train,
    pub source: &'a Measure,
    pub split: &'a Split,
    pub trained: &'a Trained,
    pub device: &'a Device,
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
    /// Of samples in 20 Heun steps to held-out points, and of independent clouds at these sizes.
    heldout_divergence: f64,
    noise_floor: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nn_train: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nn_heldout: Option<f64>,
}

impl Judged<'_> {
    /// The judgement, and the end of the run.
    pub fn finish(&self, session: &Session, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let &Self { train, split, trained, device, .. } = self;
        let seed = session.shared.seed;
        let spinner = progress::spinner(session, "judging");
        let samples = self.samples(seed)?;
        let (n, d) = (samples.len(), samples.dim());
        let training = if let Measure::Finite(cloud) = &split.training { Some(cloud) } else { None };
        let evaluate = Evaluate { n: SAMPLES as usize, seed, train: training, permutations: 0, ..Evaluate::default() };
        let tell = |_: Progress<'_>| !signal::interrupted();
        let watch = Watch::telling(&tell).keeping(checkpoint.part(JUDGED));
        let found = evaluate.run(&Measure::Finite(samples), &split.heldout, device, watch)?;
        let taken = self.begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        let told = trained.losses.len().min(TOLD);
        let record = Record {
            source: &train.source,
            target: &train.target,
            method: train.method.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
            coupling: train.pairs.coupling(),
            steps: trained.losses.len(),
            batch: train.batch,
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
        let mut summary = Summary::new(format!("train {} by {}", train.target, own.method));
        let layers = trained.network.layers();
        let shape = format!("{} hidden layers, {} weights", layers.len() - 1, count(own.weights));
        summary.line("steps", count(own.steps), format!("of {} pairs; {shape}", count(train.batch as usize)));
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
        session.finish(&record, session.folder(Some(FOLDER))?.as_ref(), &summary.text())
    }

    /// As many samples as held-out points, under their conditions.
    fn samples(&self, seed: u32) -> Result<Cloud, Failure> {
        let Self { train, source, split, trained, device, .. } = self;
        let n = if let Measure::Finite(cloud) = &split.heldout { cloud.len().clamp(2, SAMPLES as usize) as u32 } else { SAMPLES };
        let network = match &split.held {
            Some(held) => trained.network.under(&held.of_particles(0..n as usize)?)?,
            None => trained.network.clone(),
        };
        let field = Field::Network(network);
        let d = field.dim();
        let Course { moves: Moves::Program(program), first, .. } = train.course(&field, device)? else {
            return Err("the method of judging is a program".into());
        };
        let start = if train.method.is_flow() {
            source.sample(n as usize, seed, Stream::Noise, 0).points().to_vec()
        } else {
            sampler::start(first, d, 0..n, seed)
        };
        Ok(Cloud::new(program.run(&field, &start, Noise::NONE, device)?, d)?)
    }
}
