//! One level: two clouds, ε, and the iteration over the kept pairs of tiles.
//!
//! The k-th half-step since the start is over-relaxed, φ ← φ + ω_k ε log r, with
//!
//! ```text
//! ω_k = 2 (k+1)/(k+3)
//! ```
//!
//! which makes the error after k half-steps the Gegenbauer polynomial C_k⁽²⁾ of the iteration, up to scale (Golub, Varga 1961;
//! Brakhage 1987). The sampling noise that a finer cloud brings, in which all rates are present, falls like k^{−3/2} with it,
//! like k^{−3/4} without. When the error first rises, k has passed what the slowest rate can use: ω is held at that of 0.7 k, and
//! the fall is geometric from there. No rate is estimated.
//!
//! A symmetric problem has one potential and its averaging φ ← φ + ½ ε log r contracts by half by itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, Partial, Real, Reals};
use crate::checkpoint::Part;
use crate::transport::TransportError;
use crate::transport::hold::Hold;
use crate::transport::multiscale::side::{Kept, Saved, Side, Trend};
use crate::transport::multiscale::tiles::Scale;
use crate::transport::sinkhorn::ProductRows;
use crate::transport::values::RowMeans;
use crate::vector::dot;
use crate::watch::{Residual, Watch};

/// Nats by which exponents may rise before the list is made again; one nat more keeps a tenth more pairs.
const MARGIN: f64 = 1.5;
/// Nats by which a potential carried from a coarser level may differ from its affine guess.
const CARRY_MARGIN: f64 = 4.0;
/// Half-steps that are over-relaxed at least before ω is held: the first errors may rise by themselves.
const FEWEST_HALF_STEPS: usize = 6;
/// Of the half-steps at which the error first rises, the share at which ω is held. Between ½ and 0.7 the iterations to 1e-6 differ
/// by a third either way; at 1 they are two to three times as many.
const HELD_SHARE: f64 = 0.7;
/// An error above this times the least one so far ends the over-relaxation: it starts afresh, with a plain update.
const LOST: f64 = 2.0;

/// Rows whose means are widened at a time.
const BLOCK: usize = 4096;

/// The record of the level a solve has reached and the iterations made, that of the level's iteration, and the array of errors.
pub const REACHED: &str = "level and iterations";
const ITERATION: &str = "iteration";
const ERRORS: &str = "errors";

/// ε of a level and log₂ of the points that each point of its clouds stands for.
#[derive(Clone)]
pub struct Step {
    pub eps: f64,
    pub log2: Vec<u32>,
}

/// Iterations made by all levels, and who is told.
pub struct Budget<'a> {
    pub iterations: usize,
    pub most: usize,
    pub history: Vec<Residual>,
    pub watch: Watch<'a>,
    /// The square of the factor by which lengths here are those of the input.
    pub square: f64,
}

/// A level as a checkpoint has it: with its iteration, none where it is done, and the last error.
pub type UnderWay<L> = (L, Option<Iteration>, f64);

/// The iteration of a level.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Iteration {
    /// The number at which it ends at the latest.
    last: usize,
    /// Half-steps since the last plain iteration.
    half_steps: usize,
    /// The number of half-steps at which ω is held.
    held: Option<usize>,
    /// Whether the second marginal is exact, so that the error of the first is the whole one.
    exact: bool,
    /// The least error and the one before: kept as numbers of their own, as they may be infinite.
    #[serde(skip)]
    errors: (f64, f64),
}

pub struct Level<'a, B: Backend, const D: usize> {
    backend: &'a B,
    step: Step,
    /// Source and target, or the one cloud of a symmetric problem.
    sides: Vec<Side<B, D>>,
    /// Pairs of which an exponent can be above this, in nats, are kept.
    cut: f64,
    /// For rows of each side.
    lists: Vec<Kept<B>>,
    log_ratio: Vec<Reals<B>>,
    packed: Reals<B>,
    /// What the level before handed down, and its ε.
    carried: Option<(f64, Vec<Vec<f64>>)>,
}

impl<'a, B: Backend, const D: usize> Level<'a, B, D> {
    /// The first level, from f = g = 0 about the means or from `start`.
    pub fn new(
        backend: &'a B,
        step: Step,
        sides: Vec<(Arc<Scale<D>>, Hold)>,
        start: Option<Vec<Vec<f64>>>,
        cut: f64,
    ) -> Result<Self, BackendError> {
        let start = start.unwrap_or_else(|| sides.iter().map(|(scale, _)| scale.half_squares()).collect());
        let sides = sides.into_iter().zip(start).map(|((scale, hold), start)| Side::new(backend, scale, hold, &start));
        Self::of(backend, step, sides.collect::<Result<_, _>>()?, cut, None)
    }

    fn of(
        backend: &'a B,
        step: Step,
        sides: Vec<Side<B, D>>,
        cut: f64,
        carried: Option<(f64, Vec<Vec<f64>>)>,
    ) -> Result<Self, BackendError> {
        let most = sides.iter().map(|side| side.scale.len()).max().unwrap_or(0);
        let log_ratio = sides.iter().map(|side| backend.zeros(side.scale.len())).collect::<Result<_, _>>()?;
        let packed = backend.zeros(most * (D + 1))?;
        let mut level = Self { backend, step, sides, cut, lists: Vec::new(), log_ratio, packed, carried };
        level.list()?;
        Ok(level)
    }

    /// The level that `part` has, and its iteration; none where it was done, and then its error.
    pub fn kept(
        backend: &'a B,
        step: Step,
        sides: Vec<(Arc<Scale<D>>, Hold)>,
        cut: f64,
        part: &Part<'_>,
    ) -> Option<Result<UnderWay<Self>, BackendError>> {
        let array = |name: &str, s: usize| part.array(&format!("{name} {s}")).map(<[f64]>::to_vec);
        let all = |name: &str| (0..sides.len()).map(|s| array(name, s)).collect::<Option<Vec<_>>>();
        let (potentials, fitted) = (all("potential")?, all("fitted")?);
        let &[least, before, error] = part.array(ERRORS)? else { return None };
        let iteration = part.record::<Iteration>(ITERATION).map(|iteration| Iteration { errors: (least, before), ..iteration });
        let carried = part.array("eps carried").and_then(<[f64]>::first).copied().zip(all("carried"));
        let saved = potentials.into_iter().zip(fitted).map(|(potential, fitted)| Saved { potential, fitted });
        let sides = sides.into_iter().zip(saved).map(|((scale, hold), saved)| Side::restored(backend, scale, hold, &saved));
        let level = sides.collect::<Result<_, _>>().and_then(|sides| Self::of(backend, step, sides, cut, carried));
        Some(level.map(|level| (level, iteration, error)))
    }

    /// Its sides as they are now.
    pub fn save(&self) -> Result<Vec<Saved>, BackendError> {
        self.sides.iter().map(|side| side.save(self.backend)).collect()
    }

    /// Keeps the level, whose sides are `saved`, with its `iteration`, none where it is done, and the last `error`.
    pub fn keep(&self, saved: &[Saved], iteration: Option<&Iteration>, error: f64, part: &mut Part<'_>) {
        for (s, side) in saved.iter().enumerate() {
            part.keep_array(&format!("potential {s}"), side.potential.clone());
            part.keep_array(&format!("fitted {s}"), side.fitted.clone());
        }
        let (least, before) = iteration.map_or((f64::INFINITY, f64::INFINITY), |iteration| iteration.errors);
        part.keep_array(ERRORS, vec![least, before, error]);
        if let Some(iteration) = iteration {
            part.keep_record(ITERATION, iteration);
            if let Some((eps, carried)) = &self.carried {
                part.keep_array("eps carried", vec![*eps]);
                carried.iter().enumerate().for_each(|(s, carried)| part.keep_array(&format!("carried {s}"), carried.clone()));
            }
        }
    }

    /// The side opposite to `s`: itself in a symmetric problem.
    fn opposite(&self, s: usize) -> usize {
        self.sides.len() - 1 - s
    }

    /// Lists for the potentials as they are.
    fn list(&mut self) -> Result<(), BackendError> {
        // Those of the old potentials go first: two at a time would double the memory.
        self.lists.clear();
        for s in 0..self.sides.len() {
            let (rows, columns) = (&self.sides[s], &self.sides[self.opposite(s)]);
            self.lists.push(Kept::new(self.backend, rows, columns, self.step.eps, self.cut - MARGIN)?);
        }
        Ok(())
    }

    /// Nats by which an exponent may have risen since the lists were made.
    fn risen(&self) -> f64 {
        (self.sides[0].fallen + self.sides[self.opposite(0)].fallen) / self.step.eps
    }

    /// A bound of the plan's mass in the pairs that were skipped.
    pub fn skipped(&self) -> f64 {
        self.lists[0].skipped * self.risen().exp()
    }

    /// Source and target.
    pub fn sides(&self) -> [&Side<B, D>; 2] {
        [&self.sides[0], &self.sides[self.opposite(0)]]
    }

    /// log r of side `s`.
    fn marginal(&mut self, s: usize) -> Result<(), BackendError> {
        if self.risen() > MARGIN {
            self.sides.iter_mut().try_for_each(|side| side.fit(self.backend))?;
            self.list()?;
        }
        let sides = (&self.sides[s], &self.sides[self.opposite(s)]);
        self.lists[s].log_ratio(self.backend, sides, self.step.eps, &mut self.packed, &mut self.log_ratio[s])
    }

    /// The error of the first marginal, whose log r is known: Σ a |r − 1|, or ‖Δφ‖∞/ε when one of the two is free.
    fn error(&mut self) -> Result<f64, BackendError> {
        let balanced = self.sides.iter().all(|side| side.hold.rho.is_none());
        self.sides[0].error(self.backend, self.step.eps, &self.log_ratio[0], balanced)
    }

    fn advance(&mut self, s: usize, relaxation: f64) -> Result<(), BackendError> {
        self.sides[s].advance(self.backend, self.step.eps, relaxation, &self.log_ratio[s])
    }

    /// Iterates until the error of the first marginal is at most `tol` with the second exact, or `max_iter` iterations are made;
    /// returns the error of the plan it leaves. `number` is the level's own; `under_way` goes on with an iteration.
    pub fn solve(
        &mut self,
        (number, tol, max_iter): (usize, f64, usize),
        under_way: Option<Iteration>,
        budget: &mut Budget<'_>,
    ) -> Result<f64, TransportError> {
        let symmetric = self.sides.len() == 1;
        let last = budget.most.min(budget.iterations.saturating_add(max_iter));
        let errors = (f64::INFINITY, f64::INFINITY);
        let mut at = under_way.unwrap_or(Iteration { last, half_steps: 0, held: None, exact: symmetric, errors });
        loop {
            self.marginal(0)?;
            let error = self.error()?;
            self.tell(number, &at, error, budget)?;
            if budget.iterations >= at.last || (error <= tol && at.exact) {
                return Ok(error);
            }
            budget.iterations += 1;
            if symmetric {
                self.advance(0, 0.5)?;
                continue;
            }
            let plain = error <= tol || budget.iterations == at.last;
            let (mut least, before) = at.errors;
            if plain || error > LOST * least {
                (at.half_steps, least) = (0, f64::INFINITY);
            } else if error > before && at.half_steps >= FEWEST_HALF_STEPS && at.held.is_none() {
                at.held = Some((HELD_SHARE * at.half_steps as f64) as usize);
            }
            at.errors = (least.min(error), error);
            let held = at.held.unwrap_or(usize::MAX);
            self.advance(0, relaxation(held.min(at.half_steps + 1)))?;
            self.marginal(1)?;
            self.advance(1, if plain { 1.0 } else { relaxation(held.min(at.half_steps + 2)) })?;
            at.half_steps = if plain { 0 } else { at.half_steps + 2 };
            at.exact = plain;
        }
    }

    fn tell(&self, number: usize, at: &Iteration, error: f64, budget: &mut Budget<'_>) -> Result<(), TransportError> {
        let Budget { iterations, history, watch, square, .. } = budget;
        let now = Residual { iteration: *iterations, eps: self.step.eps / *square, error };
        let go_on = watch.tell(now.into());
        if watch.keeps(go_on) {
            let saved = self.save()?;
            watch.pass(go_on, |part| {
                part.keep_record(REACHED, &(number, *iterations));
                Residual::keep(history, part);
                self.keep(&saved, Some(at), error, part);
            });
        }
        history.push(now);
        if go_on { Ok(()) } else { Err(TransportError::Stopped { iterations: *iterations }) }
    }

    /// The next level, on `scales`, started from this one.
    pub fn finer(mut self, step: Step, scales: Vec<(Arc<Scale<D>>, Hold)>) -> Result<Self, BackendError> {
        let (backend, eps) = (self.backend, self.step.eps);
        let log2: Vec<u32> = self.step.log2.iter().zip(&step.log2).map(|(coarse, fine)| coarse - fine).collect();
        let now = self.sides.iter().map(|side| side.potential(backend)).collect::<Result<Vec<_>, _>>()?;
        let mut sides = Vec::new();
        for (s, (scale, hold)) in scales.into_iter().enumerate() {
            let same = log2.iter().all(|log2| *log2 == 0);
            sides.push(match same {
                true => Side::new(backend, scale, hold, &now[s])?,
                false => self.carry(s, &now[s], scale, hold, log2[s])?,
            });
        }
        let carried = sides.iter().map(|side| side.potential(backend)).collect::<Result<Vec<_>, _>>()?;
        if let Some((before, from)) = &self.carried {
            let share = if *before > eps { (eps - step.eps) / (before - eps) } else { 0.0 };
            for (s, side) in sides.iter_mut().enumerate() {
                side.extrapolate(backend, share, &Trend::new(&self.sides[s], &from[s], &now[s], log2[s]))?;
            }
        }
        Self::of(backend, step, sides, self.cut, Some((eps, carried)))
    }

    /// The potential of side `s`, `now` on its cloud, on a finer one: the c-transform of the opposite one, as it stands, about an
    /// affine guess.
    fn carry(&mut self, s: usize, now: &[f64], scale: Arc<Scale<D>>, hold: Hold, log2: u32) -> Result<Side<B, D>, BackendError> {
        let (backend, eps) = (self.backend, self.step.eps);
        let start = self.sides[s].on_blocks(now, &scale, log2);
        let mut fine = Side::new(backend, scale, hold, &start)?;
        let opposite = &self.sides[self.opposite(s)];
        let kept = Kept::new(backend, &fine, opposite, eps, self.cut - CARRY_MARGIN)?;
        let mut log_ratio = backend.zeros(fine.scale.len())?;
        kept.log_ratio(backend, (&fine, opposite), eps, &mut self.packed, &mut log_ratio)?;
        fine.advance(backend, eps, 1.0, &log_ratio)?;
        fine.fit(backend)?;
        Ok(fine)
    }

    /// Ends a solve that another precision has left here: an update makes the second marginal exact, and only where the error of the
    /// first is above `tol` then, at most `max_iter` iterations follow. Returns the error of the plan; `number` is the level's own.
    pub fn end(&mut self, (number, tol, max_iter): (usize, f64, usize), budget: &mut Budget<'_>) -> Result<f64, TransportError> {
        if self.sides.len() == 2 {
            self.marginal(1)?;
            self.advance(1, 1.0)?;
        }
        let last = budget.iterations.saturating_add(max_iter);
        let at = Iteration { last, half_steps: 0, held: None, exact: true, errors: (f64::INFINITY, f64::INFINITY) };
        self.solve((number, tol, max_iter), Some(at), budget)
    }

    /// What the rows say of the columns, whose barycentres are shown to `to` with the number of the row; `gap` is mean x − mean y.
    pub fn rows(&mut self, gap: &[f64], mut to: impl FnMut(usize, &[f64])) -> Result<RowMeans, BackendError> {
        let (backend, opposite) = (self.backend, self.opposite(0));
        let (rows, columns) = (&self.sides[0], &self.sides[opposite]);
        let (phi, psi) = (rows.potential(backend)?, columns.potential(backend)?);
        let row = |j: usize| {
            let (y, mass) = (columns.scale.point(j), columns.scale.weights[j]);
            let beside = [0.5 * dot(&y, &y), psi[j], mass.ln()].map(|value| if mass > 0.0 { value } else { 0.0 });
            y.into_iter().chain(beside)
        };
        let values = (backend.upload_reals((0..columns.scale.len()).flat_map(row))?, D + 3);
        let Partial { log_sum, mean } = self.lists[0].means(backend, (rows, columns), self.step.eps, values, &mut self.packed)?;
        let mut all = RowMeans::default();
        for (k, means) in mean.chunks(BLOCK * (D + 3)).enumerate() {
            let means: Vec<f64> = means.iter().map(|mean| mean.to_f64()).collect();
            let block = k * BLOCK..k * BLOCK + means.len() / (D + 3);
            let x = &rows.scale.points[block.start * D..block.end * D];
            let of = ProductRows { x, width: D, ground: &rows.hold.ground[block.clone()], phi: &phi[block.clone()], gap };
            all.extend(of.means(log_sum[block.clone()].iter().map(|r| r.to_f64()).collect(), &means));
            means.chunks_exact(D + 3).zip(block).for_each(|(mean, i)| to(i, &mean[..D]));
        }
        Ok(all)
    }
}

/// ω_k.
fn relaxation(k: usize) -> f64 {
    2.0 * (k + 1) as f64 / (k + 3) as f64
}
