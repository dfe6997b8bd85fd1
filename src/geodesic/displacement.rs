//! McCann's displacement interpolation of a weighted cloud: ρ_t = ((1−t) Id + tT)_# ρ (McCann 1997, definition 1.1).
//!
//! Each particle moves on its own straight line at its own constant speed |T(x) − x|, so the cloud has constant speed in W₂, and
//! where T is the gradient of a convex function it is the geodesic: length² = action = W₂². The barycentric map of an entropic
//! plan is such a gradient.

use crate::measure::{Cloud, CloudError};

/// Straight paths from the points of a cloud to their ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Displacement {
    source: Cloud,
    ends: Vec<f64>,
}

impl Displacement {
    /// Paths from `source` to `ends`, n × d row-major, one end a point.
    ///
    /// # Errors
    /// [`CloudError::Ragged`] when there is not one end a point.
    pub fn new(source: &Cloud, ends: Vec<f64>) -> Result<Self, CloudError> {
        if ends.len() != source.points().len() {
            return Err(CloudError::Ragged { len: ends.len(), dim: source.dim() });
        }
        Ok(Self { source: source.clone(), ends })
    }

    /// The points (1−t)x + tT(x) at `t` ∈ [0, 1], n × d row-major.
    pub fn at(&self, t: f64) -> Vec<f64> {
        self.source.points().iter().zip(&self.ends).map(|(x, end)| (1.0 - t) * x + t * end).collect()
    }

    /// The action ∫E|v|² dt = E|T(x) − x|², in units of |x−y|².
    pub fn action(&self) -> f64 {
        let squared = |(x, end): (&[f64], &[f64])| x.iter().zip(end).map(|(x, end)| (x - end).powi(2)).sum::<f64>();
        let pairs = self.source.rows().zip(self.ends.chunks_exact(self.source.dim()));
        pairs.map(squared).enumerate().map(|(i, squared)| self.source.weight(i) * squared).sum()
    }

    /// The states at t = 0, 1/K, …, 1, one after the other: K+1 × n × d.
    pub fn path(&self, steps: usize) -> Vec<f64> {
        (0..=steps).flat_map(|k| self.at(k as f64 / steps as f64)).collect()
    }

    /// Where the particles end, under the weights of the source.
    ///
    /// # Errors
    /// [`CloudError`] when a coordinate is not finite.
    pub fn end(&self) -> Result<Cloud, CloudError> {
        self.source.with_points(self.ends.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_the_path_is_as_long_as_the_others() {
        let source = Cloud::new(vec![0.0, 0.0, 1.0, 0.0], 2).unwrap().with_weights(vec![1.0, 3.0]).unwrap();
        let line = Displacement::new(&source, vec![0.0, 2.0, 5.0, 0.0]).unwrap();
        assert_eq!(line.action(), 0.25 * 4.0 + 0.75 * 16.0);
        for k in 0..4 {
            let piece = Cloud::new(line.at(f64::from(k) / 4.0), 2).unwrap().with_weights(vec![1.0, 3.0]).unwrap();
            let next = Displacement::new(&piece, line.at(f64::from(k + 1) / 4.0)).unwrap();
            assert_eq!(next.action(), line.action() / 16.0); // dyadic numbers are exact
        }
        assert_eq!(line.path(4)[8..12], line.at(0.5)[..]);
        assert_eq!(line.end().unwrap().weights(), source.weights());
    }

    #[test]
    fn a_point_without_an_end_is_refused() {
        let source = Cloud::new(vec![0.0, 1.0], 1).unwrap();
        assert!(matches!(Displacement::new(&source, vec![0.0]), Err(CloudError::Ragged { len: 1, dim: 1 })));
    }
}
