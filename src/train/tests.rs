//! Losses and gradients against PyTorch's, in tests/data/gradients.npz by the script beside it.

use std::path::Path;

use crate::backend::cpu::Simd;
use crate::backend::cpu::tape::Tape;
use crate::io::read_array;
use crate::program::Activation;

const NETWORKS: [(&[usize], Activation); 10] = [
    (&[2, 8, 1], Activation::Silu),
    (&[3, 7, 5, 1], Activation::Tanh),
    (&[1, 9, 9, 1], Activation::Softplus),
    (&[2, 6, 6, 6, 1], Activation::Gelu),
    (&[4, 5, 1], Activation::GeluTanh),
    (&[2, 16, 3], Activation::Relu),
    (&[5, 6, 4, 2], Activation::Silu),
    (&[2, 1, 1], Activation::Silu),
    (&[3, 17, 2, 1], Activation::GeluTanh),
    (&[2, 4, 4, 4, 4, 1], Activation::Tanh),
];
const ROWS: usize = 11;

/// Numbers of the script, exact in f64.
fn numbers<T: Simd>(network: usize, kind: usize, count: usize) -> Vec<T> {
    let number = |k: usize| {
        let k = (k + 1000 * kind + 10_000 * network) as u64;
        ((k * 1_103_515_245 + 12_345) % (1 << 31)) as f64 / f64::from(1 << 30) - 1.0
    };
    (0..count).map(|k| T::from_f64(number(k))).collect()
}

/// The loss of F and that of ∇V, each with its gradient; the second where there is one.
fn losses<T: Simd>(network: usize) -> [(f64, Vec<T>); 2] {
    let (widths, activation) = NETWORKS[network];
    let (d, outputs) = (widths[0], widths[widths.len() - 1]);
    let mut tape = Tape::<T>::new(widths, activation);
    let (weights, inputs) = (numbers(network, 0, tape.gradient.len()), numbers(network, 1, ROWS * d));
    let loss = tape.regress(&weights, &inputs, &numbers(network, 2, ROWS * outputs));
    let first = (loss, tape.gradient.clone());
    if outputs > 1 || activation == Activation::Relu {
        return [first, (0.0, Vec::new())];
    }
    let velocity: Vec<T> = numbers(network, 2, ROWS * d);
    tape.clear();
    let loss = tape.add_loss_of_slope(&weights, &inputs, d, &|rows, slope, seed| {
        let mut squares = 0.0;
        for ((slope, u), seed) in slope.iter().zip(&velocity[rows.start * d..rows.end * d]).zip(seed) {
            let off = slope.to_f64() + u.to_f64();
            squares += off * off / ROWS as f64;
            *seed = T::from_f64(2.0 * off / ROWS as f64);
        }
        squares
    });
    [first, (loss, tape.gradient)]
}

fn agree<T: Simd>(tolerance: f64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gradients.npz");
    let array = |name: &str| read_array(&path, name).unwrap().values;
    let [of_values, of_slopes] = ["loss", "energy_loss"].map(array);
    for network in 0..NETWORKS.len() {
        let names = ["gradient", "energy_gradient"].map(|name| format!("{name}_{network}"));
        let expected = [of_values[network], of_slopes[network]];
        for ((loss, gradient), (name, expected)) in losses::<T>(network).into_iter().zip(names.iter().zip(expected)) {
            if expected == 0.0 {
                continue;
            }
            assert!((loss - expected).abs() < tolerance * expected, "{name}: {loss} {expected}");
            let exact = array(name);
            let size = exact.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
            let off = gradient.iter().zip(&exact).map(|(g, exact)| (g.to_f64() - exact).abs()).fold(0.0, f64::max);
            assert!(gradient.len() == exact.len() && off < tolerance * size, "{name}: {off} of {size}");
        }
    }
}

#[test]
fn ten_networks_have_the_losses_and_gradients_of_pytorch_in_double_precision() {
    agree::<f64>(1e-12);
}

#[test]
fn and_in_single_precision() {
    agree::<f32>(1e-5);
}
