//! Optimal and entropic transport between Gaussians, in closed form.
//!
//! ```text
//! W₂² = |m₀−m₁|² + tr(Σ₀ + Σ₁ − 2 R)      R = (Σ₀^½ Σ₁ Σ₀^½)^½            T(x) = m₁ + Σ₀^{−½} R Σ₀^{−½} (x − m₀)
//! OT_ε = ½[|m₀−m₁|² + tr(Σ₀ + Σ₁ − D) + dε(1 − log 2ε) + ε log det(D + εI)]      D = (4 Σ₀^½ Σ₁ Σ₀^½ + ε²I)^½
//! ```
//!
//! W₂² is for |x−y|² (Bures; Olkin, Pukelsheim 1982), OT_ε and ε for c = ½|x−y|² (Janati, Muzellec, Peyré, Cuturi 2020, theorem 1
//! with ε = σ² and half their value). Both share one derivation: among Gaussian plans, with K = Σ₀^{−½} C Σ₁^{−½} for the
//! cross-covariance C, the problem is max tr(Σ₀^½ K Σ₁^½) + ½ε log det(I − KKᵀ), solved along the singular vectors of
//! Σ₀^½ Σ₁^½: a singular value s gives k with s(1 − k²) = εk, so 2sk = (4s² + ε²)^½ − ε.

mod barycenter;
mod closed_form;
mod flow;
mod unbalanced;

use nalgebra::{DMatrix, DVector, SymmetricEigen};

pub use closed_form::ClosedForm;
pub use unbalanced::UnbalancedPlan;

use crate::transport::TransportError;

/// The law N(m, Σ) on R^d with a positive-definite covariance.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    pub(crate) mean: DVector<f64>,
    pub(crate) covariance: DMatrix<f64>,
}

/// The affine map x ↦ to + A (x − from) with a symmetric A.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineMap {
    pub(crate) from: DVector<f64>,
    pub(crate) matrix: DMatrix<f64>,
    pub(crate) to: DVector<f64>,
}

/// The entropic plan P between two Gaussians at ε, itself a Gaussian of R^d × R^d.
#[derive(Clone, Debug, PartialEq)]
pub struct EntropicPlan {
    /// Cross-covariance C = E[(x−m₀)(y−m₁)ᵀ] = ½ Σ₀^½ (D − εI) Σ₀^{−½}, row-major d × d.
    pub cross_covariance: Vec<f64>,
    /// ⟨P, c⟩ with c = ½|x−y|².
    pub transport_cost: f64,
    /// OT_ε = ⟨P, c⟩ + ε KL(P ‖ a⊗b), in units of c.
    pub regularised_cost: f64,
    /// The entropic map x ↦ E[y | x], of slope Σ₀^{−½} ½(D − εI) Σ₀^{−½}.
    pub map: AffineMap,
}

impl Gaussian {
    /// N(`mean`, `covariance`), the covariance row-major d × d.
    ///
    /// # Errors
    /// [`TransportError::Shape`] when the lengths do not fit, [`TransportError::NotGaussian`] when a number is not finite or the
    /// covariance not symmetric positive definite.
    pub fn new(mean: Vec<f64>, covariance: &[f64]) -> Result<Self, TransportError> {
        let d = mean.len();
        if d == 0 || covariance.len() != d * d {
            return Err(TransportError::Shape { mean: d, covariance: covariance.len() });
        }
        let matrix = DMatrix::from_row_slice(d, d, covariance);
        let finite = mean.iter().chain(covariance).all(|x| x.is_finite());
        if !finite || (&matrix - matrix.transpose()).amax() > 1e-9 * matrix.amax() {
            return Err(TransportError::NotGaussian { smallest: f64::NAN });
        }
        let covariance = symmetric(matrix);
        let smallest = covariance.symmetric_eigenvalues().min();
        if smallest <= 0.0 {
            return Err(TransportError::NotGaussian { smallest });
        }
        Ok(Self { mean: mean.into(), covariance })
    }

    /// Dimension d.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Mean m, of length d.
    pub fn mean(&self) -> &[f64] {
        self.mean.as_slice()
    }

    /// Covariance Σ, d × d; rows and columns are the same.
    pub fn covariance(&self) -> &[f64] {
        self.covariance.as_slice()
    }

    /// W₂² to `other`, in units of |x−y|².
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn w2_squared(&self, other: &Self) -> Result<f64, TransportError> {
        let pair = Pair::new(self, other)?;
        Ok(pair.cost_without_coupling - 2.0 * pair.singular_squared.iter().map(|s| s.sqrt()).sum::<f64>())
    }

    /// The optimal map to `other`, T(x) = m₁ + A (x − m₀); A is positive definite, so T is the gradient of a convex function.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn map_to(&self, other: &Self) -> Result<AffineMap, TransportError> {
        let pair = Pair::new(self, other)?;
        Ok(AffineMap { from: self.mean.clone(), matrix: pair.slope(f64::sqrt), to: other.mean.clone() })
    }

    /// The geodesic to `other` at `t` ∈ [0, 1]: N((1−t)m₀ + t m₁, A_t Σ₀ A_t) with A_t = (1−t)I + tA.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn toward(&self, other: &Self, t: f64) -> Result<Self, TransportError> {
        let a = self.map_to(other)?.matrix;
        let at = DMatrix::identity(self.dim(), self.dim()) * (1.0 - t) + a * t;
        let mean = &self.mean * (1.0 - t) + &other.mean * t;
        Ok(Self { mean, covariance: symmetric(&at * &self.covariance * &at) })
    }

    /// The entropic plan to `other` at `eps` > 0, in units of c = ½|x−y|².
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ, [`TransportError::Eps`] unless `eps` is finite and above zero.
    pub fn entropic_plan(&self, other: &Self, eps: f64) -> Result<EntropicPlan, TransportError> {
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(TransportError::Eps { eps });
        }
        let pair = Pair::new(self, other)?;
        // ½(D − ε) per eigenvalue s², written so that it keeps its digits when s is far below ε.
        let root = |s2: f64| (4.0 * s2 + eps * eps).sqrt();
        let half = |s2: f64| 2.0 * s2 / (root(s2) + eps);
        let coupled: f64 = pair.singular_squared.iter().map(|&s2| half(s2)).sum();
        // ε KL(P ‖ a⊗b) = −½ε log det(I − KKᵀ), and 1 − k² = 2ε/(D + ε).
        let divergence: f64 = pair.singular_squared.iter().map(|&s2| 0.5 * eps * (half(s2) / eps).ln_1p()).sum();
        let slope = pair.slope(half);
        let transport_cost = 0.5 * pair.cost_without_coupling - coupled;
        Ok(EntropicPlan {
            // C = Σ₀ · slope; nalgebra stores columns, so the transpose is read off row by row.
            cross_covariance: (&slope * &self.covariance).as_slice().to_vec(),
            transport_cost,
            regularised_cost: transport_cost + divergence,
            map: AffineMap { from: self.mean.clone(), matrix: slope, to: other.mean.clone() },
        })
    }

    /// The Sinkhorn divergence S_ε = OT_ε(a,b) − ½OT_ε(a,a) − ½OT_ε(b,b), in units of c; → ½W₂² as ε → 0 with a bias of O(ε²).
    ///
    /// # Errors
    /// As [`Gaussian::entropic_plan`].
    pub fn sinkhorn_divergence(&self, other: &Self, eps: f64) -> Result<f64, TransportError> {
        let value = |a: &Self, b: &Self| a.entropic_plan(b, eps).map(|plan| plan.regularised_cost);
        Ok(value(self, other)? - 0.5 * value(self, self)? - 0.5 * value(other, other)?)
    }

    pub(crate) fn same_dim(&self, other: &Self) -> Result<(), TransportError> {
        let (source_dim, target_dim) = (self.dim(), other.dim());
        if source_dim == target_dim { Ok(()) } else { Err(TransportError::Dimensions { source_dim, target_dim }) }
    }
}

impl AffineMap {
    /// The image to + A (x − from) of a point of length d.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when `x` has another length than d.
    pub fn apply(&self, x: &[f64]) -> Result<Vec<f64>, TransportError> {
        if x.len() != self.from.len() {
            return Err(TransportError::Dimensions { source_dim: x.len(), target_dim: self.from.len() });
        }
        Ok((&self.to + &self.matrix * (DVector::from_column_slice(x) - &self.from)).as_slice().to_vec())
    }

    /// The slope A, d × d; rows and columns are the same.
    pub fn matrix(&self) -> &[f64] {
        self.matrix.as_slice()
    }
}

/// What every plan between two Gaussians needs: Σ₀^{−½}, and Σ₀^½ Σ₁ Σ₀^½ = U diag(s²) Uᵀ.
struct Pair {
    cost_without_coupling: f64,
    inverse_root: DMatrix<f64>,
    vectors: DMatrix<f64>,
    singular_squared: DVector<f64>,
}

impl Pair {
    fn new(source: &Gaussian, target: &Gaussian) -> Result<Self, TransportError> {
        source.same_dim(target)?;
        let root = function_of(&source.covariance, f64::sqrt);
        let eigen = SymmetricEigen::new(symmetric(&root * &target.covariance * &root));
        Ok(Self {
            cost_without_coupling: (&source.mean - &target.mean).norm_squared()
                + source.covariance.trace()
                + target.covariance.trace(),
            inverse_root: function_of(&source.covariance, |v| 1.0 / v.sqrt()),
            vectors: eigen.eigenvectors,
            // A product of positive-definite matrices; rounding may leave a tiny negative number.
            singular_squared: eigen.eigenvalues.map(|s2| s2.max(0.0)),
        })
    }

    /// Σ₀^{−½} U diag(f(s²)) Uᵀ Σ₀^{−½}.
    fn slope(&self, f: impl Fn(f64) -> f64) -> DMatrix<f64> {
        let inner = &self.vectors * DMatrix::from_diagonal(&self.singular_squared.map(f)) * self.vectors.transpose();
        symmetric(&self.inverse_root * inner * &self.inverse_root)
    }
}

/// f(S) = U diag(f(λ)) Uᵀ for a symmetric S.
pub(crate) fn function_of(matrix: &DMatrix<f64>, f: impl Fn(f64) -> f64) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(matrix.clone());
    symmetric(&eigen.eigenvectors * DMatrix::from_diagonal(&eigen.eigenvalues.map(f)) * eigen.eigenvectors.transpose())
}

/// ½(M + Mᵀ): removes the rounding of products that are symmetric by construction.
pub(crate) fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) * 0.5
}
