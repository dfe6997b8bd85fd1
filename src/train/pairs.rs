//! Where pairs of source and target come from, step by step.

use crate::backend::{Cost, Device};
use crate::field::network::Condition;
use crate::field::{ConditionError, Conditions};
use crate::measure::{Cloud, Measure};
use crate::random::{Philox, Stream};
use crate::train::TrainError;
use crate::transport::{GroundCost, Pairing, Problem, Semidiscrete, Sinkhorn};
use crate::watch::Watch;

/// Where pairs come from.
#[derive(Clone, Debug)]
pub enum PairSource<'a> {
    /// Drawn as they are needed.
    Drawn(Drawn<'a>),
    /// Made before.
    Stored(Stored),
}

/// Pairs of fresh draws.
#[derive(Clone, Debug)]
pub struct Drawn<'a> {
    /// The law of x₀.
    pub source: &'a Measure,
    /// The law of x₁, or its points, drawn by weight.
    pub target: &'a Measure,
    /// The conditions of the points of a finite target.
    pub told: Option<Told>,
    /// How they are paired.
    pub coupling: Coupling<'a>,
    /// Of the draws.
    pub seed: u32,
    /// Where plans are solved.
    pub device: &'a Device,
}

/// How draws of source and target are paired.
#[derive(Clone, Copy, Debug)]
pub enum Coupling<'a> {
    /// By chance.
    Independent,
    /// By an entropic plan between `size` draws of either end (Tong et al. 2024, section 3.2; Zhang et al. 2025 for large ones), which
    /// as many pairs are drawn from: of classes a plan within each, so that no class has a source of its own (Cheng, Schwing 2025).
    Plan {
        /// Draws of either end, at least a batch.
        size: usize,
        /// ε as a share of c₀.
        share: f64,
    },
    /// By a potential that was fitted to the source and the points of the target: each draw with the point of its cell (arXiv
    /// 2509.25519).
    Semidiscrete(&'a Semidiscrete),
}

/// Pairs made before, each drawn with the same chance.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The points x₀.
    pub x0: Cloud,
    /// Their partners x₁.
    pub x1: Cloud,
    /// The conditions of the pairs.
    pub told: Option<Told>,
    /// Of the draws.
    pub seed: u32,
}

/// What a network is told of each target beside its point: the inputs of its condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What they mean.
    pub condition: Condition,
    inputs: Vec<f64>,
}

impl Told {
    /// What is told of `conditions` by `condition`.
    ///
    /// # Errors
    /// [`ConditionError`] for a class that there is not, or conditions of another length.
    pub fn new(condition: Condition, conditions: &Conditions) -> Result<Self, ConditionError> {
        let inputs = condition.inputs(conditions)?;
        Ok(Self { condition, inputs })
    }

    /// The inputs of a condition.
    pub fn of(&self, row: usize) -> &[f64] {
        let width = self.condition.width();
        &self.inputs[row * width..][..width]
    }

    /// Those of some rows, as of a target of their own.
    pub fn select(&self, rows: &[usize]) -> Self {
        let inputs = rows.iter().flat_map(|&row| self.of(row)).copied().collect();
        Self { condition: self.condition.clone(), inputs }
    }

    /// How many conditions there are.
    fn len(&self) -> usize {
        self.inputs.len() / self.condition.width()
    }
}

/// Some pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// x₀, n × d.
    pub x0: Vec<f64>,
    /// x₁, n × d.
    pub x1: Vec<f64>,
    /// Which of the conditions is that of each; empty where there are none.
    pub told: Vec<usize>,
}

impl Pairs {
    /// Some of them.
    fn part(&self, from: usize, count: usize, d: usize) -> Self {
        let rows = |x: &[f64]| x[from * d..(from + count) * d].to_vec();
        let told = if self.told.is_empty() { Vec::new() } else { self.told[from..from + count].to_vec() };
        Self { x0: rows(&self.x0), x1: rows(&self.x1), told }
    }
}

impl<'a> PairSource<'a> {
    /// Dimensions of the source and of the target.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Drawn(drawn) => [drawn.source.dim(), drawn.target.dim()],
            Self::Stored(stored) => [stored.x0.dim(), stored.x1.dim()],
        }
    }

    /// What the network is told beside the point and the time.
    pub fn told(&self) -> Option<&Told> {
        match self {
            Self::Drawn(drawn) => drawn.told.as_ref(),
            Self::Stored(stored) => stored.told.as_ref(),
        }
    }

    /// The mean of |x₁ − x₀|² of pairs made before: no less than W₂² of their ends.
    pub fn cost(&self) -> Option<f64> {
        let Self::Stored(Stored { x0, x1, .. }) = self else { return None };
        let squares = |(x, y): (&[f64], &[f64])| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        Some(x0.rows().zip(x1.rows()).map(squares).sum::<f64>() / x0.len() as f64)
    }

    /// Refuses pairs that cannot be learnt from, in batches of `batch`.
    pub(super) fn check(&self, batch: usize) -> Result<(), TrainError> {
        let [source_dim, target_dim] = self.dims();
        if source_dim != target_dim {
            return Err(TrainError::Dimensions { source_dim, target_dim });
        }
        let (target, points) = match self {
            Self::Drawn(Drawn { target: Measure::Finite(cloud), .. }) => (Some(cloud), Some(cloud.len())),
            Self::Drawn(_) => (None, None),
            Self::Stored(Stored { x0, x1, .. }) if x0.len() != x1.len() => {
                return Err(TrainError::Unpaired { sources: x0.len(), targets: x1.len() });
            }
            Self::Stored(stored) => (Some(&stored.x1), Some(stored.x1.len())),
        };
        if target.is_some_and(is_one_point) {
            return Err(TrainError::OnePoint);
        }
        if let Some(conditions) = self.told().map(Told::len)
            && points != Some(conditions)
        {
            return Err(TrainError::Conditions { conditions, points });
        }
        match self {
            Self::Drawn(Drawn { coupling: Coupling::Plan { size, .. }, .. }) if *size < batch => {
                Err(TrainError::CouplingSize { size: *size, batch })
            }
            Self::Drawn(Drawn { coupling: Coupling::Plan { .. }, told: Some(told), .. })
                if matches!(told.condition, Condition::Numbers(_)) =>
            {
                Err(TrainError::BlindPlan)
            }
            Self::Drawn(Drawn { coupling: Coupling::Semidiscrete(_), told: Some(_), .. }) => Err(TrainError::BlindPlan),
            _ => Ok(()),
        }
    }

    /// The pairs in their order.
    pub fn drawing(&'a self) -> Drawing<'a> {
        Drawing { from: self, round: None }
    }
}

/// Pairs on their way: those of a plan serve several steps.
#[derive(Clone, Debug)]
pub struct Drawing<'a> {
    from: &'a PairSource<'a>,
    round: Option<(u32, Pairs)>,
}

impl Drawing<'_> {
    /// The `count` pairs of training step `step`, a function of the seed and the step alone.
    ///
    /// # Errors
    /// [`TrainError::Transport`] where no plan is found.
    pub fn batch(&mut self, count: usize, step: u32) -> Result<Pairs, TrainError> {
        let drawn = match self.from {
            PairSource::Stored(stored) => return Ok(stored.batch(count, step)),
            PairSource::Drawn(drawn) => drawn,
        };
        let (size, share) = match drawn.coupling {
            Coupling::Independent => return Ok(drawn.ends(count, step)),
            Coupling::Semidiscrete(coupling) => return drawn.in_cells(coupling, count, step),
            Coupling::Plan { size, share } => (size, share),
        };
        let steps = (size / count).max(1) as u32;
        let number = step / steps;
        if self.round.as_ref().is_none_or(|(kept, _)| *kept != number) {
            self.round = Some((number, drawn.coupled(size, share, number)?));
        }
        let round = self.round.as_ref().map(|(_, round)| round);
        Ok(round.map_or_else(Pairs::default, |round| round.part((step % steps) as usize * count, count, drawn.target.dim())))
    }
}

impl Stored {
    fn batch(&self, count: usize, step: u32) -> Pairs {
        let philox = Philox::new(self.seed, Stream::Training);
        let n = self.x0.len();
        let rows: Vec<usize> = (0..count).map(|k| (philox.uniform(k as u32, step, STORED) * n as f64) as usize).collect();
        let of = |cloud: &Cloud| rows.iter().flat_map(|&row| cloud.row(row)).copied().collect();
        let (x0, x1) = (of(&self.x0), of(&self.x1));
        Pairs { x0, x1, told: if self.told.is_some() { rows } else { Vec::new() } }
    }
}

/// The draws of source and target of one step, by their Philox step.
const ENDS: u32 = 2;

impl Drawn<'_> {
    /// Independent draws of both ends.
    fn ends(&self, count: usize, step: u32) -> Pairs {
        let [first, second] = [0, 1].map(|end| step.wrapping_mul(ENDS).wrapping_add(end));
        let x0 = self.source.sample(count, self.seed, Stream::Training, first).points().to_vec();
        match (self.target, &self.told) {
            (Measure::Finite(cloud), Some(_)) => {
                let told = cloud.draws(count, self.seed, Stream::Training, second);
                Pairs { x0, x1: told.iter().flat_map(|&row| cloud.row(row)).copied().collect(), told }
            }
            (law, _) => {
                let x1 = law.sample(count, self.seed, Stream::Training, second).points().to_vec();
                Pairs { x0, x1, told: Vec::new() }
            }
        }
    }

    /// Draws of the source, each with the point of its cell.
    fn in_cells(&self, coupling: &Semidiscrete, count: usize, step: u32) -> Result<Pairs, TrainError> {
        let Measure::Finite(points) = self.target else { return Err(TrainError::CellsOfLaw) };
        let x = self.source.sample(count, self.seed, Stream::Training, step.wrapping_mul(ENDS));
        let rows = coupling.pair(&x, self.device)?;
        let x1 = rows.iter().flat_map(|&row| points.row(row as usize)).copied().collect();
        Ok(Pairs { x0: x.points().to_vec(), x1, told: Vec::new() })
    }

    /// `size` pairs of a plan between as many draws, in random order.
    fn coupled(&self, size: usize, share: f64, number: u32) -> Result<Pairs, TrainError> {
        let (ends, d) = (self.ends(size, number), self.target.dim());
        let cloud = |points: Vec<f64>| Cloud::new(points, d).map_err(TrainError::Draws);
        let (x, y) = (cloud(ends.x0)?, cloud(ends.x1)?);
        let scale = GroundCost::Known(Cost::HalfSquaredEuclidean).scale(&x, &y, self.seed);
        let groups = self.groups(&ends.told, size);
        let (mut pairs, mut first) = (Pairs::default(), 0);
        for (g, targets) in groups.iter().enumerate() {
            // Sources are as good as any, so those of a class are as many as come next.
            let sources: Vec<usize> = (first..first + targets.len()).collect();
            first += targets.len();
            let (x, y) = (x.select(&sources).map_err(TrainError::Draws)?, y.select(targets).map_err(TrainError::Draws)?);
            let problem = Problem::new(&x, &y, share * scale.value)?;
            let outcome = Sinkhorn::default().solve(&problem, self.device)?;
            let step = number.wrapping_mul(groups.len() as u32).wrapping_add(g as u32);
            let mut pairing = Pairing::new(&problem, &outcome.potentials, targets.len() as u64, false, (self.seed, step))?;
            while let Some(drawn) = pairing.next_round(self.device, Watch::default())? {
                drawn.source.iter().for_each(|i| pairs.x0.extend_from_slice(x.row(*i as usize)));
                drawn.target.iter().for_each(|j| pairs.x1.extend_from_slice(y.row(*j as usize)));
                if !ends.told.is_empty() {
                    pairs.told.extend(drawn.target.iter().map(|j| ends.told[targets[*j as usize]]));
                }
            }
        }
        Ok(if groups.len() == 1 { pairs } else { shuffled(&pairs, d, (self.seed, number)) })
    }

    /// Draws of the target that are coupled by themselves: those of each class, or all.
    fn groups(&self, told: &[usize], size: usize) -> Vec<Vec<usize>> {
        let Some(of) = &self.told else { return vec![(0..size).collect()] };
        let mut groups = vec![Vec::new(); of.condition.width()];
        for (draw, &row) in told.iter().enumerate() {
            if let Some(class) = of.of(row).iter().position(|input| *input != 0.0) {
                groups[class].push(draw);
            }
        }
        groups.retain(|group| !group.is_empty());
        groups
    }
}

/// Pairs in random order.
fn shuffled(pairs: &Pairs, d: usize, (seed, step): (u32, u32)) -> Pairs {
    let n = pairs.told.len();
    let order = Philox::new(seed, Stream::Split).permutation(n, n, step);
    let rows = |x: &[f64]| order.iter().flat_map(|&row| &x[row * d..(row + 1) * d]).copied().collect();
    Pairs { x0: rows(&pairs.x0), x1: rows(&pairs.x1), told: order.iter().map(|&row| pairs.told[row]).collect() }
}

/// The time of each pair of a step, uniform in [0, 1): one in each of as many equal parts.
pub(super) fn times(count: usize, seed: u32, step: u32) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Training);
    (0..count).map(|k| (k as f64 + philox.uniform(k as u32, step, TIMES)) / count as f64).collect()
}

/// The draws of the times, of stored pairs, and of the conditions that are dropped.
const TIMES: u32 = u32::MAX - 1;
const STORED: u32 = u32::MAX - 2;
pub(super) const DROPPED: u32 = u32::MAX - 3;

/// Whether a cloud is all in one place.
fn is_one_point(cloud: &Cloud) -> bool {
    let mut rows = cloud.rows();
    let first = rows.next();
    rows.all(|row| Some(row) == first)
}
