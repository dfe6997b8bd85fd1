//! A network trained elsewhere as a field: a multilayer perceptron, and what its output means.
//!
//! ```text
//! F(x, c) = W_L a(… a(W_1 (s x, φ(c), y) + b_1) …) + b_L        φ(c) = nothing, c, or sin ω_i c and cos ω_i c
//! ```
//!
//! with y the particle's [`Condition`], if it takes one, and zeros for none.
//!
//! F is a [`Prediction`] on the schedule it was trained on: at each level one combination of x̂₀ and ε̂, so with x = α x̂₀ + σ ε̂
//! it gives both. Or F is the inner network of Karras et al. 2022, eq. 7, for data of standard deviation s_d; with their
//! σ = σ/α and x = x/α, and S = σ² + α² s_d²,
//!
//! ```text
//! x̂₀ = (α s_d²/S) x + (σ s_d/√S) F        ε̂ = (σ/S) x − (α s_d/√S) F        F is given s x, s = 1/√S
//! ```
//!
//! which is regular at both ends of every schedule.
//!
//! The field depends on a level only through σ/α: on levels of another schedule, x is scaled to the level of the network's own
//! schedule that has the same σ/α. So any method runs on any network, within the noise levels that it was trained on.

mod condition;
mod error;
mod forward;
mod layer;
mod pass;
mod time;

use std::sync::Arc;

use crate::path::{Level, Prediction, Schedule, combination};
use crate::program::Activation;

pub use condition::Condition;
pub use error::{LevelError, NetworkError};
pub(super) use forward::Forward;
pub use layer::Layer;
pub use time::{Clock, Features, Order, Time};

/// What F means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// A prediction at the level.
    Prediction(Prediction),
    /// The inner network of Karras et al. for data of this standard deviation.
    Preconditioned {
        /// s_d.
        sigma_data: f64,
    },
}

/// A multilayer perceptron as a field. Made by [`Network::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    layers: Vec<Layer>,
    activation: Activation,
    time: Option<Time>,
    output: Output,
    schedule: Schedule,
    condition: Option<Condition>,
    /// The inputs for the conditions of the particles, empty where it is asked under none.
    under: Arc<[f64]>,
}

/// A network at a level: p x̂₀ + q ε̂ = `of_x` x + `of_output` F, where F is that of `scale` x and `bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Factor of x on its way in.
    pub scale: f64,
    /// Bias of the first layer, with the features of time in it.
    pub bias: Vec<f64>,
    /// Factor of x.
    pub of_x: f64,
    /// Factor of F.
    pub of_output: f64,
}

impl Network {
    /// The network of `layers` with `activation` between them, trained on `schedule`; points have the dimension of the last
    /// layer's outputs, and the first layer takes them with the features of `time` behind.
    ///
    /// # Errors
    /// [`NetworkError`] when the shapes do not fit or a number is not finite.
    pub fn new(
        layers: Vec<Layer>,
        activation: Activation,
        time: Option<Time>,
        output: Output,
        schedule: Schedule,
    ) -> Result<Self, NetworkError> {
        Self::conditional(layers, activation, time, output, schedule, None)
    }

    /// As [`Network::new`], with the inputs of `condition` behind the features of time. As it is, it is the network under no condition;
    /// [`Network::under`] gives it those of the particles.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn conditional(
        layers: Vec<Layer>,
        activation: Activation,
        time: Option<Time>,
        output: Output,
        schedule: Schedule,
        condition: Option<Condition>,
    ) -> Result<Self, NetworkError> {
        let dim = layers.last().ok_or(NetworkError::Empty)?.outputs();
        let network = Self { layers, activation, time, output, schedule, condition, under: Arc::new([]) };
        if let Some(Time { features: Features::Waves { omega, .. }, .. }) = &network.time
            && let Some(index) = omega.iter().position(|omega| !omega.is_finite())
        {
            return Err(NetworkError::NotFinite { tensor: "frequencies".into(), index, value: omega[index] });
        }
        let (features, told) = (network.features(), network.condition.as_ref().map_or(0, Condition::width));
        let mut expected = dim + features + told;
        let mut why = format!("{dim} outputs of the last layer and {features} features of time");
        if network.condition.is_some() {
            why.push_str(&format!(", and {told} inputs of the condition"));
        }
        for layer in &network.layers {
            let (name, outputs, found) = (layer.name.clone(), layer.outputs(), layer.weight.len());
            if outputs == 0 || found == 0 || !found.is_multiple_of(outputs) {
                return Err(NetworkError::Ragged { layer: name, found, outputs });
            }
            if layer.inputs() != expected {
                return Err(NetworkError::Inputs { layer: name, outputs, found: layer.inputs(), expected, why });
            }
            for (part, values) in [("weight", &layer.weight), ("bias", &layer.bias)] {
                if let Some(index) = values.iter().position(|x| !x.is_finite()) {
                    let tensor = format!("{name}.{part}");
                    return Err(NetworkError::NotFinite { tensor, index, value: values[index] });
                }
            }
            expected = outputs;
            why = format!("\"{name}\" has {outputs} outputs");
        }
        match output {
            Output::Preconditioned { sigma_data } if !(sigma_data > 0.0 && sigma_data.is_finite()) => {
                Err(NetworkError::SigmaData(sigma_data))
            }
            _ => Ok(network),
        }
    }

    /// Dimension d of the points.
    pub fn dim(&self) -> usize {
        self.layers.last().map_or(0, Layer::outputs)
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The function between the layers.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// How it is told the time, if it is.
    pub fn time(&self) -> Option<&Time> {
        self.time.as_ref()
    }

    /// What its output means.
    pub fn output(&self) -> Output {
        self.output
    }

    /// The schedule it was trained on.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What it is told beside the point and the time, if it is.
    pub fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
    }

    /// The columns of the first layer that multiply x and, where it is asked under conditions, theirs: outputs × (d + width).
    fn weight_of_particle(&self) -> Vec<f64> {
        let (first, told) = (&self.layers[0], self.told(0).len());
        let rows = first.weight.chunks_exact(first.inputs());
        rows.flat_map(|row| row[..self.dim()].iter().chain(&row[row.len() - told..])).copied().collect()
    }

    /// How p x̂₀ + q ε̂ at `level` comes out of the network.
    ///
    /// # Errors
    /// [`LevelError`] where the network does not determine it.
    pub fn read(&self, level: Level, p: f64, q: f64) -> Result<Reading, LevelError> {
        let (own, shift) = self.schedule.same_noise(level)?;
        let Level { alpha, sigma, .. } = own;
        let (scale, of_x, of_output) = match self.output {
            Output::Prediction(prediction) => {
                let undetermined = LevelError::Undetermined { prediction, alpha: level.alpha, sigma: level.sigma };
                let (of_x, of_output) = combination(prediction, (p, q), own).ok_or(undetermined)?;
                (1.0, of_x, of_output)
            }
            Output::Preconditioned { sigma_data } => {
                let signal = alpha * sigma_data;
                let total = sigma.hypot(signal);
                let of_x = (p * signal * sigma_data + q * sigma) / (total * total);
                (1.0 / total, of_x, (p * sigma * sigma_data - q * signal) / total)
            }
        };
        Ok(Reading { scale: shift * scale, bias: self.first_bias(own)?, of_x: shift * of_x, of_output })
    }

    /// What the network predicts at one point `x`, layer by layer in f64: the reference of the backends. A preconditioned network
    /// predicts x̂₀.
    ///
    /// # Errors
    /// [`LevelError`] where the network does not determine it.
    pub fn predict(&self, level: Level, x: &[f64]) -> Result<Vec<f64>, LevelError> {
        let (p, q) = match self.output {
            Output::Prediction(prediction) => prediction.coefficients(level),
            Output::Preconditioned { .. } => (1.0, 0.0),
        };
        self.evaluate(level, (p, q), x)
    }

    /// p x̂₀ + q ε̂ at one point `x`, with `of` = (p, q), layer by layer in f64; under the first of its conditions, if it has any.
    ///
    /// # Errors
    /// [`LevelError`] where the network does not determine it.
    pub fn evaluate(&self, level: Level, of: (f64, f64), x: &[f64]) -> Result<Vec<f64>, LevelError> {
        Ok(self.pass(level, of, (0, x), &[])?.0)
    }

    /// Whether noise is known at the end of the network's own schedule.
    pub fn is_regular_at_data(&self) -> bool {
        self.read(self.schedule.level(1.0), 0.0, 1.0).is_ok()
    }

    /// Features of time.
    fn features(&self) -> usize {
        self.time.as_ref().map_or(0, |time| time.features.count())
    }

    /// b_1 + W_1 (0, φ(c)).
    fn first_bias(&self, level: Level) -> Result<Vec<f64>, LevelError> {
        let first = &self.layers[0];
        let Some(time) = &self.time else { return Ok(first.bias.clone()) };
        let features = time.features(level)?;
        let rows = first.weight.chunks_exact(first.inputs());
        let product = |row: &[f64]| row[self.dim()..].iter().zip(&features).map(|(w, f)| w * f).sum::<f64>();
        Ok(rows.zip(&first.bias).map(|(row, b)| b + product(row)).collect())
    }
}
