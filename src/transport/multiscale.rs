//! Multiscale Sinkhorn for d ≤ 4: coarse clouds first and, of every level, only the pairs of tiles that can hold mass.
//!
//! Both clouds are put in k-d order, in which blocks of 2^k points merge into clouds 2^k times smaller. ε falls level by level to
//! the one asked for, each level on the coarsest clouds whose blocks are small against √ε. A level starts from the c-transforms of
//! the potentials of the one before, moved on by the change between the two before it, extrapolated linearly in ε.
//!
//! The plan is that of the dense solver but for the pairs that [`tiles`] skips, whose mass is bounded and reported. Potentials are
//! held in f64 and exponents formed about tile centres, so that single precision serves for any ε that resolves a tile.

mod level;
mod order;
mod side;
mod tiles;

use crate::backend::{Backend, Real};
use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::problem::{Problem, dot};
use crate::transport::sinkhorn::{Outcome, Potentials, Progress, Sinkhorn};
use level::{Budget, Level, Step};
use tiles::{LARGEST_DIM, Scale};

/// Pairs of points from which on the levels pay for themselves.
const FEWEST_PAIRS: usize = 1 << 20;
/// ε of a level over that of the next: twice fewer points a level at d = 3.
const FALL: f64 = 1.6;
/// Variance within blocks, in units of ε, up to which a coarse cloud stands for the fine one. At 1 the levels are semi-discrete
/// problems and take ten times the iterations, at ¼ they cost twice as much each.
const COARSENESS: f64 = 0.5;
/// Marginal error at which a coarser level is left at the latest: what is extrapolated from it is no better.
const COARSE_TOL: f64 = 1e-3;
/// Most iterations of a coarser level, which only has to start the next one well.
const PER_LEVEL: usize = 100;
/// The coarsest clouds have at least this many points.
const FEWEST_POINTS: usize = 512;

/// Whether `problem` is one for this solver: few dimensions, many pairs, and acceleration asked for.
pub(super) fn serves(problem: &Problem<'_>, solver: &Sinkhorn) -> bool {
    let (x, y) = (problem.source(), problem.target());
    x.dim() <= LARGEST_DIM && x.len() * y.len() >= FEWEST_PAIRS && !solver.plain && solver.tol > 0.0
}

/// Solves `problem`, from `warm` if given; between a cloud and itself by symmetric averaging.
pub(super) fn solve<B: Backend>(
    backend: &B,
    problem: &Problem<'_>,
    solver: &Sinkhorn,
    warm: Option<&Potentials>,
    progress: Option<Progress<'_>>,
) -> Result<Outcome, TransportError> {
    match problem.source().dim() {
        1 => descend::<B, 1>(backend, problem, solver, warm, progress),
        2 => descend::<B, 2>(backend, problem, solver, warm, progress),
        3 => descend::<B, 3>(backend, problem, solver, warm, progress),
        _ => descend::<B, 4>(backend, problem, solver, warm, progress),
    }
}

/// A cloud in k-d order relative to its mean, and the clouds of its blocks.
struct Pyramid<const D: usize> {
    mean: Vec<f64>,
    order: Vec<u32>,
    /// The cloud of blocks of 2^k points, for each k.
    scales: Vec<Scale<D>>,
    /// Variance within the blocks of 2^k points.
    lost: Vec<f64>,
}

impl<const D: usize> Pyramid<D> {
    fn new(cloud: &Cloud) -> Self {
        let mean = cloud.mean();
        let order = order::order(cloud.points(), D);
        let centred = order.iter().flat_map(|&i| cloud.row(i as usize).iter().zip(&mean).map(|(x, m)| x - m)).collect();
        let weights = order.iter().map(|&i| cloud.weight(i as usize)).collect();
        let (mut scales, mut lost) = (vec![Scale { points: centred, weights }], vec![0.0]);
        while scales[scales.len() - 1].len() >= 2 * FEWEST_POINTS {
            let (merged, variance) = scales[scales.len() - 1].merged();
            lost.push(lost[lost.len() - 1] + variance);
            scales.push(merged);
        }
        Self { mean, order, scales, lost }
    }

    /// log₂ of the largest blocks that stand for their points at `eps`.
    fn coarsest(&self, eps: f64) -> u32 {
        self.lost.iter().rposition(|lost| *lost <= COARSENESS * eps).unwrap_or(0) as u32
    }

    /// ½ Σ a |x|².
    fn spread(&self) -> f64 {
        let coarse = &self.scales[self.scales.len() - 1];
        coarse.half_squares().iter().zip(&coarse.weights).map(|(half, a)| half * a).sum()
    }

    /// Values of `width` numbers a point, from k-d order to the order of the cloud.
    fn restored(&self, values: &[f64], width: usize) -> Vec<f64> {
        let mut out = vec![0.0; values.len()];
        for (value, &i) in values.chunks_exact(width).zip(&self.order) {
            out[i as usize * width..][..width].copy_from_slice(value);
        }
        out
    }

    /// φ + f = ½|x|² ± Δ·x + ¼|Δ|² of each point: c = ½|x|² + ½|y|² − x·y + Δ·x − Δ·y + ½|Δ|² with Δ = mean x − mean y.
    fn ground(&self, gap: &[f64], sign: f64) -> Vec<f64> {
        let half = self.scales[0].half_squares();
        let along = (0..half.len()).map(|i| sign * dot(gap, &self.scales[0].point(i)) + 0.25 * dot(gap, gap));
        half.iter().zip(along).map(|(half, along)| half + along).collect()
    }
}

/// The levels from the spread of the clouds down to `eps`.
fn schedule<const D: usize>(pyramids: &[Pyramid<D>], eps: f64) -> Vec<Step> {
    let spread = pyramids.iter().map(Pyramid::spread).sum::<f64>() * 2.0 / pyramids.len() as f64;
    let count = ((spread / eps).ln() / FALL.ln()).ceil().max(0.0) as i32;
    let at = |eps: f64| Step { eps, log2: pyramids.iter().map(|pyramid| pyramid.coarsest(eps)).collect() };
    let mut steps: Vec<Step> = (0..=count).rev().map(|k| at(eps * FALL.powi(k))).collect();
    if steps.last().is_some_and(|last| last.log2.iter().any(|log2| *log2 > 0)) {
        steps.push(Step { eps, log2: vec![0; pyramids.len()] });
    }
    steps
}

fn descend<B: Backend, const D: usize>(
    backend: &B,
    problem: &Problem<'_>,
    solver: &Sinkhorn,
    warm: Option<&Potentials>,
    progress: Option<Progress<'_>>,
) -> Result<Outcome, TransportError> {
    let (source, target, eps) = (problem.source(), problem.target(), problem.eps());
    let symmetric = std::ptr::eq(source, target) || source == target;
    let pyramids = match symmetric {
        true => vec![Pyramid::<D>::new(source)],
        false => {
            let (x, y) = rayon::join(|| Pyramid::new(source), || Pyramid::new(target));
            vec![x, y]
        }
    };
    let (x, y) = (&pyramids[0], &pyramids[pyramids.len() - 1]);
    let widest = pyramids.iter().map(|pyramid| pyramid.scales[0].widest_tile()).fold(0.0, f64::max);
    if widest * B::Real::ROUNDING > 1e-2 * eps {
        problem.check_precision::<B>()?;
    }
    let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
    let grounds = [x.ground(&gap, 1.0), y.ground(&gap, -1.0)];
    let mut budget = Budget { iterations: 0, most: solver.max_iter, progress };

    let (steps, start) = match warm {
        None => {
            let steps = schedule(&pyramids, eps);
            let start = pyramids.iter().zip(&steps[0].log2).map(|(pyramid, &log2)| pyramid.scales[log2 as usize].half_squares());
            let start = start.collect();
            (steps, start)
        }
        Some(Potentials { f, g }) => {
            let (n, m) = (source.len(), target.len());
            if (f.len(), g.len()) != (n, m) {
                return Err(TransportError::WarmStart { f: f.len(), g: g.len(), n, m });
            }
            let convex = |pyramid: &Pyramid<D>, ground: &[f64], f: &[f64]| -> Vec<f64> {
                pyramid.order.iter().zip(ground).map(|(&i, ground)| ground - f[i as usize]).collect()
            };
            let (phi, psi) = (convex(x, &grounds[0], f), convex(y, &grounds[1], g));
            let start = match symmetric {
                true => vec![phi.iter().zip(&psi).map(|(phi, psi)| 0.5 * (phi + psi)).collect()],
                false => vec![phi, psi],
            };
            (vec![Step { eps, log2: vec![0; pyramids.len()] }], start)
        }
    };
    let scales = |step: &Step| pyramids.iter().zip(&step.log2).map(|(p, &log2)| &p.scales[log2 as usize]).collect::<Vec<_>>();
    let cut = solver.tol.min(0.1).ln();
    let mut level = Level::new(backend, steps[0].clone(), scales(&steps[0]), start, cut)?;
    let mut error = f64::NAN;
    for (k, step) in steps.iter().enumerate() {
        let last = k + 1 == steps.len();
        if k > 0 {
            level = level.finer(step.clone(), scales(step))?;
        }
        let (tol, most) = if last { (solver.tol, usize::MAX) } else { (solver.tol.max(COARSE_TOL), PER_LEVEL) };
        error = level.solve(tol, most, &mut budget)?;
    }

    let (mut map, log_ratio) = level.barycentric_map()?;
    let (a, b) = (&x.scales[0].weights, &y.scales[0].weights);
    let convex = level.potentials();
    let potential = |ground: &[f64], convex: &[f64]| ground.iter().zip(convex).map(|(g, c)| g - c).collect::<Vec<f64>>();
    let (mut f, mut g) = (potential(&grounds[0], convex[0]), potential(&grounds[1], convex[convex.len() - 1]));
    // The last update was of g, so the second marginal is b; a symmetric plan has the first one twice.
    let p: Vec<f64> = a.iter().zip(&log_ratio).map(|(a, r)| a * r.exp()).collect();
    let q = if symmetric { &p } else { b };
    let total: f64 = p.iter().sum();
    let gauge = dot(b, &g);
    g.iter_mut().for_each(|g| *g -= gauge);
    f.iter_mut().for_each(|f| *f += gauge);
    let product: f64 = (0..a.len()).map(|i| p[i] * dot(&x.scales[0].point(i), &map[i * D..][..D])).sum();
    let transport_cost = dot(&p, &grounds[0]) + dot(q, &grounds[1]) - product;
    let dual = dot(a, &f) + dot(b, &g) - eps * (total - 1.0);
    let regularised_cost = dot(&p, &f) + dot(q, &g) - eps * (total - 1.0);
    for row in map.chunks_exact_mut(D) {
        row.iter_mut().zip(&y.mean).for_each(|(t, m)| *t += m);
    }
    Ok(Outcome {
        potentials: Potentials { f: x.restored(&f, 1), g: y.restored(&g, 1) },
        eps,
        iterations: budget.iterations,
        converged: error <= solver.tol,
        marginal_error: error,
        skipped_mass_bound: level.skipped(),
        transport_cost,
        dual,
        regularised_cost,
        map: x.restored(&map, D),
    })
}
