//! Small sums over coordinates and over samples, each written once.
//!
//! ```text
//! x·y = Σ x_k y_k        |x − y|² = Σ (x_k − y_k)²        x̄ = Σ x_i / n        s² = Σ (x_i − x̄)² / n(n − 1)
//! ```

/// x·y.
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// |x − y|² by differences, so that near pairs keep their digits; in eight running sums, so that it vectorises.
#[inline(always)]
pub fn squared_distance<T: Copy + Into<f64>>(x: &[T], y: &[T]) -> f64 {
    let square = |x: &T, y: &T| ((*x).into() - (*y).into()).powi(2);
    let ((x_blocks, x_rest), (y_blocks, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| square(x, y)).sum();
    if x_blocks.is_empty() {
        return rest;
    }
    let mut sums = [0.0; 8];
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += square(x, y);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The mean x̄ of `values`.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean x̄ of independent `values` and its standard error s; 0 for one value.
pub fn mean_with_error(values: &[f64]) -> (f64, f64) {
    let (mean, n) = (mean(values), values.len() as f64);
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}
