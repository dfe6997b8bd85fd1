//! Adam (Kingma, Ba 2015, algorithm 1) with the gradient clipped by its norm, a rate that falls as a cosine, and a running mean of the
//! weights.
//!
//! ```text
//! g ← g min(1, c/|g|)     m ← β₁ m + (1 − β₁) g     v ← β₂ v + (1 − β₂) g²     θ ← θ − η_k m̂/(√v̂ + ε)     m̂ = m/(1 − β₁ᵏ)
//! θ̄ ← d θ̄ + (1 − d) θ     d = min(decay, (1 + k)/(10 + k))     η_k = ½ η (1 + cos π k/K)
//! ```

use rayon::prelude::*;

use crate::backend::Real;
use crate::checkpoint::Part;

/// Decay of the mean gradient, of the mean square, and ε.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Weights updated together: a sum has one order whatever the threads.
const CHUNK: usize = 4096;

/// The state of the optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam<T> {
    /// θ.
    pub weights: Vec<T>,
    /// θ̄.
    pub mean: Vec<T>,
    first: Vec<T>,
    second: Vec<T>,
    /// Steps made.
    pub steps: usize,
}

/// What stays the same from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// η.
    pub rate: f64,
    /// K, after which the rate is 0.
    pub steps: usize,
    /// c, the largest norm of a gradient.
    pub clip: f64,
    /// Largest decay of θ̄.
    pub decay: f64,
}

impl<T: Real> Adam<T> {
    /// An optimiser that begins at `weights`.
    pub fn new(weights: Vec<T>) -> Self {
        let zeros = vec![T::from_f64(0.0); weights.len()];
        Self { mean: weights.clone(), first: zeros.clone(), second: zeros, weights, steps: 0 }
    }

    /// One step against `gradient`; its norm before clipping. Where that is not finite no step is made.
    pub fn step(&mut self, gradient: &[T], rate: &Rate) -> f64 {
        let square = |part: &[T]| part.iter().map(|g| g.to_f64().powi(2)).sum::<f64>();
        let squares: Vec<f64> = gradient.par_chunks(CHUNK).map(square).collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let k = self.steps as f64;
        let clip = if norm > rate.clip { rate.clip / norm } else { 1.0 };
        let eta = 0.5 * rate.rate * (1.0 + (std::f64::consts::PI * k / rate.steps as f64).cos());
        let corrections = [BETA_1, BETA_2].map(|beta| 1.0 / (1.0 - beta.powf(k + 1.0)));
        let decay = rate.decay.min((1.0 + k) / (10.0 + k));
        self.steps += 1;
        let all = self.weights.par_chunks_mut(CHUNK).zip(self.mean.par_chunks_mut(CHUNK));
        let all = all.zip(self.first.par_chunks_mut(CHUNK)).zip(self.second.par_chunks_mut(CHUNK));
        all.zip(gradient.par_chunks(CHUNK)).for_each(|((((weights, means), first), second), gradient)| {
            let moments = first.iter_mut().zip(second).zip(gradient);
            for ((weight, mean), ((m, v), g)) in weights.iter_mut().zip(means).zip(moments) {
                let g = clip * g.to_f64();
                let (first, second) = (toward(m.to_f64(), g, BETA_1), toward(v.to_f64(), g * g, BETA_2));
                let moved = eta * corrections[0] * first / ((corrections[1] * second).sqrt() + EPSILON);
                let now = weight.to_f64() - moved;
                (*m, *v) = (T::from_f64(first), T::from_f64(second));
                *weight = T::from_f64(now);
                *mean = T::from_f64(toward(mean.to_f64(), now, decay));
            }
        });
        norm
    }

    /// Keeps the state.
    pub fn keep(&self, part: &mut Part<'_>) {
        for (name, values) in self.arrays() {
            part.keep_array(name, values.iter().map(|x| x.to_f64()).collect());
        }
        part.keep_record(STEPS, &self.steps);
    }

    /// The state that was kept.
    pub fn kept(part: &Part<'_>) -> Option<Self> {
        let array = |name| Some(part.array(name)?.iter().map(|x| T::from_f64(*x)).collect::<Vec<T>>());
        let (weights, mean) = (array(WEIGHTS)?, array(MEAN)?);
        Some(Self { weights, mean, first: array(FIRST)?, second: array(SECOND)?, steps: part.record(STEPS)? })
    }

    fn arrays(&self) -> [(&'static str, &Vec<T>); 4] {
        [(WEIGHTS, &self.weights), (MEAN, &self.mean), (FIRST, &self.first), (SECOND, &self.second)]
    }
}

const WEIGHTS: &str = "weights";
const MEAN: &str = "mean weights";
const FIRST: &str = "mean gradient";
const SECOND: &str = "mean square";
const STEPS: &str = "steps";

/// decay · old + (1 − decay) · new.
fn toward(old: f64, new: f64, decay: f64) -> f64 {
    new + decay * (old - new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first step of Adam is η times the sign of the gradient, and a clipped gradient has the same direction.
    #[test]
    fn the_first_step_is_the_rate_times_the_sign() {
        let rate = Rate { rate: 0.1, steps: 10, clip: 1.0, decay: 0.999 };
        let mut adam = Adam::new(vec![1.0f64, 2.0, 3.0]);
        let norm = adam.step(&[30.0, -40.0, 0.0], &rate);
        assert_eq!(norm, 50.0);
        for (found, expected) in adam.weights.iter().zip([0.9, 2.1, 3.0]) {
            assert!((found - expected).abs() < 1e-7, "{found}");
        }
        // θ̄ of weight 0.1 at first.
        assert!((adam.mean[0] - (0.1 * 1.0 + 0.9 * 0.9)).abs() < 1e-7);
    }

    /// A quadratic bowl, whose minimum is reached as the rate falls.
    #[test]
    fn it_finds_the_minimum_of_a_bowl() {
        let rate = Rate { rate: 0.1, steps: 500, clip: 10.0, decay: 0.99 };
        let mut adam = Adam::new(vec![3.0f64, -2.0]);
        for _ in 0..500 {
            let gradient: Vec<f64> = adam.weights.iter().zip([1.0, 0.5]).map(|(x, at)| 2.0 * (x - at)).collect();
            adam.step(&gradient, &rate);
        }
        assert!((adam.weights[0] - 1.0).abs() < 1e-3 && (adam.weights[1] - 0.5).abs() < 1e-3, "{:?}", adam.weights);
    }
}
