//! Semidiscrete couplings: potentials in closed form, masses of cells, an exact look-up.

use std::sync::atomic::{AtomicUsize, Ordering};

use brenier::backend::{Device, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::measure::{Cloud, Measure, named};
use brenier::random::Stream;
use brenier::transport::{Ascent, Fit, Projection, Semidiscrete, TransportError};
use brenier::watch::{Progress, Watch};

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn normal(d: usize) -> Measure {
    named("normal", Some(d)).unwrap()
}

fn cloud(points: &[f64], d: usize) -> Cloud {
    Cloud::new(points.to_vec(), d).unwrap()
}

fn fit(ascent: &Ascent, target: &Cloud) -> (Semidiscrete, Fit) {
    ascent.fit(&normal(target.dim()), target, &cpu(), Watch::default()).unwrap()
}

/// The standard normal distribution function.
fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Cells of an optimal map on the line lie in the order of their points: the k-th ends where Φ is the mass of the first k. What Φ
/// is off by there is at most half of Σ|p_j − b_j|.
#[test]
fn cells_on_the_line_end_at_the_quantiles_of_the_masses() {
    let y = [-2.5, -0.7, -0.2, 0.4, 0.5, 3.0];
    let masses = [0.05, 0.3, 0.1, 0.25, 0.1, 0.2];
    let target = cloud(&y, 1).with_weights(masses.to_vec()).unwrap();
    let (coupling, fit) = fit(&Ascent { tol: 0.02, ..Ascent::default() }, &target);
    assert!(fit.converged && fit.marginal_error <= 0.02, "{fit:?}");
    let g = coupling.potential();
    let mut below = 0.0;
    for j in 0..y.len() - 1 {
        below += masses[j];
        let end = (0.5 * (y[j + 1].powi(2) - y[j].powi(2)) - (g[j + 1] - g[j])) / (y[j + 1] - y[j]);
        assert!((phi(end) - below).abs() <= 0.5 * fit.marginal_error, "{j}: {} for {below}", phi(end));
    }
}

/// Two cells are half-spaces: x·(y₂ − y₁) ~ N(0, |y₂ − y₁|²) exceeds ½(|y₂|² − |y₁|²) − (g₂ − g₁) with the mass of the second.
#[test]
fn two_points_share_space_along_their_axis() {
    let y = [1.0, 0.0, 2.0, -1.0, 1.0, 0.5];
    let target = cloud(&y, 3).with_weights(vec![0.3, 0.7]).unwrap();
    let (coupling, fit) = fit(&Ascent { tol: 0.02, ..Ascent::default() }, &target);
    let g = coupling.potential();
    let half_squares = [0, 1].map(|j| 0.5 * target.row(j).iter().map(|y| y * y).sum::<f64>());
    let apart = target.row(0).iter().zip(target.row(1)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let first = phi((half_squares[1] - half_squares[0] - (g[1] - g[0])) / apart);
    assert!((first - 0.3).abs() <= 0.5 * fit.marginal_error, "{first} {fit:?}");
}

/// The corners of a square have the quadrants for cells, and one potential.
#[test]
fn a_symmetric_target_has_a_constant_potential() {
    let target = cloud(&[1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0], 2);
    let (coupling, fit) = fit(&Ascent { tol: 0.02, ..Ascent::default() }, &target);
    // A cell gains at most |Δg|/(√2 · 2) of mass over each of its two edges: so g may be off by as much as this.
    let spread = coupling.potential().iter().fold(0.0f64, |most, g| most.max(g.abs()));
    assert!(spread < 6.0 * fit.marginal_error, "{spread}");
    let x = cloud(&[2.0, 3.0, -1.0, 0.5, -0.4, -2.0, 0.3, -0.6], 2);
    assert_eq!(coupling.pair(&x, &cpu()).unwrap(), [0, 1, 2, 3]);
}

/// The look-up is the comparison of all pairs, in either precision, and a constant added to g changes none.
#[test]
fn the_look_up_is_exact_and_a_shift_of_g_changes_nothing() {
    for (m, d) in [(7, 1), (300, 2), (500, 33)] {
        let target = normal(d).sample(m, 3, Stream::Split, 0);
        let x = normal(d).sample(700, 3, Stream::Split, 1);
        // Numbers that g holds exactly, in a range like that of the scores.
        let g: Vec<f64> = (0..m).map(|j| -0.5 * (((j * 37) % m) as f64 / m as f64).powi(2) * d as f64).collect();
        let coupling = Semidiscrete::new(&target, &g, None).unwrap();
        let g = coupling.potential();
        let score = |i: usize, j: usize| {
            let apart: f64 = x.row(i).iter().zip(target.row(j)).map(|(x, y)| (x - y).powi(2)).sum();
            0.5 * apart - g[j]
        };
        let best = |i: usize| (0..m).min_by(|&j, &k| score(i, j).total_cmp(&score(i, k))).unwrap() as u32;
        let found = coupling.pair(&x, &cpu()).unwrap();
        assert!((0..x.len()).all(|i| found[i] == best(i)), "{m} {d}");
        // In single precision points are rounded about their mean: only ties to that precision may differ.
        let single = coupling.pair(&x, &Device::cpu(Precision::F32)).unwrap();
        let close = |i: usize| score(i, single[i] as usize) <= score(i, found[i] as usize) + 1e-5 * d as f64;
        assert!((0..x.len()).all(close), "{m} {d}");
        let shifted: Vec<f64> = g.iter().map(|g| g + 4096.0).collect();
        assert_eq!(Semidiscrete::new(&target, &shifted, None).unwrap().pair(&x, &cpu()).unwrap(), found);
        assert_eq!(g.iter().copied().fold(f64::NEG_INFINITY, f64::max), 0.0);
    }
}

/// χ² falls as the number of cells over that of draws. Its factor is about 2.5; an eightfold number of draws lowers it by 8, and
/// judgements have errors of their own.
#[test]
fn the_marginal_error_falls_as_the_root_of_the_draws() {
    let target = named("8gaussians", None).unwrap().sample(400, 1, Stream::Split, 0);
    let at = |max_steps| fit(&Ascent { batch: 400, tol: 1e-6, max_steps, ..Ascent::default() }, &target).1;
    let (few, many) = (at(16), at(128));
    assert!(!many.converged && many.steps == 128 && many.draws >= 128 * 400, "{many:?}");
    assert!(few.chi_squared < 0.5 && many.chi_squared < 0.05, "{few:?} {many:?}");
    assert!((3.0..25.0).contains(&(few.chi_squared / many.chi_squared)), "{few:?} {many:?}");
}

/// The masses of the cells are those of the points, whatever a fresh stream of draws: 40,000 draws of 60 cells, five standard errors
/// beside what the fit is off by.
#[test]
fn fresh_draws_meet_each_point_by_its_weight() {
    let weights: Vec<f64> = (0..60).map(|j| 1.0 + f64::from(j % 4)).collect();
    let target = normal(5).sample(60, 7, Stream::Split, 0).with_weights(weights).unwrap();
    let (coupling, fit) = fit(&Ascent { tol: 0.05, seed: 3, ..Ascent::default() }, &target);
    let x = normal(5).sample(40_000, 11, Stream::Source, 0);
    let mut counts = [0.0; 60];
    coupling.pair(&x, &cpu()).unwrap().into_iter().for_each(|j| counts[j as usize] += 1.0 / 40_000.0);
    let off: f64 = (0..60).map(|j| (counts[j] - target.weight(j)).abs()).sum();
    let chance: f64 = (0..60).map(|j| (target.weight(j) / 40_000.0).sqrt()).sum();
    assert!(off < fit.marginal_error + 1.2 * chance, "{off} {} {chance}", fit.marginal_error);
}

/// Points at one place are one cell of their masses' sum, which the first of them stands for; those without mass are in no pair.
#[test]
fn equal_points_share_a_cell_and_massless_ones_have_none() {
    let target = cloud(&[1.0, 0.2, -1.0, 1.0, 1.0], 1).with_weights(vec![1.0, 0.0, 2.0, 1.0, 0.0]).unwrap();
    let (coupling, fit) = fit(&Ascent { tol: 0.03, ..Ascent::default() }, &target);
    let found = coupling.pair(&normal(1).sample(20_000, 5, Stream::Source, 0), &cpu()).unwrap();
    let share = found.iter().filter(|j| **j == 0).count() as f64 / 20_000.0;
    assert!(found.iter().all(|j| [0, 2].contains(j)));
    assert!((share - 0.5).abs() < 0.5 * fit.marginal_error + 4.0 * 0.5 / 20_000f64.sqrt(), "{share}");
    let g = coupling.potential();
    assert!(g[0] == g[3] && g.iter().all(|g| g.is_finite()), "{g:?}");
}

/// Stopped anywhere and resumed, and on another number of threads, the ascent makes the same numbers.
#[test]
fn the_ascent_resumes_and_repeats_to_the_bit() {
    let target = named("moons", None).unwrap().sample(300, 1, Stream::Split, 0);
    let ascent = Ascent { batch: 128, tol: 0.1, max_steps: 60, ..Ascent::default() };
    for device in [cpu(), Device::cpu(Precision::F32)] {
        let run = |watch: Watch<'_>| ascent.fit(&normal(2), &target, &device, watch);
        let (whole, of_whole) = run(Watch::default()).unwrap();
        for stop in [3, 17, 40] {
            let told = AtomicUsize::new(0);
            let tell = |_: Progress<'_>| told.fetch_add(1, Ordering::Relaxed) < stop;
            let mut checkpoint = Checkpoint::none();
            let stopped = run(Watch::telling(&tell).keeping(checkpoint.whole()));
            assert!(matches!(stopped, Err(TransportError::Stopped { .. })), "{stop}");
            let (resumed, of_resumed) = run(Watch::default().keeping(checkpoint.whole())).unwrap();
            assert_eq!((resumed.potential(), of_resumed), (whole.potential(), of_whole), "{stop}");
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (again, _) = pool.install(|| run(Watch::default())).unwrap();
            assert_eq!(again.potential(), whole.potential(), "{threads}");
        }
    }
}

/// A cost of the components that hold all the variance is the cost itself.
#[test]
fn a_projection_that_keeps_all_variance_pairs_as_none_does() {
    // Points of a plane in six dimensions: the other components of a draw cost every point the same.
    let plane = named("8gaussians", None).unwrap().sample(100, 2, Stream::Split, 0);
    let points: Vec<f64> = plane.rows().flat_map(|y| [y[0], y[1], y[0] - y[1], 0.5 * y[0], 0.0, -y[1]]).collect();
    let target = cloud(&points, 6);
    let projection = Projection::principal(&target, 2, 0).unwrap();
    assert!((projection.variance_kept - 1.0).abs() < 1e-12);
    let g: Vec<f64> = (0..100).map(|j| f64::from(j % 7) * 0.3).collect();
    let x = normal(6).sample(500, 2, Stream::Source, 0);
    let [whole, projected] =
        [None, Some(projection)].map(|projection| Semidiscrete::new(&target, &g, projection).unwrap().pair(&x, &cpu()).unwrap());
    assert_eq!(whole, projected);
}

#[test]
fn what_cannot_be_coupled_is_refused_in_words() {
    let ascent = Ascent::default();
    let refusal = |law: &Measure, target: &Cloud| ascent.fit(law, target, &cpu(), Watch::default()).unwrap_err().to_string();
    let two = cloud(&[0.0, 1.0], 1);
    assert!(refusal(&Measure::Finite(two.clone()), &two).contains("which is 2 points; give it a law"));
    assert!(refusal(&normal(1), &cloud(&[1.0, 1.0], 1)).contains("lie at one place"));
    assert!(refusal(&normal(1), &cloud(&[1.0], 1)).contains("lie at one place"));
    assert!(refusal(&normal(2), &two).contains("dimension 2 and the target 1"));
    assert!(Semidiscrete::new(&two, &[0.0, f64::NAN], None).unwrap_err().to_string().contains("finite potential"));
    assert!(Semidiscrete::new(&two, &[0.0], None).unwrap_err().to_string().contains("2 target points"));
    let coupling = Semidiscrete::new(&two, &[0.0, 0.0], None).unwrap();
    assert!(coupling.pair(&cloud(&[0.0, 0.0], 2), &cpu()).unwrap_err().to_string().contains("same space"));
    assert!(Projection::principal(&two, 2, 0).unwrap_err().to_string().contains("ask for 1 to 1"));
}
