//! What a plan is worth for training: its entropy, and how straight the paths of its pairs are.

use std::collections::BTreeMap;
use std::ops::Range;

use brenier::backend::Device;
use brenier::measure::Cloud;
use brenier::metric::flag::{INDEPENDENT, MAP_COLLAPSED};
use brenier::metric::{LossFloor, cfm_loss_floor};
use brenier::transport::{ClassProblem, Outcome, PlanEntropy};
use serde::Serialize;

use super::batch::End;
use super::condition::{Known, variance as condition_variance};
use crate::Failure;
use crate::output::{Summary, counted, number};

/// Pairs that the floor of the loss is estimated on, and numbers of an end at most.
const FLOOR_PAIRS: usize = 8192;
const FLOOR_NUMBERS: usize = 1 << 23;
/// Above this share of the squared distance by chance, neighbours are not near.
const NEAR: f64 = 0.5;

/// What the plans are worth for training, compared with independent pairs.
#[derive(Serialize)]
pub struct Straightness {
    /// −Σ P log P of the first plan, in nats.
    pub entropy: f64,
    /// 0 for a map, 1 for independent pairs.
    pub renormalised_entropy: f64,
    /// E|x1 − x0|² of independent pairs.
    pub independent_cost: f64,
    /// E Var(x1 | x0) given the points of a plan, the mean of all plans.
    pub conditional_variance: f64,
    /// Var(x1).
    pub conditional_variance_independent: f64,
    #[serde(flatten)]
    pub floor: Floor,
    /// The share of the target's variance that the map of the plan keeps.
    #[serde(skip)]
    pub variance_kept: f64,
}

/// ∫E|u − E[u | x_t]|² dt of the pairs and of independent ones; null where the pairs do not tell it.
#[derive(Serialize)]
pub struct Floor {
    pub cfm_loss_floor: Option<f64>,
    pub cfm_loss_floor_se: Option<f64>,
    pub cfm_loss_floor_independent: Option<f64>,
    /// The squared distance of nearest neighbours at x_t, as a share of what it is by chance: above a half the floors are a linear fit's.
    pub neighbour_distance: Option<f64>,
    /// Pairs that it is estimated on.
    #[serde(skip)]
    pairs: usize,
}

impl Floor {
    /// The line of a summary.
    pub fn line(&self, summary: &mut Summary) {
        let (floor, remark) = match (self.cfm_loss_floor, self.cfm_loss_floor_independent) {
            (Some(floor), Some(other)) => {
                let bound = if self.neighbour_distance > Some(NEAR) { ", by a linear fit: no pair has a near one" } else { "" };
                (number(floor), format!("against {} for independent pairs{bound}", number(other)))
            }
            _ if self.pairs < 2 => ("–".into(), "one pair has none".into()),
            _ => ("–".into(), format!("{} are too few to tell it in this dimension", counted(self.pairs, "pair"))),
        };
        summary.line("floor of the CFM loss", floor, remark);
    }
}

impl Straightness {
    /// Whether the pairs are next to independent.
    pub fn is_collapsed(&self) -> bool {
        self.variance_kept < MAP_COLLAPSED || self.renormalised_entropy > INDEPENDENT
    }
}

/// The floor of one pair.
const UNTOLD: LossFloor = LossFloor { value: None, standard_error: f64::NAN, distance: f64::NAN };

/// What is gathered of the plans and pairs as they come.
#[derive(Default)]
pub struct Gathered {
    entropy: Option<(f64, f64)>,
    plans: f64,
    conditional_variance: f64,
    variance_kept: f64,
    /// The first pairs, n × d each, and which targets these are.
    x0: Vec<f64>,
    x1: Vec<f64>,
    targets: Vec<u32>,
}

/// E|x − y|² under the plan of `outcome`, in some of the coordinates.
pub fn plan_cost(outcome: &Outcome, coordinates: Range<usize>) -> f64 {
    let (x, mut moved) = (outcome.problem.source(), 0.0);
    outcome.images.each(|i, image| {
        let apart = x.row(i)[coordinates.clone()].iter().zip(&image[coordinates.clone()]);
        moved += x.weight(i) * apart.map(|(x, t)| (x - t).powi(2)).sum::<f64>();
    });
    moved + conditional_variance(outcome, coordinates)
}

/// E Var(y | x) under the plan of `outcome`, in some of the coordinates.
fn conditional_variance(outcome: &Outcome, coordinates: Range<usize>) -> f64 {
    let (x, y) = (outcome.problem.source(), outcome.problem.target());
    if coordinates.len() == y.dim() {
        return outcome.conditional_variance();
    }
    let (mean, mut explained) = (y.mean(), 0.0);
    outcome.images.each(|i, image| {
        explained += x.weight(i) * coordinates.clone().map(|k| (image[k] - mean[k]).powi(2)).sum::<f64>();
    });
    (variance(y, coordinates) - explained).max(0.0)
}

/// The variance of a cloud in some of its coordinates.
fn variance(cloud: &Cloud, coordinates: Range<usize>) -> f64 {
    let mean = cloud.mean();
    let square = |y: &[f64]| coordinates.clone().map(|k| (y[k] - mean[k]).powi(2)).sum::<f64>();
    cloud.rows().enumerate().map(|(j, y)| cloud.weight(j) * square(y)).sum()
}

impl Gathered {
    /// Takes in the plans of one batch, in `d` dimensions.
    pub fn plan(&mut self, d: usize, problems: &[ClassProblem], outcomes: &[Outcome], device: &Device) -> Result<(), Failure> {
        if self.entropy.is_none() {
            let of_class = |(class, outcome): (&ClassProblem, &Outcome)| Ok((class.share, outcome.plan().entropy(device)?));
            let entropies = problems.iter().zip(outcomes).map(of_class).collect::<Result<Vec<_>, Failure>>()?;
            let entropy = PlanEntropy::of_classes(&entropies, problems.iter().all(ClassProblem::has_whole_source));
            self.entropy = Some((entropy.joint, entropy.renormalised()));
        }
        self.plans += 1.0;
        let mean =
            |of: &dyn Fn(&Outcome) -> f64| problems.iter().zip(outcomes).map(|(class, one)| class.share * of(one)).sum::<f64>();
        let left = mean(&|outcome| conditional_variance(outcome, 0..d));
        let kept = match outcomes {
            [one] if one.problem.target().dim() == d => one.variance_kept(),
            _ => 1.0 - left / mean(&|outcome| variance(outcome.problem.target(), 0..d)),
        };
        self.conditional_variance += (left - self.conditional_variance) / self.plans;
        self.variance_kept += (kept - self.variance_kept) / self.plans;
        Ok(())
    }

    /// Takes in a pair, whose target is a point of that number.
    pub fn pair(&mut self, x0: &[f64], x1: &[f64], target: u32) {
        if self.x0.len() < (FLOOR_PAIRS * x0.len()).min(FLOOR_NUMBERS) {
            self.x0.extend_from_slice(x0);
            self.x1.extend_from_slice(x1);
            self.targets.push(target);
        }
    }

    /// What all of them are worth; the cost keeps the share `kept` of the target's variance.
    pub fn finish(
        &self,
        ends: (&End, &End),
        known: &Known,
        kept: f64,
        (device, seed): (&Device, u32),
    ) -> Result<Straightness, Failure> {
        let (source, target) = ends;
        let (entropy, renormalised_entropy) = self.entropy.unwrap_or((f64::NAN, f64::NAN));
        Ok(Straightness {
            entropy,
            renormalised_entropy,
            independent_cost: source.moments().independent_cost(target.moments()),
            conditional_variance: self.conditional_variance,
            variance_kept: self.variance_kept,
            conditional_variance_independent: kept * target.moments().variance(),
            floor: self.floors(target, known, device, seed)?,
        })
    }

    /// The floors of the loss.
    pub fn floors(&self, target: &End, known: &Known, device: &Device, seed: u32) -> Result<Floor, Failure> {
        let pairs = self.targets.len();
        let all: Vec<usize> = (0..pairs).collect();
        let (floor, of_independent) = match known {
            Known::Nothing | Known::Costs(_) if pairs < 2 => (UNTOLD, UNTOLD),
            Known::Nothing | Known::Costs(_) => {
                let of = |x1: &[f64]| cfm_loss_floor(&self.x0, x1, target.dim(), device);
                (of(&self.x1)?, of(&target.independent(pairs, seed))?)
            }
            Known::Conditions { .. } => (self.floor(&all, known, 0, device)?, self.floor(&all, known, 1, device)?),
            Known::Classes(classes) => {
                let mut of_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
                all.iter().for_each(|&k| of_class.entry(classes.target[self.targets[k] as usize]).or_default().push(k));
                let told: Vec<&Vec<usize>> = of_class.values().filter(|pairs| pairs.len() > 1).collect();
                let count: usize = told.iter().map(|pairs| pairs.len()).sum();
                let mean = |shift| -> Result<LossFloor, Failure> {
                    let mut mean = LossFloor { value: (count > 0).then_some(0.0), standard_error: 0.0, distance: 0.0 };
                    for pairs in &told {
                        let (of, share) = (self.floor(pairs, known, shift, device)?, pairs.len() as f64 / count as f64);
                        mean.value = mean.value.zip(of.value).map(|(sum, value)| sum + share * value);
                        mean.standard_error = mean.standard_error.hypot(share * of.standard_error);
                        mean.distance += share * of.distance;
                    }
                    Ok(mean)
                };
                (mean(0)?, mean(1)?)
            }
        };
        Ok(Floor {
            cfm_loss_floor: floor.value,
            cfm_loss_floor_se: floor.value.map(|_| floor.standard_error),
            cfm_loss_floor_independent: of_independent.value,
            neighbour_distance: Some(floor.distance).filter(|distance| distance.is_finite()),
            pairs,
        })
    }

    /// The floor of the loss of a conditional model on some of the pairs, neighbours being near in the condition as well; with a
    /// `shift` each x0 has the target of another of them, for which it was not chosen.
    fn floor(&self, pairs: &[usize], known: &Known, shift: usize, device: &Device) -> Result<LossFloor, Failure> {
        if pairs.len() < 2 {
            return Ok(UNTOLD);
        }
        let d = self.x0.len() / self.targets.len();
        let partner = |k: usize| pairs[(k + shift) % pairs.len()];
        let conditions: Vec<&[f64]> = (0..pairs.len()).map(|k| known.condition(self.targets[partner(k)])).collect();
        let spread = [&self.x0, &self.x1].map(|x| Cloud::new(x.clone(), d)).into_iter().map(|cloud| Ok(cloud?.variance()));
        let spread: f64 = spread.sum::<Result<f64, Failure>>()?;
        let of_conditions = condition_variance(&conditions);
        let scale = if of_conditions > 0.0 { (spread / of_conditions).sqrt() } else { 0.0 };
        let with = |x: &[f64], row: usize, k: usize| {
            x[row * d..(row + 1) * d].iter().copied().chain(conditions[k].iter().map(|c| scale * c)).collect::<Vec<f64>>()
        };
        let x0: Vec<f64> = (0..pairs.len()).flat_map(|k| with(&self.x0, pairs[k], k)).collect();
        let x1: Vec<f64> = (0..pairs.len()).flat_map(|k| with(&self.x1, partner(k), k)).collect();
        Ok(cfm_loss_floor(&x0, &x1, d + known.width(), device)?)
    }
}
