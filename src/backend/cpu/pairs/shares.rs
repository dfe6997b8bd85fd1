//! Points shared softly among r stations.
//!
//! ```text
//! q_ik = exp(x_i·z_k + β_k) / Σ_l exp(x_i·z_l + β_l)
//! ```
//!
//! Matrix products bring the exponents of a block of rows and take its sums, while the block is in the cache; between them it is
//! transposed, stations × rows, so that rows lie in lanes. No n × r matrix is kept unless it is asked for.

use std::f64::consts::LOG2_E;

use rayon::prelude::*;

use crate::backend::cpu::gemm::{Matrix, gemm};
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, steps};

/// Rows of a block: an odd number of cache lines, so that the stations of a row do not meet in the same places of the cache.
const BLOCK: usize = 264;
/// Rows of a task.
const TASK: usize = 8 * BLOCK;

/// What a point is compared with.
#[derive(Clone, Copy)]
pub struct Stations<'a> {
    /// z, r × d row-major.
    pub slopes: &'a [f64],
    /// β, of length r.
    pub levels: &'a [f64],
}

/// Sums over the points x_i of masses a_i.
pub struct Sums {
    /// Σ_i a_i q_ik x_i, r × d row-major.
    pub moments: Vec<f64>,
    /// Σ_i a_i q_ik q_il, r × r: rows add up to Σ_i a_i q_ik.
    pub overlaps: Vec<f64>,
}

/// The sums over the points `x`, n × d row-major, of masses `a`. Halves are added to each other in an order that n alone says.
pub fn sums(isa: Isa, (x, a): (&[f64], &[f64]), stations: Stations<'_>) -> Sums {
    if a.len() <= TASK {
        return stations.sums(isa, x, a);
    }
    let half = a.len().div_ceil(2).next_multiple_of(BLOCK);
    let (before, after) = x.split_at(half * stations.dim());
    let (mut sums, rest) =
        rayon::join(|| self::sums(isa, (before, &a[..half]), stations), || self::sums(isa, (after, &a[half..]), stations));
    sums.moments.iter_mut().zip(&rest.moments).for_each(|(sum, rest)| *sum += rest);
    sums.overlaps.iter_mut().zip(&rest.overlaps).for_each(|(sum, rest)| *sum += rest);
    sums
}

/// The shares themselves, n × r row-major.
pub fn shares(isa: Isa, x: &[f64], stations: Stations<'_>, out: &mut [f64]) {
    let (d, rank) = (stations.dim(), stations.levels.len());
    out.par_chunks_mut(BLOCK * rank).zip(x.par_chunks(BLOCK * d)).for_each_init(Vec::new, |block, (out, x)| {
        stations.share(isa, x, block);
        for (i, row) in out.chunks_exact_mut(rank).enumerate() {
            row.iter_mut().zip(block.iter().skip(i).step_by(BLOCK)).for_each(|(out, share)| *out = *share);
        }
    });
}

impl Stations<'_> {
    fn dim(self) -> usize {
        self.slopes.len() / self.levels.len()
    }

    /// The shares of at most [`BLOCK`] rows, r × [`BLOCK`]; places without a row have some shares or other.
    fn share(self, isa: Isa, x: &[f64], block: &mut Vec<f64>) {
        let (d, rank) = (self.dim(), self.levels.len());
        block.clear();
        self.levels.iter().for_each(|&level| block.extend([level; BLOCK]));
        gemm([rank, d, x.len() / d], Matrix(self.slopes, [d, 1]), Matrix(x, [1, d]), 1.0, Matrix(block, [BLOCK, 1]));
        f64::dispatch(isa, Softmax { block });
    }

    fn sums(self, isa: Isa, x: &[f64], a: &[f64]) -> Sums {
        let (d, rank) = (self.dim(), self.levels.len());
        let mut sums = Sums { moments: vec![0.0; rank * d], overlaps: vec![0.0; rank * rank] };
        let (mut block, mut masses) = (Vec::new(), Vec::new());
        for (x, a) in x.chunks(BLOCK * d).zip(a.chunks(BLOCK)) {
            self.share(isa, x, &mut block);
            masses.clear();
            for row in block.chunks_exact(BLOCK) {
                masses.extend(row.iter().zip(a).map(|(share, a)| share * a));
            }
            let n = a.len();
            gemm([rank, n, d], Matrix(&masses, [n, 1]), Matrix(x, [d, 1]), 1.0, Matrix(&mut sums.moments, [d, 1]));
            gemm(
                [rank, n, rank],
                Matrix(&masses, [n, 1]),
                Matrix(&block, [1, BLOCK]),
                1.0,
                Matrix(&mut sums.overlaps, [rank, 1]),
            );
        }
        sums
    }
}

/// From exponents to shares, in place.
struct Softmax<'a> {
    /// Stations × [`BLOCK`].
    block: &'a mut [f64],
}

impl Kernel<f64> for Softmax<'_> {
    #[inline(always)]
    fn run<L: Lane<Elem = f64>>(self) {
        let scale = L::splat(LOG2_E);
        for i in steps(0..BLOCK, L::N) {
            let mut largest = L::load(&self.block[i..]);
            for row in self.block.chunks_exact(BLOCK) {
                largest = largest.max(L::load(&row[i..]));
            }
            let mut total = L::splat(0.0);
            for row in self.block.chunks_exact_mut(BLOCK) {
                let share = L::load(&row[i..]).sub(largest).mul(scale).exp2();
                total = total.add(share);
                share.store(&mut row[i..]);
            }
            let scale = L::splat(1.0).div(total);
            for row in self.block.chunks_exact_mut(BLOCK) {
                L::load(&row[i..]).mul(scale).store(&mut row[i..]);
            }
        }
    }
}
