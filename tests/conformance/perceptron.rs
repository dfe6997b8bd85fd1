//! `perceptron`: out = W_L a(… a(W_1 (s x) + b_1) …) + b_L.

use brenier::backend::{Backend, Dense, Reals, Rows};
use brenier::program::Activation;

use crate::{assert_near, dot, normals, on_each, rounded, rounding};

const ACTIVATIONS: [Activation; 6] =
    [Activation::Relu, Activation::Silu, Activation::Tanh, Activation::Gelu, Activation::GeluTanh, Activation::Softplus];

/// Rows, and the width of the points and of every layer: one layer, narrow and wide ones, multiples of everything and of nothing.
const SHAPES: [(usize, &[usize]); 7] = [
    (1, &[1, 1]),
    (7, &[2, 3]),
    (130, &[3, 65, 2]),
    (129, &[2, 64, 64, 2]),
    (40, &[64, 130, 33, 64]),
    (3, &[784, 100, 784]),
    (300, &[5, 6, 1]),
];

/// A network of one shape as a backend holds it; x is of `size`, and the scale undoes that.
struct Case {
    widths: &'static [usize],
    x: Vec<f64>,
    scale: f64,
    layers: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Case {
    fn new<B: Backend>(n: usize, widths: &'static [usize], size: f64) -> Self {
        let layer = |k: usize| {
            let (inputs, outputs) = (widths[k], widths[k + 1]);
            let weight: Vec<f64> = normals(outputs * inputs, 50 + k as u32).iter().map(|w| w / (inputs as f64).sqrt()).collect();
            (rounded::<B>(&weight), rounded::<B>(&normals(outputs, 60 + k as u32)))
        };
        let x: Vec<f64> = normals(n * widths[0], 49).iter().map(|z| size * z).collect();
        Self { widths, x: rounded::<B>(&x), scale: 0.75 / size, layers: (0..widths.len() - 1).map(layer).collect() }
    }

    fn run<B: Backend>(&self, backend: &B, rows: std::ops::Range<usize>, activation: Activation) -> Vec<f64> {
        let up = |host: &[f64]| backend.upload_reals(host).unwrap();
        let d = self.widths[0];
        let x = up(&self.x[rows.start * d..rows.end * d]);
        let layers: Vec<(Reals<B>, Reals<B>)> = self.layers.iter().map(|(w, b)| (up(w), up(b))).collect();
        let layers: Vec<Dense<'_, B>> = layers.iter().map(|(weight, bias)| Dense { weight, bias }).collect();
        let mut out = backend.zeros(rows.len() * self.widths[self.widths.len() - 1]).unwrap();
        backend.perceptron(Rows { points: &x, n: rows.len(), d }, self.scale, &layers, activation, &mut out).unwrap();
        backend.download_reals(&out).unwrap()
    }

    /// Row `i` in f64 and a bound of the rounding errors that `u` makes of it.
    fn expect(&self, i: usize, activation: Activation, u: f64) -> (Vec<f64>, Vec<f64>) {
        let d = self.widths[0];
        let mut state: Vec<f64> = self.x[i * d..][..d].iter().map(|x| self.scale * x).collect();
        let mut error = vec![0.0; d];
        for (k, (weight, bias)) in self.layers.iter().enumerate() {
            if k > 0 {
                // Steepest at 1.13; of e^u the exponent may be wrong by its rounding.
                let rounding = |x: &f64| 16.0 * u * activation.value(*x).abs().max(0.5);
                error = state.iter().zip(&error).map(|(x, error)| 1.2 * error + rounding(x)).collect();
                state.iter_mut().for_each(|x| *x = activation.value(*x));
            }
            let rows = || weight.chunks_exact(state.len());
            let size = |row: &[f64]| row.iter().zip(&state).map(|(w, x)| (w * x).abs()).sum::<f64>();
            let carried = |row: &[f64]| row.iter().zip(&error).map(|(w, e)| w.abs() * e).sum::<f64>();
            // Four roundings a product, the sum of which walks at random, and those of bias and scale.
            let own = 4.0 * u * (1.0 + (state.len() as f64).sqrt());
            let (next, errors) = rows()
                .zip(bias)
                .map(|(row, b)| (dot(row, &state) + b, carried(row) + own * size(row) + 4.0 * u * b.abs()))
                .unzip();
            (state, error) = (next, errors);
        }
        (state, error)
    }
}

pub fn perceptron<B: Backend>(backend: &B) {
    for ((n, widths), size) in SHAPES.into_iter().zip([1.0, 1.0, 1e6, 1.0, 1e-6, 1.0, 1.0]) {
        let case = Case::new::<B>(n, widths, size);
        for activation in ACTIVATIONS {
            let found = case.run(backend, 0..n, activation);
            for (i, found) in found.chunks(widths[widths.len() - 1]).enumerate() {
                let (expected, tolerance) = case.expect(i, activation, rounding::<B>());
                for ((found, expected), tolerance) in found.iter().zip(expected).zip(tolerance) {
                    assert_near(*found, expected, tolerance, &|| format!("{activation:?}, {n} rows, {widths:?}, row {i}"));
                }
            }
        }
    }
}

/// A row has the same bits whatever the rows beside it.
pub fn rows_alone<B: Backend>(backend: &B) {
    let (n, widths) = (200, SHAPES[3].1);
    let case = Case::new::<B>(n, widths, 1.0);
    let whole = case.run(backend, 0..n, Activation::Silu);
    for rows in [0..1, 17..19, 3..140, 199..200] {
        assert_eq!(case.run(backend, rows.clone(), Activation::Silu), whole[rows.start * 2..rows.end * 2], "{rows:?}");
    }
}

#[test]
fn a_perceptron_is_its_layers_one_after_another_in_f32() {
    on_each::<f32>(perceptron);
    on_each::<f32>(rows_alone);
}

#[test]
fn a_perceptron_is_its_layers_one_after_another_in_f64() {
    on_each::<f64>(perceptron);
    on_each::<f64>(rows_alone);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: perceptron_on_emulated_cuda, perceptron_on_a_gpu: perceptron;
    on_emulator: network_rows_alone_on_emulated_cuda, network_rows_alone_on_a_gpu: rows_alone;
}
