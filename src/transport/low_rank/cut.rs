//! A plan of low rank cut from an optimal one.
//!
//! Sort the entries of a plan P into r groups and mix each: group k, of mass g_k and means x̄_k, ȳ_k, becomes a station, and
//!
//! ```text
//! ⟨Q diag(1/g) Rᵀ, c⟩ = ⟨P, c⟩ + Σ_k Σ_{(i,j) in k} P_ij (x_i − x̄_k)·(y_j − ȳ_k)            c = ½|x−y|²
//! ```
//!
//! so mixing costs the covariance of the two ends within the groups. It is at most the variance of their middles ½(x_i + y_j), whose
//! clusters are where groups start (Arthur, Vassilvitskii 2007), and the points of the smaller cloud are another start, at which r of
//! them cost nothing. From there single entries change groups as long as the cost falls (Hartigan, Wong 1979): a group gains
//! P g/(g + P) (x − x̄)·(y − ȳ) with an entry of mass P, and loses it likewise. Only differences within a group count, so clusters may lie
//! as far apart as they will.

use super::LowRankPlan;
use super::side::LEAST;
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::exact::{self, Ground, LARGEST};
use crate::transport::{PlanEntry, TransportError};
use crate::vector::squared_distance;
use crate::watch::{Progress, Watch};

/// With fewer points a station there is little to mix, and a cut is all that is made…
const FEW: usize = 4;
/// …as with more stations than so many, of which each step of the descent takes the cube.
const MANY: usize = 128;
/// Up to so many groups the best of several draws begins each; beyond, one draw does.
const BEST_OF_SEVERAL: usize = 64;
/// Falls of the cost below this share of their terms are rounding.
const ROUNDING: f64 = 1e-12;

/// Whether a cut alone serves a rank, of `most` points in the smaller cloud.
pub fn serves(rank: usize, most: usize) -> bool {
    rank > 1 && most < FEW * rank || rank > MANY
}

/// The cheaper of the two cuts of an optimal plan into `rank` groups, after at most `max_iter` rounds each; none of clouds that are too
/// large for an exact plan.
pub fn cut(
    clouds: [&Cloud; 2],
    (rank, seed): (usize, u32),
    (tol, max_iter): (f64, usize),
    watch: Watch<'_>,
) -> Result<Option<LowRankPlan>, TransportError> {
    let [source, target] = clouds;
    if source.len().max(target.len()) > LARGEST {
        return Ok(None);
    }
    let optimum = exact::solve(source, target, Ground::HalfSquare)?;
    let plan = Optimal { clouds, entries: optimum.entries };
    let mut best: Option<(Groups<'_>, bool)> = None;
    let mut rounds = 0;
    for middles in [true, false] {
        let mut groups = Groups::new(&plan, plan.start(rank, seed, middles), rank);
        let mut converged = false;
        for _ in 0..max_iter {
            let before = groups.cost;
            if !watch.tell(Progress::at(rounds, before)) {
                return Err(TransportError::Stopped { iterations: rounds });
            }
            groups.improve();
            rounds += 1;
            converged = before - groups.cost <= tol * groups.cost;
            if converged {
                break;
            }
        }
        if best.as_ref().is_none_or(|(best, _)| groups.cost < best.cost) {
            best = Some((groups, converged));
        }
    }
    Ok(best.map(|(groups, converged)| groups.plan(rounds, converged)))
}

/// An optimal plan between two clouds.
struct Optimal<'a> {
    clouds: [&'a Cloud; 2],
    entries: Vec<PlanEntry>,
}

impl Optimal<'_> {
    fn ends(&self, entry: &PlanEntry) -> (&[f64], &[f64]) {
        (self.clouds[0].row(entry.source), self.clouds[1].row(entry.target))
    }

    /// The group of each entry: the cluster of its middle, or of its end in the smaller cloud.
    fn start(&self, rank: usize, seed: u32, middles: bool) -> Vec<usize> {
        let smaller = usize::from(self.clouds[1].len() < self.clouds[0].len());
        let point = |entry: &PlanEntry| {
            let (x, y) = self.ends(entry);
            match middles {
                true => x.iter().zip(y).map(|(x, y)| 0.5 * (x + y)).collect(),
                false => [x, y][smaller].to_vec(),
            }
        };
        let points: Vec<Vec<f64>> = self.entries.iter().map(point).collect();
        let philox = Philox::new(seed, Stream::Split);
        let draws = if rank > BEST_OF_SEVERAL { 1 } else { 2 + (rank as f64).ln() as u32 };
        let mut groups = vec![0; points.len()];
        let mut away = vec![f64::INFINITY; points.len()];
        for group in 0..rank {
            let weight = |(entry, away): (&PlanEntry, &f64)| entry.mass * if group == 0 { 1.0 } else { *away };
            let running: Vec<f64> = self
                .entries
                .iter()
                .zip(&away)
                .map(weight)
                .scan(0.0, |sum, w| {
                    *sum += w;
                    Some(*sum)
                })
                .collect();
            let total = running[running.len() - 1];
            if total <= 0.0 {
                break; // as many groups as places
            }
            let closer = |draw: u32| {
                let at =
                    running.partition_point(|sum| *sum <= philox.uniform(group as u32, 1 + u32::from(middles), draw) * total);
                let centre = &points[at.min(points.len() - 1)];
                let nearer: Vec<f64> = points.iter().zip(&away).map(|(p, away)| away.min(squared_distance(p, centre))).collect();
                (self.entries.iter().zip(&nearer).map(|(entry, near)| entry.mass * near).sum::<f64>(), nearer)
            };
            let best = (0..draws).map(closer).min_by(|p, q| p.0.total_cmp(&q.0));
            let Some((_, nearer)) = best else { break };
            for ((own, old), new) in groups.iter_mut().zip(&mut away).zip(nearer) {
                if new < *old {
                    (*own, *old) = (group, new);
                }
            }
        }
        groups
    }
}

/// Entries in groups.
struct Groups<'a> {
    optimal: &'a Optimal<'a>,
    /// The group of each entry.
    of: Vec<usize>,
    rank: usize,
    d: usize,
    /// Entries of each group, their mass, and the means of their ends, r × d.
    counts: Vec<usize>,
    masses: Vec<f64>,
    x: Vec<f64>,
    y: Vec<f64>,
    /// ⟨Q diag(1/g) Rᵀ, c⟩.
    cost: f64,
}

impl<'a> Groups<'a> {
    fn new(optimal: &'a Optimal<'a>, of: Vec<usize>, rank: usize) -> Self {
        let d = optimal.clouds[0].dim();
        let zeros = || vec![0.0; rank * d];
        let (x, y) = (zeros(), zeros());
        let mut groups = Self { optimal, of, rank, d, counts: vec![0; rank], masses: vec![0.0; rank], x, y, cost: 0.0 };
        groups.gather();
        groups
    }

    fn means(&self, k: usize) -> (&[f64], &[f64]) {
        (&self.x[k * self.d..][..self.d], &self.y[k * self.d..][..self.d])
    }

    /// (x − x̄)·(y − ȳ) of an entry in group k.
    fn product(&self, entry: &PlanEntry, k: usize) -> f64 {
        let ((x, y), (at, to)) = (self.optimal.ends(entry), self.means(k));
        x.iter().zip(at).zip(y.iter().zip(to)).map(|((x, at), (y, to))| (x - at) * (y - to)).sum()
    }

    /// Counts, masses, means and the cost from the entries.
    fn gather(&mut self) {
        self.counts.fill(0);
        self.masses.fill(0.0);
        let entries = || self.optimal.entries.iter().zip(&self.of);
        for (entry, &k) in self.optimal.entries.iter().zip(&self.of) {
            self.counts[k] += 1;
            self.masses[k] += entry.mass;
        }
        self.x.fill(0.0);
        self.y.fill(0.0);
        for (entry, &k) in self.optimal.entries.iter().zip(&self.of) {
            let share = entry.mass / self.masses[k];
            let (x, y) = self.optimal.ends(entry);
            self.x[k * self.d..][..self.d].iter_mut().zip(x).for_each(|(mean, x)| *mean += share * x);
            self.y[k * self.d..][..self.d].iter_mut().zip(y).for_each(|(mean, y)| *mean += share * y);
        }
        let of_entry = |(entry, &k): (&PlanEntry, &usize)| {
            let (x, y) = self.optimal.ends(entry);
            entry.mass * (0.5 * squared_distance(x, y) + self.product(entry, k))
        };
        self.cost = entries().map(of_entry).sum();
    }

    /// Each entry once to the group where it costs least.
    fn improve(&mut self) {
        let optimal = self.optimal;
        for (at, entry) in optimal.entries.iter().enumerate() {
            let own = self.of[at];
            let left = self.masses[own] - entry.mass;
            if self.counts[own] == 1 || left <= 0.0 {
                continue;
            }
            let spared = entry.mass * self.masses[own] / left * self.product(entry, own);
            if spared <= 0.0 {
                continue;
            }
            let joined = |k: usize| match self.counts[k] {
                0 => 0.0,
                _ => entry.mass * self.masses[k] / (self.masses[k] + entry.mass) * self.product(entry, k),
            };
            let others = (0..self.rank).filter(|&k| k != own).map(|k| (joined(k), k));
            let Some((cost, next)) = others.min_by(|p, q| p.0.total_cmp(&q.0)) else { break };
            if spared - cost > ROUNDING * (spared + cost.abs()) {
                self.shift(entry, own, -entry.mass);
                self.shift(entry, next, entry.mass);
                self.of[at] = next;
            }
        }
        self.gather();
    }

    /// Adds `mass` of an entry to group k, or takes it out.
    fn shift(&mut self, entry: &PlanEntry, k: usize, mass: f64) {
        let (x, y) = self.optimal.ends(entry);
        if mass > 0.0 {
            self.counts[k] += 1;
        } else {
            self.counts[k] -= 1;
        }
        self.masses[k] = if self.counts[k] == 1 && mass > 0.0 { mass } else { self.masses[k] + mass };
        let share = mass / self.masses[k];
        let place = k * self.d..(k + 1) * self.d;
        self.x[place.clone()].iter_mut().zip(x).for_each(|(mean, x)| *mean += share * (x - *mean));
        self.y[place].iter_mut().zip(y).for_each(|(mean, y)| *mean += share * (y - *mean));
    }

    /// The plan that the groups are the stations of.
    fn plan(&self, iterations: usize, converged: bool) -> LowRankPlan {
        let [source, target] = self.optimal.clouds;
        let (rank, d) = (self.rank, self.d);
        let (mut q, mut r) = (vec![0.0; source.len() * rank], vec![0.0; target.len() * rank]);
        for (entry, k) in self.optimal.entries.iter().zip(&self.of) {
            q[entry.source * rank + k] += entry.mass;
            r[entry.target * rank + k] += entry.mass;
        }
        let mut map = vec![0.0; source.len() * d];
        for (i, (image, row)) in map.chunks_exact_mut(d).zip(q.chunks_exact(rank)).enumerate() {
            let mass: f64 = row.iter().sum();
            if mass <= LEAST {
                // A point without mass goes where the nearest station does.
                let away = |k: usize| squared_distance(source.row(i), self.means(k).0);
                let used = (0..rank).filter(|&k| self.counts[k] > 0);
                let nearest = used.min_by(|&k, &l| away(k).total_cmp(&away(l))).unwrap_or(0);
                image.copy_from_slice(self.means(nearest).1);
                continue;
            }
            for (k, share) in row.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                image.iter_mut().zip(self.means(k).1).for_each(|(t, y)| *t += share / mass * y);
            }
        }
        let marginal_error = super::plan::error(&q, &self.masses) + super::plan::error(&r, &self.masses);
        LowRankPlan { q, r, g: self.masses.clone(), transport_cost: self.cost, marginal_error, iterations, converged, map }
    }
}
