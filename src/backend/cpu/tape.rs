//! The passes over the layers of a perceptron: forward, back, and along a tangent; and the sums over a batch that are gradients.
//!
//! ```text
//! h_0 = x     z_l = W_l h_{l−1} + b_l     h_l = a(z_l)     F = z_L
//! δ_L = ∂L/∂F     r_l = W_{l+1}ᵀ δ_{l+1}     δ_l = a′(z_l) ⊙ r_l            ∂L/∂W_l = Σ δ_l h_{l−1}ᵀ     ∂L/∂b_l = Σ δ_l
//! ```
//!
//! A loss of ∇V, the gradient of the one output in x, has a gradient in the weights that is a second one: it is that of the derivative
//! V̇ of V along u = ∂L/∂(∇V), which a tangent carries forward. Reverse mode over both, in which the adjoint of ż_l is the δ_l there is:
//!
//! ```text
//! ḣ_0 = u     ż_l = W_l ḣ_{l−1}     ḣ_l = a′(z_l) ⊙ ż_l
//! z̄_L = 0     z̄_l = a″(z_l) ⊙ ż_l ⊙ r_l + a′(z_l) ⊙ W_{l+1}ᵀ z̄_{l+1}
//! ∂L/∂W_l = Σ (δ_l ḣ_{l−1}ᵀ + z̄_l h_{l−1}ᵀ)     ∂L/∂b_l = Σ z̄_l
//! ```
//!
//! Six products of B × n × m a layer where a loss of F has three. Some rows go through the layers together; the sums over the
//! batch are taken block of weights by block of weights, rows in order, so that their bits do not depend on the threads.

mod derivatives;

use std::ops::Range;
use std::slice::ChunksMut;

use rayon::prelude::*;

use crate::backend::cpu::Isa;
use crate::backend::cpu::gemm::{Matrix, gemm};
use crate::backend::cpu::lane::{Kernel, Lane, Simd, load_part, steps, store_part};
use crate::program::Activation;

use derivatives::activate;

/// Rows that go through the layers together.
const ROWS: usize = 128;
/// Outputs of a layer whose weights' gradients are summed together.
const OUTPUTS: usize = 64;

/// What a loss makes of some rows: of what they give, their share of the loss, and its derivative in what they give.
pub type Seed<'a, T> = &'a (dyn Fn(Range<usize>, &[T], &mut [T]) -> f64 + Sync);

/// What the layers took and gave for a batch, and the gradient of a loss in the weights. It is used again from step to step.
#[derive(Clone, Debug)]
pub struct Tape<T> {
    activation: Activation,
    layers: Vec<Shape>,
    /// h_0 … h_{L−1} and F.
    taken: Vec<Vec<T>>,
    /// a′(z_1) … a′(z_{L−1}).
    slopes: Vec<Vec<T>>,
    /// δ_1 … δ_L.
    back: Vec<Vec<T>>,
    /// a″(z_l), then a″(z_l) ⊙ r_l, then that ⊙ ż_l.
    curves: Vec<Vec<T>>,
    /// ḣ_0 … ḣ_{L−1}.
    tangents: Vec<Vec<T>>,
    /// z̄_1 … z̄_{L−1}.
    adjoints: Vec<Vec<T>>,
    /// Of the last loss and of those added to it, in the order of the weights.
    pub gradient: Vec<T>,
}

/// A layer, and where its weights begin.
#[derive(Clone, Copy, Debug)]
struct Shape {
    inputs: usize,
    outputs: usize,
    at: usize,
}

/// The rows of one block, layer by layer; the fields are those of [`Tape`].
struct Block<'a, T> {
    rows: Range<usize>,
    taken: Vec<&'a mut [T]>,
    slopes: Vec<&'a mut [T]>,
    back: Vec<&'a mut [T]>,
    curves: Vec<&'a mut [T]>,
    tangents: Vec<&'a mut [T]>,
    adjoints: Vec<&'a mut [T]>,
}

impl<T: Simd> Tape<T> {
    /// An empty tape of the perceptron with these `widths`, of the input and of each layer, and `activation` between the layers. Its weights
    /// are each layer's W, outputs × inputs, and b, one layer after the other.
    pub fn new(widths: &[usize], activation: Activation) -> Self {
        let mut at = 0;
        let shapes = widths.windows(2).map(|pair| {
            let [inputs, outputs] = [pair[0], pair[1]];
            let shape = Shape { inputs, outputs, at };
            at += (inputs + 1) * outputs;
            shape
        });
        let layers: Vec<Shape> = shapes.collect();
        let none = || vec![Vec::new(); layers.len()];
        let [slopes, curves, adjoints] = [(); 3].map(|()| vec![Vec::new(); layers.len().saturating_sub(1)]);
        Self {
            activation,
            taken: vec![Vec::new(); layers.len() + 1],
            slopes,
            back: none(),
            curves,
            tangents: none(),
            adjoints,
            gradient: vec![T::ZERO; at],
            layers,
        }
    }

    /// Forgets the gradient.
    pub fn clear(&mut self) {
        self.gradient.fill(T::ZERO);
    }

    /// The mean of |F − y|² over the rows of `inputs` and `wanted`, whose gradient takes the place of what was there.
    pub fn regress(&mut self, weights: &[T], inputs: &[T], wanted: &[T]) -> f64 {
        let outputs = self.layers.last().map_or(1, |last| last.outputs);
        let share = outputs as f64 / wanted.len() as f64;
        self.clear();
        self.add_loss(weights, inputs, &|rows, found, seed| {
            let wanted = &wanted[rows.start * outputs..rows.end * outputs];
            toward(found, wanted, share, seed)
        })
    }

    /// Adds the gradient of a loss of F at `weights` and `inputs`; the loss, the sum of the shares of `seed`.
    pub fn add_loss(&mut self, weights: &[T], inputs: &[T], seed: Seed<'_, T>) -> f64 {
        let layers = self.layers.clone();
        let Some(first) = layers.first() else { return 0.0 };
        let activation = self.activation;
        let pass = |mut block: Block<'_, T>| {
            block.forward(&layers, activation, weights, &inputs[block.rows.start * first.inputs..]);
            let outputs = &block.taken[layers.len()][..];
            let share = seed(block.rows.clone(), outputs, block.back[layers.len() - 1]);
            block.backward(&layers, weights);
            share
        };
        let loss = self.blocks(inputs.len() / first.inputs, 0).into_par_iter().map(pass).collect::<Vec<f64>>().iter().sum();
        sums(&mut self.gradient, &layers, (&self.back, &self.taken), true);
        loss
    }

    /// Adds the gradient of a loss of ∇V, the gradient of the one output in the first `d` inputs, n × d; the loss.
    pub fn add_loss_of_slope(&mut self, weights: &[T], inputs: &[T], d: usize, seed: Seed<'_, T>) -> f64 {
        let layers = self.layers.clone();
        let Some(first) = layers.first() else { return 0.0 };
        let activation = self.activation;
        let pass = |mut block: Block<'_, T>| {
            block.forward(&layers, activation, weights, &inputs[block.rows.start * first.inputs..]);
            block.back[layers.len() - 1].fill(T::ONE);
            block.backward(&layers, weights);
            let mut slope = vec![T::ZERO; block.rows.len() * d];
            block.slope(first, weights, d, &mut slope);
            let share = seed(block.rows.clone(), &slope, block.tangents[0]);
            block.tangent(&layers, weights, d);
            block.adjoint(&layers, weights);
            share
        };
        let blocks = self.blocks(inputs.len() / first.inputs, d);
        let loss = blocks.into_par_iter().map(pass).collect::<Vec<f64>>().iter().sum();
        sums(&mut self.gradient, &layers, (&self.back, &self.tangents), false);
        sums(&mut self.gradient, &layers[..layers.len() - 1], (&self.adjoints, &self.taken), true);
        loss
    }

    /// F at `inputs`, n × outputs.
    pub fn values(&mut self, weights: &[T], inputs: &[T]) -> &[T] {
        let layers = self.layers.clone();
        let Some(first) = layers.first() else { return &[] };
        let activation = self.activation;
        let blocks = self.blocks(inputs.len() / first.inputs, 0);
        blocks.into_par_iter().for_each(|mut block| {
            block.forward(&layers, activation, weights, &inputs[block.rows.start * first.inputs..]);
        });
        &self.taken[layers.len()]
    }

    /// Writes ∇V at `inputs`, n × inputs, in the first `d` of them to `out`, n × d.
    pub fn slope(&mut self, weights: &[T], inputs: &[T], d: usize, out: &mut [T]) {
        let layers = self.layers.clone();
        let Some(first) = layers.first() else { return };
        let activation = self.activation;
        let blocks = self.blocks(inputs.len() / first.inputs, 0);
        blocks.into_par_iter().zip(out.par_chunks_mut(ROWS * d)).for_each(|(mut block, out)| {
            block.forward(&layers, activation, weights, &inputs[block.rows.start * first.inputs..]);
            block.back[layers.len() - 1].fill(T::ONE);
            block.backward(&layers, weights);
            block.slope(first, weights, d, out);
        });
    }

    /// Room for `batch` rows, in blocks; for the tangent of `d` inputs unless there are none.
    fn blocks(&mut self, batch: usize, d: usize) -> Vec<Block<'_, T>> {
        let outputs: Vec<usize> = self.layers.iter().map(|layer| layer.outputs).collect();
        let inputs: Vec<usize> = self.layers.iter().map(|layer| layer.inputs).collect();
        let taken = [&inputs[..], &outputs[outputs.len() - 1..]].concat();
        let tangents = [&[d], &inputs[1..]].concat();
        // Without a tangent the arrays of the second derivative stay empty.
        let second = if d > 0 { batch } else { 0 };
        let mut taken = parts(&mut self.taken, &taken, batch);
        let (mut slopes, mut back) = (parts(&mut self.slopes, &outputs, batch), parts(&mut self.back, &outputs, batch));
        let mut curves = parts(&mut self.curves, &outputs, second);
        let mut tangents = parts(&mut self.tangents, &tangents, second);
        let mut adjoints = parts(&mut self.adjoints, &outputs, second);
        let block = |first: usize| Block {
            rows: first..batch.min(first + ROWS),
            taken: next(&mut taken),
            slopes: next(&mut slopes),
            back: next(&mut back),
            curves: next(&mut curves),
            tangents: next(&mut tangents),
            adjoints: next(&mut adjoints),
        };
        (0..batch).step_by(ROWS).map(block).collect()
    }
}

/// Each of `arrays` with `rows` rows of its width, in parts of [`ROWS`].
fn parts<'a, T: Simd>(arrays: &'a mut [Vec<T>], widths: &[usize], rows: usize) -> Vec<ChunksMut<'a, T>> {
    let parts = arrays.iter_mut().zip(widths).map(|(array, width)| {
        array.resize(rows * width, T::ZERO);
        array.chunks_mut(ROWS * width.max(&1))
    });
    parts.collect()
}

/// The next part of each array.
fn next<'a, T>(parts: &mut [ChunksMut<'a, T>]) -> Vec<&'a mut [T]> {
    parts.iter_mut().map(|part| part.next().unwrap_or_default()).collect()
}

impl<T: Simd> Block<'_, T> {
    /// h_l, a′(z_l) and, where there is room for them, a″(z_l) of all layers; the rows are the first of `inputs`.
    fn forward(&mut self, layers: &[Shape], activation: Activation, weights: &[T], inputs: &[T]) {
        let n = self.rows.len();
        let first = self.taken[0].len();
        self.taken[0].copy_from_slice(&inputs[..first]);
        for (l, shape) in layers.iter().enumerate() {
            let (weight, bias) = weights[shape.at..].split_at(shape.inputs * shape.outputs);
            let (before, after) = self.taken.split_at_mut(l + 1);
            let z = &mut *after[0];
            z.chunks_exact_mut(shape.outputs).for_each(|row| row.copy_from_slice(&bias[..shape.outputs]));
            let (taken, weight) = (Matrix(&*before[l], [shape.inputs, 1]), Matrix(weight, [1, shape.inputs]));
            gemm([n, shape.inputs, shape.outputs], taken, weight, T::ONE, Matrix(&mut *z, [shape.outputs, 1]));
            if l + 1 < layers.len() {
                activate(activation, z, self.slopes[l], self.curves[l]);
            }
        }
    }

    /// δ_l of all layers from that of the last, and a″(z_l) ⊙ r_l.
    fn backward(&mut self, layers: &[Shape], weights: &[T]) {
        for (l, shape) in layers.iter().enumerate().skip(1).rev() {
            let (before, after) = self.back.split_at_mut(l);
            let below = &mut *before[l - 1];
            transposed(shape, weights, self.rows.len(), after[0], below);
            T::dispatch(Isa::detect(), Backward { r: below, slopes: self.slopes[l - 1], curves: self.curves[l - 1] });
        }
    }

    /// ∇V in the first `d` inputs.
    fn slope(&self, first: &Shape, weights: &[T], d: usize, out: &mut [T]) {
        let (delta, weight) = (Matrix(&*self.back[0], [first.outputs, 1]), Matrix(&weights[first.at..], [first.inputs, 1]));
        gemm([self.rows.len(), first.outputs, d], delta, weight, T::ZERO, Matrix(out, [d, 1]));
    }

    /// ḣ_l of all layers from that of the input, and a″(z_l) ⊙ r_l ⊙ ż_l.
    fn tangent(&mut self, layers: &[Shape], weights: &[T], d: usize) {
        for (l, shape) in layers[..layers.len() - 1].iter().enumerate() {
            let inputs = if l == 0 { d } else { shape.inputs };
            let (before, after) = self.tangents.split_at_mut(l + 1);
            let z = &mut *after[0];
            let (taken, weight) = (Matrix(&*before[l], [inputs, 1]), Matrix(&weights[shape.at..], [1, shape.inputs]));
            gemm([self.rows.len(), inputs, shape.outputs], taken, weight, T::ZERO, Matrix(&mut *z, [shape.outputs, 1]));
            T::dispatch(Isa::detect(), Backward { r: z, slopes: self.slopes[l], curves: self.curves[l] });
        }
    }

    /// z̄_l of all layers before the last.
    fn adjoint(&mut self, layers: &[Shape], weights: &[T]) {
        let inner = layers.len() - 1;
        if let Some(last) = self.adjoints.last_mut() {
            last.copy_from_slice(self.curves[inner - 1]);
        }
        for (l, shape) in layers[..inner].iter().enumerate().skip(1).rev() {
            let (before, after) = self.adjoints.split_at_mut(l);
            let below = &mut *before[l - 1];
            transposed(shape, weights, self.rows.len(), after[0], below);
            T::dispatch(Isa::detect(), Adjoint { h: below, slopes: self.slopes[l - 1], curves: self.curves[l - 1] });
        }
    }
}

/// Wᵀ `delta` of each row.
fn transposed<T: Simd>(shape: &Shape, weights: &[T], n: usize, delta: &[T], out: &mut [T]) {
    let (delta, weight) = (Matrix(delta, [shape.outputs, 1]), Matrix(&weights[shape.at..], [shape.inputs, 1]));
    gemm([n, shape.outputs, shape.inputs], delta, weight, T::ZERO, Matrix(out, [shape.inputs, 1]));
}

/// `share` · |found − wanted|², with its derivative in `seed`.
fn toward<T: Simd>(found: &[T], wanted: &[T], share: f64, seed: &mut [T]) -> f64 {
    let mut squares = 0.0;
    for ((found, wanted), seed) in found.iter().zip(wanted).zip(seed) {
        let off = found.to_f64() - wanted.to_f64();
        squares += off * off;
        *seed = T::from_f64(2.0 * share * off);
    }
    share * squares
}

/// `curves ← curves ⊙ r` where there are any, then `r ← slopes ⊙ r`.
struct Backward<'a, T> {
    r: &'a mut [T],
    slopes: &'a [T],
    curves: &'a mut [T],
}

impl<T: Simd> Kernel<T> for Backward<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let least = L::splat(T::from_f64(T::TINY));
        for at in steps(0..self.r.len(), L::N) {
            let r = load_part::<L>(&self.r[at..]);
            store_part(load_part::<L>(&self.slopes[at..]).mul(r).flush(least), &mut self.r[at..]);
            if !self.curves.is_empty() {
                store_part(load_part::<L>(&self.curves[at..]).mul(r).flush(least), &mut self.curves[at..]);
            }
        }
    }
}

/// `h ← curves + slopes ⊙ h`.
struct Adjoint<'a, T> {
    h: &'a mut [T],
    slopes: &'a [T],
    curves: &'a [T],
}

impl<T: Simd> Kernel<T> for Adjoint<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let least = L::splat(T::from_f64(T::TINY));
        for at in steps(0..self.h.len(), L::N) {
            let (h, slopes) = (load_part::<L>(&self.h[at..]), load_part::<L>(&self.slopes[at..]));
            store_part(slopes.mul_add(h, load_part(&self.curves[at..])).flush(least), &mut self.h[at..]);
        }
    }
}

/// Adds Σ `left` `right`ᵀ to the weights of each layer in `gradient`, and Σ `left` to the biases where `bias` says so. `right` may have
/// fewer columns than a layer has inputs: the first.
fn sums<T: Simd>(gradient: &mut [T], layers: &[Shape], (left, right): (&[Vec<T>], &[Vec<T>]), bias: bool) {
    let (mut jobs, mut rest) = (Vec::new(), gradient);
    for (l, &Shape { inputs, outputs, .. }) in layers.iter().enumerate() {
        let (mut weights, behind) = rest.split_at_mut(inputs * outputs);
        let (mut biases, behind) = behind.split_at_mut(outputs);
        rest = behind;
        for first in (0..outputs).step_by(OUTPUTS) {
            let count = OUTPUTS.min(outputs - first);
            let (block, after) = weights.split_at_mut(count * inputs);
            let (of_bias, after_biases) = biases.split_at_mut(count);
            (weights, biases) = (after, after_biases);
            jobs.push((l, first, block, of_bias));
        }
    }
    jobs.into_par_iter().for_each(|(l, first, block, of_bias)| {
        let Shape { inputs, outputs, .. } = layers[l];
        let rows = left[l].len() / outputs;
        let columns = right[l].len() / rows.max(1);
        let delta = &left[l][first.min(left[l].len())..];
        let (a, b) = (Matrix(delta, [1, outputs]), Matrix(&right[l][..], [columns, 1]));
        gemm([of_bias.len(), rows, columns], a, b, T::ONE, Matrix(block, [inputs, 1]));
        if bias {
            T::dispatch(Isa::detect(), ColumnSums { rows: delta, stride: outputs, sums: of_bias });
        }
    });
}

/// Adds the first columns of rows that are `stride` apart to `sums`.
struct ColumnSums<'a, T> {
    rows: &'a [T],
    stride: usize,
    sums: &'a mut [T],
}

impl<T: Simd> Kernel<T> for ColumnSums<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let count = self.sums.len();
        for at in steps(0..self.rows.len(), self.stride) {
            let row = &self.rows[at..][..count];
            for k in steps(0..count, L::N) {
                store_part(load_part::<L>(&self.sums[k..]).add(load_part(&row[k..])), &mut self.sums[k..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Philox, Stream};

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
            let mut tape = Tape::new(&[3, 7, 5, 2], activation);
            let mut weights = numbers(tape.gradient.len(), 1);
            let (inputs, wanted) = (numbers(3 * 150, 2), numbers(2 * 150, 3));
            tape.regress(&weights, &inputs, &wanted);
            let gradient = tape.gradient.clone();
            for k in 0..weights.len() {
                let (h, at) = (1e-5, weights[k]);
                let mut loss = |moved: f64| {
                    weights[k] = moved;
                    tape.regress(&weights, &inputs, &wanted)
                };
                let difference = (loss(at + h) - loss(at - h)) / (2.0 * h);
                weights[k] = at;
                assert!((gradient[k] - difference).abs() < 1e-8, "{activation:?}, weight {k}: {} {difference}", gradient[k]);
            }
        }
    }

    /// The second derivative too, of the weights that a loss of ∇V depends on and of those that it does not.
    #[test]
    fn gradients_of_a_loss_of_the_slope_are_those_of_central_differences() {
        for activation in &ACTIVATIONS[1..] {
            for (widths, d) in [(&[3, 7, 5, 1][..], 3), (&[4, 6, 1], 2), (&[2, 3, 4, 3, 1], 2)] {
                let mut tape = Tape::new(widths, *activation);
                let mut weights = numbers(tape.gradient.len(), 1);
                let (inputs, wanted) = (numbers(widths[0] * 150, 2), numbers(d * 150, 3));
                let loss = |tape: &mut Tape<f64>, weights: &[f64]| {
                    tape.clear();
                    tape.add_loss_of_slope(weights, &inputs, d, &|rows, slope, seed| {
                        toward(slope, &wanted[rows.start * d..rows.end * d], 1.0 / 150.0, seed)
                    })
                };
                loss(&mut tape, &weights);
                let gradient = tape.gradient.clone();
                for k in 0..weights.len() {
                    let (h, at) = (1e-5, weights[k]);
                    let mut moved = |to: f64| {
                        weights[k] = to;
                        loss(&mut tape, &weights)
                    };
                    let difference = (moved(at + h) - moved(at - h)) / (2.0 * h);
                    weights[k] = at;
                    assert!((gradient[k] - difference).abs() < 1e-8, "{activation:?}, weight {k}: {} {difference}", gradient[k]);
                }
            }
        }
    }

    /// ∇V by central differences of V.
    #[test]
    fn the_slope_is_that_of_central_differences() {
        let (widths, count) = ([3, 8, 8, 1], 200);
        for activation in ACTIVATIONS {
            let mut tape = Tape::new(&widths, activation);
            let (weights, inputs) = (numbers(tape.gradient.len(), 1), numbers(3 * count, 2));
            let mut slope = vec![0.0; 3 * count];
            tape.slope(&weights, &inputs, 3, &mut slope);
            for k in 0..3 {
                let h = 1e-5;
                let mut value = |moved: f64| {
                    let inputs: Vec<f64> =
                        inputs.iter().enumerate().map(|(i, x)| if i % 3 == k { x + moved } else { *x }).collect();
                    tape.values(&weights, &inputs).to_vec()
                };
                let (above, below) = (value(h), value(-h));
                for (i, (above, below)) in above.iter().zip(below).enumerate() {
                    assert!((slope[3 * i + k] - (above - below) / (2.0 * h)).abs() < 1e-8, "{activation:?}");
                }
            }
        }
    }

    /// In single precision too, and the same bits on one thread and on three.
    #[test]
    fn the_gradient_does_not_depend_on_the_threads_and_hardly_on_the_precision() {
        let (widths, activation) = ([10, 130, 70, 3], Activation::Silu);
        let mut tape = Tape::new(&widths, activation);
        let double: Vec<f64> = numbers(tape.gradient.len(), 4).iter().map(|w| 0.2 * w).collect();
        let single: Vec<f32> = double.iter().map(|w| *w as f32).collect();
        let (inputs, wanted) = (numbers(10 * 333, 5), numbers(3 * 333, 6));
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let loss = tape.regress(&double, &inputs, &wanted);
        let exact = tape.gradient;
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut tape = Tape::new(&widths, activation);
            let loss = pool.install(|| tape.regress(&single, &narrow(&inputs), &narrow(&wanted)));
            (loss, tape.gradient)
        };
        let (one, three) = (on(1), on(3));
        assert_eq!(one, three);
        assert!((one.0 - loss).abs() < 1e-6 * loss);
        let largest = exact.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        assert!(one.1.iter().zip(&exact).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5 * largest));
        let of_slope = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut tape = Tape::new(&[10, 130, 70, 1], activation);
            let share = 1.0 / 333.0;
            let loss = |tape: &mut Tape<f32>| {
                tape.add_loss_of_slope(&single[..11 * 130 + 131 * 70 + 71], &narrow(&inputs), 10, &|rows, slope, seed| {
                    toward(slope, &narrow(&inputs[rows.start * 10..rows.end * 10]), share, seed)
                })
            };
            (pool.install(|| loss(&mut tape)), tape.gradient)
        };
        assert_eq!(of_slope(1), of_slope(2));
        assert_eq!(of_slope(1), of_slope(3));
    }
}
