//! The widths of a multilayer perceptron, its weights in a row, and where they start.

use crate::backend::Real;
use crate::field::network::Layer;
use crate::random::{Philox, Stream};

/// The numbers of inputs and of the outputs of each layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widths(pub Vec<usize>);

impl Widths {
    /// Inputs and outputs of each layer.
    fn layers(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        self.0.windows(2).map(|pair| [pair[0], pair[1]])
    }

    /// Weights and biases.
    pub fn weights(&self) -> usize {
        self.layers().map(|[inputs, outputs]| (inputs + 1) * outputs).sum()
    }

    /// Weights drawn uniformly from ±1/√inputs, as PyTorch draws them.
    pub fn initial<T: Real>(&self, seed: u32) -> Vec<T> {
        let philox = Philox::new(seed, Stream::Training);
        let mut weights = Vec::with_capacity(self.weights());
        for (l, [inputs, outputs]) in self.layers().enumerate() {
            let bound = 1.0 / (inputs as f64).sqrt();
            let draw = |k: usize| T::from_f64(bound * (2.0 * philox.uniform(k as u32, l as u32, INITIAL) - 1.0));
            weights.extend((0..(inputs + 1) * outputs).map(draw));
        }
        weights
    }

    /// The layers with these weights, named as in PyTorch's `Sequential`.
    pub fn named<T: Real>(&self, weights: &[T]) -> Vec<Layer> {
        let mut at = 0;
        let layer = |(l, [inputs, outputs]): (usize, [usize; 2])| {
            let numbers = |from: usize, count: usize| weights[from..from + count].iter().map(|w| w.to_f64()).collect();
            let (weight, bias) = (numbers(at, inputs * outputs), numbers(at + inputs * outputs, outputs));
            at += (inputs + 1) * outputs;
            Layer { name: (2 * l).to_string(), weight, bias }
        };
        self.layers().enumerate().map(layer).collect()
    }
}

/// The draw of the initial weights.
const INITIAL: u32 = u32::MAX;
