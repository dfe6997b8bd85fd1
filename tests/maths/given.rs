//! Clouds as they are given: in single precision, and in memory that something else owns.

use brenier::backend::{Cost, Device, Precision};
use brenier::measure::{Cloud, Given};
use brenier::random::{Philox, Stream};
use brenier::transport::{Divergence, LabelCost, Outcome, Problem, Sinkhorn};

/// n points of d uniform coordinates in single precision, `offset` away, and the same in double.
fn cubes(n: usize, d: usize, offset: f32, seed: u32) -> [Cloud; 2] {
    let philox = Philox::new(seed, Stream::Source);
    let at = |k: usize| offset + philox.uniform((k / d) as u32, 0, (k % d) as u32) as f32;
    let points: Vec<f32> = (0..n * d).map(at).collect();
    let widened = points.iter().map(|x| f64::from(*x)).collect();
    [Cloud::of_f32(points, d).unwrap(), Cloud::new(widened, d).unwrap()]
}

fn solve(x: &Cloud, y: &Cloud, eps: f64, cost: Cost, precision: Precision) -> Outcome {
    let problem = Problem::new(x, y, eps).unwrap().with_cost(cost).unwrap();
    Sinkhorn::default().solve(&problem, &Device::cpu(precision)).unwrap()
}

/// Widening is exact, and so are all sums then: over all pairs and over the scales, of weighted points, and where single precision
/// does not show the values, so that they end in double.
#[test]
fn a_plan_does_not_depend_on_the_precision_that_its_points_are_given_in() {
    for (n, d, eps, cost) in [
        (300, 7, 0.05, Cost::HalfSquaredEuclidean),
        (300, 7, 1e-3, Cost::HalfSquaredEuclidean),
        (1200, 3, 5e-3, Cost::HalfSquaredEuclidean),
        (1200, 2, 1e-5, Cost::HalfSquaredEuclidean),
        (200, 3, 0.05, Cost::Euclidean),
        (200, 4, 0.05, Cost::Cosine),
    ] {
        let weights: Vec<f64> = (0..n).map(|i| (i % 4) as f64).collect();
        let [x, wide_x] = cubes(n, d, 0.0, 1).map(|cloud| cloud.with_weights(weights.clone()).unwrap());
        let [y, wide_y] = cubes(n, d, 0.5, 2);
        for precision in [Precision::F32, Precision::F64] {
            let (found, wide) = (solve(&x, &y, eps, cost, precision), solve(&wide_x, &wide_y, eps, cost, precision));
            assert_eq!(found, wide);
            assert_eq!(found.variance_kept(), wide.variance_kept());
            assert_eq!(found.gradient().ok(), wide.gradient().ok());
        }
    }
}

/// The points are centred in double before they are rounded: what single precision holds of them at 1e4 is a grid of 2⁻¹⁰, and its
/// points a fixed offset nearer are the same ones.
#[test]
fn an_offset_of_points_in_single_precision_costs_no_digits() {
    for (n, d) in [(400, 6), (1200, 2)] {
        let [far_x, far_y] = [1, 2].map(|seed| cubes(n, d, 1e4, seed)[0].clone());
        let near = |cloud: &Cloud| Cloud::new(cloud.points().iter().map(|x| x - 1e4).collect(), d).unwrap();
        let far = solve(&far_x, &far_y, 0.02, Cost::HalfSquaredEuclidean, Precision::F32);
        let near = solve(&near(&far_x), &near(&far_y), 0.02, Cost::HalfSquaredEuclidean, Precision::F64);
        // ε × the marginal error, which either may leave.
        assert!((far.dual - near.dual).abs() < 2e-5, "{} {}", far.dual, near.dual);
        assert!((far.transport_cost - near.transport_cost).abs() < 1e-3 * near.transport_cost);
    }
}

#[test]
fn the_divergence_of_points_in_single_precision_is_that_of_the_same_in_double() {
    let ([x, wide_x], [y, wide_y]) = (cubes(400, 5, 0.0, 1), cubes(300, 5, 0.2, 2));
    let device = Device::cpu(Precision::F32);
    let to = |y: &Cloud, x: &Cloud| {
        let divergence = Divergence::to(y, 0.05, Sinkhorn::default(), &device).unwrap();
        divergence.from(x, &device).unwrap()
    };
    assert_eq!(to(&y, &x), to(&wide_y, &wide_x));
}

/// The means under the rows come in blocks of rows, on one thread of 448 with 303 numbers a row and of 896 with 153 or 156: each has
/// its own points, classes and potentials.
#[test]
fn the_outcome_of_several_blocks_of_rows_is_that_of_the_sums_over_all_pairs() {
    let (n, m, d, columns) = (2000, 20, 150, 3);
    let ([_, x], [_, y]) = (cubes(n, d, 0.0, 1), cubes(m, d, 0.5, 2));
    let x = x.with_weights((0..n).map(|i| (i % 4) as f64).collect()).unwrap();
    let [of_x, of_y] = [(n, 2), (m, 3)].map(|(n, classes)| (0..n).map(|i| (i % classes) as u32).collect::<Vec<_>>());
    let table = [0.0, 1.5, 0.2, 0.7, 0.0, 3.0];
    let solver = Sinkhorn { tol: 0.0, max_iter: 3, plain: true };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (cost, eps, with_classes) in
        [(Cost::HalfSquaredEuclidean, 2.0, true), (Cost::Cosine, 0.02, false), (Cost::Euclidean, 0.3, false)]
    {
        let mut problem = Problem::new(&x, &y, eps).unwrap().with_cost(cost).unwrap();
        if with_classes {
            let labels = LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: table[..].into(), columns };
            problem = problem.with_labels(labels).unwrap();
        }
        let outcome = pool.install(|| solver.solve(&problem, &Device::cpu(Precision::F64))).unwrap();
        let (f, g, map) = (&outcome.potentials.f, &outcome.potentials.g, outcome.map());
        let (mut transport_cost, mut entropy) = (0.0, 0.0);
        for i in 0..n {
            let of_classes = |j: usize| if with_classes { table[of_x[i] as usize * columns + of_y[j] as usize] } else { 0.0 };
            let costs: Vec<f64> = (0..m).map(|j| problem.cost().between(x.row(i), y.row(j)) + of_classes(j)).collect();
            let law: Vec<f64> = (0..m).map(|j| y.weight(j) * ((f[i] + g[j] - costs[j]) / eps).exp()).collect();
            let mut image = vec![0.0; d];
            for (j, (p, cost)) in law.iter().zip(&costs).enumerate() {
                image.iter_mut().zip(y.row(j)).for_each(|(image, y)| *image += p * y);
                let p = x.weight(i) * p;
                transport_cost += p * cost;
                entropy -= if p > 0.0 { p * p.ln() } else { 0.0 };
            }
            let mass: f64 = law.iter().sum();
            let off = image.iter().zip(&map[i * d..]).map(|(image, found)| (image / mass - found).abs()).fold(0.0, f64::max);
            assert!(off < 1e-12, "{cost}: the image of point {i} is off by {off}");
        }
        for (found, sum) in [(outcome.transport_cost, transport_cost), (outcome.entropy, entropy)] {
            assert!((found - sum).abs() < 1e-12 * sum.abs(), "{cost}: {found} for {sum}");
        }
    }
}

/// Memory that a cloud does not own: here an array that lives as long as the program.
struct Foreign(&'static [f32]);

impl AsRef<[f32]> for Foreign {
    fn as_ref(&self) -> &[f32] {
        self.0
    }
}

#[test]
fn points_stay_where_their_owner_has_them() {
    static POINTS: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let cloud = Cloud::of_f32(Foreign(&POINTS), 2).unwrap();
    let same = |cloud: &Cloud| matches!(cloud.given(), Given::F32(points) if std::ptr::eq(points, &POINTS[..]));
    let weighted = cloud.clone().with_weights(vec![1.0, 2.0, 1.0]).unwrap();
    solve(&cloud, &weighted, 0.5, Cost::HalfSquaredEuclidean, Precision::F32);
    assert!(same(&cloud) && same(&weighted));
    assert_eq!((weighted.mean(), weighted.row(1)), (vec![2.0, 3.0], &[2.0, 3.0][..]));
}
