//! Adam (Kingma, Ba 2015, algorithm 1) with the gradient clipped by its norm, a rate that falls as a cosine, and a running mean of the
//! weights.
//!
//! ```text
//! g ← g min(1, c/|g|)     m ← β₁ m + (1 − β₁) g     v ← β₂ v + (1 − β₂) g²     θ ← θ − η_k m̂/(√v̂ + ε)     m̂ = m/(1 − β₁ᵏ)
//! θ̄ ← d θ̄ + (1 − d) θ     d = min(decay, (1 + k)/(10 + k))     η_k = ½ η (1 + cos π k/K)
//! ```

use rayon::prelude::*;

use crate::backend::cpu::Isa;
use crate::backend::cpu::lane::{Kernel, Lane, Simd, constant, load_part, steps, store_part};
use crate::checkpoint::Part;

/// Decay of the mean gradient, of the mean square, and ε.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Weights updated together: a sum has one order whatever the threads.
const CHUNK: usize = 4096;
/// A gradient below this times the root of the smallest normal number is zero: it moves nothing next to ε, and the share of its square
/// that goes to v would be denormal.
const LEAST: f64 = 64.0;

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

impl<T: Simd> Adam<T> {
    /// An optimiser that begins at `weights`.
    pub fn new(weights: Vec<T>) -> Self {
        let zeros = vec![T::from_f64(0.0); weights.len()];
        Self { mean: weights.clone(), first: zeros.clone(), second: zeros, weights, steps: 0 }
    }

    /// One step against `gradient`; its norm before clipping. Where that is not finite no step is made.
    pub fn step(&mut self, gradient: &[T], rate: &Rate) -> f64 {
        let parts = gradient.par_chunks(CHUNK).map(|gradient| {
            let mut sum = 0.0;
            T::dispatch(Isa::detect(), Squares { gradient, sum: &mut sum });
            sum
        });
        let squares: Vec<f64> = parts.collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let k = self.steps as f64;
        let clip = if norm > rate.clip { rate.clip / norm } else { 1.0 };
        let eta = 0.5 * rate.rate * (1.0 + (std::f64::consts::PI * k / rate.steps as f64).cos());
        let [first, second] = [BETA_1, BETA_2].map(|beta| 1.0 / (1.0 - beta.powf(k + 1.0)));
        let pace = Pace { clip, first: eta * first, second, decay: rate.decay.min((1.0 + k) / (10.0 + k)) };
        self.steps += 1;
        let all = self.weights.par_chunks_mut(CHUNK).zip(self.mean.par_chunks_mut(CHUNK));
        let all = all.zip(self.first.par_chunks_mut(CHUNK)).zip(self.second.par_chunks_mut(CHUNK));
        all.zip(gradient.par_chunks(CHUNK)).for_each(|((((weights, mean), first), second), gradient)| {
            T::dispatch(Isa::detect(), Update { weights, mean, first, second, gradient, pace });
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

/// Σ g².
struct Squares<'a, T> {
    gradient: &'a [T],
    sum: &'a mut f64,
}

impl<T: Simd> Kernel<T> for Squares<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let (least, mut sum) = (constant::<L>(T::TINY), constant::<L>(0.0));
        for at in steps(0..self.gradient.len(), L::N) {
            let g = load_part::<L>(&self.gradient[at..]).flush(least);
            sum = g.mul_add(g, sum);
        }
        let mut lanes = vec![T::zeroed(); L::N];
        sum.store(&mut lanes);
        *self.sum = lanes.iter().map(|x| x.to_f64()).sum();
    }
}

/// The factors of one step.
#[derive(Clone, Copy)]
struct Pace {
    /// min(1, c/|g|).
    clip: f64,
    /// η_k/(1 − β₁ᵏ).
    first: f64,
    /// 1/(1 − β₂ᵏ).
    second: f64,
    /// d.
    decay: f64,
}

/// The step of some weights.
struct Update<'a, T> {
    weights: &'a mut [T],
    mean: &'a mut [T],
    first: &'a mut [T],
    second: &'a mut [T],
    gradient: &'a [T],
    pace: Pace,
}

impl<T: Simd> Kernel<T> for Update<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let Self { weights, mean, first, second, gradient, pace } = self;
        let (tiny, least) = (constant::<L>(T::TINY), constant::<L>(LEAST * T::TINY));
        for at in steps(0..gradient.len(), L::N) {
            let g = load_part::<L>(&gradient[at..]).flush(least).mul(constant(pace.clip)).flush(least);
            let m = toward(load_part(&first[at..]), g, BETA_1).flush(tiny);
            let v = toward(load_part(&second[at..]), g.mul(g), BETA_2).flush(tiny);
            let root = v.mul(constant(pace.second)).sqrt().add(constant(EPSILON));
            let weight = load_part::<L>(&weights[at..]).sub(m.mul(constant(pace.first)).div(root));
            store_part(m, &mut first[at..]);
            store_part(v, &mut second[at..]);
            store_part(weight, &mut weights[at..]);
            store_part(toward(load_part(&mean[at..]), weight, pace.decay), &mut mean[at..]);
        }
    }
}

/// decay · old + (1 − decay) · new.
#[inline(always)]
fn toward<L: Lane>(old: L, new: L, decay: f64) -> L {
    new.sub(old).mul_add(constant(1.0 - decay), old)
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
