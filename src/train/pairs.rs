//! Where pairs of source and target come from, step by step.

use crate::backend::{Cost, Device};
use crate::measure::{Cloud, Measure};
use crate::random::{Philox, Stream};
use crate::train::TrainError;
use crate::transport::{CostScale, GroundCost, Pairing, Problem, Sinkhorn};
use crate::watch::Watch;

/// How the source and the target of a batch are paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Coupling {
    /// By chance
    Independent,
    /// By an entropic plan between the points of the batch (Tong et al. 2024, section 3.2)
    Minibatch,
}

impl Coupling {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Minibatch => "minibatch",
        }
    }
}

/// Where pairs come from.
#[derive(Clone, Debug)]
pub struct PairSource<'a> {
    /// The law of x₀.
    pub source: &'a Measure,
    /// The law of x₁, or its points, drawn by weight.
    pub target: &'a Measure,
    /// How they are paired.
    pub coupling: Coupling,
    /// Of the draws.
    pub seed: u32,
    /// Where plans are solved.
    pub device: &'a Device,
}

/// The draws of source and target of one step, by their Philox step.
const ENDS: u32 = 2;

impl PairSource<'_> {
    /// The `count` pairs of training step `step`: x₀ and x₁, n × d each.
    ///
    /// # Errors
    /// [`TrainError::Transport`] where no plan is found.
    pub fn pairs(&self, count: usize, step: u32) -> Result<[Vec<f64>; 2], TrainError> {
        let draw =
            |measure: &Measure, end: u32| measure.sample(count, self.seed, Stream::Training, step.wrapping_mul(ENDS) + end);
        let (x, y) = (draw(self.source, 0), draw(self.target, 1));
        if self.coupling == Coupling::Independent {
            return Ok([x.points().to_vec(), y.points().to_vec()]);
        }
        let scale = GroundCost::Known(Cost::HalfSquaredEuclidean).scale(&x, &y, self.seed);
        let problem = Problem::new(&x, &y, CostScale::PAIRS * scale.value)?;
        let outcome = Sinkhorn::default().solve(&problem, self.device)?;
        let mut pairing = Pairing::new(&problem, &outcome.potentials, count as u64, false, (self.seed, step))?;
        let (mut x0, mut x1) = (Vec::with_capacity(count * x.dim()), Vec::with_capacity(count * x.dim()));
        while let Some(pairs) = pairing.next_round(self.device, Watch::default())? {
            pairs.source.iter().for_each(|i| x0.extend_from_slice(x.row(*i as usize)));
            pairs.target.iter().for_each(|j| x1.extend_from_slice(y.row(*j as usize)));
        }
        Ok([x0, x1])
    }
}

/// The time of each pair of a step, uniform in [0, 1): one in each of as many equal parts.
pub(super) fn times(count: usize, seed: u32, step: u32) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Training);
    (0..count).map(|k| (k as f64 + philox.uniform(k as u32, step, TIMES)) / count as f64).collect()
}

/// The draw of the times.
const TIMES: u32 = u32::MAX - 1;

/// Whether a cloud is all in one place.
pub(super) fn is_one_point(cloud: &Cloud) -> bool {
    let mut rows = cloud.rows();
    let first = rows.next();
    rows.all(|row| Some(row) == first)
}
