//! Pairs for flow-matching training, drawn from a plan and streamed.
//!
//! The N pairs are N slots. Source i has slots ⌈N A_{i−1} − U⌉ to ⌈N A_i − U⌉ with A the cumulative weights and one uniform U
//! (systematic sampling): N a_i of them up to less than one, so the source marginal is exact. Where a marginal is free its points have
//! the shares a e^{−f/ρ}/Σ and b e^{−g/ρ}/Σ of the mass that is moved, for a and b. A slot's partner is the quantile of
//! P_ij / Σ_k P_ik at a uniform number of (seed, i, number of the slot within i) alone, and the slots come in a random order.
//!
//! Without replacement, target j is used at most ⌈k b_j⌉ times among the first k pairs, for the k at which a round ends. All open
//! slots draw; of those that drew the same target as many as it is still free for keep it, by lot. The others and the targets still
//! free are a smaller problem: its own plan at the same ε, from the same potentials, is drawn from next, until no slot is open. With
//! n = m and as many pairs the first round places 63 % of the slots, so the extra rounds cost about 16 % of the pair work.

use crate::backend::Device;
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::hold::moved;
use crate::transport::{ClassCosts, Draws, LabelCost, Plan, Potentials, Problem, Sinkhorn, TransportError};
use crate::watch::Watch;

/// Slots drawn at a time: enough to share a pass over the columns, few enough for memory.
const ROUND: u64 = 1 << 20;
/// Between sources and targets left over the plan need not be better than this.
const LEFT_OVER: Sinkhorn = Sinkhorn { tol: 1e-2, max_iter: 1000, plain: false };

/// A stream of index pairs drawn from a plan.
#[derive(Clone, Debug)]
pub struct Pairing {
    plan: Plan,
    potentials: Potentials,
    seed: u32,
    step: u32,
    total: u64,
    done: u64,
    /// The first slot of each source, and N.
    first_slot: Vec<u64>,
    /// The share of the plan that each target has; only without replacement, as what follows.
    of_target: Vec<f64>,
    /// How often each target was used.
    used: Option<Vec<u32>>,
}

/// Indices of the two ends of each pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// Points of the source.
    pub source: Vec<u32>,
    /// Their partners in the target.
    pub target: Vec<u32>,
}

impl Pairing {
    /// A stream of `total` pairs; `step` tells streams of the same seed apart.
    ///
    /// # Errors
    /// [`TransportError::WarmStart`] when the potentials are not those of `problem`.
    pub fn new(
        problem: &Problem,
        potentials: &Potentials,
        total: u64,
        without_replacement: bool,
        (seed, step): (u32, u32),
    ) -> Result<Self, TransportError> {
        let plan = Plan::new(problem, potentials)?;
        let (source, n, [rho, rho_target]) = (plan.source(), plan.source().len(), problem.rho());
        let shares = |cloud: &Cloud, potential: &[f64], rho: Option<f64>| {
            let moved: Vec<f64> = (0..cloud.len()).map(|i| moved(cloud.weight(i), potential[i], rho)).collect();
            let total = if rho.is_some() { moved.iter().sum() } else { 1.0 };
            moved.into_iter().map(|moved| moved / total).collect::<Vec<f64>>()
        };
        let of_source = shares(source, &potentials.f, rho);
        let offset = Philox::new(seed, Stream::Split).uniform(0, step, u32::MAX);
        let mut cumulative = 0.0;
        let mut first_slot = vec![0; n + 1];
        for (i, slot) in first_slot.iter_mut().enumerate().skip(1) {
            cumulative += of_source[i - 1];
            // Of equal weights the multiples are exact, sums of 1/n are not.
            let uneven = source.weights().is_some() || rho.is_some();
            let share = if uneven { cumulative } else { i as f64 / n as f64 };
            *slot = ((total as f64 * share - offset).ceil().max(0.0) as u64).min(total);
        }
        // Sources without mass at the end have no slot either, whatever the rounding of the sum.
        let last = (0..n).rfind(|&i| of_source[i] > 0.0).map_or(n, |i| i + 1);
        first_slot[last..].fill(total);
        let used = without_replacement.then(|| vec![0; plan.target().len()]);
        let of_target = if without_replacement { shares(plan.target(), &potentials.g, rho_target) } else { Vec::new() };
        Ok(Self { of_target, plan, potentials: potentials.clone(), seed, step, total, done: 0, first_slot, used })
    }

    /// The next round of pairs, in their random order; none when all are drawn.
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out or `watch`, told of the smaller problems without replacement, says stop.
    pub fn next_round(&mut self, device: &Device, watch: Watch<'_>) -> Result<Option<Pairs>, TransportError> {
        let end = self.total.min(self.done + ROUND.max(self.plan.source().len() as u64));
        if self.done == end {
            return Ok(None);
        }
        let order = Philox::new(self.seed, Stream::Split);
        let slots: Vec<Slot> = (self.done..end).map(|k| self.slot(order.shuffled(k, self.total, self.step))).collect();
        let open: Vec<usize> = (0..slots.len()).collect();
        let rows: Vec<u32> = slots.iter().map(|slot| slot.source).collect();
        let mut target = self.draw(&self.plan, &rows, &slots, &open, 0, device)?;
        if let Some(used) = self.used.take() {
            self.used = Some(self.without_replacement(used, end, &slots, &mut target, device, watch)?);
        }
        self.done = end;
        Ok(Some(Pairs { source: rows, target }))
    }

    fn slot(&self, slot: u64) -> Slot {
        let source = self.first_slot.partition_point(|&first| first <= slot) - 1;
        Slot { source: source as u32, draw: (slot - self.first_slot[source]) as u32 }
    }

    /// The draw of each open slot, whose row of `plan` is `rows`.
    fn draw(
        &self,
        plan: &Plan,
        rows: &[u32],
        slots: &[Slot],
        open: &[usize],
        round: u32,
        device: &Device,
    ) -> Result<Vec<u32>, TransportError> {
        let philox = Philox::new(self.seed, Stream::Noise);
        let mut first = vec![0u32; plan.source().len() + 1];
        rows.iter().for_each(|&row| first[row as usize + 1] += 1);
        for i in 1..first.len() {
            first[i] += first[i - 1];
        }
        let mut place = first.clone();
        let mut at = vec![0usize; rows.len()];
        let mut quantiles = vec![0.0; rows.len()];
        for ((&row, &k), at) in rows.iter().zip(open).zip(&mut at) {
            let Slot { source, draw } = slots[k];
            *at = place[row as usize] as usize;
            place[row as usize] += 1;
            quantiles[*at] = philox.uniform_at([source, self.step, draw, round]);
        }
        let drawn = plan.partners_of_source().draw(plan.source(), Draws { first: &first, quantiles: &quantiles }, device)?;
        Ok(at.into_iter().map(|at| drawn[at]).collect())
    }

    /// Settles the targets that more slots drew than they are free for; returns how often each was used by then.
    fn without_replacement(
        &self,
        mut used: Vec<u32>,
        end: u64,
        slots: &[Slot],
        target: &mut [u32],
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Vec<u32>, TransportError> {
        let (x, y, eps) = (self.plan.source(), self.plan.target(), self.plan.eps());
        // A share that is whole up to rounding is whole.
        let limit = |j: usize| (end as f64 * self.of_target[j] * (1.0 - 1e-12)).ceil() as u32;
        let mut free: Vec<u32> = used.iter().enumerate().map(|(j, used)| limit(j).saturating_sub(*used)).collect();
        let mut open: Vec<usize> = (0..slots.len()).collect();
        for round in 1.. {
            open.retain(|&k| {
                let j = target[k] as usize;
                let kept = free[j] > 0;
                free[j] -= u32::from(kept);
                used[j] += u32::from(kept);
                !kept
            });
            if open.is_empty() {
                break;
            }
            let mut sources: Vec<usize> = open.iter().map(|&k| slots[k].source as usize).collect();
            sources.sort_unstable();
            sources.dedup();
            let row = |k: &usize| sources.partition_point(|&i| i < slots[*k].source as usize) as u32;
            let rows: Vec<u32> = open.iter().map(row).collect();
            let mut waiting = vec![0.0; sources.len()];
            rows.iter().for_each(|&row| waiting[row as usize] += 1.0);
            let targets: Vec<usize> = (0..y.len()).filter(|&j| free[j] > 0).collect();
            let room = targets.iter().map(|&j| f64::from(free[j])).collect();

            let (x, y) = (x.uniform_at(&sources).with_weights(waiting)?, y.uniform_at(&targets).with_weights(room)?);
            let mut problem = Problem::new(&x, &y, eps)?.under(self.plan.cost().clone())?;
            let few = |labels: &[u32], rows: &[usize]| rows.iter().map(|&i| labels[i]).collect();
            if let Some(ClassCosts { labels, .. }) = self.plan.classes() {
                let (source, target) = (few(&labels.source, &sources), few(&labels.target, &targets));
                problem = problem.with_labels(LabelCost { source, target, ..labels.clone() })?;
            }
            let warm = Potentials {
                f: sources.iter().map(|&i| self.potentials.f[i]).collect(),
                g: targets.iter().map(|&j| self.potentials.g[j]).collect(),
            };
            let outcome = LEFT_OVER.solve_watched(&problem, Some(&warm), device, watch.not_keeping())?;
            let plan = outcome.plan();
            for (&k, j) in open.iter().zip(self.draw(&plan, &rows, slots, &open, round, device)?) {
                target[k] = targets[j as usize] as u32;
            }
        }
        Ok(used)
    }
}

/// A pair to be drawn: its source, and its number among those of that source.
#[derive(Clone, Copy, Debug)]
struct Slot {
    source: u32,
    draw: u32,
}
