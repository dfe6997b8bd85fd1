//! The nearest places of each place of two pooled clouds, from which the ball to the k-th neighbour is read for any labels.
//!
//! Points at equal coordinates are one place with a count, so copies cost nothing and tie with nothing. The lists come from
//! [`top_k`](crate::backend::Pairs::top_k) of the logit x·y − ½|y|² on the device, row by row, and are settled in f64: of a list
//! only what is nearer than any place outside of it can be, by the rounding errors of the device, counts; a row that keeps too
//! little is searched again in f64. Balls are thus those of f64, whatever the device.

use rayon::prelude::*;

use crate::backend::{Backend, Device, Packed, Real, Task};
use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::transport::TransportError;
use crate::transport::problem::Relative;
use crate::vector::squared_distance;
use crate::watch::{Progress, Watch};

/// Rows searched at a time.
const ROWS: usize = 1 << 12;
/// Entries of all lists that the device makes, at most, and of one list that is searched again.
const ENTRIES: usize = 1 << 25;
const LONGEST: usize = 1 << 12;
/// A list of the device has at most so many, or twice what clouds of one size need.
const LONG: usize = 1 << 9;
/// Neighbours in a list for each of the k, where both clouds are as large, and of a row's own cloud for each of the k at least: a
/// half-sample takes half of them away.
const POOLED: usize = 8;
const OWN: usize = 6;
/// Set in an entry as far away as the one before.
const TIE: u32 = 1 << 31;

/// Points of two clouds, by places.
pub(super) struct Neighbours {
    /// The place of each point, those of the first cloud first.
    pub place: Vec<usize>,
    places: Cloud,
    /// Other places from the nearest on; whatever is as near as the last is in the list.
    lists: Vec<Vec<u32>>,
}

impl Neighbours {
    /// The neighbours of the points of `a` and `b`, as many as balls to the `k`-th neighbour need.
    pub fn new([a, b]: [&Cloud; 2], k: usize, device: &Device, watch: &Watch<'_>) -> Result<Self, MetricError> {
        let pooled = Cloud::new([a.points(), b.points()].concat(), a.dim())?;
        let (place, first) = places(&pooled);
        let mut own = [vec![0; first.len()], vec![0; first.len()]];
        place.iter().enumerate().for_each(|(i, place)| own[usize::from(i >= a.len())][*place] += 1);
        let places = pooled.uniform_at(&first);
        let few = a.len().min(b.len());
        let long = LONG.max(4 * POOLED * k).min(ENTRIES / places.len());
        let length = (POOLED * k * pooled.len()).div_ceil(few).min(long).max(OWN * k).min(places.len() - 1);
        let lists = device.run(Search { places: &places, own: &own, length, enough: OWN * k, watch })?;
        Ok(Self { place, places, lists })
    }

    /// Number of places.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Calls `visit` with each place of the ball around a point at `place` to its `k`-th nearest other point, of which `own`
    /// counts those at each place; the boundary belongs to the ball. False if there are not as many points.
    pub fn ball(&self, place: usize, k: usize, own: &[u32], mut visit: impl FnMut(usize)) -> bool {
        visit(place);
        let mut count = own[place] as usize - 1;
        for entry in &self.lists[place] {
            if count >= k && entry & TIE == 0 {
                return true;
            }
            let other = (entry & !TIE) as usize;
            visit(other);
            count += own[other] as usize;
        }
        count >= k || self.ball_of_all(place, k, own, visit)
    }

    /// [`Neighbours::ball`] by the distances to all places; those of the list were visited.
    fn ball_of_all(&self, place: usize, k: usize, own: &[u32], mut visit: impl FnMut(usize)) -> bool {
        let x = self.places.row(place);
        let distance = |other: usize| squared_distance(x, self.places.row(other));
        let mut with_own: Vec<(f64, usize)> =
            (0..self.places()).filter(|&other| other != place && own[other] > 0).map(|other| (distance(other), other)).collect();
        with_own.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut count = own[place] as usize - 1;
        let radius = with_own.iter().find(|(_, other)| {
            count += own[*other] as usize;
            count >= k
        });
        let Some((radius, _)) = radius else { return false };
        let last = self.lists[place].last().map_or(-1.0, |last| distance((last & !TIE) as usize));
        let beyond = (0..self.places()).filter(|&other| {
            let distance = distance(other);
            other != place && distance > last && distance <= *radius
        });
        beyond.for_each(&mut visit);
        true
    }
}

/// The place of each point of `cloud`, and a point at each place: points at equal coordinates are at one.
pub(super) fn places(cloud: &Cloud) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..cloud.len()).collect();
    order.par_sort_by(|&i, &j| cloud.compare(i, j));
    let (mut place, mut first) = (vec![0; cloud.len()], Vec::new());
    for points in order.chunk_by(|&i, &j| cloud.compare(i, j).is_eq()) {
        points.iter().for_each(|&i| place[i] = first.len());
        first.push(points[0]);
    }
    (place, first)
}

/// The distance of each point of `places`, of which no two coincide, to the nearest other.
pub(super) fn nearest_others(places: &Cloud, device: &Device, watch: &Watch<'_>) -> Result<Vec<f64>, MetricError> {
    let n = places.len();
    let own = [vec![1; n], vec![0; n]];
    let lists = device.run(Search { places, own: &own, length: POOLED.min(n - 1), enough: 1, watch })?;
    let distance = |(row, list): (usize, &Vec<u32>)| {
        list.first().map_or(f64::INFINITY, |other| squared_distance(places.row(row), places.row((other & !TIE) as usize)).sqrt())
    };
    Ok(lists.iter().enumerate().map(distance).collect())
}

/// Lists of the nearest places of each.
struct Search<'a, 'w> {
    places: &'a Cloud,
    /// Points of each cloud at each place.
    own: &'a [Vec<usize>; 2],
    length: usize,
    /// Points of its own cloud that a list has.
    enough: usize,
    watch: &'a Watch<'w>,
}

impl Task for Search<'_, '_> {
    type Output = Result<Vec<Vec<u32>>, MetricError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let (n, d) = (self.places.len(), self.places.dim());
        if self.length == 0 {
            return Ok(vec![Vec::new(); n]);
        }
        let relative = Relative::new(self.places, self.places.mean(), 1.0);
        let squares: Vec<f64> = relative.points(0..n).chunks_exact(d).map(|x| x.iter().map(|x| x * x).sum()).collect();
        let columns = relative.on_device(backend, 0..n)?.reals;
        let mut columns = Packed::of(backend, columns, n, d)?;
        let bias = backend.upload_reals(squares.iter().map(|square| -0.5 * square).collect::<Vec<_>>())?;
        columns.pack(backend, 1.0, &bias, None)?;
        let k = self.length + 1; // the place itself is among them
        let (mut index, mut logit) = (backend.zeros(ROWS.min(n) * k)?, backend.zeros(ROWS.min(n) * k)?);
        let mut lists = Vec::with_capacity(n);
        for first in (0..n).step_by(ROWS) {
            if !self.watch.tell(Progress { done: first, of: Some(n), ..Progress::default() }) {
                return Err(TransportError::Stopped { iterations: first }.into());
            }
            let rows = first..n.min(first + ROWS);
            if rows.len() < ROWS.min(n) {
                (index, logit) = (backend.zeros(rows.len() * k)?, backend.zeros(rows.len() * k)?);
            }
            let points = relative.on_device(backend, rows.clone())?;
            backend.top_k(points.rows(), columns.columns(), k, &mut index, &mut logit)?;
            let (index, logit) = (backend.download(&index)?, backend.download_reals(&logit)?);
            let found = rows.into_par_iter().zip(index.par_chunks_exact(k)).zip(logit.par_chunks_exact(k));
            lists.par_extend(found.map(|((row, index), logit)| {
                // Rounding of |x||y| and ½|y|² over d + 8 operations. Columns with |y| > 2|x| err by a share of |x−y|² alone.
                let rounding = 8.0 * (d + 8) as f64 * B::Real::ROUNDING;
                let farthest = squares[row] - 2.0 * logit[k - 1];
                let known = if k == n { f64::INFINITY } else { farthest - rounding * (farthest + squares[row]) };
                self.settle(row, index, known)
            }));
        }
        Ok(lists)
    }
}

impl Search<'_, '_> {
    /// The list of `row`, from `found`, which has all places of squared distance under `known`.
    fn settle(&self, row: usize, found: &[u32], known: f64) -> Vec<u32> {
        let x = self.places.row(row);
        let distance = |other: usize| (squared_distance(x, self.places.row(other)), other);
        let others = found.iter().map(|other| *other as usize).filter(|other| *other != row);
        let mut near: Vec<(f64, usize)> = others.map(distance).filter(|(distance, _)| *distance < known).collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if near.len() + 1 < self.places.len() && !self.suffices(row, &near) {
            near = (0..self.places.len()).filter(|other| *other != row).map(distance).collect();
            near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let mut length = self.length.min(near.len());
            while length < near.len().min(LONGEST) && !self.suffices(row, &near[..length]) {
                length = (2 * length).min(near.len());
            }
            while length < near.len() && near[length - 1].0 == near[length].0 {
                length += 1;
            }
            near.truncate(length);
        }
        let tie = |at: usize| if at > 0 && near[at].0 == near[at - 1].0 { TIE } else { 0 };
        (0..near.len()).map(|at| near[at].1 as u32 | tie(at)).collect()
    }

    /// Whether the list `near` has enough points of each cloud that `row` has points of.
    fn suffices(&self, row: usize, near: &[(f64, usize)]) -> bool {
        self.own
            .iter()
            .all(|own| own[row] == 0 || own[row] - 1 + near.iter().map(|(_, other)| own[*other]).sum::<usize>() >= self.enough)
    }
}
