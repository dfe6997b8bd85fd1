//! The potential of a network whose one output is an energy, with its gradient by reverse mode, in f64.

use crate::backend::cpu::tape::Tape;
use crate::field::network::{Layer, Output};
use crate::field::{Field, Network, Potential};
use crate::program::Activation;

/// Points that pass together.
const POINTS: usize = 1024;

/// V of a network.
pub struct Energy {
    widths: Vec<usize>,
    activation: Activation,
    /// Of all layers, in the order of a [`Tape`].
    weights: Vec<f64>,
}

impl Network {
    /// V, where that is what the network gives.
    pub fn energy(&self) -> Option<Energy> {
        let widths = std::iter::once(self.dim()).chain(self.layers.iter().map(Layer::outputs)).collect();
        let weights = self.layers.iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias)).copied().collect();
        (self.output == Output::Energy).then_some(Energy { widths, activation: self.activation, weights })
    }
}

/// The field at all levels, or of an energy that at the data.
impl From<Network> for Field {
    fn from(network: Network) -> Self {
        network.energy().map_or(Self::Network(network), Self::potential)
    }
}

impl Energy {
    fn tape(&self) -> Tape<f64> {
        Tape::new(&self.widths, self.activation)
    }
}

impl Potential for Energy {
    fn dim(&self) -> usize {
        self.widths[0]
    }

    fn value(&self, x: &[f64]) -> f64 {
        self.tape().values(&self.weights, x)[0]
    }

    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        self.tape().slope(&self.weights, x, x.len(), out);
    }

    fn gradients(&self, points: &[f64], out: &mut [f64]) {
        let (mut tape, len) = (self.tape(), POINTS * self.dim());
        for (points, out) in points.chunks(len).zip(out.chunks_mut(len)) {
            tape.slope(&self.weights, points, self.dim(), out);
        }
    }
}
