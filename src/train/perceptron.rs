//! The loss of a multilayer perceptron and its gradient, by reverse mode over the layers.
//!
//! ```text
//! h_0 = input     z_l = W_l h_{l−1} + b_l     h_l = a(z_l)     F = z_L        L = (1/B) Σ_rows |F − y|²
//! δ_L = (2/B)(F − y)     δ_l = a′(z_l) ⊙ W_{l+1}ᵀ δ_{l+1}        ∂L/∂W_l = Σ_rows δ_l h_{l−1}ᵀ     ∂L/∂b_l = Σ_rows δ_l
//! ```
//!
//! Three products of B × n × m a layer, one forward and two back. A few rows go through all layers together; the sums over the batch
//! are taken block of weights by block of weights, rows in order.

use rayon::prelude::*;

use crate::backend::Real;
use crate::backend::cpu::gemm::{Gemm, Matrix, gemm};
use crate::field::network::Layer;
use crate::program::Activation;
use crate::random::{Philox, Stream};

/// Rows that go through the layers together.
const ROWS: usize = 64;
/// Outputs of a layer whose weights' gradients are summed together.
const OUTPUTS: usize = 64;

/// The numbers of inputs and of the outputs of each layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widths(pub Vec<usize>);

impl Widths {
    /// Inputs and outputs of each layer.
    fn layers(&self) -> impl DoubleEndedIterator<Item = [usize; 2]> + ExactSizeIterator + Clone + '_ {
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

/// A perceptron to be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Perceptron {
    /// Its widths.
    pub widths: Widths,
    /// Between the layers.
    pub activation: Activation,
}

/// Some rows on their way: what each layer took, the slopes of its activations, and what came back.
struct Rows<T> {
    /// h_0 … h_{L−1}.
    taken: Vec<Vec<T>>,
    /// a′(z_1) … a′(z_{L−1}).
    slopes: Vec<Vec<T>>,
    /// δ_1 … δ_L.
    back: Vec<Vec<T>>,
    /// Σ |F − y|².
    squares: f64,
}

impl Perceptron {
    /// L and its gradient at `weights`, on `inputs` and the outputs `wanted` of a batch, B rows each.
    pub fn loss<T: Real + Gemm>(&self, weights: &[T], inputs: &[T], wanted: &[T]) -> (f64, Vec<T>) {
        let (&first, &last) = match &self.widths.0[..] {
            [first, .., last] => (first, last),
            _ => return (0.0, Vec::new()),
        };
        let batch = wanted.len() / last;
        let parts = inputs.par_chunks(ROWS * first).zip(wanted.par_chunks(ROWS * last));
        let all: Vec<Rows<T>> = parts.map(|(inputs, wanted)| self.rows(weights, inputs, wanted, batch)).collect();
        let loss = all.iter().map(|rows| rows.squares).sum::<f64>() / batch as f64;
        (loss, self.gradient(&all))
    }

    /// Forward and back for some rows.
    fn rows<T: Real + Gemm>(&self, weights: &[T], inputs: &[T], wanted: &[T], batch: usize) -> Rows<T> {
        let layers = self.widths.layers();
        let (n, count) = (inputs.len() / self.widths.0[0], layers.len());
        let mut places = Vec::with_capacity(count);
        let mut at = 0;
        for [inputs, outputs] in layers.clone() {
            places.push(at);
            at += (inputs + 1) * outputs;
        }
        let mut rows = Rows { taken: vec![inputs.to_vec()], slopes: Vec::new(), back: Vec::new(), squares: 0.0 };
        let mut z = Vec::new();
        for (l, [inputs, outputs]) in layers.clone().enumerate() {
            let (weight, rest) = weights[places[l]..].split_at(inputs * outputs);
            z = rest[..outputs].repeat(n);
            let (taken, weight) = (Matrix(&rows.taken[l][..], [inputs, 1]), Matrix(weight, [1, inputs]));
            gemm([n, inputs, outputs], taken, weight, T::ONE, Matrix(&mut z, [outputs, 1]));
            if l + 1 < count {
                let both = z.iter().map(|z| self.activation.with_slope(z.to_f64()));
                let (values, slopes) = both.map(|(value, slope)| (T::from_f64(value), T::from_f64(slope))).unzip();
                rows.taken.push(values);
                rows.slopes.push(slopes);
            }
        }
        let off = |(f, y): (&T, &T)| f.to_f64() - y.to_f64();
        rows.squares = z.iter().zip(wanted).map(off).map(|off| off * off).sum();
        let mut back: Vec<T> = z.iter().zip(wanted).map(|pair| T::from_f64(2.0 / batch as f64 * off(pair))).collect();
        for (l, [inputs, outputs]) in layers.enumerate().rev() {
            let mut before = Vec::new();
            if l > 0 {
                before = vec![T::ZERO; n * inputs];
                let (delta, weight) = (Matrix(&back[..], [outputs, 1]), Matrix(&weights[places[l]..], [inputs, 1]));
                gemm([n, outputs, inputs], delta, weight, T::ZERO, Matrix(&mut before, [inputs, 1]));
                let slopes = &rows.slopes[l - 1];
                before.iter_mut().zip(slopes).for_each(|(b, slope)| *b = T::from_f64(b.to_f64() * slope.to_f64()));
            }
            rows.back.push(std::mem::replace(&mut back, before));
        }
        rows.back.reverse();
        rows
    }

    /// ∂L/∂W and ∂L/∂b of all layers.
    fn gradient<T: Real + Gemm>(&self, all: &[Rows<T>]) -> Vec<T> {
        let mut gradient = vec![T::ZERO; self.widths.weights()];
        let (mut blocks, mut rest) = (Vec::new(), &mut gradient[..]);
        for (l, [inputs, outputs]) in self.widths.layers().enumerate() {
            let (mut weight, behind) = rest.split_at_mut(inputs * outputs);
            let (mut bias, behind) = behind.split_at_mut(outputs);
            rest = behind;
            for first in (0..outputs).step_by(OUTPUTS) {
                let count = OUTPUTS.min(outputs - first);
                let (block, after) = weight.split_at_mut(count * inputs);
                let (biases, after_bias) = bias.split_at_mut(count);
                (weight, bias) = (after, after_bias);
                blocks.push((l, first, block, biases));
            }
        }
        blocks.into_par_iter().for_each(|(l, first, block, biases)| {
            let (inputs, outputs) = (self.widths.0[l], self.widths.0[l + 1]);
            let count = biases.len();
            let mut sums = vec![0.0; count];
            for rows in all {
                let (back, taken) = (&rows.back[l], &rows.taken[l]);
                let n = taken.len() / inputs;
                for row in back.chunks_exact(outputs) {
                    sums.iter_mut().zip(&row[first..first + count]).for_each(|(sum, delta)| *sum += delta.to_f64());
                }
                let (delta, taken) = (Matrix(&back[first..], [1, outputs]), Matrix(&taken[..], [inputs, 1]));
                gemm([count, n, inputs], delta, taken, T::ONE, Matrix(&mut *block, [inputs, 1]));
            }
            biases.iter_mut().zip(sums).for_each(|(bias, sum)| *bias = T::from_f64(sum));
        });
        gradient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVATIONS: [Activation; 6] =
        [Activation::Relu, Activation::Silu, Activation::Tanh, Activation::Gelu, Activation::GeluTanh, Activation::Softplus];

    fn numbers(count: usize, seed: u32) -> Vec<f64> {
        let philox = Philox::new(seed, Stream::Metric);
        (0..count).map(|k| 2.0 * philox.uniform(k as u32, 0, 0) - 1.0).collect()
    }

    /// Central differences along the axes: h² of truncation, 1e-16/h of rounding.
    #[test]
    fn gradients_are_those_of_central_differences() {
        for activation in ACTIVATIONS {
            let perceptron = Perceptron { widths: Widths(vec![3, 7, 5, 2]), activation };
            let mut weights: Vec<f64> = perceptron.widths.initial(1);
            let (inputs, wanted) = (numbers(3 * 150, 2), numbers(2 * 150, 3));
            let (_, gradient) = perceptron.loss(&weights, &inputs, &wanted);
            assert_eq!(gradient.len(), weights.len());
            for k in 0..weights.len() {
                let (h, at) = (1e-5, weights[k]);
                let mut loss = |moved: f64| {
                    weights[k] = moved;
                    perceptron.loss(&weights, &inputs, &wanted).0
                };
                let difference = (loss(at + h) - loss(at - h)) / (2.0 * h);
                weights[k] = at;
                assert!((gradient[k] - difference).abs() < 1e-8, "{activation:?}, weight {k}: {} {difference}", gradient[k]);
            }
        }
    }

    /// In single precision too, and the same bits on one thread and on three.
    #[test]
    fn the_gradient_does_not_depend_on_the_threads_and_hardly_on_the_precision() {
        let perceptron = Perceptron { widths: Widths(vec![10, 130, 70, 3]), activation: Activation::Silu };
        let double: Vec<f64> = perceptron.widths.initial(4);
        let single: Vec<f32> = perceptron.widths.initial(4);
        let (inputs, wanted) = (numbers(10 * 333, 5), numbers(3 * 333, 6));
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let (loss, exact) = perceptron.loss(&double, &inputs, &wanted);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| perceptron.loss(&single, &narrow(&inputs), &narrow(&wanted)))
        };
        let (one, three) = (on(1), on(3));
        assert_eq!(one, three);
        assert!((one.0 - loss).abs() < 1e-6 * loss);
        let largest = exact.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        assert!(one.1.iter().zip(&exact).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5 * largest));
    }
}
