//! What an iteration does to a potential in f64, a point a number.

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::Simd;
use crate::backend::{Damping, Real, Update};

/// Points a task at least.
const SHARE: usize = 4096;

/// The nearest numbers of `T`.
pub fn round<T: Real>(x: &[f64], out: &mut [T]) {
    out.par_iter_mut().zip(x).with_min_len(SHARE).for_each(|(out, &x)| *out = T::from_f64(x));
}

/// `change ← share (ω ε log_ratio + (1 − ω)(ground − potential))`; ω = 1 without damping.
pub fn relax<T: Simd>(log_ratio: &[T], update: Update<'_, Cpu<T>>, potential: &[f64], change: &mut [f64]) {
    let Update { eps, share, damping } = update;
    let Some(Damping { omega, ground }) = damping else {
        return change.par_iter_mut().zip(log_ratio).with_min_len(SHARE).for_each(|(c, r)| *c = eps * r.to_f64() * share);
    };
    let pairs = log_ratio.par_iter().zip(ground.par_iter().zip(potential));
    change.par_iter_mut().zip(pairs).with_min_len(SHARE).for_each(|(change, (r, (ground, phi)))| {
        *change = (omega * eps * r.to_f64() + (1.0 - omega) * (ground - phi)) * share;
    });
}

/// `potential ← potential + change`.
pub fn advance(change: &[f64], potential: &mut [f64]) {
    potential.par_iter_mut().zip(change).with_min_len(SHARE).for_each(|(x, change)| *x += change);
}

/// `max |change_i|` over the points with mass, NaN if any of them is.
pub fn largest_change(mass: &[f64], change: &[f64]) -> f64 {
    largest(mass, change, |&mass, &change| if mass > 0.0 { change.abs() } else { 0.0 })
}

/// `max(0, max_i (before_i − after_i))`, NaN if any difference is.
pub fn largest_fall(before: &[f64], after: &[f64]) -> f64 {
    largest(before, after, |before, after| before - after)
}

/// The largest number that `of` makes of two, at least 0, or NaN.
fn largest(x: &[f64], y: &[f64], of: impl Fn(&f64, &f64) -> f64 + Sync) -> f64 {
    let larger = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
    x.par_iter().zip(y).with_min_len(SHARE).map(|(x, y)| of(x, y)).reduce(|| 0.0, larger)
}
