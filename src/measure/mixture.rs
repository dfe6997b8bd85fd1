//! A Gaussian mixture: Σ_k w_k N(μ_k, C_k).

use std::f64::consts::TAU;

use nalgebra::{DMatrix, SymmetricEigen};
use thiserror::Error;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};

/// A law Σ_k w_k N(μ_k, C_k) on R^d whose densities, scores and denoisers are known in closed form.
///
/// Each covariance is held as its eigenbasis: C_k = U_k diag(λ_k) U_kᵀ, or V_k I when isotropic.
///
/// ```
/// use brenier::measure::{Covariance, Mixture};
/// use brenier::random::Stream;
///
/// let law = Mixture::new(vec![1.0, 1.0], vec![vec![-5.0], vec![5.0]], vec![Covariance::Isotropic(0.1); 2])?;
/// let draws = law.sample(1000, 0, Stream::Source, 0); // the same at every run: a function of the seed
/// assert!((draws.variance() - 25.1).abs() < 0.5);
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    dim: usize,
    components: Vec<Component>,
}

/// One component w N(μ, C) of a [`Mixture`].
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Weight w; all add up to one.
    pub weight: f64,
    /// Mean μ, of length d.
    pub mean: Vec<f64>,
    /// Covariance C.
    pub covariance: Covariance,
}

/// A positive-definite covariance matrix.
#[derive(Clone, Debug, PartialEq)]
pub enum Covariance {
    /// V I, with the variance V of each coordinate.
    Isotropic(f64),
    /// U diag(λ) Uᵀ: eigenvalues λ and the orthogonal matrix U, row-major d × d, eigenvectors in its columns.
    Full {
        /// Eigenvalues λ > 0, of length d.
        values: Vec<f64>,
        /// Eigenvectors, the columns of U.
        vectors: Vec<f64>,
    },
}

/// Why numbers do not make a mixture.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum MixtureError {
    /// There is no component.
    #[error("the mixture has no components")]
    Empty,
    /// Lists of different lengths.
    #[error("the mixture has {weights} weights, {means} means and {covariances} covariances; the three must agree")]
    Count {
        /// Number of weights.
        weights: usize,
        /// Number of means.
        means: usize,
        /// Number of covariances.
        covariances: usize,
    },
    /// A component of another dimension than the first.
    #[error("component {component} has {found} numbers where {expected} are needed")]
    Dimension {
        /// Component, from 0.
        component: usize,
        /// Count found.
        found: usize,
        /// Count needed.
        expected: usize,
    },
    /// A weight that is negative, not finite, or all are zero.
    #[error("weight {component} is {value}; weights must be finite, not negative, and not all zero")]
    Weight {
        /// Component, from 0.
        component: usize,
        /// The value found.
        value: f64,
    },
    /// A mean that is not finite.
    #[error("the mean of component {component} is not finite")]
    Mean {
        /// Component, from 0.
        component: usize,
    },
    /// A covariance that is not symmetric positive definite.
    #[error("the covariance of component {component} is not {}", wanting(*.smallest))]
    Covariance {
        /// Component, from 0.
        component: usize,
        /// Smallest eigenvalue found; NaN when the matrix is not symmetric or not finite.
        smallest: f64,
    },
}

/// What a covariance with this smallest eigenvalue is not.
fn wanting(smallest: f64) -> String {
    match smallest.is_nan() {
        true => "symmetric, or not finite".into(),
        false => format!("symmetric positive definite (smallest eigenvalue {smallest:e})"),
    }
}

impl Covariance {
    /// The covariance of a row-major symmetric positive-definite d × d `matrix`.
    ///
    /// # Errors
    /// The smallest eigenvalue when the matrix is not positive definite; NaN when it is not symmetric or not finite.
    pub fn from_matrix(matrix: &[f64], dim: usize) -> Result<Self, f64> {
        let m = DMatrix::from_row_slice(dim, dim, matrix);
        let scale = m.amax();
        if !m.iter().all(|x| x.is_finite()) || (&m - m.transpose()).amax() > 1e-9 * scale {
            return Err(f64::NAN);
        }
        let eigen = SymmetricEigen::new(m);
        let smallest = eigen.eigenvalues.min();
        if smallest <= 0.0 {
            return Err(smallest);
        }
        Ok(Self::Full {
            values: eigen.eigenvalues.iter().copied().collect(),
            vectors: eigen.eigenvectors.transpose().iter().copied().collect(),
        })
    }

    /// Eigenvalue along axis `i`.
    pub fn value(&self, i: usize) -> f64 {
        match self {
            Self::Isotropic(v) => *v,
            Self::Full { values, .. } => values[i],
        }
    }

    /// Entry (`row`, `column`) of U, the identity when isotropic.
    pub fn vector(&self, row: usize, column: usize, dim: usize) -> f64 {
        match self {
            Self::Isotropic(_) => f64::from(row == column),
            Self::Full { vectors, .. } => vectors[row * dim + column],
        }
    }
}

impl Mixture {
    /// A mixture of `weights` (scaled to add up to one), `means` and `covariances`.
    ///
    /// # Errors
    /// [`MixtureError`] when the lists disagree or a number does not belong to a mixture.
    pub fn new(weights: Vec<f64>, means: Vec<Vec<f64>>, covariances: Vec<Covariance>) -> Result<Self, MixtureError> {
        if means.len() != weights.len() || covariances.len() != weights.len() {
            let (weights, means, covariances) = (weights.len(), means.len(), covariances.len());
            return Err(MixtureError::Count { weights, means, covariances });
        }
        // Scaled by the largest first, so that neither huge nor tiny weights overflow the sum.
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let total: f64 = weights.iter().map(|w| w / largest).sum();
        let dim = means.first().ok_or(MixtureError::Empty)?.len();
        let mut components = Vec::with_capacity(weights.len());
        for (k, ((weight, mean), covariance)) in weights.into_iter().zip(means).zip(covariances).enumerate() {
            if !(weight >= 0.0 && weight.is_finite() && largest > 0.0) {
                return Err(MixtureError::Weight { component: k, value: weight });
            }
            if mean.len() != dim || dim == 0 {
                return Err(MixtureError::Dimension { component: k, found: mean.len(), expected: dim.max(1) });
            }
            if !mean.iter().all(|x| x.is_finite()) {
                return Err(MixtureError::Mean { component: k });
            }
            match &covariance {
                Covariance::Full { values, .. } if values.len() != dim => {
                    return Err(MixtureError::Dimension { component: k, found: values.len(), expected: dim });
                }
                Covariance::Isotropic(v) if !(*v > 0.0 && v.is_finite()) => {
                    return Err(MixtureError::Covariance { component: k, smallest: *v });
                }
                _ => {}
            }
            components.push(Component { weight: weight / largest / total, mean, covariance });
        }
        Ok(Self { dim, components })
    }

    /// The laws N(μ_k, C_k) of its components.
    pub fn laws(&self) -> impl Iterator<Item = Self> {
        let law = |component: &Component| Component { weight: 1.0, ..component.clone() };
        self.components.iter().map(move |component| Self { dim: self.dim, components: vec![law(component)] })
    }

    /// Equally weighted N(μ_k, V I), for `means` of one dimension and a `variance` that are right by construction.
    pub(super) fn of_known(means: Vec<Vec<f64>>, variance: f64) -> Self {
        let weight = 1.0 / means.len() as f64;
        let covariance = Covariance::Isotropic(variance);
        let component = |mean| Component { weight, mean, covariance: covariance.clone() };
        Self { dim: means[0].len(), components: means.into_iter().map(component).collect() }
    }

    /// Eight Gaussians in the plane, of variance ¼ a coordinate, equally spaced on the circle of radius 4: mean 0, total variance 16½.
    pub fn eight_gaussians() -> Self {
        let on_circle = |k: u32| (TAU * f64::from(k) / 8.0).sin_cos();
        Self::of_known((0..8).map(on_circle).map(|(sin, cos)| vec![4.0 * cos, 4.0 * sin]).collect(), 0.25)
    }

    /// N(0, I) on R^`dim`.
    pub fn standard_normal(dim: usize) -> Self {
        Self::of_known(vec![vec![0.0; dim.max(1)]], 1.0)
    }

    /// N(0, diag(1, 1/25)) in the plane, turned by `angle` in radians.
    pub fn tilted(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        let covariance = Covariance::Full { values: vec![1.0, 0.04], vectors: vec![cos, -sin, sin, cos] };
        Self { dim: 2, components: vec![Component { weight: 1.0, mean: vec![0.0; 2], covariance }] }
    }

    /// The least variance of any component with mass along any direction.
    pub fn least_variance(&self) -> f64 {
        let present = self.components.iter().filter(|c| c.weight > 0.0);
        present.flat_map(|c| (0..self.dim).map(|i| c.covariance.value(i))).fold(f64::INFINITY, f64::min)
    }

    /// Dimension d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The components; their weights add up to one.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Whether this is N(0, I), however its covariance is held.
    pub fn is_standard_normal(&self) -> bool {
        let [Component { mean, covariance, .. }] = &self.components[..] else { return false };
        mean.iter().all(|m| *m == 0.0) && (0..self.dim).all(|axis| covariance.value(axis) == 1.0)
    }

    /// Whether every covariance is a multiple of the identity.
    pub fn is_isotropic(&self) -> bool {
        self.components.iter().all(|c| matches!(c.covariance, Covariance::Isotropic(_)))
    }

    /// `n` independent draws under `seed`, a function of (seed, stream, row) alone: row i is the same whatever n.
    ///
    /// One uniform chooses the component, d normals the point.
    pub fn sample(&self, n: usize, seed: u32, stream: Stream, step: u32) -> Cloud {
        let philox = Philox::new(seed, stream);
        let d = self.dim;
        let mut z = vec![0.0f32; d];
        let mut points = Vec::with_capacity(n * d);
        for i in 0..n {
            let mut u = philox.uniform(i as u32, step, 1);
            let chosen = self.components.iter().position(|c| {
                u -= c.weight;
                u < 0.0
            });
            let component = &self.components[chosen.unwrap_or(self.components.len() - 1)];
            philox.normals(i as u32, step, 0, &mut z);
            let cov = &component.covariance;
            let root: Vec<f64> = (0..d).map(|j| cov.value(j).sqrt() * f64::from(z[j])).collect();
            for row in 0..d {
                let moved = match cov {
                    Covariance::Isotropic(_) => root[row],
                    Covariance::Full { .. } => (0..d).map(|j| cov.vector(row, j, d) * root[j]).sum(),
                };
                points.push(component.mean[row] + moved);
            }
        }
        Cloud::of_known(points, d)
    }
}
