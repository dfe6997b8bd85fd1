//! [`Anderson`]'s step: dot products in the order of the points, the least-squares problem by Cholesky.

use nalgebra::{DMatrix, DVector};

use crate::backend::Backend;
use crate::backend::anderson::{Anderson, BEST, GRAM, GROWTH, HAS_BEST, HAS_LAST, MEMORY, RIDGE, TAKEN, dot};

/// Moves `point`, whose residual is `residual`, to the next one.
///
/// Where the residual has grown too far it is one plain step from the best point, so a bad extrapolation costs one iteration
/// and never the progress made.
pub fn accelerate<B>(memory: &mut Anderson<B>, mass: &[f64], residual: &[f64], point: &mut [f64])
where
    B: Backend<Buf<f64> = Vec<f64>>,
{
    let n = mass.len();
    let Anderson { steps, changes, points, state } = memory;
    let (best, last) = points.split_at_mut(2 * n);
    let (best_point, best_residual) = best.split_at_mut(n);
    let (last_point, last_residual) = last.split_at_mut(n);
    let norm = dot(mass, residual, residual).sqrt();
    if state[HAS_BEST] == 1.0 && (norm.is_nan() || norm > GROWTH * state[BEST]) {
        state[..GRAM].fill(0.0);
        for (x, (best, change)) in point.iter_mut().zip(best_point.iter().zip(best_residual.iter())) {
            *x = best + change;
        }
        return;
    }
    if !(state[HAS_BEST] == 1.0 && state[BEST] <= norm) {
        (state[HAS_BEST], state[BEST]) = (1.0, norm);
        best_point.copy_from_slice(point);
        best_residual.copy_from_slice(residual);
    }
    if state[HAS_LAST] == 1.0 {
        let slot = state[TAKEN] as usize % MEMORY;
        state[TAKEN] += 1.0;
        difference(point, last_point, &mut steps[slot * n..][..n]);
        difference(residual, last_residual, &mut changes[slot * n..][..n]);
        let change = |j: usize| &changes[j * n..][..n];
        for j in 0..kept(state) {
            let product = dot(mass, change(slot), change(j));
            (state[GRAM + slot * MEMORY + j], state[GRAM + j * MEMORY + slot]) = (product, product);
        }
    }
    (state[HAS_LAST]) = 1.0;
    last_point.copy_from_slice(point);
    last_residual.copy_from_slice(residual);
    point.iter_mut().zip(residual).for_each(|(x, change)| *x += change);
    let right = DVector::from_fn(kept(state), |j, _| dot(mass, &changes[j * n..][..n], residual));
    if let Some(gamma) = coefficients(state, &right) {
        for (j, gamma) in gamma.iter().enumerate() {
            for (x, (step, change)) in point.iter_mut().zip(steps[j * n..].iter().zip(&changes[j * n..])) {
                *x -= gamma * (step + change);
            }
        }
    }
}

/// Differences there are.
fn kept(state: &[f64]) -> usize {
    (state[TAKEN] as usize).min(MEMORY)
}

fn difference(x: &[f64], y: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(x.iter().zip(y)).for_each(|(out, (x, y))| *out = x - y);
}

/// γ, unless there is no memory yet or the least-squares problem is singular.
fn coefficients(state: &[f64], right: &DVector<f64>) -> Option<DVector<f64>> {
    let k = right.len();
    let mut gram = DMatrix::from_fn(k, k, |i, j| state[GRAM + i * MEMORY + j]);
    let ridge = RIDGE * gram.trace();
    (0..k).for_each(|j| gram[(j, j)] += ridge);
    let gamma = gram.cholesky()?.solve(right);
    gamma.iter().all(|g| g.is_finite()).then_some(gamma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;

    /// On a linear map of k distinct rates, k differences determine the fixed point: here 4 rates, the worst 0.999.
    #[test]
    fn a_linear_iteration_of_four_rates_ends_after_seven_steps() {
        let (rates, weights) = ([0.999, 0.9, 0.5, 0.1], [0.1, 0.2, 0.3, 0.4]);
        let residual = |x: &[f64]| x.iter().zip(rates).map(|(x, rate)| (rate - 1.0) * (x - 1.0)).collect::<Vec<f64>>();
        let mut anderson = Anderson::new(&Cpu::<f64>::new(), 4).unwrap();
        let mut x = vec![0.0, 3.0, -2.0, 5.0];
        for _ in 0..7 {
            let r = residual(&x);
            accelerate(&mut anderson, &weights, &r, &mut x);
        }
        // The rounding of the Gram matrix, 1e-16 of a condition number of about 1e8, over the slowest rate's 1 − 0.999.
        assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-5), "{x:?}");
    }

    #[test]
    fn a_residual_that_explodes_is_answered_by_a_plain_step_from_the_best_point() {
        let mut anderson = Anderson::new(&Cpu::<f64>::new(), 1).unwrap();
        accelerate(&mut anderson, &[1.0], &[-0.5], &mut [2.0]);
        let mut x = [9.0];
        accelerate(&mut anderson, &[1.0], &[f64::NAN], &mut x);
        assert_eq!(x, [1.5]);
    }
}
