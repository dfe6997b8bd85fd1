//! How far particles move from one state of a path to the next.
//!
//! ```text
//! p_k = √E|x_{k+1} − x_k|²        action K Σ p_k² → ∫ E|v|² dt        length Σ p_k        p_k = length/K at constant speed
//! ```

use crate::measure::Cloud;
use crate::vector::mean;

/// The root mean squares p_k of the K pieces of a path, each of time 1/K.
#[derive(Clone, Debug, PartialEq)]
pub struct Pieces(Vec<f64>);

impl Pieces {
    /// Of `states`, K + 1 × n × d, whose points have the weights of `end`.
    pub fn new(states: &[f64], end: &Cloud) -> Self {
        let (d, stride) = (end.dim(), end.points().len());
        let squared = |(x, y): (&[f64], &[f64])| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        let piece = |x: &[f64], y: &[f64]| {
            let pairs = x.chunks_exact(d).zip(y.chunks_exact(d)).map(squared);
            pairs.enumerate().map(|(i, squared)| end.weight(i) * squared).sum::<f64>().sqrt()
        };
        Self(states.windows(2 * stride).step_by(stride).map(|pair| piece(&pair[..stride], &pair[stride..])).collect())
    }

    /// ∫ E|v|² dt along the straight pieces, in units of |x−y|².
    pub fn action(&self) -> f64 {
        self.0.len() as f64 * self.0.iter().map(|piece| piece * piece).sum::<f64>()
    }

    /// Σ p_k.
    pub fn length(&self) -> f64 {
        self.0.iter().sum()
    }

    /// max_k |p_k − p̄| / p̄: 0 at constant speed, and where nothing moves.
    pub fn deviation(&self) -> f64 {
        let mean = mean(&self.0);
        if mean > 0.0 { self.0.iter().map(|piece| (piece / mean - 1.0).abs()).fold(0.0, f64::max) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geodesic::Displacement;

    /// A geodesic has constant speed, so its action is W₂², the square of its length.
    #[test]
    fn displacement_has_constant_speed() {
        let start = Cloud::new(vec![0.0, 0.0, 1.0, 2.0], 2).unwrap();
        let line = Displacement::new(&start, vec![3.0, 1.0, 2.0, 5.0]).unwrap();
        let pieces = Pieces::new(&line.path(8), &line.end().unwrap());
        assert!((pieces.action() - line.action()).abs() < 1e-13 && pieces.deviation() < 1e-14);
        assert!((pieces.length().powi(2) - line.action()).abs() < 1e-13);
    }
}
