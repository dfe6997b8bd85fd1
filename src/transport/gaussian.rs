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
//!
//! Values are sums of terms that are not negative, so that no rounding makes one negative: with U the rotation nearest to Σ₁^½ Σ₀^½,
//!
//! ```text
//! W₂² = |m₀−m₁|² + ‖Σ₀^½ − Σ₁^½ U‖²      ⟨P, c⟩ = ½W₂² + Σ_s s (r + ε − 2s)/(r + ε),  r = (4s² + ε²)^½
//! ```

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
        Ok(Pair::new(self, other)?.w2_squared)
    }

    /// The optimal map to `other`, T(x) = m₁ + A (x − m₀); A is positive definite, so T is the gradient of a convex function.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn map_to(&self, other: &Self) -> Result<AffineMap, TransportError> {
        let pair = Pair::new(self, other)?;
        Ok(AffineMap { from: self.mean.clone(), matrix: pair.slope(|s| s), to: other.mean.clone() })
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
        // ½(D − ε) per singular value s, written so that it keeps its digits when s is far below ε.
        let root = |s: f64| (2.0 * s).hypot(eps);
        let half = |s: f64| 2.0 * s * s / (root(s) + eps);
        // s − ½(D − ε), what a direction is coupled less than by the map; r − 2s as ε²/(r + 2s).
        let loosened = |s: f64| s * (eps + eps * eps / (root(s) + 2.0 * s)) / (root(s) + eps);
        // ε KL(P ‖ a⊗b) = −½ε log det(I − KKᵀ), and 1 − k² = 2ε/(D + ε).
        let divergence = 0.5 * eps * pair.sum(|s| (half(s) / eps).ln_1p());
        let slope = pair.slope(half);
        let transport_cost = 0.5 * pair.w2_squared + pair.sum(loosened);
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
        // The means part by themselves; of the covariances alone it is not negative either (Feydy et al. 2019, theorem 1).
        let apart = 0.5 * (&self.mean - &other.mean).norm_squared();
        let centred = Self { mean: other.mean.clone(), covariance: self.covariance.clone() };
        let of_covariances = value(&centred, other)? - 0.5 * value(self, self)? - 0.5 * value(other, other)?;
        Ok(apart + of_covariances.max(0.0))
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

/// What every plan between two Gaussians needs: W₂², Σ₀^{−½}, and Σ₁^½ Σ₀^½ = W diag(s) Vᵀ, so that R = V diag(s) Vᵀ.
struct Pair {
    w2_squared: f64,
    inverse_root: DMatrix<f64>,
    /// Vᵀ.
    vectors: DMatrix<f64>,
    singular: DVector<f64>,
}

impl Pair {
    fn new(source: &Gaussian, target: &Gaussian) -> Result<Self, TransportError> {
        source.same_dim(target)?;
        let (d, root) = (source.dim(), |law: &Gaussian| function_of(&law.covariance, f64::sqrt));
        let (of_source, of_target) = (root(source), root(target));
        // Not the eigenvalues of Σ₀^½ Σ₁ Σ₀^½, whose roots would have half the digits where they are small.
        let svd = (&of_target * &of_source).svd(true, true);
        let identity = || DMatrix::identity(d, d);
        let (left, vectors) = (svd.u.unwrap_or_else(identity), svd.v_t.unwrap_or_else(identity));
        let turned = &of_target * left * &vectors;
        Ok(Self {
            w2_squared: (&source.mean - &target.mean).norm_squared() + (of_source - turned).norm_squared(),
            inverse_root: function_of(&source.covariance, |v| 1.0 / v.sqrt()),
            vectors,
            singular: svd.singular_values,
        })
    }

    /// Σ_s f(s).
    fn sum(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.singular.iter().map(|&s| f(s)).sum()
    }

    /// Σ₀^{−½} V diag(f(s)) Vᵀ Σ₀^{−½}.
    fn slope(&self, f: impl Fn(f64) -> f64) -> DMatrix<f64> {
        let inner = self.vectors.transpose() * DMatrix::from_diagonal(&self.singular.map(f)) * &self.vectors;
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
