//! The k most likely columns of each row. Shares tiles and logits with the soft-min.
//!
//! Rows lie in lanes and the columns stream past them. Only a row whose largest logit of a tile beats the last of its list looks at
//! the columns of that tile; it does so about k log(m/k) times.

use rayon::prelude::*;

use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, steps, transpose};
use crate::backend::cpu::pairs::soft_min::{Pairs, TILE, logits};

/// Rows a task handles; no instruction set holds more at a time.
const ROWS: usize = 64;

/// The `k` columns of largest logit of each row and these logits in nats, n × k.
pub fn top_k<T: Simd>(isa: Isa, pairs: Pairs<'_, T>, k: usize, index: &mut [u32], logit: &mut [T]) {
    let tasks = index.par_chunks_mut(ROWS * k).zip(logit.par_chunks_mut(ROWS * k)).enumerate();
    tasks.for_each_init(Vec::new, |x, (b, (index, logit))| {
        T::dispatch(isa, Block { pairs, start: b * ROWS, k, index, logit, x });
    });
}

/// The rows of one task against all columns.
struct Block<'a, T> {
    pairs: Pairs<'a, T>,
    start: usize,
    k: usize,
    index: &'a mut [u32],
    logit: &'a mut [T],
    /// Rows transposed: coordinate, row.
    x: &'a mut Vec<T>,
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        if L::REGISTERS >= 32 { self.rows::<L, 4, 6>() } else { self.rows::<L, 2, 4>() }
    }
}

impl<T: Simd> Block<'_, T> {
    /// Works through the task's rows, R vectors at a time.
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const R: usize, const C: usize>(self) {
        let Self { pairs, start, k, index, logit, x } = self;
        let (d, width) = (pairs.d, R * L::N);
        x.resize(d * width, T::zeroed());
        logit.fill(T::from_f64(f64::NEG_INFINITY));
        let groups = index.chunks_mut(width * k).zip(logit.chunks_mut(width * k));
        for (group, (index, logit)) in groups.enumerate() {
            let n = index.len() / k;
            let from = start + group * width;
            transpose(pairs.x, d, from..from + n, width, x);
            let mut tile_logits = [[L::splat(T::zeroed()); R]; TILE];
            for (t, tile) in pairs.y.chunks(TILE * (d + 1)).enumerate() {
                let columns = tile.len() / (d + 1);
                let whole = columns / C * C;
                for j in steps(0..whole, C) {
                    logits::<L, R, C>(x, &tile[j * (d + 1)..], d, &mut tile_logits[j..j + C]);
                }
                for j in whole..columns {
                    logits::<L, R, 1>(x, &tile[j * (d + 1)..], d, &mut tile_logits[j..=j]);
                }
                let mut lanes = [T::zeroed(); ROWS];
                for (r, lanes) in lanes.chunks_exact_mut(L::N).take(R).enumerate() {
                    let mut largest = tile_logits[0][r];
                    for logit in &tile_logits[1..columns] {
                        largest = logit[r].max(largest);
                    }
                    largest.store(lanes);
                }
                for (i, (index, logit)) in index.chunks_exact_mut(k).zip(logit.chunks_exact_mut(k)).enumerate() {
                    if lanes[i] > logit[k - 1] {
                        for (j, vectors) in tile_logits[..columns].iter().enumerate() {
                            let mut here = [T::zeroed(); 16];
                            vectors[i / L::N].store(&mut here);
                            insert(here[i % L::N], (t * TILE + j) as u32, index, logit);
                        }
                    }
                }
            }
            logit.iter_mut().for_each(|logit| *logit = T::from_f64(std::f64::consts::LN_2 * logit.to_f64()));
        }
    }
}

/// Puts column `j` into the falling list where its logit `value` belongs; of equals the one that came first stays ahead.
#[inline(always)]
fn insert<T: Simd>(value: T, j: u32, index: &mut [u32], logit: &mut [T]) {
    let rank = logit.partition_point(|kept| *kept >= value);
    if rank < logit.len() {
        logit[rank..].rotate_right(1);
        index[rank..].rotate_right(1);
        (logit[rank], index[rank]) = (value, j);
    }
}
