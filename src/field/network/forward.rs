//! A network's evaluation: one forward pass, and the combination with x that the step asks for.

use crate::backend::{Backend, BackendError, Dense, Reals, Rows};
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::{FieldError, Network};

/// A network with its weights on a device.
pub struct Forward<B: Backend> {
    network: Network,
    /// W and b of each layer; of the first W the columns of x alone.
    layers: Vec<(Reals<B>, Reals<B>)>,
}

impl<B: Backend> Forward<B> {
    pub fn new(backend: &B, network: &Network) -> Result<Self, BackendError> {
        let first = network.weight_of_x();
        let weights = std::iter::once(&first).chain(network.layers()[1..].iter().map(|layer| &layer.weight));
        let layers = weights
            .zip(network.layers())
            .map(|(weight, layer)| Ok((backend.upload_reals(weight)?, backend.upload_reals(&layer.bias)?)));
        Ok(Self { network: network.clone(), layers: layers.collect::<Result<_, BackendError>>()? })
    }
}

impl<B: Backend> Evaluate<B> for Forward<B> {
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError> {
        let Evaluation { level, of: (p, q), n, src, dst } = evaluation;
        let reading = self.network.read(level, p, q)?;
        self.layers[0].1 = backend.upload_reals(&reading.bias)?;
        let layers: Vec<Dense<'_, B>> = self.layers.iter().map(|(weight, bias)| Dense { weight, bias }).collect();
        let last = registers.len() - 1;
        let (registers_in, output) = registers.split_at_mut(last);
        let d = self.network.dim();
        let rows = Rows { points: &registers_in[src], n, d };
        backend.perceptron(rows, reading.scale, &layers, self.network.activation(), &mut output[0])?;
        Ok(backend.combine(registers, dst, &[(src, reading.of_x), (last, reading.of_output)])?)
    }
}
