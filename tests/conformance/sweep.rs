//! `sweep`: log_sum_i = log Σ_j a_j exp(k (x_i·y_j − p_i − q_j)), and with it
//! log_ratio_j = log Σ_i b_i exp(k (x_i·y_j − p_i − change_i − q_j)), change_i = ω log_sum_i / k + (1 − ω)(ground_i − p_i).

use brenier::backend::{Backend, Damping, Half, Real, Rows, Sweep};

use crate::{SIZES, assert_near, dot, normals, on_each, rounded, rounding};

/// Two clouds and their potentials; one point in three has no weight.
struct Case {
    size: (usize, usize, usize),
    x: Vec<f64>,
    y: Vec<f64>,
    p: Vec<f64>,
    q: Vec<f64>,
    b: Vec<f64>,
    a: Vec<f64>,
    k: f64,
}

impl Case {
    /// Potentials near ½|x|², the rows' off by up to `off`.
    fn new<B: Backend>((n, m, d): (usize, usize, usize), off: f64) -> Self {
        let (x, y) = (rounded::<B>(&normals(n * d, 1)), rounded::<B>(&normals(m * d, 2)));
        let half = |points: &[f64], off: f64| {
            let potential = points.chunks(d).enumerate().map(|(i, x)| 0.5 * dot(x, x) + off * (1.0 + i as f64).sin());
            rounded::<B>(&potential.collect::<Vec<_>>())
        };
        let weights = |n: usize| rounded::<B>(&(0..n).map(|i| [1.0, 2.0, 0.0][i % 3] / n as f64).collect::<Vec<_>>());
        let (p, q) = (half(&x, off), half(&y, 0.0));
        Self { size: (n, m, d), x, y, p, q, b: weights(n), a: weights(m), k: 0.7 / (d as f64).sqrt() }
    }

    fn exponent(&self, i: usize, j: usize) -> f64 {
        let d = self.size.2;
        self.k * (dot(&self.x[i * d..][..d], &self.y[j * d..][..d]) - self.p[i] - self.q[j])
    }
}

/// log Σ w exp(e), without overflow.
fn log_sum(terms: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let top = terms.clone().filter(|(w, _)| *w > 0.0).fold(f64::NEG_INFINITY, |top, (_, e)| top.max(e));
    top + terms.map(|(w, e)| w * (e - top).exp()).sum::<f64>().ln()
}

/// Rows' log-sums, columns' log-ratios, and whether the backend says they are of use; none where it keeps no scores.
fn swept<B: Backend>(backend: &B, case: &Case, damping: Option<(f64, &[f64])>) -> Option<(Vec<f64>, Vec<f64>, bool)> {
    let (n, m, d) = case.size;
    let up = |host: &[f64]| backend.upload_reals(host).unwrap();
    let [x, y, p, q, b, a] = [&case.x, &case.y, &case.p, &case.q, &case.b, &case.a].map(|host| up(host));
    let (rows, columns) = (Rows { points: &x, n, d }, Rows { points: &y, n: m, d });
    let mut scores = backend.scores(rows, columns, None).unwrap()?;
    let ground = damping.map(|(_, ground)| backend.upload(ground).unwrap());
    let sweep = Sweep {
        k: case.k,
        rows: Half { potential: &p, weights: &b },
        columns: Half { potential: &q, weights: &a },
        damping: damping.zip(ground.as_ref()).map(|((omega, _), ground)| Damping { omega, ground }),
    };
    let (mut log_sum, mut log_ratio) = (up(&vec![f64::NAN; n]), up(&vec![f64::NAN; m]));
    // Twice: what a sweep leaves behind is not part of the next.
    backend.sweep(&mut scores, &sweep, &mut log_sum, &mut log_ratio).unwrap();
    let usable = backend.sweep(&mut scores, &sweep, &mut log_sum, &mut log_ratio).unwrap();
    Some((backend.download_reals(&log_sum).unwrap(), backend.download_reals(&log_ratio).unwrap(), usable))
}

fn suite<B: Backend>(backend: &B) {
    // Near the answer, and so far from it that every sum needs its maximum.
    for (size, off) in SIZES.into_iter().flat_map(|size| [(size, 0.3), (size, 2e3)]) {
        let (n, m, d) = size;
        let case = Case::new::<B>(size, off);
        let ground = normals(n, 3);
        for damping in [None, Some((0.6, &ground[..]))] {
            // A free marginal far from the answer may leave columns without mass.
            if damping.is_some() && off > 1.0 {
                continue;
            }
            let Some((sums, ratios, usable)) = swept(backend, &case, damping) else { return };
            assert!(usable, "{n} × {m} × {d}, off {off}");
            let expected: Vec<f64> = (0..n).map(|i| log_sum((0..m).map(|j| (case.a[j], case.exponent(i, j))))).collect();
            // The products of d terms and two potentials, rounded, times k; the squares are about d.
            let tolerance = 4.0 * rounding::<B>() * (4.0 * case.k * (3.0 * d as f64 + off) + 20.0);
            for i in 0..n {
                assert_near(sums[i], expected[i], tolerance, &|| format!("{n} × {m} × {d}, off {off}, row {i}"));
            }
            for (j, &found) in ratios.iter().enumerate() {
                let change = |i: usize| {
                    let (omega, ground) = damping.unwrap_or((1.0, &case.p));
                    omega * expected[i] + (1.0 - omega) * case.k * (ground[i] - case.p[i])
                };
                let entry = |i: usize| case.exponent(i, j) - change(i);
                let ratio = log_sum((0..n).map(|i| (case.b[i], entry(i))));
                assert_near(found, ratio, 2.0 * tolerance, &|| format!("{n} × {m} × {d}, off {off}, column {j}"));
            }
        }
    }
}

/// A column whose potential is e¹⁰⁰ too large has no mass that could be told from none.
fn lost<B: Backend>(backend: &B) {
    let mut case = Case::new::<B>((65, 49, 2), 0.3);
    case.q[3] += if B::Real::ROUNDING > 1e-10 { 100.0 } else { 1000.0 } / case.k;
    if let Some((_, _, usable)) = swept(backend, &case, None) {
        assert!(!usable);
    }
}

#[test]
fn a_sweep_renews_the_rows_and_finds_the_columns_marginal_in_f32() {
    on_each::<f32>(suite);
    on_each::<f32>(lost);
}

#[test]
fn a_sweep_renews_the_rows_and_finds_the_columns_marginal_in_f64() {
    on_each::<f64>(suite);
    on_each::<f64>(lost);
}
