//! How a marginal is held, and what that makes of an update.

use crate::backend::Backend;
use crate::transport::problem::Side;
use crate::vector::dot;

/// φ = ½|x|² − f in centred coordinates: c = ½|x|² + ½|y|² − x·y + Δ·x − Δ·y + ½|Δ|² with Δ = mean x − mean y. Where the cost is no
/// product, φ = −f.
pub fn convex<B: Backend>(side: &Side<B>, potential: &[f64], gap: &[f64], sign: f64) -> Vec<f64> {
    let mut convex = Vec::with_capacity(side.n);
    let own = |i: usize, x: &[f64]| side.own[i] + sign * dot(gap, x) + 0.25 * dot(gap, gap) - potential[i];
    side.relative.each(0..side.n, |i, x| convex.push(own(i, x)));
    convex
}

/// What the optimum moves of the mass of a point: a e^{−f/ρ}, all of it where the marginal is held.
pub fn moved(weight: f64, potential: f64, rho: Option<f64>) -> f64 {
    weight * rho.map_or(1.0, |rho| (-potential / rho).exp())
}

/// How strongly a marginal is held: the potential's update is ω times the balanced one.
pub struct Hold {
    /// ρ; none holds the marginal exactly.
    pub rho: Option<f64>,
    /// φ at f = 0.
    pub ground: Vec<f64>,
}

impl Hold {
    /// The change of φ that an update makes, given the log of the marginal's density.
    pub fn change(&self, eps: f64, phi: &[f64], log_ratio: &[f64]) -> Vec<f64> {
        match self.damping(eps, phi) {
            None => log_ratio.iter().map(|r| eps * r).collect(),
            Some((omega, offset)) => log_ratio.iter().zip(offset).map(|(r, offset)| eps * (omega * r + offset)).collect(),
        }
    }

    /// ω and the part of the change that does not depend on the marginal, over ε; none where it is held.
    pub fn damping(&self, eps: f64, phi: &[f64]) -> Option<(f64, Vec<f64>)> {
        let omega = self.rho? / (self.rho? + eps);
        let offset = self.ground.iter().zip(phi).map(|(ground, phi)| (1.0 - omega) * (ground - phi) / eps);
        Some((omega, offset.collect()))
    }

    /// −ρ Σ a (e^{−f/ρ} − 1), or Σ a f.
    pub fn dual(&self, mass: &[f64], potential: &[f64]) -> f64 {
        match self.rho {
            None => dot(mass, potential),
            Some(rho) => -rho * mass.iter().zip(potential).map(|(a, f)| a * (-f / rho).exp_m1()).sum::<f64>(),
        }
    }

    /// ρ KL(p ‖ a) of the marginal p = a e^{−f/ρ} that the optimum has: that of an unfinished plan is off by ρ times the square of its
    /// error, which knows no bound as ρ grows.
    pub fn penalty(&self, mass: &[f64], potential: &[f64]) -> f64 {
        let Some(rho) = self.rho else { return 0.0 };
        let of = |(a, f): (&f64, &f64)| a * (-f / rho * (-f / rho).exp() - (-f / rho).exp_m1());
        rho * mass.iter().zip(potential).filter(|(a, _)| **a > 0.0).map(of).sum::<f64>()
    }
}
