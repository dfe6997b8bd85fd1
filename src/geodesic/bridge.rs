//! The Schrödinger bridge between two clouds: the entropic plan, its pairs joined by Brownian bridges (Léonard 2014, theorem 2.4).
//!
//! ```text
//! X_t = (1−t) X₀ + t X₁ + √(ε t(1−t)) Z,   (X₀, X₁) ~ P                                   the law at time t
//! X_s = X_t + (s−t)/(1−t) (X₁ − X_t) + √(ε (s−t)(1−s)/(1−t)) Z,   X₁ ~ P(· | X₀)          a path, from time to time
//! ```
//!
//! A path is a Markov process, dX = (E[X₁ | X_t] − X_t)/(1−t) dt + √ε dW, but need not be run as one: given both of its ends it is a
//! Brownian bridge, of which each step is known. So its law is exact at every time, in any number of steps, where steps along the drift
//! lose variance: the last one ends at a mean.
//!
//! As ε → 0 it is McCann's interpolation. Between N(0, a²) and N(0, b²) its variance is (1−t)²a² + t²b² + 2t(1−t) cov + εt(1−t),
//! with cov = −ε/2 + √(a²b² + ε²/4).

use rayon::prelude::*;

use crate::backend::Device;
use crate::measure::Cloud;
use crate::path::Grid;
use crate::random::{Philox, Stream};
use crate::transport::{Plan, TransportError};

/// The step in the Philox counter of samples at a time: no run has that many.
const AT_A_TIME: u32 = u32::MAX;
/// The draw in the Philox counter of the noise of a step; draw 0 of step 0 is that of the partner.
const OF_A_STEP: u32 = 1;

/// The bridge of a solved plan.
#[derive(Clone, Debug)]
pub struct Bridge {
    plan: Plan,
}

impl Bridge {
    /// The bridge whose ends are coupled by `plan`.
    pub fn new(plan: Plan) -> Self {
        Self { plan }
    }

    /// Paths of pairs: a partner for each point of the source, from one uniform number a row of (`seed`, stream 2, row).
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn paths(&self, seed: u32, device: &Device) -> Result<BridgePaths, TransportError> {
        Ok(BridgePaths { partner: self.plan.draw_partners(seed, device)?, plan: self.plan.clone(), seed })
    }

    /// Paths from the points of `start`, or from those of the source, over the times of a CondOT `grid` from 0 to 1: where they end, n × d. Each goes to a partner
    /// drawn from the plan, by a draw of (`seed`, row), with the noise of (`seed`, row, step). `keep` sees the state after each step, the
    /// start as number 0, and says whether to go on.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, the plan has class costs and `start` is given, memory runs out, or `keep`
    /// says stop.
    pub fn run(
        &self,
        start: Option<&Cloud>,
        grid: &Grid,
        seed: u32,
        device: &Device,
        keep: &mut dyn FnMut(usize, &[f64]) -> bool,
    ) -> Result<Vec<f64>, TransportError> {
        let partner = match start {
            Some(points) => self.plan.draw_partners_of(points, seed, device)?,
            None => self.plan.draw_partners(seed, device)?,
        };
        let (y, eps, philox) = (self.plan.target(), self.plan.eps(), Philox::new(seed, Stream::Noise));
        let mut state = start.unwrap_or(self.plan.source()).points().to_vec();
        let times: Vec<f64> = grid.levels().iter().map(|level| level.t).collect();
        for (step, pair) in times.windows(2).enumerate() {
            if !keep(step, &state) {
                return Err(TransportError::Stopped { iterations: step });
            }
            let (t, s) = (pair[0], pair[1]);
            let (share, left) = ((s - t) / (1.0 - t), (1.0 - s) / (1.0 - t));
            let spread = (eps * (s - t) * left).max(0.0).sqrt();
            let rows = state.par_chunks_exact_mut(y.dim()).zip(&partner).enumerate();
            rows.for_each_init(
                || vec![0f32; y.dim()],
                |z, (i, (x, &j))| {
                    philox.normals(i as u32, step as u32, OF_A_STEP, z);
                    let ends = y.row(j as usize).iter().zip(z);
                    x.iter_mut().zip(ends).for_each(|(x, (y, z))| *x = left * *x + share * y + spread * f64::from(*z));
                },
            );
        }
        match keep(times.len() - 1, &state) {
            true => Ok(state),
            false => Err(TransportError::Stopped { iterations: times.len() - 1 }),
        }
    }
}

/// Brownian bridges between drawn pairs.
#[derive(Clone, Debug)]
pub struct BridgePaths {
    plan: Plan,
    partner: Vec<u32>,
    seed: u32,
}

impl BridgePaths {
    /// The partner of each point of the source.
    pub fn partner(&self) -> &[u32] {
        &self.partner
    }

    /// A sample of the law at time `t` ∈ [0, 1] for each point of the source, n × d, its noise a function of (seed, row, `k`): samples of
    /// several times are marginals of the bridge, not points of one path.
    pub fn at(&self, t: f64, k: u32) -> Vec<f64> {
        let (x, y) = (self.plan.source(), self.plan.target());
        let spread = (self.plan.eps() * t * (1.0 - t)).max(0.0).sqrt();
        let philox = Philox::new(self.seed, Stream::Noise);
        let mut z = vec![0f32; x.dim()];
        let mut out = Vec::with_capacity(x.points().len());
        for (i, (row, &j)) in x.rows().zip(&self.partner).enumerate() {
            philox.normals(i as u32, AT_A_TIME, k, &mut z);
            let point = row.iter().zip(y.row(j as usize)).zip(&z);
            out.extend(point.map(|((x, y), z)| (1.0 - t) * x + t * y + spread * f64::from(*z)));
        }
        out
    }
}
