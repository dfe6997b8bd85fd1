//! Costs of a pair of points.

use crate::backend::Real;
use crate::vector::squared_distance;

/// The cost of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// ½|x−y|².
    HalfSquaredEuclidean,
    /// |x−y|.
    Euclidean,
    /// (Σ_k |x_k − y_k|^p)^(1/p) for p ≥ 1.
    Lp(f64),
    /// 1 − x·y / (|x||y|); 1 where a point is zero.
    Cosine,
}

impl Cost {
    /// c(x, y), in f64 whatever the points are.
    pub fn between<T: Real>(self, x: &[T], y: &[T]) -> f64 {
        match self {
            Cost::HalfSquaredEuclidean => 0.5 * squared_distance(x, y),
            Cost::Euclidean => squared_distance(x, y).sqrt(),
            Cost::Lp(p) => {
                // About the largest difference, so that no power over- or underflows.
                let differences = || x.iter().zip(y).map(|(x, y)| (x.to_f64() - y.to_f64()).abs());
                let largest = differences().fold(f64::MIN_POSITIVE, f64::max);
                largest * differences().map(|difference| (difference / largest).powf(p)).sum::<f64>().powf(1.0 / p)
            }
            Cost::Cosine => {
                let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>();
                let lengths = (dot(x, x) * dot(y, y)).sqrt();
                if lengths > 0.0 { 1.0 - dot(x, y) / lengths } else { 1.0 }
            }
        }
    }
}

/// A cost that [`Logit::Cost`](crate::backend::Logit::Cost) streams: one that is not a product of coordinates.
#[derive(Clone, Copy)]
pub enum PairCost<'a> {
    /// |x−y|.
    Euclidean,
    /// (Σ_k |x_k − y_k|^p)^(1/p) for p ≥ 1.
    Lp(f64),
    /// Any c_ij, by the numbers of row and column; on the processor only.
    Given(&'a (dyn Fn(usize, usize) -> f64 + Sync)),
}
