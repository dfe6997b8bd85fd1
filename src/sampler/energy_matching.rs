//! Energy Matching's samplers on a potential V (Balcerak et al. 2025): descent until τ*, then Langevin at a rising temperature.
//!
//! ```text
//! x ← x − h ∇V(x) + √(2 ε(t) h) z        ε(t) = ε_max clip((t − τ*)/(1 − τ*), 0, 1)
//! Heun: y = x − h ∇V(x) + g dW,  x′ = x − ½h (∇V(x) + ∇V(y)) + ½ (g + g′) dW        g = √(2ε(t)), dW = √h z
//! ```
//!
//! At ε constant this is unadjusted Langevin, with a bias of order h. The Heun form is Stratonovich's and of order 2 without
//! noise. τ* = 1 never warms up before t = 1 and jumps to ε_max there.

use crate::program::Step;
use crate::sampler::unadjusted_langevin::{DATA, drift};

/// The schedule of temperatures and the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyMatching {
    /// τ* in [0, 1]: no noise before.
    pub tau_star: f64,
    /// ε_max ≥ 0: the temperature from t = 1 on.
    pub epsilon_max: f64,
    /// Step h > 0.
    pub step: f64,
}

/// What moves the particles: −∇V at all of them, n × d.
pub type Force<'a, E> = &'a dyn Fn(&[f64]) -> Result<Vec<f64>, E>;

/// The normals of one step, n × d; an error when there are no more.
pub type Normals<'a, E> = &'a mut dyn FnMut() -> Result<Vec<f64>, E>;

impl EnergyMatching {
    /// Unadjusted Langevin at constant temperature: x ← x − h ∇V + √(2εh) z.
    pub fn langevin(temperature: f64, step: f64) -> Self {
        Self { tau_star: f64::NEG_INFINITY, epsilon_max: temperature, step }
    }

    /// ε(t).
    pub fn temperature(&self, t: f64) -> f64 {
        if t < self.tau_star {
            0.0
        } else if t >= 1.0 || self.tau_star == f64::NEG_INFINITY {
            self.epsilon_max
        } else {
            self.epsilon_max * (t - self.tau_star) / (1.0 - self.tau_star)
        }
    }

    /// Step `k` on the field of a law, as a program has it.
    pub fn program_step(&self, k: usize) -> Step {
        let noise = 2.0 * self.temperature(k as f64 * self.step) * self.step;
        drift(DATA, self.step).add_noise(noise.sqrt())
    }

    /// Weight of the flow loss, 1 − clip((t − τ*)/(1 − τ*), 0, 1).
    ///
    /// ```
    /// let method = brenier::sampler::EnergyMatching { tau_star: 0.8, epsilon_max: 0.1, step: 0.01 };
    /// assert_eq!((method.flow_weight(0.5), method.flow_weight(1.0)), (1.0, 0.0));
    /// ```
    pub fn flow_weight(&self, t: f64) -> f64 {
        if t < self.tau_star { 1.0 } else { (1.0 - (t - self.tau_star) / (1.0 - self.tau_star)).clamp(0.0, 1.0) }
    }

    /// One Langevin step with the temperature of each particle's own time; draws only where some particle is at τ* or beyond.
    ///
    /// # Errors
    /// Those of `force` and `normals`.
    pub fn langevin_step<E>(
        &self,
        x: &mut [f64],
        times: &dyn Fn(usize) -> f64,
        dim: usize,
        force: Force<'_, E>,
        normals: Normals<'_, E>,
    ) -> Result<(), E> {
        let force = force(x)?;
        let warm = (0..x.len() / dim).any(|i| times(i) >= self.tau_star);
        let z = if warm { normals()? } else { vec![0.0; x.len()] };
        for (k, x) in x.iter_mut().enumerate() {
            *x += self.step * force[k] + (2.0 * self.temperature(times(k / dim)) * self.step).sqrt() * z[k];
        }
        Ok(())
    }

    /// One Stratonovich Heun step from time `t`.
    ///
    /// # Errors
    /// Those of `force` and `normals`.
    pub fn heun_step<E>(&self, x: &mut [f64], t: f64, force: Force<'_, E>, normals: Normals<'_, E>) -> Result<(), E> {
        let h = self.step;
        let scale = |t: f64| (2.0 * self.temperature(t) * h).sqrt();
        let (noise, noise_after, z) = (scale(t), scale(t + h), normals()?);
        let first = force(x)?;
        let predicted: Vec<f64> = x.iter().zip(&first).zip(&z).map(|((x, f), z)| x + h * f + noise * z).collect();
        let second = force(&predicted)?;
        for (k, x) in x.iter_mut().enumerate() {
            *x += 0.5 * h * (first[k] + second[k]) + 0.5 * (noise + noise_after) * z[k];
        }
        Ok(())
    }
}
