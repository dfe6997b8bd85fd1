//! Mean and total variance of points that come in parts.

use brenier::measure::Cloud;

/// Mean and total variance of all clouds added, each under its mass of one.
pub struct Moments {
    clouds: f64,
    mean: Vec<f64>,
    /// E|x − mean|².
    pub variance: f64,
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
        let between = apart.iter().map(|x| x * x).sum::<f64>();
        self.variance += share * (cloud.variance() - self.variance) + share * (1.0 - share) * between;
        self.mean.iter_mut().zip(apart).for_each(|(mean, apart)| *mean += share * apart);
    }

    /// E|x − y|² of independent x and y.
    pub fn independent_cost(&self, other: &Self) -> f64 {
        let between: f64 = self.mean.iter().zip(&other.mean).map(|(x, y)| (x - y).powi(2)).sum();
        between + self.variance + other.variance
    }
}
