//! Energy Matching (Balcerak et al. 2025): one potential V without a time, whose descent carries the source to the data, and whose
//! e^{−V/ε} is the law of the data.
//!
//! ```text
//! L = E w(t) |∇V(x_t) + x₁ − x₀|² + λ (E V(x₁) − E V(x⁻))          x_t = (1 − t) x₀ + t x₁ + s z
//! ```
//!
//! First w = 1 and λ = 0, which is flow matching with the velocity −∇V: it needs pairs of a plan, whose lines do not cross. In the
//! second phase w falls from 1 at τ* to 0 at the data, and x⁻ are the ends of Langevin chains of V, half of them from the data at the
//! temperature there and half from the source at the rising one: the gradient of a likelihood in the weights, none of it through the
//! chains. The clock of a chain is the sum of its steps, as the sampler's is.

use crate::backend::cpu::Simd;
use crate::backend::cpu::tape::Tape;
use crate::random::{Philox, Stream};
use crate::sampler;

/// How a potential is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyMatching {
    /// τ*, ε_max and the step of the chains.
    pub sampler: sampler::EnergyMatching,
    /// The last steps of training, which are the second phase.
    pub contrast_steps: usize,
    /// λ, per unit of V.
    pub contrast: f64,
    /// Steps of a chain.
    pub chain_steps: usize,
    /// s, in units of the coordinates.
    pub smoothing: f64,
}

/// The pairs of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    /// n × d.
    pub x0: &'a [f64],
    /// n × d.
    pub x1: &'a [f64],
    /// The time of each.
    pub times: &'a [f64],
    /// Seed and step of the noise.
    pub at: (u32, u32),
}

/// Chains of a step; more would only lower the noise of E V(x⁻).
const CHAINS: usize = 256;
/// Draws of the noise of x_t, and of the first step of the chains.
const SMOOTHING: u32 = 1 << 16;
const CHAIN: u32 = SMOOTHING + 1;

impl EnergyMatching {
    /// The loss at `weights`, and its gradient on `tape`; of the second phase where `contrasted`.
    pub(super) fn loss<T: Simd>(&self, tape: &mut Tape<T>, weights: &[T], batch: Batch<'_>, contrasted: bool) -> f64 {
        let Batch { x0, x1, times, at } = batch;
        let (n, d) = (times.len(), x0.len() / times.len().max(1));
        let noise = normals(n, d, at, SMOOTHING);
        let between = |k: usize| {
            let t = times[k / d];
            T::from_f64((1.0 - t) * x0[k] + t * x1[k] + self.smoothing * f64::from(noise[k]))
        };
        let inputs: Vec<T> = (0..n * d).map(between).collect();
        let share = |row: usize| if contrasted { self.sampler.flow_weight(times[row]) / n as f64 } else { 1.0 / n as f64 };
        tape.clear();
        let flow = tape.add_loss_of_slope(weights, &inputs, d, &|rows, slope, seed| {
            let mut loss = 0.0;
            for (k, (slope, seed)) in slope.iter().zip(seed).enumerate() {
                let (at, share) = (rows.start * d + k, share(rows.start + k / d));
                let off = slope.to_f64() + x1[at] - x0[at];
                loss += share * off * off;
                *seed = T::from_f64(2.0 * share * off);
            }
            loss
        });
        if !contrasted || self.contrast == 0.0 {
            return flow;
        }
        let ends = self.chains(tape, weights, batch, d);
        let chains = ends.len() / d;
        let all: Vec<T> = x1.iter().map(|x| T::from_f64(*x)).chain(ends).collect();
        let [data, model] = [n, chains].map(|count| self.contrast / count as f64);
        flow + tape.add_loss(weights, &all, &|rows, energies, seed| {
            let mut loss = 0.0;
            for ((row, energy), seed) in rows.zip(energies).zip(seed) {
                let factor = if row < n { data } else { -model };
                loss += factor * energy.to_f64();
                *seed = T::from_f64(factor);
            }
            loss
        })
    }

    /// The ends of Langevin chains of V: those of even index from the data, the others from the source.
    fn chains<T: Simd>(&self, tape: &mut Tape<T>, weights: &[T], batch: Batch<'_>, d: usize) -> Vec<T> {
        let Batch { x0, x1, at, .. } = batch;
        let count = CHAINS.min(batch.times.len());
        let start = |k: usize| T::from_f64(if (k / d).is_multiple_of(2) { x1[k] } else { x0[k] });
        let mut x: Vec<T> = (0..count * d).map(start).collect();
        let mut slope = x.clone();
        let step = self.sampler.step;
        for k in 0..self.chain_steps {
            tape.slope(weights, &x, d, &mut slope);
            let noise = normals(count, d, at, CHAIN + k as u32);
            let from_data = (2.0 * step * self.sampler.epsilon_max).sqrt();
            let from_source = (2.0 * step * self.sampler.temperature(k as f64 * step)).sqrt();
            for (i, ((x, slope), z)) in x.iter_mut().zip(&slope).zip(&noise).enumerate() {
                let heat = if (i / d).is_multiple_of(2) { from_data } else { from_source };
                *x = T::from_f64(x.to_f64() - step * slope.to_f64() + heat * f64::from(*z));
            }
        }
        x
    }
}

/// The normals of one draw, n × d.
fn normals(n: usize, d: usize, (seed, step): (u32, u32), draw: u32) -> Vec<f32> {
    let philox = Philox::new(seed, Stream::Training);
    let mut normals = vec![0.0; n * d];
    for (row, normals) in normals.chunks_exact_mut(d.max(1)).enumerate() {
        philox.normals(row as u32, step, draw, normals);
    }
    normals
}
