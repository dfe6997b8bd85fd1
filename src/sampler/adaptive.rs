//! Runge–Kutta methods that choose their steps by an embedded error estimate (Hairer, Nørsett, Wanner 1993, II.4).
//!
//! ```text
//! err = ‖h Σ e_i k_i / (atol + rtol max(|y|, |y′|))‖, accepted when ≤ 1        h ← h clip(0.9 err^{−1/p}, 0.2 or 1, 10)
//! ```
//!
//! with the RMS norm, a tolerance of each step; [`Adaptive::to_tolerance`] makes it one of the whole run. Each particle has steps of
//! its own, so its path does not depend on the others, and no step passes the last time. States at times inside a step are read off a
//! quartic through both ends, both slopes and the middle. The published solvers differ in three ways: one step for the whole batch
//! ([`BatchErrorNorm`](crate::sampler::compat::BatchErrorNorm)), steps past the end
//! ([`Overshooting`](crate::sampler::compat::Overshooting)), and a last slope taken for
//! the next first one where it is not ([`stale_slope`](crate::sampler::compat::stale_slope)).

use std::iter::Sum;

use rayon::prelude::*;
use thiserror::Error;

use crate::checkpoint::Part;
use crate::sampler::tableau::{Pair, moved, weighted};

/// An adaptive Runge–Kutta method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptive {
    /// The pair.
    pub pair: Pair,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
}

/// Steps that an error estimate decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Steps made.
    pub accepted: usize,
    /// Steps tried whose error was above the tolerance.
    pub rejected: usize,
}

impl Tries {
    /// One more try.
    fn count(&mut self, is_accepted: bool) {
        *(if is_accepted { &mut self.accepted } else { &mut self.rejected }) += 1;
    }
}

impl Sum for Tries {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            accepted: sum.accepted + one.accepted,
            rejected: sum.rejected + one.rejected,
        })
    }
}

/// A solved system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Solution {
    /// The state at each requested time.
    pub states: Vec<Vec<f64>>,
    /// Times at which the slope was evaluated, in order.
    pub evaluated: Vec<f64>,
    /// Steps accepted and rejected, of all particles and at all tolerances together.
    pub tries: Tries,
}

/// Why a system was not solved.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AdaptiveError {
    /// No times, or times in no order.
    #[error("the times must rise or fall strictly, and there must be at least two")]
    Times,
    /// A slope or state that is not finite.
    #[error("the slope or the error is not finite near t = {t}; end the run before the field's singularity")]
    NotFinite {
        /// Where.
        t: f64,
    },
    /// The step became too small to move t.
    #[error("the step became too small at t = {t}; the tolerance cannot be met there, raise rtol or atol")]
    StepTooSmall {
        /// Where.
        t: f64,
    },
}

/// The record of a march's steps.
const TRIES: &str = "accepted and rejected";
/// Most rounds of [`Adaptive::to_tolerance`].
const ROUNDS: usize = 6;

/// Slopes dy/dt at (t, y).
pub type Slope<'a> = &'a mut dyn FnMut(f64, &[f64]) -> Vec<f64>;

impl Adaptive {
    /// The method on a pair with the same relative and absolute tolerance.
    pub fn new(pair: Pair, tolerance: f64) -> Self {
        Self { pair, rtol: tolerance, atol: tolerance }
    }

    /// Solves dy/dt = `slope` from `start` at the first of `times` for all of them, each particle of `dim` numbers for itself.
    /// The states are n × `dim`; `evaluated` has the times of all particles, one after the other.
    ///
    /// # Errors
    /// [`AdaptiveError`] of the first particle that fails.
    pub fn particles(
        &self,
        slope: impl Fn(f64, &[f64]) -> Vec<f64> + Sync,
        times: &[f64],
        start: &[f64],
        dim: usize,
    ) -> Result<Solution, AdaptiveError> {
        self.particles_before(end_of(times), slope, times, start, dim)
    }

    /// [`Adaptive::particles`] with steps that may pass the last of `times`, but not `bound`.
    pub(super) fn particles_before(
        &self,
        bound: f64,
        slope: impl Fn(f64, &[f64]) -> Vec<f64> + Sync,
        times: &[f64],
        start: &[f64],
        dim: usize,
    ) -> Result<Solution, AdaptiveError> {
        let one = |x: &[f64]| self.integrate_before(bound, &mut |t, y| slope(t, y), times, x, &[dim]);
        let solved: Vec<Solution> = start.par_chunks(dim).map(one).collect::<Result<_, _>>()?;
        Ok(joined(&solved, times.len()))
    }

    /// Solves each particle at tolerances that fall by ten until two answers agree within the one asked for at all of `times`. That
    /// tolerance is then of the whole run and not of a step, also where the flow drives neighbours apart. After six rounds, near a
    /// separatrix, the last answer is given. The rest as for [`Adaptive::particles`].
    ///
    /// # Errors
    /// [`AdaptiveError`] of the first particle that fails.
    pub fn to_tolerance(
        &self,
        slope: impl Fn(f64, &[f64]) -> Vec<f64> + Sync,
        times: &[f64],
        start: &[f64],
        dim: usize,
    ) -> Result<Solution, AdaptiveError> {
        self.to_tolerance_before(end_of(times), slope, times, start, dim)
    }

    /// [`Adaptive::to_tolerance`] with steps that may pass the last of `times`, but not `bound`.
    pub(super) fn to_tolerance_before(
        self,
        bound: f64,
        slope: impl Fn(f64, &[f64]) -> Vec<f64> + Sync,
        times: &[f64],
        start: &[f64],
        dim: usize,
    ) -> Result<Solution, AdaptiveError> {
        let one = |x: &[f64]| self.settled(bound, &mut |t, y| slope(t, y), times, x, &[dim]);
        let solved: Vec<Solution> = start.par_chunks(dim).map(one).collect::<Result<_, _>>()?;
        Ok(joined(&solved, times.len()))
    }

    /// One system of [`Adaptive::to_tolerance_before`], with `parts` as [`Adaptive::integrate`] takes them.
    pub(super) fn settled(
        self,
        bound: f64,
        slope: Slope<'_>,
        times: &[f64],
        start: &[f64],
        parts: &[usize],
    ) -> Result<Solution, AdaptiveError> {
        let agree = |(a, b): (&f64, &f64)| (a - b).abs() <= self.atol + self.rtol * b.abs();
        let mut solve = |method: &Self| method.integrate_before(bound, slope, times, start, parts);
        let (mut method, mut last) = (self, solve(&self)?);
        for _ in 0..ROUNDS {
            method = Self { rtol: 0.1 * method.rtol, atol: 0.1 * method.atol, ..method };
            let mut next = solve(&method)?;
            let settled = last.states.iter().flatten().zip(next.states.iter().flatten()).all(agree);
            next.evaluated.extend_from_slice(&last.evaluated);
            next.tries = [last.tries, next.tries].into_iter().sum();
            last = next;
            if settled {
                break;
            }
        }
        Ok(last)
    }

    /// Solves one system. `parts` are the lengths of the parts of y; the norm is the largest of their RMS.
    ///
    /// # Errors
    /// [`AdaptiveError`].
    pub fn integrate(&self, slope: Slope<'_>, times: &[f64], start: &[f64], parts: &[usize]) -> Result<Solution, AdaptiveError> {
        self.integrate_before(end_of(times), slope, times, start, parts)
    }

    /// [`Adaptive::integrate`] with steps that may pass the last of `times`, but not `bound`.
    pub(super) fn integrate_before(
        &self,
        bound: f64,
        slope: Slope<'_>,
        times: &[f64],
        start: &[f64],
        parts: &[usize],
    ) -> Result<Solution, AdaptiveError> {
        let [first, .., last] = *times else { return Err(AdaptiveError::Times) };
        let sign = (last - first).signum();
        if times.windows(2).any(|pair| (pair[1] - pair[0]) * sign <= 0.0 || !pair[1].is_finite()) {
            return Err(AdaptiveError::Times);
        }
        let mut solution = Solution { states: vec![start.to_vec()], evaluated: Vec::new(), tries: Tries::default() };
        let mut slope = |t: f64, y: &[f64]| {
            solution.evaluated.push(t);
            slope(t, y)
        };
        let mut march = self.begin(&mut slope, [first, bound], start, parts);
        for &time in &times[1..] {
            while !march.has_passed(time) {
                self.step(&mut march, &mut slope, parts)?;
            }
            solution.states.push(march.at(time));
        }
        solution.tries = march.tries;
        Ok(solution)
    }

    /// A march from `start` at the first of `ends`, of which no step passes the last; it may be infinite.
    pub fn begin(&self, slope: Slope<'_>, ends: [f64; 2], start: &[f64], parts: &[usize]) -> March {
        let sign = (ends[1] - ends[0]).signum();
        let [first, end] = ends.map(|t| sign * t);
        let mut f = in_order(sign, slope);
        let now = Node { t: first, y: start.to_vec(), slope: f(first, start) };
        let h = self.first_step(&now, end, &mut f, parts);
        March { sign, end, now, h, last: None, tries: Tries::default() }
    }

    /// Tries one step.
    ///
    /// # Errors
    /// [`AdaptiveError`] where there is none to try, or it leads nowhere.
    pub fn step(&self, march: &mut March, slope: Slope<'_>, parts: &[usize]) -> Result<(), AdaptiveError> {
        let March { sign, end, ref now, h, .. } = *march;
        let mut f = in_order(sign, slope);
        if h.is_nan() {
            return Err(AdaptiveError::NotFinite { t: sign * now.t });
        }
        let (step, to) = if now.t + h < end { (h, now.t + h) } else { (end - now.t, end) };
        if to <= now.t {
            return Err(AdaptiveError::StepTooSmall { t: sign * now.t });
        }
        let (tried, error, middle) = self.attempt(now, to, step, &mut f, parts);
        if !error.is_finite() {
            return Err(AdaptiveError::NotFinite { t: sign * to });
        }
        march.tries.count(error <= 1.0);
        if error <= 1.0 {
            let fresh = if self.pair.first_same_as_last { tried.slope } else { f(to, &tried.y) };
            let before = std::mem::replace(&mut march.now, Node { slope: fresh, ..tried });
            march.last = Some((before, step, middle));
        }
        march.h = step * self.factor(error);
        Ok(())
    }

    fn factor(&self, error: f64) -> f64 {
        if error == 0.0 {
            return 10.0;
        }
        let least = if error < 1.0 { 1.0 } else { 0.2 };
        (0.9 / error.powf(1.0 / f64::from(self.pair.tableau.order))).max(least).min(10.0)
    }

    /// The step of Hairer, Nørsett, Wanner 1993, II.4, from sizes of y, its slope and its second derivative.
    fn first_step(&self, at: &Node, end: f64, f: Slope<'_>, parts: &[usize]) -> f64 {
        let scale: Vec<f64> = at.y.iter().map(|y| self.atol + self.rtol * y.abs()).collect();
        let size = |v: &mut dyn Iterator<Item = f64>| norm(&v.zip(&scale).map(|(v, s)| v / s).collect::<Vec<f64>>(), parts);
        let (d0, d1) = (size(&mut at.y.iter().copied()), size(&mut at.slope.iter().copied()));
        let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
        let h0 = h0.min(end - at.t);
        let moved: Vec<f64> = at.y.iter().zip(&at.slope).map(|(y, f)| y + h0 * f).collect();
        let after = f(at.t + h0, &moved);
        let d2 = size(&mut after.iter().zip(&at.slope).map(|(a, b)| a - b)) / h0;
        let h1 = if d1 <= 1e-15 && d2 <= 1e-15 {
            (h0 * 1e-3).max(1e-6)
        } else {
            (0.01 / d1.max(d2)).powf(1.0 / f64::from(self.pair.tableau.order))
        };
        h1.min(100.0 * h0)
    }

    /// The state and last slope after a step, its error in units of the tolerance, and its middle.
    fn attempt(&self, from: &Node, to: f64, h: f64, f: Slope<'_>, parts: &[usize]) -> (Node, f64, Vec<f64>) {
        let Pair { tableau, e, mid, .. } = self.pair;
        let at = |c: f64| if c == 1.0 { to } else { from.t + c * h };
        let mut slopes = tableau.stages(from.slope.clone(), &from.y, h, &mut |c, point| f(at(c), point));
        let y = moved(&from.y, &weighted(h, tableau.b, &slopes));
        let tolerance = from.y.iter().zip(&y).map(|(y, z)| self.atol + self.rtol * y.abs().max(z.abs()));
        let error: Vec<f64> = weighted(h, e, &slopes).iter().zip(tolerance).map(|(e, t)| e / t).collect();
        let middle = moved(&from.y, &weighted(h, mid, &slopes));
        let slope = slopes.pop().unwrap_or_default();
        (Node { t: to, y, slope }, norm(&error, parts), middle)
    }
}

/// `slope` in the time in which a march goes forward: a run back in time is one forward in −t.
fn in_order<'a>(sign: f64, slope: Slope<'a>) -> impl FnMut(f64, &[f64]) -> Vec<f64> + 'a {
    move |s, y| slope(sign * s, y).into_iter().map(|v| sign * v).collect()
}

/// One system under way.
#[derive(Clone, Debug, PartialEq)]
pub struct March {
    /// Of dt: what follows is in the time that goes forward.
    sign: f64,
    end: f64,
    now: Node,
    /// The step to try next.
    h: f64,
    /// Where the last step began, its length and the state in its middle.
    last: Option<(Node, f64, Vec<f64>)>,
    tries: Tries,
}

impl March {
    /// Steps accepted and rejected so far.
    pub fn tries(&self) -> Tries {
        self.tries
    }

    /// The time of the last node.
    pub fn time(&self) -> f64 {
        self.sign * self.now.t
    }

    /// Whether `time` is at or before the last node.
    pub fn has_passed(&self, time: f64) -> bool {
        self.now.t >= self.sign * time
    }

    /// The state at a `time` inside the last step.
    pub fn at(&self, time: f64) -> Vec<f64> {
        let Some((before, step, middle)) = &self.last else { return self.now.y.clone() };
        quartic(before, &self.now, middle, *step, (self.sign * time - before.t) / (self.now.t - before.t))
    }

    /// Keeps the march.
    pub fn keep(&self, part: &mut Part<'_>) {
        part.keep_array("sign, end and step", vec![self.sign, self.end, self.h]);
        part.keep_record(TRIES, &(self.tries.accepted, self.tries.rejected));
        self.now.keep("now", part);
        if let Some((before, step, middle)) = &self.last {
            before.keep("before", part);
            part.keep_array("last step", vec![*step]);
            part.keep_array("middle", middle.clone());
        }
    }

    /// The march that was kept.
    pub fn kept(part: &Part<'_>) -> Option<Self> {
        let &[sign, end, h] = part.array("sign, end and step")? else { return None };
        let (accepted, rejected) = part.record(TRIES)?;
        let step = part.array("last step").and_then(<[f64]>::first).copied();
        let last = Node::kept("before", part).zip(step).zip(part.array("middle"));
        let last = last.map(|((before, step), middle)| (before, step, middle.to_vec()));
        Some(Self { sign, end, now: Node::kept("now", part)?, h, last, tries: Tries { accepted, rejected } })
    }
}

/// The last of `times`; where there is none they are refused.
fn end_of(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or(f64::NAN)
}

/// The solutions of all particles as one.
fn joined(solved: &[Solution], times: usize) -> Solution {
    let at = |i: usize| solved.iter().flat_map(|solution| solution.states[i].iter().copied()).collect();
    let evaluated = solved.iter().flat_map(|solution| solution.evaluated.iter().copied()).collect();
    Solution { states: (0..times).map(at).collect(), evaluated, tries: solved.iter().map(|solution| solution.tries).sum() }
}

/// A time, the state and its slope.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    t: f64,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Node {
    fn keep(&self, name: &str, part: &mut Part<'_>) {
        part.keep_array(&format!("time {name}"), vec![self.t]);
        part.keep_array(&format!("state {name}"), self.y.clone());
        part.keep_array(&format!("slope {name}"), self.slope.clone());
    }

    fn kept(name: &str, part: &Part<'_>) -> Option<Self> {
        let array = |what: &str| part.array(&format!("{what} {name}"));
        Some(Self { t: *array("time")?.first()?, y: array("state")?.to_vec(), slope: array("slope")?.to_vec() })
    }
}

/// The largest RMS of the parts of `v`.
fn norm(v: &[f64], parts: &[usize]) -> f64 {
    let mut from = 0;
    let sizes = parts.iter().map(|&len| {
        let part = &v[from..from + len];
        from += len;
        (part.iter().map(|x| x * x).sum::<f64>() / len as f64).sqrt()
    });
    sizes.fold(0.0, |largest, size| if size.is_nan() { size } else { size.max(largest) })
}

/// The quartic with both states, both slopes and the middle state of a step `h`, at the share `s` of it.
fn quartic(from: &Node, to: &Node, middle: &[f64], h: f64, s: f64) -> Vec<f64> {
    let at = |i: usize| {
        let (y0, y1, ym, f0, f1) = (from.y[i], to.y[i], middle[i], from.slope[i], to.slope[i]);
        let c4 = 2.0 * h * (f1 - f0) - 8.0 * (y1 + y0) + 16.0 * ym;
        let c3 = h * (5.0 * f0 - 3.0 * f1) + 18.0 * y0 + 14.0 * y1 - 32.0 * ym;
        let c2 = h * (f1 - 4.0 * f0) - 11.0 * y0 - 5.0 * y1 + 16.0 * ym;
        y0 + s * (h * f0 + s * (c2 + s * (c3 + s * c4)))
    };
    (0..middle.len()).map(at).collect()
}
