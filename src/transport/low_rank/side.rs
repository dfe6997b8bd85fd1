//! One side of a low-rank plan: its points, and what the stations get of them.

use serde::{Deserialize, Serialize};

use crate::backend::cpu::Cpu;
use crate::backend::{BackendError, Pairs, Shares, Stations};
use crate::measure::Cloud;

/// A share of mass below this is a station that no mass passes.
pub const LEAST: f64 = 1e-280;

/// A cloud about its mean.
pub struct Side {
    pub d: usize,
    /// n × d.
    pub points: Vec<f64>,
    pub masses: Vec<f64>,
}

impl Side {
    pub fn new(cloud: &Cloud, mean: &[f64]) -> Self {
        let masses = (0..cloud.len()).map(|i| cloud.weight(i)).collect();
        Self { d: cloud.dim(), points: cloud.relative_to(mean), masses }
    }

    /// Σ_i a_i f(x_i).
    pub fn mean_of(&self, f: impl Fn(&[f64]) -> f64) -> f64 {
        self.points.chunks_exact(self.d).zip(&self.masses).map(|(x, mass)| mass * f(x)).sum()
    }
}

/// A factor a_i softmax_k(σ (x_i·z_k + β_k)).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Factor {
    /// z, r × d.
    pub stations: Vec<f64>,
    /// β.
    pub levels: Vec<f64>,
    /// By how much the levels moved in the last step.
    pub moves: Vec<f64>,
}

impl Factor {
    pub fn new(stations: Vec<f64>, rank: usize) -> Self {
        Self { stations, levels: vec![0.0; rank], moves: vec![0.0; rank] }
    }

    /// Moves the stations by a `share` of the way to `means`, and the levels as much as in the last step.
    pub fn advance(&mut self, share: f64, means: &[f64]) {
        self.stations.iter_mut().zip(means).for_each(|(station, mean)| *station += share * (mean - *station));
        self.levels.iter_mut().zip(&self.moves).for_each(|(level, moved)| *level += moved);
    }

    /// Notes how the levels have moved from `before`.
    pub fn note_moves(&mut self, before: &[f64]) {
        self.moves = self.levels.iter().zip(before).map(|(level, before)| level - before).collect();
    }

    /// The factor's clusters of `side`.
    ///
    /// # Errors
    /// [`BackendError`] of the device.
    pub fn clusters(&self, side: &Side, sigma: f64) -> Result<Clusters, BackendError> {
        let (rank, d) = (self.levels.len(), side.d);
        let (mut means, mut overlaps) = (vec![0.0; rank * d], vec![0.0; rank * rank]);
        self.share(side, sigma, Shares::Sums { moments: &mut means, overlaps: &mut overlaps })?;
        let masses: Vec<f64> = overlaps.chunks_exact(rank).map(|row| row.iter().sum()).collect();
        for (mean, mass) in means.chunks_exact_mut(d).zip(&masses) {
            mean.iter_mut().for_each(|x| *x /= mass.max(LEAST));
        }
        Ok(Clusters { masses, means, overlaps })
    }

    /// softmax_k(σ (x_i·z_k + β_k)) for all points of `side`, n × r.
    ///
    /// # Errors
    /// [`BackendError`] of the device.
    pub fn shares(&self, side: &Side, sigma: f64) -> Result<Vec<f64>, BackendError> {
        let mut shares = vec![0.0; side.masses.len() * self.levels.len()];
        self.share(side, sigma, Shares::Each(&mut shares))?;
        Ok(shares)
    }

    /// On the processor, in f64: the projection asks for more digits than single precision has.
    fn share(&self, side: &Side, sigma: f64, out: Shares<'_, Cpu<f64>>) -> Result<(), BackendError> {
        let scaled = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| sigma * value).collect() };
        let (slopes, levels) = (scaled(&self.stations), scaled(&self.levels));
        Cpu::new().share(&side.points, &side.masses, Stations { slopes: &slopes, levels: &levels }, out)
    }
}

/// What the stations get of one side.
pub struct Clusters {
    pub masses: Vec<f64>,
    /// r × d.
    pub means: Vec<f64>,
    /// Σ_i a_i q_ik q_il, r × r.
    pub overlaps: Vec<f64>,
}

impl Clusters {
    /// ∂ mass_k / ∂ β_l.
    pub fn response(&self, k: usize, l: usize) -> f64 {
        let own = if k == l { self.masses[k] } else { 0.0 };
        own - self.overlaps[k * self.masses.len() + l]
    }
}
