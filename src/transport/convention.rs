//! How other libraries read the regularisation: which cost it is in units of, and what a length means.
//!
//! | library | cost | `eps` | `blur` s, `reach` s |
//! |---|---|---|---|
//! | brenier | ½∣x−y∣² | ε | ε = s², ρ = s² |
//! | GeomLoss `SamplesLoss(p=2)` | ½∣x−y∣² | ε | ε = s², ρ = s² |
//! | OTT-JAX `PointCloud(epsilon=)` | ∣x−y∣² | 2ε | ε = s², ρ = s²: its kernel is exp(−∣x−y∣²/2s²) at epsilon = 2s² |
//! | POT `reg` with `sqeuclidean` | ∣x−y∣² | 2ε | the same |
//! | FlashSinkhorn `SamplesLoss` | ∣x−y∣² | 2ε | 2ε = s², 2ρ = s² |

/// Whose reading of ε a number follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Convention {
    /// ε in units of |x-y|²/2.
    #[default]
    Brenier,
    /// GeomLoss, SamplesLoss with p = 2: the same.
    Geomloss,
    /// OTT-JAX, PointCloud: units of |x-y|².
    Ott,
    /// POT with sqeuclidean costs: units of |x-y|².
    Pot,
    /// FlashSinkhorn, SamplesLoss: units of |x-y|², and lengths squared are in them too.
    Flash,
}

impl Convention {
    /// A regularisation or a marginal's strength `value` as the library takes it, in units of c = ½|x−y|².
    pub fn strength(self, value: f64) -> f64 {
        match self {
            Self::Brenier | Self::Geomloss => value,
            // The problem in |x−y|² at 2ε is that in ½|x−y|² at ε.
            Self::Ott | Self::Pot | Self::Flash => 0.5 * value,
        }
    }

    /// The strength of a length: of a `blur` or a `reach`, in units of c = ½|x−y|².
    pub fn of_length(self, length: f64) -> f64 {
        match self {
            Self::Flash => 0.5 * length * length,
            Self::Brenier | Self::Geomloss | Self::Ott | Self::Pot => length * length,
        }
    }
}
