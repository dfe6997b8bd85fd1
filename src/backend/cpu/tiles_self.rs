//! The tiled soft-min of a cloud with itself, each pair of tiles visited once. Twin of `tiles.rs` as `soft_min_self.rs` is of
//! `soft_min.rs`.
//!
//! e_ij = exp((x_i·x_j − φ_i − φ_j)/ε) is symmetric, so a tile of rows against a tile of columns gives Σ_j a_j e_ij of its rows
//! and Σ_i a_i e_ij of its columns. Rows lie in lanes and N columns at a time are turned past them: in turn s lane l meets column
//! l + s modulo N, so that both sums are of vectors and nothing is added up across lanes. For that the columns are stored twice
//! in a row.
//!
//! A task leaves the sums of its own tile and of the columns it met in slots of its own; those of a band of tiles are then added
//! up in the order of the rows, whatever the threads.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd};
use crate::backend::cpu::soft_min::{State, is_usable};
use crate::backend::cpu::tiles::{Frame, Lanes};
use crate::backend::{LARGEST_BIAS, TILE, TileList, Tiles};

/// Slots of a band, 8 MB of them in single precision…
const SLOTS: usize = 1 << 16;
/// …unless it has fewer tiles than this, which would leave threads without work.
const FEWEST_TILES: usize = 16;
/// Stretches of columns into which the adding up of a band is divided.
const STRETCHES: usize = 16;

/// Numbers of packed workspace for `n` points in dimension `d`: coordinates, −σ/ε and weight of each, twice.
pub fn workspace(n: usize, d: usize) -> usize {
    2 * (d + 2) * n.next_multiple_of(TILE)
}

/// The cloud and the upper half of its list.
struct Pairs<'a, T: Simd> {
    tiles: &'a Tiles<'a, Cpu<T>>,
    list: &'a TileList<'a, Cpu<T>>,
    packed: &'a [T],
    eps: f64,
}

impl<T: Simd> Pairs<'_, T> {
    /// The tiles after `tile` that it keeps.
    fn later(&self, tile: usize) -> impl Iterator<Item = Range<usize>> {
        let runs = &self.list.runs[self.list.starts[tile] as usize..self.list.starts[tile + 1] as usize];
        runs.iter().map(move |&[from, to]| (from as usize).max(tile + 1)..to as usize).filter(|run| !run.is_empty())
    }

    /// One slot for the tile itself, and one for each later tile that it keeps.
    fn slots(&self, tile: usize) -> usize {
        1 + self.later(tile).map(|run| run.len()).sum::<usize>()
    }
}

/// `out_i = log Σ_j a_j e_ij` over the kept tiles, or NaN where a sum left the usable range, as a potential far from the answer
/// makes it. A pair of tiles is kept if the list of the first of them has it.
pub fn soft_min<T: Simd>(
    isa: Isa,
    tiles: &Tiles<'_, Cpu<T>>,
    list: &TileList<'_, Cpu<T>>,
    eps: f64,
    packed: &mut [T],
    out: &mut [T],
) {
    let per_tile = 2 * (tiles.d + 2) * TILE;
    packed.par_chunks_mut(per_tile).enumerate().with_min_len(16).for_each(|(tile, out)| {
        T::dispatch(isa, Pack { tiles, tile, eps, out });
    });
    let pairs = Pairs { tiles, list, packed, eps };
    let count = tiles.n.div_ceil(TILE);
    let mut sums = vec![0.0; count * TILE];
    let mut slots = Vec::new();
    let mut first = 0;
    while first < count {
        let (mut last, mut sizes, mut total) = (first, Vec::new(), 0);
        while last < count && (last < first + FEWEST_TILES || total < SLOTS) {
            sizes.push(pairs.slots(last));
            total += sizes[last - first];
            last += 1;
        }
        slots.clear();
        slots.resize(total * TILE, T::zeroed());
        let mut rest = &mut slots[..];
        let mut tasks = Vec::with_capacity(sizes.len());
        for (tile, size) in (first..last).zip(sizes) {
            let (own, others) = rest.split_at_mut(size * TILE);
            rest = others;
            tasks.push((tile, own));
        }
        tasks.into_par_iter().for_each(|(tile, slots)| T::dispatch(isa, RowTile { pairs: &pairs, tile, slots }));
        let stretch = (count - first).div_ceil(STRETCHES);
        sums[first * TILE..].par_chunks_mut(stretch * TILE).enumerate().for_each(|(k, sums)| {
            let from = first + k * stretch;
            add_up(&pairs, first..last, &slots, from..from + sums.len() / TILE, sums);
        });
        first = last;
    }
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::from_f64(if is_usable(sum) { sum.ln() } else { f64::NAN }));
}

/// Adds the slots of the tiles of `band` to the `sums` of those tiles that are `mine`.
fn add_up<T: Simd>(pairs: &Pairs<'_, T>, band: Range<usize>, slots: &[T], mine: Range<usize>, sums: &mut [f64]) {
    let mut add = |tile: usize, slot: usize| {
        let sums = &mut sums[(tile - mine.start) * TILE..][..TILE];
        sums.iter_mut().zip(&slots[slot * TILE..]).for_each(|(sum, part)| *sum += part.to_f64());
    };
    let mut slot = 0;
    for tile in band {
        if mine.contains(&tile) {
            add(tile, slot);
        }
        slot += 1;
        for run in pairs.later(tile) {
            for column in run.start.max(mine.start)..run.end.min(mine.end) {
                add(column, slot + column - run.start);
            }
            slot += run.len();
        }
    }
}

/// One tile as columns: log₂e η_j/ε by coordinate, −log₂e σ_j/ε and a_j of N columns, each row of N numbers twice.
struct Pack<'a, T: Simd> {
    tiles: &'a Tiles<'a, Cpu<T>>,
    tile: usize,
    eps: f64,
    out: &'a mut [T],
}

impl<T: Simd> Kernel<T> for Pack<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let Self { tiles, tile, eps, out } = self;
        let (d, k, frame) = (tiles.d, LOG2_E / eps, Frame::of(tiles, tile));
        for (group, out) in out.chunks_exact_mut(2 * (d + 2) * L::N).enumerate() {
            for l in 0..L::N {
                let j = tile * TILE + group * L::N + l;
                let mut put = |row: usize, value: f64| {
                    out[row * 2 * L::N + l] = T::from_f64(value);
                    out[(row * 2 + 1) * L::N + l] = T::from_f64(value);
                };
                if j < tiles.n {
                    let x = &tiles.points[j * d..][..d];
                    x.iter().zip(frame.centre).enumerate().for_each(|(c, (x, centre))| put(c, k * (x - centre)));
                    put(d, (-k * frame.rest(x, tiles.potential[j])).clamp(-LARGEST_BIAS, LARGEST_BIAS));
                    put(d + 1, tiles.log_weights[j].exp());
                } else {
                    (0..d).for_each(|c| put(c, 0.0));
                    put(d, -LARGEST_BIAS);
                    put(d + 1, 0.0);
                }
            }
        }
    }
}

/// Sums of columns, as each turn leaves them, on a cache line.
#[repr(align(64))]
struct Turns<T>([T; 2 * 16 * 16]);

/// One tile of rows against itself and the later tiles it keeps.
struct RowTile<'a, T: Simd> {
    pairs: &'a Pairs<'a, T>,
    tile: usize,
    slots: &'a mut [T],
}

impl<T: Simd> Kernel<T> for RowTile<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(mut self) {
        match self.pairs.tiles.d {
            1 => self.rows::<L, 2, 1>(),
            2 => self.rows::<L, 2, 2>(),
            3 => self.rows::<L, 2, 3>(),
            _ => self.rows::<L, 2, 4>(),
        }
    }
}

impl<T: Simd> RowTile<'_, T> {
    /// Works through the tile, R vectors of rows at a time.
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const R: usize, const D: usize>(&mut self) {
        let Pairs { tiles, packed, eps, .. } = *self.pairs;
        let (tile, zero) = (self.tile, L::splat(T::zeroed()));
        let row = Frame::of(tiles, tile);
        let count = TILE.min(tiles.n - tile * TILE);
        let per_tile = 2 * (D + 2) * TILE;
        // Turn s of N columns lies s places on in a line of 2N: columns stand above each other, and the rest of a line is zero.
        let mut turns = Turns([T::zeroed(); 2 * 16 * 16]);
        for start in (0..count).step_by(R * L::N) {
            let rows = start..count.min(start + R * L::N);
            let lanes = Lanes::<L, R, D>::new(tiles, tile, &rows, eps);
            let mut mass = [zero; R];
            for (r, mass) in mass.iter_mut().enumerate() {
                let mut own = [T::zeroed(); 16];
                let present = rows.clone().skip(r * L::N).take(L::N);
                own.iter_mut().zip(present).for_each(|(a, i)| *a = T::from_f64(tiles.log_weights[tile * TILE + i].exp()));
                *mass = L::load(&own);
            }
            let mut state = State::<L, R>::new(Some([zero; R]));
            let mut slots = self.slots.chunks_exact_mut(TILE);
            let own = slots.next();
            let columns = std::iter::once((tile, None)).chain(self.pairs.later(tile).flatten().zip(slots.map(Some)));
            for (column, mut slot) in columns {
                let (x, base) = lanes.facing(&row, &Frame::of(tiles, column), LOG2_E / eps);
                let mut sum = [zero; R];
                let groups = packed[column * per_tile..][..per_tile].chunks_exact(2 * (D + 2) * L::N);
                for (group, y) in groups.enumerate() {
                    let line = |row: usize| &y[row * 2 * L::N..][..2 * L::N];
                    let (coordinates, rest, weights): ([&[T]; D], _, _) = (std::array::from_fn(line), line(D), line(D + 1));
                    for s in 0..L::N {
                        let shift = L::load(&rest[s..]);
                        let mut logit = base;
                        for r in 0..R {
                            logit[r] = logit[r].add(shift);
                        }
                        for c in 0..D {
                            let y = L::load(&coordinates[c][s..]);
                            for r in 0..R {
                                logit[r] = x[c][r].mul_add(y, logit[r]);
                            }
                        }
                        let (b, mut across) = (L::load(&weights[s..]), zero);
                        for r in 0..R {
                            let e = logit[r].exp2();
                            sum[r] = e.mul_add(b, sum[r]);
                            across = e.mul_add(mass[r], across);
                        }
                        across.store(&mut turns.0[s * 2 * L::N + s..]);
                    }
                    if let Some(slot) = &mut slot {
                        let slot = &mut slot[group * L::N..];
                        let mut total = L::load(slot);
                        for half in turns.0.chunks_exact(L::N).take(2 * L::N) {
                            total = total.add(L::load(half));
                        }
                        total.store(slot);
                    }
                }
                state.add(sum);
            }
            if let Some(own) = own {
                for (r, sum) in state.sum.iter().enumerate() {
                    sum.store(&mut own[start + r * L::N..]);
                }
            }
        }
    }
}
