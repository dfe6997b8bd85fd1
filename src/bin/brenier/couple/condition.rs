//! What is known of the targets while they are coupled: their classes, or numbers that the model will be conditioned on.

use std::path::PathBuf;
use std::str::FromStr;

use brenier::field::Conditions;
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{ClassLabels, ClassProblem, LabelCost, Outcome, Problem, TransportError};
use clap::Args;

use super::batch::{Batch, End};
use super::straightness::plan_cost;
use crate::condition;
use crate::transport::labels::{class_costs, labels};
use crate::{Failure, flags};

/// The mean squared distance between the conditions of a pair, over that of independent ones, that --condition-weight auto asks for.
pub const MATCHED: f64 = 1e-3;
/// Points of each end that the weight is sought with.
const SOUGHT: usize = 2048;
/// Doublings, and then halvings of the interval between two powers of two.
const DOUBLINGS: usize = 24;
const HALVINGS: usize = 3;

/// Classes or conditions.
#[derive(Args)]
#[command(next_help_heading = "Classes and conditions")]
pub struct KnownFlags {
    /// File of the class 0, 1, … of each target point: each class is coupled with the whole source, so that x0 tells nothing of it,
    /// as a conditional model presumes
    #[arg(long, value_name = "FILE", conflicts_with = "conditions")]
    labels: Option<PathBuf>,
    /// File of the class of each source point: each class of the target is coupled with its own
    #[arg(long, value_name = "FILE", requires = "labels")]
    source_labels: Option<PathBuf>,
    /// File of a table W that adds what classes cost each other to the cost of the points, instead of coupling each class by itself: a row
    /// for each class of the source, a column for each of the target, in units of |x-y|²/2
    #[arg(long, value_name = "FILE", requires = "source_labels")]
    class_costs: Option<PathBuf>,
    /// File of c numbers for each target point, m x c, that a model is conditioned on: source points take conditions at random, and a
    /// pair costs W |c0-c1|²/2 more
    #[arg(long, value_name = "FILE")]
    conditions: Option<PathBuf>,
    /// W, or auto: the least for which the conditions of a pair are 1,000 times closer, in mean square, than independent ones
    #[arg(long, value_name = "W", requires = "conditions", default_value = "auto", hide_default_value = true)]
    condition_weight: Weight,
}

/// The weight of the conditions in the cost.
#[derive(Clone, Copy)]
enum Weight {
    Auto,
    Given(f64),
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<f64>()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(weight)) if weight >= 0.0 && weight.is_finite() => Ok(Self::Given(weight)),
            _ => Err(format!("{text:?} is neither auto nor a finite weight of at least 0")),
        }
    }
}

/// What is known of the targets.
pub enum Known {
    Nothing,
    Classes(ClassLabels),
    /// Classes that cost each other something.
    Costs(LabelCost),
    Conditions {
        values: Conditions,
        weight: Option<f64>,
    },
}

impl KnownFlags {
    /// The classes or conditions of the files, which fit these ends.
    pub fn read(&self, source: &End, target: &End) -> Result<Known, Failure> {
        let (classes, values) = (self.labels.as_deref(), self.conditions.as_deref());
        if (classes.is_some() || values.is_some()) && target.points() == 0 {
            return Err(flags::bad_usage("--labels and --conditions are of the points of a target file, and this one is a law"));
        }
        if self.source_labels.is_some() && source.points() == 0 {
            return Err(flags::bad_usage("--source-labels are of the points of a source file, and this one is a law"));
        }
        if let Some(path) = classes {
            let of_source = self.source_labels.as_deref().map(labels).transpose()?;
            let of_target = labels(path)?;
            if let (Some(table), Some(of_source)) = (&self.class_costs, &of_source) {
                let costs = class_costs(table, of_source.clone(), of_target)?;
                let (n, m, columns) = (source.points(), target.points(), costs.columns);
                if (costs.source.len(), costs.target.len()) != (n, m) {
                    return Err(TransportError::Labels { n, m, rows: costs.table.len() / columns.max(1), columns }.into());
                }
                return Ok(Known::Costs(costs));
            }
            let known = ClassLabels { source: of_source, target: of_target };
            known.check(source.points(), target.points())?;
            return Ok(Known::Classes(known));
        }
        let Some(path) = values else { return Ok(Known::Nothing) };
        let values = condition::read(path)?;
        if values.len() != target.points() {
            let (path, found, points) = (path.display(), values.len(), target.points());
            return Err(format!("{path}: {found} conditions for {points} target points; give each point its own").into());
        }
        let weight = if let Weight::Given(weight) = self.condition_weight { Some(weight) } else { None };
        Ok(Known::Conditions { values, weight })
    }
}

impl Known {
    /// Streams of pairs that one plan takes at most.
    pub fn streams(&self) -> u32 {
        let Self::Classes(known) = self else { return 1 };
        known.target.iter().max().map_or(1, |class| class.saturating_add(1))
    }

    /// Numbers of a condition.
    pub fn width(&self) -> usize {
        if let Self::Conditions { values, .. } = self { values.width() } else { 0 }
    }

    /// The weight of the conditions.
    pub fn weight(&self) -> Option<f64> {
        if let Self::Conditions { weight, .. } = self { *weight } else { None }
    }

    /// The condition of a target point; empty where the targets have none.
    pub fn condition(&self, target: u32) -> &[f64] {
        if let Self::Conditions { values, .. } = self { values.of(target as usize) } else { &[] }
    }

    /// The label of a target point, where the plan itself does not tell the classes apart.
    pub fn label(&self, target: u32) -> Option<u32> {
        if let Self::Costs(costs) = self { Some(costs.target[target as usize]) } else { None }
    }

    /// Whether other plans are solved than the one of all points.
    pub fn asks_for_another_plan(&self) -> bool {
        matches!(self, Self::Classes(_) | Self::Conditions { .. })
    }

    /// What classes cost each other between the points of one plan.
    pub fn costs(&self, (x, y): (&Batch, &Batch)) -> Option<LabelCost> {
        let Self::Costs(costs) = self else { return None };
        let of = |batch: &Batch, labels: &[u32]| (0..batch.cloud.len()).map(|i| labels[batch.index(i) as usize]).collect();
        Some(LabelCost { source: of(x, &costs.source), target: of(y, &costs.target), ..costs.clone() })
    }

    /// The problems that the points of one plan make at `eps`.
    pub fn problems(&self, (x, y): (&Batch, &Batch), eps: f64, seed: (u32, u32)) -> Result<Vec<ClassProblem>, Failure> {
        Ok(match self {
            Self::Nothing | Self::Costs(_) => vec![Problem::new(&x.cloud, &y.cloud, eps)?.into()],
            Self::Classes(known) => {
                let row = |batch: &Batch, i: usize| batch.index(i) as usize;
                let here = known.at((0..x.cloud.len()).map(|i| row(x, i)), (0..y.cloud.len()).map(|j| row(y, j)));
                here.problems(&x.cloud, &y.cloud, eps)?
            }
            Self::Conditions { values, weight } => {
                let of_target: Vec<&[f64]> = (0..y.cloud.len()).map(|j| values.of(y.index(j) as usize)).collect();
                let [x, y] = conditioned(&x.cloud, &y.cloud, &of_target, weight.unwrap_or(0.0), seed)?;
                vec![Problem::new(&x, &y, eps)?.into()]
            }
        })
    }

    /// Settles the weight of the conditions, where it is left to us, by plans of `solve` between some points of one plan.
    pub fn settle(
        &mut self,
        (x, y): (&Batch, &Batch),
        seed: (u32, u32),
        mut solve: impl FnMut([Cloud; 2]) -> Result<Outcome, Failure>,
    ) -> Result<(), Failure> {
        let Self::Conditions { values, weight: weight @ None } = self else { return Ok(()) };
        let some = |cloud: &Cloud| -> Vec<usize> {
            let (n, philox) = (cloud.len() as u64, Philox::new(seed.0, Stream::Split));
            (0..n.min(SOUGHT as u64)).map(|k| philox.shuffled(k, n, u32::MAX - seed.1) as usize).collect()
        };
        let (rows, columns) = (some(&x.cloud), some(&y.cloud));
        let (x, from) = (x.cloud.select(&rows)?, y.cloud.select(&columns)?);
        let of_target: Vec<&[f64]> = columns.iter().map(|&j| values.of(y.index(j) as usize)).collect();
        let (d, spread) = (x.dim(), variance(&of_target));
        if spread == 0.0 {
            *weight = Some(0.0); // one condition for all is matched by any pair
            return Ok(());
        }
        let mut matches = |w: f64| -> Result<bool, Failure> {
            let outcome = solve(conditioned(&x, &from, &of_target, w, seed)?)?;
            let apart = plan_cost(&outcome, d..d + values.width()) / w;
            Ok(apart <= 2.0 * MATCHED * spread)
        };
        let mut high = from.variance().max(x.variance()) / spread;
        let mut doublings = 0;
        while !matches(high)? {
            doublings += 1;
            if doublings > DOUBLINGS {
                return Err("no weight of the conditions matches them: give --condition-weight, or fewer conditions".into());
            }
            high *= 2.0;
        }
        let mut low = 0.5 * high;
        while doublings == 0 && low > 0.0 && matches(low)? {
            (high, low) = (low, 0.5 * low);
        }
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            *(if matches(middle)? { &mut high } else { &mut low }) = middle;
        }
        *weight = Some(high);
        Ok(())
    }
}

/// E|c − mean|² of conditions.
pub fn variance(conditions: &[&[f64]]) -> f64 {
    let mean = |i: usize| conditions.iter().map(|c| c[i]).sum::<f64>() / conditions.len() as f64;
    let of = |i: usize| {
        let mean = mean(i);
        conditions.iter().map(|c| (c[i] - mean).powi(2)).sum::<f64>() / conditions.len() as f64
    };
    (0..conditions.first().map_or(0, |c| c.len())).map(of).sum()
}

/// Both clouds with √w times their conditions for further coordinates; the source has those of the target, in random order.
fn conditioned(x: &Cloud, y: &Cloud, of_target: &[&[f64]], w: f64, (seed, step): (u32, u32)) -> Result<[Cloud; 2], Failure> {
    let (n, philox, quantiles) = (x.len() as u64, Philox::new(seed, Stream::Split), y.inverse_cdf());
    let of_source = |i: usize| of_target[quantiles.index((philox.shuffled(i as u64, n, step) as f64 + 0.5) / n as f64)];
    let joined = |cloud: &Cloud, condition: &dyn Fn(usize) -> Vec<f64>| {
        let points = cloud.rows().enumerate().flat_map(|(i, x)| [x.to_vec(), condition(i)].concat()).collect();
        let joined = Cloud::new(points, cloud.dim() + of_target[0].len())?;
        match cloud.weights() {
            Some(weights) => Ok::<Cloud, Failure>(joined.with_weights(weights.to_vec())?),
            None => Ok(joined),
        }
    };
    let scaled = |c: &[f64]| c.iter().map(|c| w.sqrt() * c).collect::<Vec<f64>>();
    Ok([joined(x, &|i| scaled(of_source(i)))?, joined(y, &|j| scaled(of_target[j]))?])
}
