//! Multiscale Sinkhorn for d ≤ 4: coarse clouds first and, of every level, only the pairs of tiles that can hold mass.
//!
//! Both clouds are put in k-d order, in which blocks of 2^k points merge into clouds 2^k times smaller. ε falls level by level to
//! the one asked for, each level on the coarsest clouds whose blocks are small against √ε. A level starts from the c-transforms of
//! the potentials of the one before, moved on by the change between the two before it, extrapolated linearly in ε.
//!
//! The plan is that of the dense solver except for the pairs that [`tiles`] skips, whose mass is bounded and reported. Potentials are
//! held in f64 and exponents formed about tile centres, so that single precision serves for any ε that resolves a tile.

mod level;
mod order;
mod side;
mod tiles;

use std::sync::Arc;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Real, Storage};
use crate::measure::{Cloud, Given};
use crate::transport::TransportError;
use crate::transport::hold::Hold;
use crate::transport::images::Images;
use crate::transport::outcome::{Outcome, Verdict};
use crate::transport::problem::{Problem, precision, scale};
use crate::transport::sinkhorn::Blur;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::transport::values::{Ended, Values};
use crate::vector::dot;
use crate::watch::{Residual, Watch};
use level::{Budget, Level, REACHED, Step};
use side::Saved;
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
/// The largest share of a row's sum that may be skipped, however loose the tolerance.
const LARGEST_SHARE: f64 = 0.1;
/// Rounding errors of exponents about tile centres beyond which ε is judged as for the dense solver.
const TILE_ROUNDING: f64 = 1e-2;
/// The coarsest clouds have at least this many points.
const FEWEST_POINTS: usize = 512;

/// Whether `problem` is one for this solver: few dimensions, many pairs, and acceleration asked for.
pub(super) fn serves(problem: &Problem, solver: &Sinkhorn) -> bool {
    let (x, y) = (problem.source(), problem.target());
    problem.cost().is_half_squared()
        && problem.labels().is_none()
        && problem.storage() == Storage::Full
        && x.dim() <= LARGEST_DIM
        && x.len() * y.len() >= FEWEST_PAIRS
        && solver.accelerated()
}

/// Solves `problem`, from `warm` if given; between a cloud and itself by symmetric averaging.
pub(super) fn solve<B: Backend>(
    backend: &B,
    problem: &Problem,
    solver: &Sinkhorn,
    warm: Option<&Potentials>,
    watch: Watch<'_>,
) -> Result<Outcome, TransportError> {
    match problem.source().dim() {
        1 => descend::<B, 1>(backend, problem, solver, warm, watch),
        2 => descend::<B, 2>(backend, problem, solver, warm, watch),
        3 => descend::<B, 3>(backend, problem, solver, warm, watch),
        _ => descend::<B, 4>(backend, problem, solver, warm, watch),
    }
}

/// A cloud in k-d order relative to its mean, and the clouds of its blocks.
struct Pyramid<const D: usize> {
    /// In the units of the input.
    mean: Vec<f64>,
    order: Vec<u32>,
    /// The cloud of blocks of 2^k points, for each k that a level is still to come for.
    scales: Vec<Arc<Scale<D>>>,
    /// Variance within the blocks of 2^k points.
    lost: Vec<f64>,
}

impl<const D: usize> Pyramid<D> {
    /// `cloud` with lengths multiplied by `unit`.
    fn new(cloud: &Cloud, unit: f64) -> Self {
        let mean = cloud.mean();
        let order = match cloud.given() {
            Given::F32(points) => order::order(points, D),
            Given::F64(points) => order::order(points, D),
        };
        let mut room = [0.0; D];
        let mut centred = Vec::with_capacity(order.len() * D);
        for &i in &order {
            centred.extend(cloud.row_in(i as usize, &mut room).iter().zip(&mean).map(|(x, m)| unit * (x - m)));
        }
        let weights = order.iter().map(|&i| cloud.weight(i as usize)).collect();
        let (mut scales, mut lost) = (vec![Arc::new(Scale { points: centred, weights })], vec![0.0]);
        while scales[scales.len() - 1].len() >= 2 * FEWEST_POINTS {
            let (merged, variance) = scales[scales.len() - 1].merged();
            lost.push(lost[lost.len() - 1] + variance);
            scales.push(Arc::new(merged));
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

    /// Values from k-d order to the order of the cloud.
    fn restored(&self, values: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; values.len()];
        for (value, &i) in values.iter().zip(&self.order) {
            out[i as usize] = *value;
        }
        out
    }
}

/// The sides of a level whose points stand for 2^`log2` each.
fn sides<const D: usize>(
    pyramids: &[Pyramid<D>],
    log2: &[u32],
    rho: [Option<f64>; 2],
    gap: &[f64],
) -> Vec<(Arc<Scale<D>>, Hold)> {
    let ends = pyramids.iter().zip(log2).zip(rho).zip([1.0, -1.0]);
    ends.map(|(((pyramid, &log2), rho), sign)| {
        let scale = &pyramid.scales[log2 as usize];
        (scale.clone(), hold(scale, rho, gap, sign))
    })
    .collect()
}

/// How the marginal of `scale` is held: φ at f = 0 is ½|x|² ± Δ·x + ¼|Δ|², as c = ½|x|² + ½|y|² − x·y + Δ·x − Δ·y + ½|Δ|² with
/// Δ = mean x − mean y.
fn hold<const D: usize>(scale: &Scale<D>, rho: Option<f64>, gap: &[f64], sign: f64) -> Hold {
    let along = |x: &[f64]| sign * dot(gap, x) + 0.25 * dot(gap, gap);
    Hold { rho, ground: scale.points.chunks_exact(D).map(|x| 0.5 * dot(x, x) + along(x)).collect() }
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
    problem: &Problem,
    solver: &Sinkhorn,
    warm: Option<&Potentials>,
    watch: Watch<'_>,
) -> Result<Outcome, TransportError> {
    let (source, target) = (problem.source(), problem.target());
    let unit = scale(source, target);
    let (square, symmetric) = (unit * unit, problem.is_symmetric());
    let eps = problem.eps() * square;
    let mut pyramids = match symmetric {
        true => vec![Pyramid::<D>::new(source, unit)],
        false => {
            let (x, y) = rayon::join(|| Pyramid::new(source, unit), || Pyramid::new(target, unit));
            vec![x, y]
        }
    };
    let last = pyramids.len() - 1;
    let widest = pyramids.iter().map(|pyramid| pyramid.scales[0].widest_tile()).fold(0.0, f64::max);
    let rounding = widest * B::Real::ROUNDING;
    if rounding > TILE_ROUNDING * eps {
        problem.check_precision::<B>()?;
    }
    let gap: Vec<f64> = pyramids[0].mean.iter().zip(&pyramids[last].mean).map(|(x, y)| unit * (x - y)).collect();
    let rho = problem.rho().map(|rho| rho.map(|rho| rho * square));
    let sides = |pyramids: &[Pyramid<D>], step: &Step| sides(pyramids, &step.log2, rho, &gap);

    let finest = Step { eps, log2: vec![0; pyramids.len()] };
    let (steps, start) = match warm {
        None => (schedule(&pyramids, eps), None),
        Some(Potentials { f, g }) => {
            let (n, m) = (source.len(), target.len());
            if (f.len(), g.len()) != (n, m) {
                return Err(TransportError::WarmStart { f: f.len(), g: g.len(), n, m });
            }
            // The potentials of a symmetric problem may differ by a constant.
            let halves: Vec<f64> = f.iter().zip(g).map(|(f, g)| 0.5 * (f + g)).collect();
            let given: Vec<&[f64]> = if symmetric { vec![&halves] } else { vec![f, g] };
            let convex = |(((_, hold), pyramid), f): (((_, Hold), &Pyramid<D>), &[f64])| -> Vec<f64> {
                pyramid.order.iter().zip(&hold.ground).map(|(&i, ground)| ground - square * f[i as usize]).collect()
            };
            let start = sides(&pyramids, &finest).into_iter().zip(&pyramids).zip(given).map(convex).collect();
            (vec![finest.clone()], Some(start))
        }
    };
    let cut = solver.tol.min(LARGEST_SHARE).ln();
    let mut budget = Budget { iterations: 0, most: solver.max_iter, history: Vec::new(), watch, square };
    let recalled = budget.watch.kept().and_then(|part| {
        let (k, iterations): (usize, usize) = part.record(REACHED)?;
        let step = steps.get(k)?;
        Some((k, iterations, Residual::kept(part)?, Level::kept(backend, step.clone(), sides(&pyramids, step), cut, part)?))
    });
    let (mut k, mut level, mut under_way, mut error) = match recalled {
        Some((k, iterations, history, level)) => {
            let (level, iteration, error) = level?;
            (budget.iterations, budget.history) = (iterations, history);
            (if iteration.is_some() { k } else { steps.len() }, level, iteration, error)
        }
        None => (0, Level::new(backend, steps[0].clone(), sides(&pyramids, &steps[0]), start, cut)?, None, f64::NAN),
    };
    while k < steps.len() {
        let (tol, most) = if k + 1 == steps.len() { (solver.tol, usize::MAX) } else { (solver.tol.max(COARSE_TOL), PER_LEVEL) };
        error = level.solve((k, tol, most), under_way.take(), &mut budget)?;
        k += 1;
        if let Some(step) = steps.get(k) {
            level = level.finer(step.clone(), sides(&pyramids, step))?;
            // The coarser clouds are as large as this one, all together.
            pyramids.iter_mut().zip(&step.log2).for_each(|(pyramid, log2)| pyramid.scales.truncate(*log2 as usize + 1));
        }
    }
    let Budget { iterations, history, mut watch, .. } = budget;
    let saved = level.save()?;
    watch.close(|part| {
        part.keep_record(REACHED, &(steps.len() - 1, iterations));
        Residual::keep(&history, part);
        level.keep(&saved, None, error, part);
    });

    let (u, single) = (B::Real::ROUNDING, B::Real::ROUNDING > f64::ROUNDING);
    let ends = Ends { problem, solver, pyramids: &pyramids, unit, gap: &gap, rounding };
    let finest_clouds = [0, last].map(|end| &*pyramids[end].scales[0]);
    let squares = finest_clouds.map(Scale::largest_half_square).into_iter().fold(0.0, f64::max);
    let masses = finest_clouds.map(|scale| &scale.weights[..]);
    let potentials = [&saved[0].potential[..], &saved[saved.len() - 1].potential];
    let blur = Blur::new::<B>(rounding, 2.0 * squares * u, [(masses[0], potentials[0]), (masses[1], potentials[1])]);
    if !single || blur.shows_plan(eps, error) {
        let outcome = ends.outcome(&mut level, &saved, (iterations, history.clone()), error)?;
        if !single || blur.shows_cost(outcome.transport_cost * square) {
            return Ok(outcome);
        }
    }
    // As the dense solver ends: in f64, where single precision would blur the values.
    drop(level);
    let backend = Cpu::<f64>::new();
    let potentials = saved.into_iter().map(|side| side.potential).collect();
    let mut level = Level::new(&backend, finest.clone(), sides(&pyramids, &finest), Some(potentials), cut)?;
    let mut budget = Budget { iterations, most: solver.max_iter, history, watch: watch.not_keeping(), square };
    budget.history.pop();
    let (tol, left) = solver.ending(error, iterations);
    let error = level.end((steps.len() - 1, tol, left), &mut budget)?;
    let saved = level.save()?;
    let outcome = ends.outcome(&mut level, &saved, (budget.iterations, budget.history), error)?;
    Ok(Outcome { precision: precision::<B>(), ..outcome })
}

/// What the values of a plan need besides its last level.
struct Ends<'a, const D: usize> {
    problem: &'a Problem,
    solver: &'a Sinkhorn,
    pyramids: &'a [Pyramid<D>],
    unit: f64,
    gap: &'a [f64],
    /// The rounding of the exponents of the iteration.
    rounding: f64,
}

impl<const D: usize> Ends<'_, D> {
    /// The outcome of `level`, whose sides are `saved`, after so many iterations with these errors.
    fn outcome<B: Backend>(
        &self,
        level: &mut Level<'_, B, D>,
        saved: &[Saved],
        (iterations, history): (usize, Vec<Residual>),
        error: f64,
    ) -> Result<Outcome, TransportError> {
        let (x, y) = (&self.pyramids[0], &self.pyramids[self.pyramids.len() - 1]);
        let (square, eps) = (self.unit * self.unit, self.problem.eps() * self.unit * self.unit);
        let mut images = Images::about((&y.mean, self.unit), self.problem.source().len(), precision::<B>());
        let rows = level.rows(self.gap, |i, image| images.place(x.order[i] as usize, image))?;
        let [first, second] = level.sides();
        let plan = Ended {
            eps,
            mass: [&first.scale.weights, &second.scale.weights],
            holds: [&first.hold, &second.hold],
            convex: [&saved[0].potential, &saved[saved.len() - 1].potential],
            rows: &rows,
        };
        let Values { potentials: Potentials { mut f, mut g }, mass, transport_cost, dual, regularised_cost, entropy } =
            plan.values();
        f.iter_mut().chain(&mut g).for_each(|f| *f /= square);
        let verdict = Verdict::new(error, self.solver, &history, self.rounding / eps);
        Ok(Outcome {
            problem: self.problem.clone(),
            potentials: Potentials { f: x.restored(&f), g: y.restored(&g) },
            eps: self.problem.eps(),
            precision: precision::<B>(),
            iterations,
            converged: verdict == Verdict::Converged,
            verdict,
            marginal_error: error,
            skipped_mass_bound: level.skipped(),
            residuals: history,
            mass,
            transport_cost: transport_cost / square,
            dual: dual / square,
            regularised_cost: regularised_cost / square,
            entropy,
            images,
        })
    }
}
