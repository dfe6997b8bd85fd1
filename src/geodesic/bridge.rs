//! The Schrödinger bridge between two clouds: the entropic plan, its pairs joined by Brownian bridges (Léonard 2014, theorem 2.4).
//!
//! ```text
//! X_t = (1−t) X₀ + t X₁ + √(ε t(1−t)) Z,   (X₀, X₁) ~ P          the law at time t
//! dX_t = (A(X_t, t) − X_t)/(1−t) dt + √ε dW                      the same process, run forward
//! A(x, t) = Σ_j w_j y_j,   w_j ∝ b_j exp(g_j/ε − |x−y_j|²/(2ε(1−t)))
//! ```
//!
//! As ε → 0 it is McCann's interpolation. Between N(0, a²) and N(0, b²) its variance is (1−t)²a² + t²b² + 2t(1−t) cov + εt(1−t),
//! with cov = −ε/2 + √(a²b² + ε²/4).

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::path::{Grid, Level};
use crate::random::{Philox, Stream};
use crate::sampler::{Observe, Op, Program, RunError, STATE, Step};
use crate::transport::{Plan, TransportError};

/// The step in the Philox counter of samples at a time: no run has that many.
const AT_A_TIME: u32 = u32::MAX;

/// The bridge of a solved plan.
#[derive(Clone, Copy, Debug)]
pub struct Bridge<'a> {
    plan: Plan<'a>,
}

impl<'a> Bridge<'a> {
    /// The bridge whose ends are coupled by `plan`.
    pub fn new(plan: Plan<'a>) -> Self {
        Self { plan }
    }

    /// Paths of pairs: a partner for each point of the source, from one uniform number a row of (`seed`, stream 2, row).
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn paths(&self, seed: u32, device: &Device) -> Result<BridgePaths<'a>, TransportError> {
        Ok(BridgePaths { partner: self.plan.draw_partners(seed, device)?, plan: self.plan, seed })
    }

    /// Particles run along the stochastic differential equation from `start`, n × d, over the levels of a CondOT `grid` from 0 to 1.
    /// `keep` sees the state after each step, the start as number 0, and says whether to go on. Order 1 in law.
    ///
    /// A step from t to s draws from the bridge to the frozen A: X_s = ((1−s)X_t + (s−t)A)/(1−t) + √(ε(s−t)(1−s)/(1−t)) z. The last
    /// step ends at A without noise, so end points are means of target points, nearly points of it when the step is small.
    ///
    /// # Errors
    /// [`RunError`] when the start does not fit, memory runs out, or `keep` says stop.
    pub fn run(
        &self,
        start: &[f64],
        grid: &Grid,
        seed: u32,
        device: &Device,
        keep: &mut (dyn FnMut(usize, &[f64]) -> bool + Send),
    ) -> Result<Vec<f64>, RunError> {
        let program = self.program(grid);
        let noise = Noise::Counter { philox: Philox::new(seed, Stream::Noise), first: 0 };
        program.run(&self.field(), start, noise, device, Observe::States(keep))
    }

    /// The field that moves the particles.
    pub fn field(&self) -> Field {
        Field::Transport { target: self.plan.target().clone(), g: self.plan.g().to_vec(), eps: self.plan.eps() }
    }

    /// The steps of [`Bridge::run`] over `grid`.
    pub fn program(&self, grid: &Grid) -> Program {
        let eps = self.plan.eps();
        let step = |pair: &[Level]| {
            let (t, s) = (pair[0].t, pair[1].t);
            let noise = (eps * (s - t) * (1.0 - s) / (1.0 - t)).max(0.0).sqrt();
            let evaluate = Op::Evaluate { level: pair[0], src: STATE, p: (s - t) / (1.0 - t), q: 0.0, dst: 1 };
            let drift = vec![(STATE, (1.0 - s) / (1.0 - t)), (1, 1.0)];
            if noise == 0.0 {
                return Step { ops: vec![evaluate, Op::Combine { dst: STATE, terms: drift }] };
            }
            let terms = [drift, vec![(2, noise)]].concat();
            Step { ops: vec![evaluate, Op::Draw { dst: 2, draw: 0 }, Op::Combine { dst: STATE, terms }] }
        };
        Program { steps: grid.levels().windows(2).map(step).collect() }
    }
}

/// Brownian bridges between drawn pairs.
#[derive(Clone, Debug)]
pub struct BridgePaths<'a> {
    plan: Plan<'a>,
    partner: Vec<u32>,
    seed: u32,
}

impl BridgePaths<'_> {
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
