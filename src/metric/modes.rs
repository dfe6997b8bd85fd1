//! Modes: which share of a cloud belongs to each component of a mixture, or to each cluster of a set whose law is not known.

use rayon::prelude::*;

use crate::measure::{Cloud, Component, Mixture};
use crate::metric::MetricError;
use crate::metric::clusters::{centres, nearest_centres};

/// Clusters a set is divided into, at most: more than it has modes, so that a lost one leaves some of them empty.
const CLUSTERS: usize = 16;
/// Points for each cluster, at least.
const FOR_EACH: usize = 16;

/// Cells of space that each hold a mode or part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Modes {
    /// Where each component of a mixture is the likeliest.
    Components(Mixture),
    /// Where each of these centres, K × d, is the nearest.
    Centres(Vec<f64>),
}

impl Modes {
    /// The cells of at most 16 clusters of `cloud`, 16 points or more in each; none where that makes only one.
    pub fn of_points(cloud: &Cloud, seed: u32) -> Option<Self> {
        let clusters = (cloud.len() / FOR_EACH).min(CLUSTERS);
        (clusters > 1).then(|| Self::Centres(centres(cloud, clusters, seed)))
    }

    /// The mass of `cloud` in each cell.
    pub fn shares(&self, cloud: &Cloud) -> Vec<f64> {
        let (count, owners): (usize, Vec<usize>) = match self {
            Self::Centres(centres) => {
                (centres.len() / cloud.dim(), nearest_centres(cloud, centres).map(|(owner, _)| owner).collect())
            }
            Self::Components(mixture) => {
                let components = mixture.components();
                let likeliest = |x: &[f64]| {
                    let logs = components.iter().map(|component| log_density(component, x)).enumerate();
                    logs.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(owner, _)| owner)
                };
                let rows: Vec<&[f64]> = cloud.rows().collect();
                (components.len(), rows.into_par_iter().map(likeliest).collect())
            }
        };
        let mut shares = vec![0.0; count];
        owners.into_iter().enumerate().for_each(|(i, owner)| shares[owner] += cloud.weight(i));
        shares
    }
}

/// The mean responsibilities Σ_i a_i P(k | x_i), with P(k | x) ∝ w_k N(x; μ_k, C_k): for draws of the mixture itself they tend to
/// its weights. Length K, adding up to one.
///
/// # Errors
/// [`MetricError::Dimensions`] when cloud and mixture live in different spaces.
pub fn mode_weights(cloud: &Cloud, mixture: &Mixture) -> Result<Vec<f64>, MetricError> {
    MetricError::same_dim(cloud.dim(), mixture.dim())?;
    let components = mixture.components();
    let mut shares = vec![0.0; components.len()];
    let mut logs = vec![0.0; components.len()];
    for (i, x) in cloud.rows().enumerate() {
        for (log, component) in logs.iter_mut().zip(components) {
            *log = log_density(component, x);
        }
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
        for (share, log) in shares.iter_mut().zip(&logs) {
            *share += cloud.weight(i) * (log - largest).exp() / total;
        }
    }
    Ok(shares)
}

/// log w − ½ Σ_a [(u_a·(x−μ))²/λ_a + log λ_a], without the constant that all components share.
fn log_density(component: &Component, x: &[f64]) -> f64 {
    let (d, covariance) = (x.len(), &component.covariance);
    let offset: Vec<f64> = x.iter().zip(&component.mean).map(|(x, m)| x - m).collect();
    let along = |axis| (0..d).map(|row| covariance.vector(row, axis, d) * offset[row]).sum::<f64>();
    let terms = (0..d).map(|axis| along(axis).powi(2) / covariance.value(axis) + covariance.value(axis).ln());
    component.weight.ln() - 0.5 * terms.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Covariance;
    use crate::random::Stream;

    #[test]
    fn draws_of_a_mixture_show_its_weights() {
        let full = Covariance::from_matrix(&[1.0, 0.6, 0.6, 0.8], 2).unwrap();
        let means = vec![vec![0.0, 0.0], vec![1.5, 1.0], vec![-20.0, 0.0]];
        let covariances = vec![Covariance::Isotropic(0.5), full, Covariance::Isotropic(0.1)];
        let mixture = Mixture::new(vec![0.2, 0.5, 0.3], means, covariances).unwrap();
        let n = 40_000;
        let shares = mode_weights(&mixture.sample(n, 0, Stream::Source, 0), &mixture).unwrap();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // Responsibilities vary less than the indicator of the component, so its standard error bounds theirs.
        for (share, w) in shares.iter().zip([0.2f64, 0.5, 0.3]) {
            assert!((share - w).abs() < 4.0 * (w * (1.0 - w) / n as f64).sqrt(), "{share} for {w}");
        }
    }

    #[test]
    fn weights_of_the_cloud_count() {
        let mixture = Mixture::new(vec![0.5, 0.5], vec![vec![-9.0], vec![9.0]], vec![Covariance::Isotropic(1.0); 2]).unwrap();
        let cloud = Cloud::new(vec![-9.0, 9.0], 1).unwrap().with_weights(vec![3.0, 1.0]).unwrap();
        let shares = mode_weights(&cloud, &mixture).unwrap();
        assert!((shares[0] - 0.75).abs() < 1e-15 && (shares[1] - 0.25).abs() < 1e-15);
    }
}
