//! A network's evaluation: one forward pass, and the combination with x that the step asks for.

use crate::backend::{Backend, BackendError, Dense, Reals, Rows};
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::{FieldError, Network};

/// A network with its weights on a device.
pub struct Forward<B: Backend> {
    network: Network,
    /// W and b of each layer; of the first W the columns of x and of the condition.
    layers: Vec<(Reals<B>, Reals<B>)>,
}

impl<B: Backend> Forward<B> {
    pub fn new(backend: &B, network: &Network) -> Result<Self, BackendError> {
        let first = network.weight_of_particle();
        let weights = std::iter::once(&first).chain(network.layers()[1..].iter().map(|layer| &layer.weight));
        let layers = weights
            .zip(network.layers())
            .map(|(weight, layer)| Ok((backend.upload_reals(weight)?, backend.upload_reals(&layer.bias)?)));
        Ok(Self { network: network.clone(), layers: layers.collect::<Result<_, BackendError>>()? })
    }
}

impl<B: Backend> Forward<B> {
    /// (x, y/s) for each particle, so that the network, which scales them, is given (s x, y).
    fn with_conditions(&self, points: &[f64], scale: f64) -> Vec<f64> {
        let told = |particle| self.network.told(particle).iter().map(move |y| y / scale);
        points.chunks_exact(self.network.dim()).enumerate().flat_map(|(i, x)| x.iter().copied().chain(told(i))).collect()
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
        let (d, told) = (self.network.dim(), self.network.told(0).len());
        let particles;
        let points = if told == 0 {
            &registers_in[src]
        } else {
            particles = self.with_conditions(&backend.download_reals(&registers_in[src])?, reading.scale);
            &backend.upload_reals(&particles)?
        };
        let rows = Rows { points, n, d: d + told };
        backend.perceptron(rows, reading.scale, &layers, self.network.activation(), &mut output[0])?;
        Ok(backend.combine(registers, dst, &[(src, reading.of_x), (last, reading.of_output)])?)
    }
}
