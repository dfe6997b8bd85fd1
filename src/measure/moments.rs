//! Mean and total variance of points that come in parts.
//!
//! ```text
//! m ← m + s (m′ − m)        v ← v + s (v′ − v) + s (1 − s) |m′ − m|²        s = 1/k at the k-th part
//! ```

use crate::measure::Cloud;
use crate::vector::dot;

/// Mean and total variance of all clouds added, each under a mass of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    clouds: f64,
    mean: Vec<f64>,
    variance: f64,
}

impl Moments {
    /// Of no cloud yet, in dimension `dim`.
    pub fn none(dim: usize) -> Self {
        Self { clouds: 0.0, mean: vec![0.0; dim], variance: 0.0 }
    }

    /// Adds a cloud: the variance of two parts is that within them, and that of their means.
    pub fn add(&mut self, cloud: &Cloud) {
        self.clouds += 1.0;
        let share = 1.0 / self.clouds;
        let apart: Vec<f64> = cloud.mean().iter().zip(&self.mean).map(|(new, old)| new - old).collect();
        self.variance += share * (cloud.variance() - self.variance) + share * (1.0 - share) * dot(&apart, &apart);
        self.mean.iter_mut().zip(apart).for_each(|(mean, apart)| *mean += share * apart);
    }

    /// E x.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// E|x − mean|².
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// E|x − y|² of independent x and y.
    pub fn independent_cost(&self, other: &Self) -> f64 {
        let apart: Vec<f64> = self.mean.iter().zip(&other.mean).map(|(x, y)| x - y).collect();
        dot(&apart, &apart) + self.variance + other.variance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two parts of equal mass have the moments of all their points; a cloud and itself are 2 Var apart.
    #[test]
    fn parts_have_the_moments_of_the_whole() {
        let parts = [vec![0.0, 1.0, 4.0, -1.0], vec![3.0, 5.0, 1.0, 1.0]];
        let mut moments = Moments::none(2);
        parts.iter().for_each(|part| moments.add(&Cloud::new(part.clone(), 2).unwrap()));
        let whole = Cloud::new(parts.concat(), 2).unwrap();
        assert!((moments.variance() - whole.variance()).abs() < 1e-14);
        assert!((moments.independent_cost(&moments) - 2.0 * whole.variance()).abs() < 1e-14);
    }
}
