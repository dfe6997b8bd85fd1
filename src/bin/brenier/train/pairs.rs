//! What is trained on and what is held out.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use brenier::backend::Device;
use brenier::checkpoint::Part;
use brenier::field::Conditions;
use brenier::field::network::Condition;
use brenier::io::{StoredPairs, read_pairs};
use brenier::measure::Measure;
use brenier::train::{Coupling, Drawn, PairSource, Stored, Told};
use brenier::transport::{Ascent, CostScale, Semidiscrete};
use brenier::watch::{Progress, Watch};
use clap::{Args, ValueEnum};

use crate::condition;
use crate::output::number;
use crate::session::Session;
use crate::transport::labels::labels;
use crate::{Failure, flags, progress, signal, values};

/// How pairs are made, or where they are.
#[derive(Args)]
#[command(next_help_heading = "Pairs and conditions")]
pub struct PairFlags {
    /// How the source and the target of a batch are paired [default: independent, minibatch for energy-matching]
    #[arg(long, value_enum)]
    pub coupling: Option<Pairing>,
    /// Draws of either end in a plan of --coupling sinkhorn, which as many pairs are drawn from [default: 8192]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    coupling_size: Option<u32>,
    /// Regularisation of the plans, as a share of the mean cost within the clouds [default: 0.005]
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = values::positive)]
    coupling_eps: Option<f64>,
    /// Folder of pairs that couple or sample --pairs wrote, to train on; those with a target that is held out are left aside
    #[arg(long, value_name = "DIR", conflicts_with_all = ["coupling", "coupling_size", "coupling_eps"])]
    pub pairs: Option<PathBuf>,
    /// File of the class 0, 1, … of each target point: the network is trained for each class, and plans are made within them
    #[arg(long, value_name = "FILE", conflicts_with = "conditions")]
    labels: Option<PathBuf>,
    /// File of c numbers for each target point, m x c, that the network is conditioned on
    #[arg(long, value_name = "FILE")]
    conditions: Option<PathBuf>,
    /// Share of the pairs whose condition is withheld, which teaches the network the field without one for --guidance
    #[arg(long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true, value_parser = values::share)]
    pub withhold: f64,
}

/// How the source and the target of a batch are paired.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pairing {
    /// By chance
    Independent,
    /// By an entropic plan between the points of the batch (Tong et al. 2024)
    Minibatch,
    /// By an entropic plan between --coupling-size draws, which serves several steps (Zhang et al. 2025)
    Sinkhorn,
    /// By a potential that is fitted once to the source and the points trained on (arXiv 2509.25519)
    Semidiscrete,
}

/// Draws of either end in a large plan.
const SIZE: usize = 8192;

/// Conditions of points, and how a network is told them.
#[derive(Clone)]
pub struct Known {
    condition: Condition,
    values: Conditions,
}

/// Points that the network has not seen, or their law, with their conditions.
#[derive(Clone)]
pub struct Unseen {
    pub points: Measure,
    pub conditions: Option<Conditions>,
}

impl Unseen {
    /// Takes half of the points away to be looked at on the way; of a law it is the same law.
    pub fn part(&mut self, seed: u32) -> Result<Self, Failure> {
        let Measure::Finite(cloud) = &self.points else { return Ok(self.clone()) };
        if cloud.len() < 4 {
            return Err("--patience looks at half of the points held out, and there are fewer than four; leave it out".into());
        }
        let (looked_at, left) = cloud.rows_of_halves(seed);
        let of = |rows: &[usize]| -> Result<Self, Failure> {
            let values = |all: &Conditions| rows.iter().flat_map(|&row| all.of(row)).copied().collect();
            let conditions = self.conditions.as_ref().map(|all| Conditions::new(values(all), all.width())).transpose()?;
            Ok(Self { points: Measure::Finite(cloud.select(rows)?), conditions })
        };
        let (looked_at, left) = (of(&looked_at)?, of(&left)?);
        *self = left;
        Ok(looked_at)
    }
}

/// The target in two: halves of points, the same law twice.
pub struct Split {
    pub training: Measure,
    pub unseen: Unseen,
    /// What is known of all points of the target.
    known: Option<Known>,
    /// The points of the target that are trained on.
    rows: Vec<usize>,
}

impl PairFlags {
    /// The name of the coupling in the record.
    pub fn coupling(&self, pairing: Pairing) -> String {
        match (&self.pairs, pairing.to_possible_value()) {
            (None, Some(value)) => value.get_name().to_owned(),
            _ => "stored".to_owned(),
        }
    }

    /// The target in two, by `seed`.
    pub fn split(&self, target: &Measure, seed: u32) -> Result<Split, Failure> {
        let known = self.known()?;
        let Measure::Finite(cloud) = target else {
            return match known {
                None => {
                    let unseen = Unseen { points: target.clone(), conditions: None };
                    Ok(Split { training: target.clone(), unseen, known, rows: Vec::new() })
                }
                Some(_) => Err(flags::bad_usage(
                    "--labels and --conditions are of the points of a target file, and this one is a law; leave them out",
                )),
            };
        };
        if let Some(found) = known.as_ref().map(|known| known.values.len()).filter(|found| *found != cloud.len()) {
            let points = cloud.len();
            return Err(format!("{found} labels or conditions for {points} target points; give each point its own").into());
        }
        let (training, heldout) = cloud.halves(seed)?;
        let (rows, held) = cloud.rows_of_halves(seed);
        let conditions = known.as_ref().map(|known| known.select(&held)).transpose()?.map(|known| known.values);
        let unseen = Unseen { points: Measure::Finite(heldout), conditions };
        Ok(Split { training: Measure::Finite(training), unseen, known, rows })
    }

    /// Refuses what the coupling does not look at.
    pub fn check(&self, pairing: Pairing) -> Result<(), Failure> {
        let of = |flag: &str, which: &str| Err(flags::bad_usage(format!("{flag} is of --coupling {which}; leave it out")));
        let is_plan = matches!(pairing, Pairing::Minibatch | Pairing::Sinkhorn);
        match (self.coupling_size, self.coupling_eps) {
            (Some(_), _) if pairing != Pairing::Sinkhorn => of("--coupling-size", "sinkhorn"),
            (_, Some(_)) if !is_plan => of("--coupling-eps", "minibatch or sinkhorn"),
            _ => Ok(()),
        }
    }

    /// How draws are paired in batches of `batch`, where `fitted` is the potential of a semidiscrete coupling.
    pub fn made<'a>(&self, pairing: Pairing, batch: u32, fitted: Option<&'a Semidiscrete>) -> Coupling<'a> {
        let (share, batch) = (self.coupling_eps.unwrap_or(CostScale::PAIRS), batch as usize);
        match (pairing, fitted) {
            (Pairing::Semidiscrete, Some(fitted)) => Coupling::Semidiscrete(fitted),
            (Pairing::Independent | Pairing::Semidiscrete, _) => Coupling::Independent,
            (Pairing::Minibatch, _) => Coupling::Plan { size: batch, share },
            (Pairing::Sinkhorn, _) => {
                Coupling::Plan { size: self.coupling_size.map_or(SIZE.max(batch), |size| size as usize), share }
            }
        }
    }

    /// Where the pairs of `source` and what is trained on come from, if draws are paired by `coupling`; and what the network will not
    /// have seen.
    pub fn source<'a>(
        &self,
        (source, split): (&'a Measure, &'a Split),
        coupling: Coupling<'a>,
        seed: u32,
        device: &'a Device,
    ) -> Result<(PairSource<'a>, Unseen), Failure> {
        if let Some(folder) = &self.pairs {
            let (stored, unseen) = split.stored(read_pairs(folder)?, folder, seed)?;
            return Ok((PairSource::Stored(stored), unseen));
        }
        let told = split.known.as_ref().map(|known| known.select(&split.rows)?.told()).transpose()?;
        let drawn = Drawn { source, target: &split.training, told, coupling, seed, device };
        Ok((PairSource::Drawn(drawn), split.unseen.clone()))
    }

    /// The potential that pairs `source` with the points trained on.
    pub fn fit(
        &self,
        (source, split): (&Measure, &Split),
        session: &Session,
        device: &Device,
        kept: Part<'_>,
    ) -> Result<Semidiscrete, Failure> {
        let Measure::Finite(points) = &split.training else {
            return Err(flags::bad_usage(
                "--coupling semidiscrete pairs draws with points, and the target is a law; give a file of points",
            ));
        };
        if matches!(source, Measure::Finite(_)) {
            return Err(flags::bad_usage(
                "--coupling semidiscrete pairs draws of a law, and the source is a file of points; use sinkhorn",
            ));
        }
        let ascent = Ascent { seed: session.shared.seed, ..Ascent::default() };
        let bar = progress::bar(session, "ascent", ascent.max_steps);
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            bar.set_message(now.value.map_or("ascent".into(), |error| format!("ascent, marginal error {}", number(error))));
            !signal::interrupted()
        };
        let (coupling, fit) = ascent.fit(source, points, device, Watch::telling(&tell).keeping(kept))?;
        bar.finish_and_clear();
        if !fit.converged {
            let error = number(fit.marginal_error);
            session.note(&format!(
                "the masses of the cells are off by as much as {error} (L1); couple --semidiscrete fits longer, for --pairs"
            ));
        }
        Ok(coupling)
    }

    /// What is known of the points of the target.
    fn known(&self) -> Result<Option<Known>, Failure> {
        Ok(match (&self.labels, &self.conditions) {
            (Some(path), _) => {
                let values = labels(path)?.into_iter().map(f64::from).collect();
                Some(Known::classes(Conditions::new(values, 1)?))
            }
            (None, Some(path)) => Some(Known::numbers(condition::read(path)?)),
            (None, None) => None,
        })
    }
}

impl Split {
    /// Conditions of points trained on, in turn, for `n` particles.
    pub fn conditions_of(&self, n: usize) -> Result<Option<(Told, Conditions)>, Failure> {
        let Some(known) = &self.known else { return Ok(None) };
        let rows: Vec<usize> = self.rows.iter().cycle().take(n).copied().collect();
        let of_rows = known.select(&rows)?;
        Ok(Some((of_rows.told()?, of_rows.values)))
    }

    /// Pairs of files, without those whose target is held out. Where the conditions are theirs, those of the held-out points are, too.
    fn stored(&self, stored: StoredPairs, folder: &Path, seed: u32) -> Result<(Stored, Unseen), Failure> {
        let mut unseen = self.unseen.clone();
        let StoredPairs { x0, x1, target_index, label, condition } = stored;
        let (own, name) = (label.map(Known::classes).or(condition.map(Known::numbers)), folder.display());
        let Some(index) = target_index.filter(|_| !self.rows.is_empty()) else {
            if own.is_none() && self.known.is_some() {
                return Err(format!(
                    "{name}: its pairs do not say which target point is whose; leave --labels and --conditions out"
                )
                .into());
            }
            let told = own.as_ref().map(Known::told).transpose()?;
            unseen.conditions = own.map(|known| known.values);
            return Ok((Stored { x0, x1, told, seed }, unseen));
        };
        let trained: HashMap<usize, usize> = self.rows.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        let (rows, mut held): (Vec<usize>, Vec<usize>) = (0..index.len()).partition(|pair| trained.contains_key(&index[*pair]));
        if let Measure::Finite(training) = &self.training {
            let is_other = |pair: &&usize| !is_near(x1.row(**pair), training.row(trained[&index[**pair]]));
            if let Some(pair) = rows.iter().find(is_other) {
                return Err(format!(
                    "{name}: x1 of pair {pair} is not point {} of the target; give the target that the pairs were made of",
                    index[*pair]
                )
                .into());
            }
        }
        if rows.is_empty() {
            return Err(format!("{name}: none of its pairs has a target that is trained on; write more of them").into());
        }
        let told = match (&self.known, own) {
            (Some(known), _) => {
                let points: Vec<usize> = rows.iter().map(|pair| index[*pair]).collect();
                Some(known.select(&points)?.told()?)
            }
            (None, None) => None,
            (None, Some(own)) => {
                let mut seen = HashSet::new();
                held.retain(|pair| seen.insert(index[*pair]));
                if !held.is_empty() {
                    unseen = Unseen { points: Measure::Finite(x1.select(&held)?), conditions: Some(own.select(&held)?.values) };
                }
                Some(own.select(&rows)?.told()?)
            }
        };
        Ok((Stored { x0: x0.select(&rows)?, x1: x1.select(&rows)?, told, seed }, unseen))
    }
}

impl Known {
    fn classes(values: Conditions) -> Self {
        let mut classes: Vec<u32> = (0..values.len()).map(|point| values.of(point)[0] as u32).collect();
        classes.sort_unstable();
        classes.dedup();
        Self { condition: Condition::Classes(classes), values }
    }

    fn numbers(values: Conditions) -> Self {
        Self { condition: Condition::Numbers(values.width()), values }
    }

    fn select(&self, rows: &[usize]) -> Result<Self, Failure> {
        let values = rows.iter().flat_map(|&row| self.values.of(row)).copied().collect();
        Ok(Self { condition: self.condition.clone(), values: Conditions::new(values, self.values.width())? })
    }

    fn told(&self) -> Result<Told, Failure> {
        Ok(Told::new(self.condition.clone(), &self.values)?)
    }
}

/// Whether a point is `other` after it was written in single precision.
fn is_near(point: &[f64], other: &[f64]) -> bool {
    point.len() == other.len() && point.iter().zip(other).all(|(x, y)| (x - y).abs() <= 1e-6 * (1.0 + y.abs()))
}
