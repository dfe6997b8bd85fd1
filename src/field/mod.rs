//! What moves the particles: fields that give x̂₀ and ε̂ at every noise level.

mod at;
mod between;
pub mod classes;
pub mod command;
pub mod conditions;
pub mod density;
pub mod derivative;
mod error;
pub(crate) mod evaluate;
pub mod given;
pub mod guided;
pub mod likelihood;
pub mod mixture;
pub mod network;
#[cfg(feature = "onnx")]
pub mod onnx;
mod points;
pub mod potential;
pub mod prepared;
pub mod signature;

use std::sync::Arc;

use crate::measure::{Cloud, Mixture};
use crate::path::{Level, Prediction, Schedule};

pub use classes::Classes;
pub use command::{CommandError, CommandFault, Served, Server};
pub use conditions::{ConditionError, Conditional, Conditions};
pub use error::FieldError;
pub use given::{Batch, HostField};
pub use guided::Guided;
pub use mixture::fold;
pub use network::Network;
#[cfg(feature = "onnx")]
pub use onnx::{Inputs, Onnx, OnnxError};
pub use potential::Potential;
pub use prepared::Prepared;
pub use signature::{ClockError, Signature, SignatureError};

/// A field: at a level (α, σ) and a point x it gives the denoised point x̂₀ = E[data | x] and the noise ε̂ = (x − α x̂₀)/σ.
#[derive(Clone, Debug)]
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
    /// Rust code: [`Field::given`], [`Field::potential`].
    Given(Arc<dyn HostField>),
    /// A field for each class of particles.
    Classes(Classes),
    /// A combination of fields.
    Guided(Guided),
}

impl From<Mixture> for Field {
    fn from(law: Mixture) -> Self {
        Self::Mixture(law)
    }
}

impl Field {
    /// Dimension d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Mixture(mixture) => mixture.dim(),
            Self::DataSet(cloud) | Self::Transport { target: cloud, .. } => cloud.dim(),
            Self::Network(network) => network.dim(),
            Self::Given(field) => field.dim(),
            Self::Classes(classes) => classes.fields()[0].dim(),
            Self::Guided(guided) => guided.parts()[0].1.dim(),
        }
    }

    /// The extents of a point, whose product is d: channels × height × width of a picture where the model or the data say so.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::DataSet(cloud) => cloud.shape(),
            Self::Given(field) => field.shape(),
            Self::Classes(classes) => classes.fields()[0].shape(),
            Self::Guided(guided) => guided.parts()[0].1.shape(),
            Self::Mixture(_) | Self::Transport { .. } | Self::Network(_) => vec![self.dim()],
        }
    }

    /// Whether the field at σ = 0 is known beyond x̂₀: for a law with a density and for a network whose prediction says it, not
    /// for points.
    pub fn is_regular_at_data(&self) -> bool {
        match self {
            Self::Mixture(_) => true,
            Self::DataSet(_) | Self::Transport { .. } => false,
            Self::Network(network) => network.is_regular_at_data(),
            Self::Given(field) => field.is_regular_at_data(),
            Self::Classes(classes) => classes.fields().iter().all(Self::is_regular_at_data),
            Self::Guided(guided) => guided.parts().iter().all(|(_, part)| part.is_regular_at_data()),
        }
    }

    /// Whether the data have a score, and the field knows it: what Langevin methods need.
    pub fn has_score_of_data(&self) -> bool {
        match self {
            Self::Mixture(_) => true,
            Self::DataSet(_) | Self::Transport { .. } | Self::Network(_) => false,
            Self::Given(field) => field.prediction() == Prediction::Score,
            Self::Classes(classes) => classes.fields().iter().all(Self::has_score_of_data),
            Self::Guided(guided) => guided.parts().iter().all(|(_, part)| part.has_score_of_data()),
        }
    }

    /// The schedule that it was trained on, where it was on one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Network(network) => Some(network.schedule()),
            Self::Given(field) => field.schedule(),
            Self::Mixture(_) | Self::DataSet(_) | Self::Transport { .. } => None,
            Self::Classes(classes) => classes.fields().iter().find_map(Self::schedule),
            Self::Guided(guided) => guided.parts().iter().find_map(|(_, part)| part.schedule()),
        }
    }

    /// Evaluations of models that one of the field takes at `level`: more than 1 where guidance acts.
    pub fn evaluations(&self, level: Level) -> usize {
        match self {
            Self::Guided(guided) => guided.acting(level).map(|(_, part)| part.evaluations(level)).sum(),
            _ => 1,
        }
    }

    /// The law whose field it is, where it is one in closed form.
    pub fn law(&self) -> Option<&Mixture> {
        if let Self::Mixture(law) = self { Some(law) } else { None }
    }
}
