//! What moves the particles: fields that give x̂₀ and ε̂ at every noise level.

pub mod density;
pub mod likelihood;
pub mod mixture;
pub mod network;

use crate::measure::{Cloud, Mixture};

pub use mixture::fold;
pub use network::Network;

/// A field: at a level (α, σ) and a point x it gives the denoised point x̂₀ = E[data | x] and the noise ε̂ = (x − α x̂₀)/σ.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// The exact field of a Gaussian mixture.
    Mixture(Mixture),
    /// The exact field of a data set: x̂₀ = Σ_j w_j y_j, w ∝ a_j exp(−|x − α y_j|²/2σ²). It memorises by construction.
    DataSet(Cloud),
    /// The drift of the entropic plan's bridge, v = (A − x)/(1 − t), on CondOT levels: x̂₀ = A = Σ_j w_j y_j with
    /// w ∝ b_j exp(g_j/ε − |x − y_j|²/(2ε(1−t))). As an ODE exact only as ε → 0.
    Transport {
        /// Target points y and weights b.
        target: Cloud,
        /// Potential g on the target, of length m, in the input coordinates.
        g: Vec<f64>,
        /// ε in units of c = ½|x−y|².
        eps: f64,
    },
    /// A network trained elsewhere.
    Network(Network),
}
