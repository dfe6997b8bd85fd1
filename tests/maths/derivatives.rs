//! Gradients and Hessian–vector products of OT_ε and S_ε against central differences.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Divergence, Gradient, Problem, Sinkhorn};
use brenier::watch::Watch;

const TIGHT: Sinkhorn = Sinkhorn { tol: 1e-13, max_iter: 20_000, plain: false };
/// Step of the differences: their error is of order h² ≈ 1e-8, that of the values 1e-13/h.
const H: f64 = 1e-4;
const EPS: f64 = 0.3;
const N: usize = 12;
const M: usize = 9;
const D: usize = 2;

fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0.0f32; count];
    Philox::new(5, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

fn cloud(n: usize, step: u32) -> Cloud {
    let weights = normals(n, 10 + step).iter().map(|z| (0.3 * z).exp()).collect();
    Cloud::new(normals(n * D, step), D).unwrap().with_weights(weights).unwrap()
}

fn weights(cloud: &Cloud) -> Vec<f64> {
    (0..cloud.len()).map(|i| cloud.weight(i)).collect()
}

/// `cloud` with its points moved by h v and its weights by h w, Σ w = 0.
fn moved(cloud: &Cloud, v: &[f64], w: &[f64], h: f64) -> Cloud {
    let points = cloud.points().iter().zip(v).map(|(x, v)| x + h * v).collect();
    let masses = weights(cloud).iter().zip(w).map(|(a, w)| a + h * w).collect();
    Cloud::new(points, D).unwrap().with_weights(masses).unwrap()
}

/// A direction of the points, and one of the weights with sum zero.
fn directions(n: usize) -> (Vec<f64>, Vec<f64>) {
    let w: Vec<f64> = normals(n, 21).iter().map(|z| 0.01 * z).collect();
    let mean = w.iter().sum::<f64>() / n as f64;
    (normals(n * D, 20), w.iter().map(|w| w - mean).collect())
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

#[test]
fn the_gradient_of_the_regularised_cost_is_its_central_difference() {
    let (device, x, y) = (Device::cpu(Precision::F64), cloud(N, 0), cloud(M, 1));
    let (v, w) = directions(N);
    for rho in [[None; 2], [Some(0.8); 2], [None, Some(0.5)], [Some(0.5), None]] {
        let solve = |x: &Cloud| {
            let problem = Problem::new(x, &y, EPS).unwrap().with_rho(rho[0], rho[1]).unwrap();
            let outcome = TIGHT.solve(&problem, &device).unwrap();
            (outcome.gradient().unwrap(), outcome.dual)
        };
        let gradient = solve(&x).0;
        let still = vec![0.0; N * D];
        for (v, w) in [(&v, &vec![0.0; N]), (&still, &w)] {
            let difference = (solve(&moved(&x, v, w, H)).1 - solve(&moved(&x, v, w, -H)).1) / (2.0 * H);
            let derivative = dot(&gradient.points, v) + dot(&gradient.weights, w);
            assert!((derivative - difference).abs() < 1e-7, "{rho:?}: {derivative} for {difference}");
        }
    }
}

#[test]
fn the_gradient_of_the_divergence_is_its_central_difference_and_vanishes_at_the_reference() {
    let (device, x, y) = (Device::cpu(Precision::F64), cloud(N, 0), cloud(M, 1));
    let (v, w) = directions(N);
    for rho in [None, Some(0.8)] {
        let divergence = Divergence::unbalanced(&y, EPS, rho, TIGHT, &device).unwrap();
        let (value, gradient) = divergence.gradient(&x, &device).unwrap();
        assert!((value - divergence.from(&x, &device).unwrap()).abs() < 1e-12);
        let at = |v: &[f64], w: &[f64], h: f64| divergence.from(&moved(&x, v, w, h), &device).unwrap();
        let difference = (at(&v, &w, H) - at(&v, &w, -H)) / (2.0 * H);
        let derivative = dot(&gradient.points, &v) + dot(&gradient.weights, &w);
        assert!((derivative - difference).abs() < 1e-7, "{rho:?}: {derivative} for {difference}");
        let (_, at_reference) = divergence.gradient(&y.clone(), &device).unwrap();
        assert!(at_reference.points.iter().all(|g| g.abs() < 1e-11), "{at_reference:?}");
    }
}

#[test]
fn the_gradients_in_both_arguments_are_those_of_the_problem_and_of_its_reverse() {
    let (device, x, y) = (Device::cpu(Precision::F64), cloud(N, 0), cloud(M, 1));
    for rho in [None, Some(0.8)] {
        let problem = |x: &Cloud, y: &Cloud| Problem::new(x, y, EPS).unwrap().with_rho(rho, rho).unwrap();
        let both = |problem| Divergence::gradients_watched(&problem, TIGHT, &device, Watch::default()).unwrap();
        let (forth, back) = (both(problem(&x, &y)), both(problem(&y, &x)));
        let alone = Divergence::unbalanced(&y, EPS, rho, TIGHT, &device).unwrap().gradient(&x, &device).unwrap();
        assert_eq!((forth.value, &forth.source), (alone.0, &alone.1));
        assert!((forth.value - back.value).abs() < 1e-12);
        let (v, w) = directions(M);
        let along = |gradient: &Gradient| dot(&gradient.points, &v) + dot(&gradient.weights, &w);
        let off = along(&forth.target) - along(&back.source);
        assert!(off.abs() < 1e-10, "{rho:?}: off by {off}");
    }
}

#[test]
fn the_hessian_product_is_the_central_difference_of_the_gradient_and_symmetric() {
    let (device, x, y) = (Device::cpu(Precision::F64), cloud(N, 0), cloud(M, 1));
    let gradient = |x: &Cloud| {
        let problem = Problem::new(x, &y, EPS).unwrap();
        TIGHT.solve(&problem, &device).unwrap().gradient().unwrap().points
    };
    let problem = Problem::new(&x, &y, EPS).unwrap();
    let outcome = TIGHT.solve(&problem, &device).unwrap();
    let product = |v: &[f64]| outcome.hessian_product(v, 1e-12, &device).unwrap();
    let (v, u, still) = (normals(N * D, 20), normals(N * D, 22), vec![0.0; N]);
    let along = product(&v);
    assert!(along.residual < 1e-12 && along.iterations <= M + 2, "{along:?}");
    let (ahead, behind) = (gradient(&moved(&x, &v, &still, H)), gradient(&moved(&x, &v, &still, -H)));
    for ((product, ahead), behind) in along.product.iter().zip(&ahead).zip(&behind) {
        let difference = (ahead - behind) / (2.0 * H);
        assert!((product - difference).abs() < 1e-6, "{product} for {difference}");
    }
    let (left, right) = (dot(&u, &along.product), dot(&v, &product(&u).product));
    assert!((left - right).abs() < 1e-10, "{left} {right}");
}
