//! `soft_min_tiles`: out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε) over kept tiles, and the mean under the same weights,
//! whatever the frames.

use brenier::backend::{Backend, Logit, Out, TILE, TileList, Tiles};

use crate::{SIZES, assert_near, dot, normals, on_each, rounded, rounding};

const EPS: f64 = 0.5;

/// A cloud with potential, weights of which the first is zero, and frames that fit it badly.
struct Host {
    points: Vec<f64>,
    potential: Vec<f64>,
    log_weights: Vec<f64>,
    frames: Vec<f64>,
}

impl Host {
    /// `far` is added to the potential.
    fn new(n: usize, d: usize, step: u32, far: f64) -> Self {
        let weight = |i: usize| if i == 0 && n > 1 { 0.0 } else { (1 + i % 5) as f64 / n as f64 };
        Self {
            points: normals(n * d, step),
            potential: normals(n, step + 1).iter().map(|z| far + 0.3 * z).collect(),
            log_weights: (0..n).map(|i| weight(i).ln()).collect(),
            frames: normals(n.div_ceil(TILE) * (2 * d + 1), step + 2).iter().map(|z| 0.5 * z).collect(),
        }
    }
}

/// A [`Host`] on a device.
struct Uploaded<B: Backend> {
    points: B::Buf<f64>,
    potential: B::Buf<f64>,
    log_weights: B::Buf<f64>,
    frames: B::Buf<f64>,
}

impl<B: Backend> Uploaded<B> {
    fn new(backend: &B, host: &Host) -> Self {
        let up = |host: &[f64]| backend.upload(host).unwrap();
        Self {
            points: up(&host.points),
            potential: up(&host.potential),
            log_weights: up(&host.log_weights),
            frames: up(&host.frames),
        }
    }

    fn tiles(&self, n: usize, d: usize) -> Tiles<'_, B> {
        let Self { points, potential, log_weights, frames } = self;
        Tiles { points, potential, log_weights, frames, n, d }
    }
}

/// Row tile r keeps the column tiles that are not 1 more than r modulo 3.
fn keeps(row: usize, column: usize) -> bool {
    (row + column) % 3 != 1
}

pub fn soft_min_tiles<B: Backend>(backend: &B) {
    let u = rounding::<B>();
    // And more tiles than a warp works out at a time.
    for (n, m, d) in SIZES.into_iter().filter(|(.., d)| *d <= 4).chain([(70, 5000, 3)]) {
        // The far ones leave the range of a sum without running maximum, above and below.
        for far in [0.0, 60.0, -60.0] {
            let (x, y) = (Host::new(n, d, 20, far), Host::new(m, d, 30, 0.0));
            let (rows, columns) = (Uploaded::new(backend, &x), Uploaded::new(backend, &y));
            let (mut starts, mut runs) = (vec![0], Vec::<[u32; 2]>::new());
            for r in 0..n.div_ceil(TILE) {
                // Tiles that follow one another are one run, but for those that a list may give singly.
                for c in (0..m.div_ceil(TILE) as u32).filter(|&c| keeps(r, c as usize)) {
                    match runs[starts[r] as usize..].last_mut() {
                        Some([_, end]) if *end == c && r % 2 == 0 => *end = c + 1,
                        _ => runs.push([c, c + 1]),
                    }
                }
                starts.push(runs.len() as u32);
            }
            let (starts, runs) = (backend.upload(&starts).unwrap(), backend.upload(&runs).unwrap());
            let list = TileList { starts: &starts, runs: &runs };
            let values = rounded::<B>(&normals(m * 5, 40));
            for p in [0, 2, 5] {
                let mut packed = backend.zeros(m * (d + 1)).unwrap();
                let (mut out, mut mean) = (backend.zeros(n).unwrap(), backend.zeros(n * p).unwrap());
                let uploaded = backend.upload_reals(&values[..m * p]).unwrap();
                let wanted = if p == 0 { Out::of(&mut out) } else { Out::with_mean(&mut out, &uploaded, p, &mut mean) };
                let (rows, columns) = (rows.tiles(n, d), columns.tiles(m, d));
                let (rows, columns, list) = (&rows, &columns, &list);
                backend.soft_min(Logit::Tiles { rows, columns, list, eps: EPS, packed: &mut packed }, wanted).unwrap();
                let (out, mean) = (backend.download_reals(&out).unwrap(), backend.download_reals(&mean).unwrap());
                for i in 0..n {
                    let what = || format!("{n} × {m} × {d}, potential about {far}, p = {p}, row {i}");
                    let point = &x.points[i * d..][..d];
                    let exponent = |j: usize| {
                        (dot(point, &y.points[j * d..][..d]) - x.potential[i] - y.potential[j]) / EPS + y.log_weights[j]
                    };
                    let kept: Vec<usize> = (0..m).filter(|j| keeps(i / TILE, j / TILE) && exponent(*j).is_finite()).collect();
                    let top = kept.iter().map(|&j| exponent(j)).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = kept.iter().map(|&j| (exponent(j) - top).exp()).sum();
                    if kept.is_empty() {
                        // Nothing is kept, or a zero weight only.
                        assert!(out[i] < -1e30, "{}: {}", what(), out[i]);
                        continue;
                    }
                    // A dozen terms of this size meet in an exponent.
                    let size = (far.abs() + 12.0 + 4.0 * dot(point, point).sqrt()) / EPS;
                    let tolerance = 32.0 * u * size;
                    assert_near(out[i], top + sum.ln(), tolerance, &what);
                    for k in 0..p {
                        let weighted: f64 = kept.iter().map(|&j| (exponent(j) - top).exp() * values[j * p + k]).sum();
                        assert_near(mean[i * p + k], weighted / sum, 8.0 * tolerance, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn soft_min_tiles_is_the_log_sum_over_kept_tiles_in_f32() {
    on_each::<f32>(soft_min_tiles);
}

#[test]
fn soft_min_tiles_is_the_log_sum_over_kept_tiles_in_f64() {
    on_each::<f64>(soft_min_tiles);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: soft_min_tiles_on_emulated_cuda, soft_min_tiles_on_a_gpu: soft_min_tiles;
}
