//! The exact field of a Gaussian mixture: at one point in f64, and folded into programs.
//!
//! With S_k = α² C_k + σ² I and y_k = S_k⁻¹ (x − α μ_k), Bayes' rule at the level (α, σ) gives
//!
//! ```text
//! r_k ∝ w_k N(x; α μ_k, S_k)     x̂₀ = Σ r_k (μ_k + α C_k y_k)     ε̂ = Σ r_k σ y_k     ∇log p = −Σ r_k y_k
//! ```
//!
//! all of them regular at α = 0 and at σ = 0 (where x̂₀ = x/α and ε̂ = 0).
//!
//! For a fixed level every term is affine in x, and the logits are quadratic: [`fold`] computes their coefficients once, so an
//! interpreter needs neither levels nor covariances.

use std::f64::consts::{LOG2_E, TAU};

use crate::measure::Mixture;
use crate::measure::mixture::{Component, Covariance};
use crate::path::Level;
use crate::program::{Form, MixtureProgram, MixtureStep, Op, Program};

impl Mixture {
    /// log p(x) of α · data + σ · noise at `level`; `x` has length d.
    pub fn log_density(&self, level: Level, x: &[f64]) -> f64 {
        self.posterior(level, x).0
    }

    /// The score ∇log p(x) at `level`.
    pub fn score(&self, level: Level, x: &[f64]) -> Vec<f64> {
        let (_, posterior) = self.posterior(level, x);
        (0..x.len()).map(|i| -posterior.iter().map(|(r, y)| r * y[i]).sum::<f64>()).collect()
    }

    /// The denoised point x̂₀ = E[data | x] at `level`.
    pub fn denoised(&self, level: Level, x: &[f64]) -> Vec<f64> {
        self.evaluate(level, 1.0, 0.0, x)
    }

    /// The noise ε̂ = E[noise | x] at `level`.
    pub fn noise(&self, level: Level, x: &[f64]) -> Vec<f64> {
        self.evaluate(level, 0.0, 1.0, x)
    }

    /// p x̂₀ + q ε̂ at `level`: what [`Op::Evaluate`] means for this field.
    pub fn evaluate(&self, level: Level, p: f64, q: f64, x: &[f64]) -> Vec<f64> {
        let (_, posterior) = self.posterior(level, x);
        let mut out = vec![0.0; x.len()];
        for (component, (r, y)) in self.components().iter().zip(&posterior) {
            let spread = along(&component.covariance, y, |c| p * level.alpha * c + q * level.sigma);
            for ((out, mean), spread) in out.iter_mut().zip(&component.mean).zip(spread) {
                *out += r * (p * mean + spread);
            }
        }
        out
    }

    /// log p(x), and for each component r_k and y_k.
    pub(super) fn posterior(&self, level: Level, x: &[f64]) -> (f64, Vec<(f64, Vec<f64>)>) {
        let Level { alpha, sigma, .. } = level;
        let mut terms: Vec<(f64, Vec<f64>)> = Vec::with_capacity(self.components().len());
        for component in self.components() {
            let offset: Vec<f64> = x.iter().zip(&component.mean).map(|(x, mean)| x - alpha * mean).collect();
            let y = along(&component.covariance, &offset, |c| 1.0 / (alpha * alpha * c + sigma * sigma));
            let square: f64 = offset.iter().zip(&y).map(|(a, b)| a * b).sum();
            terms.push((log_weight(component, level, x.len()) - 0.5 * square, y));
        }
        let top = terms.iter().map(|t| t.0).fold(f64::NEG_INFINITY, f64::max);
        let log_sum = top + terms.iter().map(|t| (t.0 - top).exp()).sum::<f64>().ln();
        for (r, _) in &mut terms {
            *r = (*r - log_sum).exp();
        }
        (log_sum - 0.5 * x.len() as f64 * TAU.ln(), terms)
    }
}

/// log w − ½ log det S: the logit of a component at its own centre, without (d/2) log 2π.
fn log_weight(component: &Component, level: Level, dim: usize) -> f64 {
    let log_det: f64 = (0..dim).map(|i| (level.alpha.powi(2) * component.covariance.value(i) + level.sigma.powi(2)).ln()).sum();
    component.weight.ln() - 0.5 * log_det
}

/// U diag(f(λ)) Uᵀ v for the covariance U diag(λ) Uᵀ.
pub(super) fn along(covariance: &Covariance, v: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    match covariance {
        Covariance::Isotropic(variance) => {
            let factor = f(*variance);
            v.iter().map(|v| factor * v).collect()
        }
        Covariance::Full { values, vectors } => {
            let mut out = vec![0.0; v.len()];
            for (j, value) in values.iter().enumerate() {
                let axis = vectors.iter().skip(j).step_by(v.len());
                let coordinate = f(*value) * axis.clone().zip(v).map(|(u, v)| u * v).sum::<f64>();
                for (out, u) in out.iter_mut().zip(axis) {
                    *out += u * coordinate;
                }
            }
            out
        }
    }
}

/// The `program` with each evaluation of `mixture`'s field replaced by its coefficients.
pub fn fold(mixture: &Mixture, program: &Program) -> MixtureProgram {
    let form = if mixture.is_isotropic() { Form::Isotropic } else { Form::Full };
    let present: Vec<&Component> = mixture.components().iter().filter(|c| c.weight > 0.0).collect();
    let fold_step = |ops: &Vec<Op>| {
        let mut coefficients = Vec::new();
        for op in ops {
            if let Op::Evaluate { level, p, q, .. } = *op {
                match form {
                    Form::Isotropic => fold_isotropic(&present, level, p, q, &mut coefficients),
                    Form::Full => fold_full(&present, level, p, q, &mut coefficients),
                }
            }
        }
        MixtureStep { ops: ops.clone(), coefficients }
    };
    MixtureProgram {
        dim: mixture.dim(),
        registers: program.registers(),
        components: present.len(),
        form,
        steps: program.steps.iter().map(|step| fold_step(&step.ops)).collect(),
    }
}

/// Blocks `[c, q, g, e, m]` of one evaluation.
fn fold_isotropic(components: &[&Component], level: Level, p: f64, q: f64, out: &mut Vec<f64>) {
    let Level { alpha, sigma, .. } = level;
    let variance = |k: usize| components[k].covariance.value(0);
    let widest = (1..components.len()).fold(0, |best, k| if variance(k) > variance(best) { k } else { best });
    let logit = |k: usize| {
        let (Component { mean, .. }, s) = (components[k], alpha * alpha * variance(k) + sigma * sigma);
        let centre: f64 = mean.iter().map(|m| (alpha * m).powi(2)).sum();
        let constant = log_weight(components[k], level, mean.len()) - 0.5 * centre / s;
        [constant, -0.5 / s].into_iter().chain(mean.iter().map(move |m| alpha * m / s))
    };
    for (k, component) in components.iter().enumerate() {
        let s = alpha * alpha * variance(k) + sigma * sigma;
        out.extend(logit(k).zip(logit(widest)).map(|(own, shared)| LOG2_E * (own - shared)));
        out.push((p * alpha * variance(k) + q * sigma) / s);
        out.extend(component.mean.iter().map(|m| m * sigma * (p * sigma - q * alpha) / s));
    }
}

/// Blocks `[c, w, W, m, G]` of one evaluation.
fn fold_full(components: &[&Component], level: Level, p: f64, q: f64, out: &mut Vec<f64>) {
    let Level { alpha, sigma, .. } = level;
    let unit = (0.5 * LOG2_E).sqrt();
    for component in components {
        let Component { mean, covariance, .. } = component;
        let d = mean.len();
        let root = |i: usize| (alpha * alpha * covariance.value(i) + sigma * sigma).sqrt();
        let whitening = |i: usize, j: usize| unit * covariance.vector(j, i, d) / root(i);
        let spread =
            |i: usize, j: usize| covariance.vector(i, j, d) * (p * alpha * covariance.value(j) + q * sigma) / root(j) / unit;
        out.push(LOG2_E * log_weight(component, level, d));
        out.extend((0..d).map(|i| (0..d).map(|j| whitening(i, j) * alpha * mean[j]).sum::<f64>()));
        out.extend((0..d * d).map(|at| whitening(at / d, at % d)));
        out.extend(mean.iter().map(|m| p * m));
        out.extend((0..d * d).map(|at| spread(at / d, at % d)));
    }
}
