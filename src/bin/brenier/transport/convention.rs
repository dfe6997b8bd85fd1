//! The values of --convention.

use brenier::transport::Convention;
use clap::ValueEnum;

/// A library whose numbers are known by heart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// ε in units of |x-y|²/2
    #[default]
    Brenier,
    /// GeomLoss, SamplesLoss with p = 2
    Geomloss,
    /// OTT-JAX, PointCloud
    Ott,
    /// POT with sqeuclidean costs
    Pot,
    /// FlashSinkhorn, SamplesLoss
    Flash,
}

impl From<Library> for Convention {
    fn from(library: Library) -> Self {
        match library {
            Library::Brenier => Self::Brenier,
            Library::Geomloss => Self::Geomloss,
            Library::Ott => Self::Ott,
            Library::Pot => Self::Pot,
            Library::Flash => Self::Flash,
        }
    }
}
