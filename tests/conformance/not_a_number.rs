//! What is not a number must not be lost on a device: a solver that has run into one has to see it, and not a sum without that
//! column. And of no rows there are no results.

use std::f64::consts::LN_2;

use brenier::backend::{
    Backend, Columns, Dense, HalfColumns, HalfPoints, Logit, Out, PairCost, Reals, Rows, Scale, Storage, TILE, TileList, Tiles,
};
use brenier::program::Activation;

use crate::{normals, on_each};

/// Dimensions of every way that a device may hold a point: in registers, split for tensor cores, streamed.
const DIMENSIONS: [usize; 7] = [1, 2, 3, 4, 8, 40, 100];
const N: usize = 5;
const M: usize = 37;

fn up<B: Backend>(backend: &B, host: &[f64]) -> Reals<B> {
    backend.upload_reals(host).unwrap()
}

/// `host` with a number in its place `at` that is none.
fn spoilt(host: &[f64], at: usize) -> Vec<f64> {
    let mut spoilt = host.to_vec();
    spoilt[at] = f64::NAN;
    spoilt
}

/// Fails unless exactly the rows that `lost` tells are not numbers.
#[track_caller]
fn assert_lost(found: &[f64], lost: impl Fn(usize) -> bool, what: &dyn Fn() -> String) {
    for (row, value) in found.iter().enumerate() {
        assert!(value.is_nan() == lost(row), "{}: row {row} is {value}", what());
    }
}

/// Columns of normals with logits of a few units.
struct Normals {
    d: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    potential: Vec<f64>,
}

impl Normals {
    fn new(d: usize) -> Self {
        Self { d, x: normals(N * d, 1), y: normals(M * d, 2), potential: normals(M, 3) }
    }

    /// The log-sums, with a shift near them and without, and those that a mean brings.
    fn log_sums<B: Backend>(&self, backend: &B) -> [Vec<f64>; 3] {
        let (d, x, mut packed) = (self.d, up(backend, &self.x), backend.zeros(M * (self.d + 1)).unwrap());
        let (potential, zeros) = (up(backend, &self.potential), backend.zeros(M).unwrap());
        let scale = Scale::Uniform(1.0 / (d as f64).sqrt());
        backend
            .pack(Rows { points: &up(backend, &self.y), n: M, d }, scale, &zeros, Some((&potential, 1.0)), &mut packed)
            .unwrap();
        let (rows, columns) = (Rows { points: &x, n: N, d }, Columns { packed: &packed, m: M, d });
        let [mut plain, mut shifted, mut with_mean] = [(); 3].map(|()| backend.zeros(N).unwrap());
        backend.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut plain)).unwrap();
        let shift = up(backend, &[4.0; N]);
        let near = Some((&shift, 1.0));
        backend.soft_min(Logit::Product { rows, columns, shift: near }, Out::of(&mut shifted)).unwrap();
        let (values, mut mean) = (up(backend, &normals(M, 4)), backend.zeros(N).unwrap());
        let wanted = Out::with_mean(&mut with_mean, &values, 1, &mut mean);
        backend.soft_min(Logit::Product { rows, columns, shift: None }, wanted).unwrap();
        [plain, shifted, with_mean].map(|log_sums| backend.download_reals(&log_sums).unwrap())
    }
}

/// Whichever column has a potential or a coordinate that is not a number, every row sees it; a row of its own keeps it to itself.
pub fn soft_mins<B: Backend>(backend: &B) {
    for d in DIMENSIONS {
        let whole = Normals::new(d);
        for column in (0..9).chain([M - 1]) {
            let potential = Normals { potential: spoilt(&whole.potential, column), ..Normals::new(d) };
            let coordinate = Normals { y: spoilt(&whole.y, column * d + d - 1), ..Normals::new(d) };
            for (case, name) in [(potential, "potential"), (coordinate, "coordinate")] {
                for (way, found) in case.log_sums(backend).iter().enumerate() {
                    assert_lost(found, |_| true, &|| format!("{name} of column {column}, d = {d}, way {way}"));
                }
            }
        }
        let row = Normals { x: spoilt(&whole.x, 3 * d), ..Normals::new(d) };
        for (found, expected) in row.log_sums(backend).iter().zip(whole.log_sums(backend)) {
            assert_lost(found, |row| row == 3, &|| format!("a coordinate of row 3, d = {d}"));
            assert!((0..N).filter(|&row| row != 3).all(|row| found[row] == expected[row]), "d = {d}: other rows");
        }
    }
}

/// A logit that becomes ∞ − ∞ in single precision is not a number wherever its column stands.
pub fn overflow<B: Backend>(backend: &B) {
    let d = 2;
    for column in 0..9 {
        let (mut x, mut y) = (normals(N * d, 1), normals(M * d, 2));
        x[d..2 * d].copy_from_slice(&[1e25, 1e25]);
        y[column * d..][..d].copy_from_slice(&[1e25, -1e25]);
        // Other columns are far below for this row, and would leave a sum of zero.
        for j in (0..M).filter(|&j| j != column) {
            y[j * d..][..d].copy_from_slice(&[-1.0, -1.0]);
        }
        for found in (Normals { x, y, ..Normals::new(d) }).log_sums(backend) {
            assert!(found[1].is_nan(), "column {column}: {}", found[1]);
        }
    }
}

/// Costs that are norms, of every kind that has code of its own.
pub fn costs<B: Backend>(backend: &B) {
    let norms = [("|x - y|", PairCost::Euclidean), ("Lp, p = 1.5", PairCost::Lp(1.5)), ("Lp, p = 7", PairCost::Lp(7.0))];
    for ((name, cost), d) in norms.into_iter().flat_map(|norm| [1, 3, 20].map(|d| (norm, d))) {
        let log_sums = |x: &[f64], y: &[f64], h: &[f64]| {
            let mut packed = backend.zeros(M * (d + 1)).unwrap();
            backend
                .pack(Rows { points: &up(backend, y), n: M, d }, Scale::Uniform(LN_2), &up(backend, h), None, &mut packed)
                .unwrap();
            let (x, mut out) = (up(backend, x), backend.zeros(N).unwrap());
            let (rows, columns) = (Rows { points: &x, n: N, d }, Columns { packed: &packed, m: M, d });
            backend.soft_min(Logit::Cost { rows, columns, cost, k: 1.0, shift: None, mean: None }, Out::of(&mut out)).unwrap();
            backend.download_reals(&out).unwrap()
        };
        let (x, y, h) = (normals(N * d, 1), normals(M * d, 2), normals(M, 3));
        for k in [0, d / 2, d - 1] {
            let what = || format!("{name}, coordinate {k} of {d}");
            assert_lost(&log_sums(&x, &spoilt(&y, 7 * d + k), &h), |_| true, &what);
            assert_lost(&log_sums(&spoilt(&x, 2 * d + k), &y, &h), |row| row == 2, &what);
        }
        assert_lost(&log_sums(&x, &y, &spoilt(&h, M - 1)), |_| true, &|| format!("{name}, a bias"));
    }
}

/// A potential of a column, or of a row, of tiled clouds.
pub fn tiles<B: Backend>(backend: &B) {
    let (n, m) = (TILE + 8, 2 * TILE + 3);
    for (d, p) in [1, 2, 3, 4].into_iter().flat_map(|d| [(d, 0), (d, 2)]) {
        let log_sums = |of_rows: &[f64], of_columns: &[f64]| {
            let buffer = |host: &[f64]| backend.upload(host).unwrap();
            let cloud = |points: usize, step: u32, potential: &[f64]| {
                let frames = vec![0.0; points.div_ceil(TILE) * (2 * d + 1)];
                [&normals(points * d, step), potential, &vec![0.0; points], &frames].map(buffer)
            };
            let (x, y) = (cloud(n, 1, of_rows), cloud(m, 2, of_columns));
            fn tiles<B: Backend>(of: &[B::Buf<f64>; 4], n: usize, d: usize) -> Tiles<'_, B> {
                let [points, potential, log_weights, frames] = of;
                Tiles { points, potential, log_weights, frames, n, d }
            }
            let (starts, runs) = (backend.upload(&[0u32, 1, 2]).unwrap(), backend.upload(&[[0u32, 3], [0, 2]]).unwrap());
            let list = TileList { starts: &starts, runs: &runs };
            let (mut packed, mut out) = (backend.zeros(m * (d + 1)).unwrap(), backend.zeros(n).unwrap());
            let (values, mut mean) = (up(backend, &normals(m * p, 4)), backend.zeros(n * p).unwrap());
            let wanted = if p == 0 { Out::of(&mut out) } else { Out::with_mean(&mut out, &values, p, &mut mean) };
            let (rows, columns, list) = (&tiles::<B>(&x, n, d), &tiles::<B>(&y, m, d), &list);
            backend.soft_min(Logit::Tiles { rows, columns, list, eps: 1.0, packed: &mut packed }, wanted).unwrap();
            backend.download_reals(&out).unwrap()
        };
        let (phi, psi) = (normals(n, 5), normals(m, 6));
        let what = || format!("d = {d}, p = {p}");
        assert_lost(&log_sums(&phi, &spoilt(&psi, 5)), |_| true, &what);
        // The second tile of rows does not keep the last tile of columns.
        assert_lost(&log_sums(&phi, &spoilt(&psi, m - 1)), |row| row < TILE, &what);
        assert_lost(&log_sums(&spoilt(&phi, 4), &psi), |row| row == 4, &what);
    }
}

/// A potential of points in half precision.
pub fn halves<B: Backend>(backend: &B) {
    let d = 20;
    let halve = |count: usize, step: u32| HalfPoints::new(backend, &normals(count * d, step), d, Storage::F16).unwrap().unwrap();
    let (rows, points, bias) = (halve(N, 1), halve(M, 2), backend.zeros(M).unwrap());
    for column in [0, 3, M - 1] {
        let potential = up(backend, &spoilt(&normals(M, 3), column));
        let columns = HalfColumns { points: &points, k: 0.2, bias: &bias, potential: (&potential, 1.0) };
        let mut out = backend.zeros(N).unwrap();
        backend.soft_min(Logit::Half { rows: &rows, columns, shift: None }, Out::of(&mut out)).unwrap();
        assert_lost(&backend.download_reals(&out).unwrap(), |_| true, &|| format!("column {column}"));
    }
}

/// A row that is not numbers, through two layers with every activation.
pub fn network<B: Backend>(backend: &B) {
    use Activation::{Gelu, GeluTanh, Relu, Silu, Softplus, Tanh};
    for activation in [Relu, Silu, Tanh, Gelu, GeluTanh, Softplus] {
        let (weight, bias) = (up(backend, &[1.0; 9]), up(backend, &[0.0; 3]));
        let layers = [(); 2].map(|()| Dense::<B> { weight: &weight, bias: &bias });
        let (x, mut out) = (up(backend, &spoilt(&normals(N * 3, 1), 2 * 3 + 1)), backend.zeros(N * 3).unwrap());
        backend.perceptron(Rows { points: &x, n: N, d: 3 }, 1.0, &layers, activation, &mut out).unwrap();
        assert_lost(&backend.download_reals(&out).unwrap(), |at| at / 3 == 2, &|| format!("{activation:?}"));
    }
}

/// Nothing is done for no rows, whatever the columns.
pub fn no_rows<B: Backend>(backend: &B) {
    for d in DIMENSIONS {
        let (x, packed) = (backend.zeros(0).unwrap(), backend.zeros(M * (d + 1)).unwrap());
        let (rows, columns) = (Rows { points: &x, n: 0, d }, Columns { packed: &packed, m: M, d });
        let (mut out, mut mean) = (backend.zeros(0).unwrap(), backend.zeros(0).unwrap());
        let product = |shift| Logit::Product { rows, columns, shift };
        backend.soft_min(product(None), Out::of(&mut out)).unwrap();
        backend.soft_min(product(Some((&x, 1.0))), Out::of(&mut out)).unwrap();
        let values = up(backend, &normals(M, 4));
        backend.soft_min(product(None), Out::with_mean(&mut out, &values, 1, &mut mean)).unwrap();
        let cost = PairCost::Euclidean;
        backend.soft_min(Logit::Cost { rows, columns, cost, k: 1.0, shift: None, mean: None }, Out::of(&mut out)).unwrap();
        assert!(backend.download_reals(&out).unwrap().is_empty());
    }
}

#[test]
fn no_rows_have_no_log_sums() {
    on_each::<f32>(no_rows);
    on_each::<f64>(no_rows);
}

#[test]
fn a_potential_that_is_not_a_number_reaches_the_log_sums_of_halves() {
    on_each::<f32>(halves);
    on_each::<f64>(halves);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: nan_in_soft_mins_on_emulated_cuda, nan_in_soft_mins_on_a_gpu: soft_mins;
    on_emulator: overflow_on_emulated_cuda, overflow_on_a_gpu: overflow;
    in_one_order: nan_in_costs_on_emulated_cuda, nan_in_costs_on_a_gpu: costs;
    on_emulator: nan_in_tiles_on_emulated_cuda, nan_in_tiles_on_a_gpu: tiles;
    on_emulator: nan_in_halves_on_emulated_cuda, nan_in_halves_on_a_gpu: halves;
    on_emulator: nan_in_networks_on_emulated_cuda, nan_in_networks_on_a_gpu: network;
    on_emulator: no_rows_on_emulated_cuda, no_rows_on_a_gpu: no_rows;
}
