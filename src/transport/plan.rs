//! Operations with the plan P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) that never store it: O(n + m) memory, one pass over the pairs each.

use std::sync::Arc;

use rayon::prelude::*;

use crate::backend::Device;
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::conditional::check_values;
use crate::transport::{ClassCosts, Conditional, Draws, GroundCost, Potentials, Problem, TransportError};

/// The plan of a problem and its potentials.
#[derive(Clone, Debug)]
pub struct Plan {
    source: Cloud,
    target: Cloud,
    f: Arc<[f64]>,
    g: Arc<[f64]>,
    eps: f64,
    cost: GroundCost,
    classes: Option<ClassCosts>,
}

/// Entropies of a plan, in nats: H(P) = −Σ P log P with the rows of P scaled to the first marginal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanEntropy {
    /// H(P).
    pub joint: f64,
    /// H(a).
    pub source: f64,
    /// H(b).
    pub target: f64,
}

impl PlanEntropy {
    /// (H(P) − max(H(a), H(b))) / min(H(a), H(b)), scale-free: 0 for a map from the larger side, 1 for independent pairs. For n = m
    /// uniform points it is H(P)/log n − 1. A side of a single point leaves no choice: 0.
    pub fn renormalised(&self) -> f64 {
        let (low, high) = (self.source.min(self.target), self.source.max(self.target));
        if low > 0.0 { ((self.joint - high) / low).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Plan {
    /// The plan of `problem` under `potentials`, with its class costs where it has them: what is asked of it is then found row by row
    /// on the processor, of its own points alone, for others have no class.
    ///
    /// # Errors
    /// [`TransportError::WarmStart`] when the potentials have other lengths.
    pub fn new(problem: &Problem, potentials: &Potentials) -> Result<Self, TransportError> {
        let (n, m, f, g) = (problem.source().len(), problem.target().len(), potentials.f.len(), potentials.g.len());
        match (f, g) == (n, m) {
            true => Ok(Self::of(problem, potentials)),
            false => Err(TransportError::WarmStart { f, g, n, m }),
        }
    }

    /// The plan of `problem` under potentials of its own lengths.
    pub(super) fn of(problem: &Problem, potentials: &Potentials) -> Self {
        Self {
            source: problem.source().clone(),
            target: problem.target().clone(),
            f: potentials.f[..].into(),
            g: potentials.g[..].into(),
            eps: problem.eps(),
            cost: problem.cost().clone(),
            classes: problem.labels().map(|labels| ClassCosts { labels: labels.clone(), back: false }),
        }
    }

    /// The plan back, Pᵀ.
    pub fn transposed(&self) -> Self {
        let Self { source, target, f, g, eps, cost, classes } = self.clone();
        let (cost, classes) = (cost.reversed(), classes.map(ClassCosts::reversed));
        Self { source: target, target: source, f: g, g: f, eps, cost, classes }
    }

    /// The cloud that is moved: x, a.
    pub fn source(&self) -> &Cloud {
        &self.source
    }

    /// Where it is moved to: y, b.
    pub fn target(&self) -> &Cloud {
        &self.target
    }

    /// The potential g, of length m.
    pub fn g(&self) -> &[f64] {
        &self.g
    }

    /// The cost of the points.
    pub fn cost(&self) -> &GroundCost {
        &self.cost
    }

    /// The cost of the classes, if there is one.
    pub fn classes(&self) -> Option<&ClassCosts> {
        self.classes.as_ref()
    }

    /// ε in units of c.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// The law of the partner in the target of any point x, by the potential g alone. With class costs there is none: a point that is
    /// not of the source has no class.
    pub fn partners(&self) -> Conditional {
        Conditional { f: None, ..self.partners_of_source() }
    }

    /// The law of the partner of the points of the source, all of them in their order: f is known there, which saves a pass.
    pub fn partners_of_source(&self) -> Conditional {
        let Self { target, f, g, eps, cost, classes, .. } = self.clone();
        Conditional { target, g, eps, cost, classes, f: Some(f) }
    }

    /// A partner in the target for each point of the source, drawn from P_ij / Σ_k P_ik: one uniform number a row, of (`seed`, stream
    /// 2, row).
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn draw_partners(&self, seed: u32, device: &Device) -> Result<Vec<u32>, TransportError> {
        self.draw_by(&self.partners_of_source(), &self.source, seed, device)
    }

    /// [`Plan::draw_partners`] of other points, from the law that the potential g gives each of them.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, the plan has class costs, or memory runs out.
    pub fn draw_partners_of(&self, points: &Cloud, seed: u32, device: &Device) -> Result<Vec<u32>, TransportError> {
        self.draw_by(&self.partners(), points, seed, device)
    }

    fn draw_by(&self, law: &Conditional, points: &Cloud, seed: u32, device: &Device) -> Result<Vec<u32>, TransportError> {
        let n = points.len() as u32;
        let philox = Philox::new(seed, Stream::Noise);
        let quantiles: Vec<f64> = (0..n).map(|i| philox.uniform(i, 0, 0)).collect();
        let first: Vec<u32> = (0..=n).collect();
        law.draw(points, Draws { first: &first, quantiles: &quantiles }, device)
    }

    /// P v, n × p, for `values` v, m × p.
    ///
    /// # Errors
    /// [`TransportError`] when the number of values does not fit or memory runs out.
    pub fn apply(&self, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        check_values(values, self.target.len(), p)?;
        let (log_ratio, mut mean) = self.partners_of_source().soft_mean(&self.source, values, p, device)?;
        for (i, (row, log_ratio)) in mean.chunks_exact_mut(p).zip(log_ratio).enumerate() {
            let mass = self.source.weight(i) * log_ratio.exp();
            row.iter_mut().for_each(|v| *v *= mass);
        }
        Ok(mean)
    }

    /// All P_ij in f64, n × m row-major: for small clouds.
    pub fn dense(&self) -> Vec<f64> {
        let (d, m) = (self.source.dim(), self.target.len());
        let (x, y) = (self.source.points(), self.target.points());
        let entry = |i: usize, j: usize| {
            let points = self.cost.between(&x[i * d..][..d], &y[j * d..][..d]);
            let cost = points + self.classes.as_ref().map_or(0.0, |classes| classes.between(i, j));
            self.source.weight(i) * self.target.weight(j) * ((self.f[i] + self.g[j] - cost) / self.eps).exp()
        };
        let mut dense = vec![0.0; self.source.len() * m];
        let rows = dense.par_chunks_exact_mut(m).enumerate();
        rows.for_each(|(i, row)| row.iter_mut().enumerate().for_each(|(j, p)| *p = entry(i, j)));
        dense
    }

    /// The first marginal Σ_j P_ij, of length n.
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn row_mass(&self, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.apply(&vec![1.0; self.target.len()], 1, device)
    }

    /// What `values` of the target, m × p, say about the source: E[v | x_i] = Σ_j P_ij v_j / Σ_j P_ij, n × p. Labels are carried so as
    /// one-hot rows; [`Plan::transposed`] carries them the other way.
    ///
    /// # Errors
    /// [`TransportError`] when the number of values does not fit or memory runs out.
    pub fn pull(&self, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.partners_of_source().mean(&self.source, values, p, device)
    }

    /// Where `mass` on the source goes, of length m: Σ_i mass_i P_ij / Σ_k P_ik. No mass is lost, and none may be negative.
    ///
    /// # Errors
    /// [`TransportError`] when the number of masses does not fit, they make no measure, or memory runs out.
    pub fn push(&self, mass: &[f64], device: &Device) -> Result<Vec<f64>, TransportError> {
        check_values(mass, self.source.len(), 1)?;
        // Under P_ij / Σ_k P_ik = b_j exp((f′_i + g_j − c_ij)/ε) the mass at j is b_j times a row sum of the plan back.
        let (log_ratio, _) = self.partners_of_source().soft_mean(&self.source, &vec![1.0; self.target.len()], 1, device)?;
        let f: Vec<f64> = self.f.iter().zip(&log_ratio).map(|(f, r)| f - self.eps * r).collect();
        let total: f64 = mass.iter().sum();
        let moved = self.source.clone().with_weights(mass.to_vec())?;
        let back = Plan { target: moved, g: f.into(), ..self.transposed() };
        Ok(back.row_mass(device)?.into_iter().map(|mass| total * mass).collect())
    }

    /// The entropies of the plan and of its ends.
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn entropy(&self, device: &Device) -> Result<PlanEntropy, TransportError> {
        let rows = self.partners_of_source().entropy(&self.source, device)?;
        let conditional: f64 = rows.iter().enumerate().map(|(i, h)| self.source.weight(i) * h).sum();
        let shannon = |cloud: &Cloud| {
            let weights = (0..cloud.len()).map(|i| cloud.weight(i)).filter(|w| *w > 0.0);
            weights.map(|w| -w * w.ln()).sum::<f64>()
        };
        let source = shannon(&self.source);
        Ok(PlanEntropy { joint: source + conditional, source, target: shannon(&self.target) })
    }
}
