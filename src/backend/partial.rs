//! Partial results: soft-mins over parts of the columns, and how they become the soft-min over all.
//!
//! ```text
//! L_i = log Σ_q exp(L_i^q)        mean_i = Σ_q exp(L_i^q − L_i) mean_i^q
//! ```
//!
//! over parts q: runs of columns that share the threads of a processor, tiles that a device's memory holds, or several devices.

use std::f64::consts::LN_2;

use crate::backend::{Backend, BackendError, Logit, Out, Real, Reals};

/// What a soft-min over some of the columns found of n rows; all parts are relative to the same shift.
#[derive(Clone, Debug)]
pub struct Partial<T> {
    /// L, of length n.
    pub log_sum: Vec<T>,
    /// The means behind it, n × p.
    pub mean: Vec<T>,
}

impl<T: Real> Partial<T> {
    /// The soft-min of n rows over the columns of `logit`, and the means of `values` where they are given, p numbers each.
    ///
    /// # Errors
    /// [`BackendError`] when memory runs out or the device fails.
    pub fn of<B: Backend<Real = T>>(
        backend: &B,
        logit: Logit<'_, B>,
        n: usize,
        values: Option<(&Reals<B>, usize)>,
    ) -> Result<Self, BackendError> {
        let (mut log_sum, mut mean) = (backend.zeros(n)?, backend.zeros(n * values.map_or(0, |(_, p)| p))?);
        let out = match values {
            Some((values, p)) => Out::with_mean(&mut log_sum, values, p, &mut mean),
            None => Out::of(&mut log_sum),
        };
        backend.soft_min(logit, out)?;
        Ok(Self { log_sum: backend.download(&log_sum)?, mean: backend.download(&mean)? })
    }
}

/// Merges the parts of each row that is `wanted`, in order and in f64; `shift` is what the results are relative to beyond what the
/// parts are. Rows that are not wanted are left as they are.
pub fn merge<T: Real>(
    parts: &[Partial<T>],
    log_sum: &mut [T],
    mean: &mut [T],
    wanted: impl Fn(T) -> bool,
    shift: impl Fn(usize) -> f64,
) {
    let p = mean.len() / log_sum.len().max(1);
    for (i, out) in log_sum.iter_mut().enumerate().filter(|(_, out)| wanted(**out)) {
        let log_sums = || parts.iter().map(|part| part.log_sum[i].to_f64());
        let top = log_sums().fold(f64::NEG_INFINITY, f64::max);
        // No part has any mass: the logarithm of nothing, not of a difference of infinities.
        let total = if top == f64::NEG_INFINITY { top } else { top + log_sums().map(|l| share(l - top)).sum::<f64>().ln() };
        *out = T::from_f64(total - shift(i));
        for (k, mean) in mean[i * p..][..p].iter_mut().enumerate() {
            // A part without mass has no mean.
            let shares = log_sums().map(|l| share(l - total)).zip(parts).filter(|(share, _)| *share != 0.0);
            *mean = T::from_f64(shares.map(|(share, part)| share * part.mean[i * p + k].to_f64()).sum());
        }
    }
}

/// The exponential, or zero where it adds nothing to a part of size one: below 2⁻¹⁰⁰.
fn share(log: f64) -> f64 {
    if log < -100.0 * LN_2 { 0.0 } else { log.exp() }
}
