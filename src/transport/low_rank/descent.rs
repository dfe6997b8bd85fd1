//! Mirror descent under annealing: as fast as the projection can follow.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::backend::BackendError;

use super::projection::{Projected, project};
use super::side::{Factor, Side};
use crate::measure::Cloud;
use crate::random::Stream;
use crate::vector::dot;

/// Points of the first sample, at least so many and so many a station; each has so many times those of the one before.
const SAMPLE: usize = 4096;
const SAMPLE_PER_STATION: usize = 100;
const LARGER: usize = 4;
/// σ √(V_x V_y) of the first factors, where stations are all but alike, and the least a dimension where the cost may be taken to have
/// stopped falling: in equal directions they part at one a dimension.
const FIRST: f64 = 1.0;
const PARTED: f64 = 20.0;
/// How much of the way to the means of the other side the stations go.
const SHARE: f64 = 0.5;
/// By how much of itself σ grows, at first and at most.
const GROWTH: f64 = 0.1;
const LARGEST_GROWTH: f64 = 0.3;
/// Newton steps of a projection at most, the number to aim at, and the L1 error of both column sums at which it ends.
const ROUNDS: usize = 8;
const GOOD: usize = 3;
pub const PROJECTED: f64 = 1e-5;
/// The same for the first and the last one; what the last leaves is rounded away.
pub const MOST_ROUNDS: usize = 60;
pub const LAST_PROJECTED: f64 = 1e-9;

/// Points of the two clouds, about the means of all.
pub struct Pair {
    pub x: Side,
    pub y: Side,
    /// ⟨P, c⟩ + Σ_k g_k x̄_k·ȳ_k of every plan.
    pub constant: f64,
    /// Whether they are all there are.
    pub whole: bool,
}

impl Pair {
    /// `count` draws of each cloud, or the cloud itself where that is not twice as much.
    pub fn sample(clouds: [&Cloud; 2], origins: &[Vec<f64>; 2], count: usize, seed: u32) -> Self {
        let is_drawn = |cloud: &Cloud| count < cloud.len() / 2;
        let side = |at: usize| match clouds[at] {
            cloud if is_drawn(cloud) => Side::new(&cloud.resample(count, seed, Stream::Split, at as u32), &origins[at]),
            cloud => Side::new(cloud, &origins[at]),
        };
        let (x, y) = (side(0), side(1));
        let apart: Vec<f64> = origins[0].iter().zip(&origins[1]).map(|(x, y)| x - y).collect();
        let constant = 0.5 * dot(&apart, &apart)
            + x.mean_of(|x| 0.5 * dot(x, x) + dot(&apart, x))
            + y.mean_of(|y| 0.5 * dot(y, y) - dot(&apart, y));
        Self { x, y, constant, whole: !clouds.into_iter().any(is_drawn) }
    }

    pub fn cost(&self, now: &Projected) -> f64 {
        self.constant - now.gains().zip(&now.g).map(|(gain, g)| g * gain).sum::<f64>()
    }
}

/// A descent between two steps.
#[derive(Deserialize, Serialize)]
pub struct Descent {
    pub q: Factor,
    pub r: Factor,
    s: Vec<f64>,
    /// 1/√(V_x V_y).
    unit: f64,
    /// σ √(V_x V_y).
    sharpness: f64,
    /// By how much of itself σ grows in a step.
    growth: f64,
    /// Newton steps of the last projection.
    rounds: usize,
    /// Points in use.
    pub sample: usize,
    pub iterations: usize,
    /// The step before which the fall of the cost is seen next, and the cost when it last was.
    next_mark: usize,
    earlier: f64,
}

impl Descent {
    /// From paired stations, r × d, about the means of the clouds.
    pub fn new([x, y]: [Vec<f64>; 2], unit: f64, rank: usize) -> Self {
        Self {
            q: Factor::new(y, rank),
            r: Factor::new(x, rank),
            s: vec![0.0; rank],
            unit,
            sharpness: FIRST,
            growth: GROWTH,
            rounds: GOOD,
            sample: SAMPLE.max(SAMPLE_PER_STATION * rank),
            iterations: 0,
            next_mark: 0,
            earlier: f64::MAX,
        }
    }

    /// σ.
    pub fn sigma(&self) -> f64 {
        self.sharpness * self.unit
    }

    /// Projects onto the plans of `points`.
    ///
    /// # Errors
    /// [`BackendError`] of the device.
    pub fn project(&mut self, points: &Pair, tol: f64, rounds: usize) -> Result<Projected, BackendError> {
        let sigma = self.sigma();
        project([&points.x, &points.y], [&mut self.q, &mut self.r], &self.s, sigma, tol, rounds)
    }

    /// Whether the cost has stopped falling.
    pub fn is_settled(&mut self, cost: f64, tol: f64, d: usize) -> bool {
        if self.iterations < self.next_mark {
            return false;
        }
        // Where projections became hard, stations have parted.
        let parted = self.growth < GROWTH || self.sharpness > PARTED * d as f64;
        let settled = parted && self.earlier - cost <= tol * cost;
        (self.earlier, self.next_mark) = (cost, self.iterations + 10);
        settled
    }

    /// More points at the next step.
    pub fn enlarge_sample(&mut self) {
        self.sample *= LARGER;
        (self.earlier, self.next_mark) = (f64::MAX, self.iterations + 1);
        (self.growth, self.rounds) = (GROWTH, GOOD);
    }

    /// A step from `now`, and what the stations get after it.
    ///
    /// # Errors
    /// [`BackendError`] of the device.
    pub fn step(&mut self, now: &Projected, points: &Pair) -> Result<Projected, BackendError> {
        match self.rounds.cmp(&GOOD) {
            Ordering::Less => self.growth = (1.2 * self.growth).min(LARGEST_GROWTH),
            Ordering::Equal => {}
            Ordering::Greater => self.growth *= 0.5,
        }
        let before = [self.q.levels.clone(), self.r.levels.clone()];
        self.q.advance(SHARE, &now.y.means);
        self.r.advance(SHARE, &now.x.means);
        self.s.iter_mut().zip(now.gains()).for_each(|(s, gain)| *s -= SHARE * (*s + gain));
        self.sharpness *= 1.0 + self.growth;
        let next = self.project(points, PROJECTED, ROUNDS)?;
        self.q.note_moves(&before[0]);
        self.r.note_moves(&before[1]);
        self.rounds = next.rounds;
        self.iterations += 1;
        Ok(next)
    }
}
