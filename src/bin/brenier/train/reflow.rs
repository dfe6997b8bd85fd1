//! Pairs of a model: where its particles start and where they end.

use std::path::Path;

use brenier::backend::{Device, Noise};
use brenier::checkpoint::Checkpoint;
use brenier::field::Field;
use brenier::field::network::Output;
use brenier::io::read_network;
use brenier::measure::{Cloud, Measure};
use brenier::path::{Prediction, Schedule};
use brenier::random::Stream;
use brenier::sampler::{self, Moves, Options};
use brenier::train::{PairSource, Stored, Trainer};
use brenier::watch::{Progress, Watch};

use super::Train;
use super::pairs::Split;
use crate::session::Session;
use crate::{Failure, memory, progress, signal};

/// Pairs, and the Heun steps that make each.
const N: u32 = 65_536;
const STEPS: usize = 50;
/// The part of a checkpoint with the particles.
const PARTICLES: &str = "pairs";

/// The pairs of the network in the file `model`, which `trainer` then goes on from.
pub fn pairs<'a>(
    train: &Train,
    (trainer, model): (&mut Trainer, &Path),
    (source, split): (&Measure, &mut Split),
    session: &Session,
    (device, checkpoint): (&Device, &mut Checkpoint),
) -> Result<PairSource<'a>, Failure> {
    let (network, name, seed) = (read_network(model)?, model.display(), session.shared.seed);
    let velocity = Output::Prediction(Prediction::Velocity);
    let Some(time) = network.time().filter(|_| network.output() == velocity && *network.schedule() == Schedule::CondOt) else {
        return Err(
            format!("{name} is not a network of flow matching, which predicts the velocity on condot; train one first").into()
        );
    };
    if network.dim() != source.dim() {
        let (found, d) = (network.dim(), source.dim());
        return Err(format!("{name} moves points of dimension {found}, and those of the target have {d}").into());
    }
    let layers = network.layers();
    trainer.hidden = layers[..layers.len() - 1].iter().map(|layer| layer.outputs()).collect();
    (trainer.activation, trainer.time) = (network.activation(), time.clone());
    let (n, d) = (train.n.unwrap_or(N) as usize, network.dim());
    memory::require("that many pairs", 8 * n as u64 * d as u64)?;
    let told = split.conditions_of(n)?;
    if told.is_none() && network.condition().is_some() {
        return Err(format!("{name} takes conditions; give those of the points with --labels or --conditions").into());
    }
    let under = match &told {
        Some((_, conditions)) => network.under(conditions).map_err(|error| format!("{name}: {error}"))?,
        None => network.clone(),
    };
    let field = Field::Network(under);
    let options = Options { steps: Some(STEPS), ..Options::default() };
    let Moves::Program(program) = sampler::named("fm-heun")?.course(&field, &options, device)?.moves else {
        return Err("the method of reflow is a program".into());
    };
    let start = source.sample(n, seed, Stream::Source, 0);
    let bar = progress::bar(session, "pairs", STEPS);
    let tell = |now: Progress<'_>| {
        bar.set_position(now.done as u64);
        !signal::interrupted()
    };
    let watch = Watch::telling(&tell).keeping(checkpoint.part(PARTICLES));
    let (ends, _) = program.resume(&field, start.points().to_vec(), Noise::NONE, device, false, watch)?;
    bar.finish_and_clear();
    trainer.start = Some(network);
    let told = told.map(|(told, _)| told);
    Ok(PairSource::Stored(Stored { x0: start, x1: Cloud::new(ends, d)?, told, seed }))
}
