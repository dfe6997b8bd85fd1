//! The running sums of R vectors of rows.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use crate::backend::cpu::lane::{Lane, transpose};
use crate::backend::{LARGEST_BIAS, Real};

/// The shift of R vectors of rows in units of log 2; lanes beyond the last row repeat it.
#[inline(always)]
pub fn given_shift<L: Lane, const R: usize>((shift, factor): (&[L::Elem], f64), rows: Range<usize>) -> [L; R] {
    let mut lanes = [L::Elem::from_f64(0.0); 16];
    let mut given = [L::splat(lanes[0]); R];
    for (r, given) in given.iter_mut().enumerate() {
        transpose(shift, 1, (rows.start + r * L::N).min(rows.end - 1)..rows.end, L::N, &mut lanes[..L::N]);
        lanes.iter_mut().for_each(|lane| *lane = L::Elem::from_f64(LOG2_E * factor * lane.to_f64()));
        *given = L::load(&lanes);
    }
    given
}

/// Sums below this are lost in the clamp of the exponential…
pub const LEAST: f64 = 1.0 / 18_446_744_073_709_551_616.0;
/// …and above this their products with values may overflow: 2^±64.
const MOST: f64 = 1.0 / LEAST;

/// Whether a sum is neither lost in the clamp of the exponential nor, times the values of a mean, near overflow.
#[inline(always)]
pub fn is_usable<T: Real>(sum: T) -> bool {
    (LEAST..MOST).contains(&sum.to_f64())
}

/// Σ_j 2^(logit_ij − shift_i) of R vectors of rows, compensated (Kahan) from tile to tile.
pub struct State<L, const R: usize> {
    pub shift: [L; R],
    pub sum: [L; R],
    lost: [L; R],
}

impl<L: Lane, const R: usize> State<L, R> {
    #[inline(always)]
    pub fn new(shift: Option<[L; R]>) -> Self {
        let zero = [L::splat(L::Elem::from_f64(0.0)); R];
        let lowest = [L::splat(L::Elem::from_f64(-2.0 * LARGEST_BIAS)); R];
        Self { shift: shift.unwrap_or(lowest), sum: zero, lost: zero }
    }

    /// Raises the shift to the largest logit of the tile and returns the factor by which the sums so far shrink.
    #[inline(always)]
    pub fn raise_shift(&mut self, logits: &[[L; R]]) -> [L; R] {
        let mut rescale = self.shift;
        for r in 0..R {
            let mut raised = self.shift[r];
            for logit in logits {
                raised = raised.max(logit[r]);
            }
            rescale[r] = self.shift[r].sub(raised).exp2();
            self.shift[r] = raised;
            self.sum[r] = self.sum[r].mul(rescale[r]);
            self.lost[r] = self.lost[r].mul(rescale[r]);
        }
        rescale
    }

    /// Replaces the logits by their exponentials and adds these to the sums.
    #[inline(always)]
    pub fn add_exponentials(&mut self, logits: &mut [[L; R]]) {
        let mut tile = [L::splat(L::Elem::from_f64(0.0)); R];
        for weights in logits {
            for r in 0..R {
                let weight = weights[r].sub(self.shift[r]).exp2();
                tile[r] = tile[r].add(weight);
                weights[r] = weight;
            }
        }
        self.add(tile);
    }

    /// Adds the sums over a tile.
    #[inline(always)]
    pub fn add(&mut self, tile: [L; R]) {
        for ((sum, lost), term) in self.sum.iter_mut().zip(&mut self.lost).zip(tile) {
            (*sum, *lost) = add_compensated(*sum, *lost, term);
        }
    }

    /// Whether the first `rows` sums are all `usable`.
    #[inline(always)]
    pub fn all(&self, rows: usize, usable: impl Fn(L::Elem) -> bool) -> bool {
        let mut lanes = [L::Elem::from_f64(0.0); 16];
        (0..R).all(|r| {
            self.sum[r].store(&mut lanes);
            let here = rows.saturating_sub(r * L::N).min(L::N);
            lanes[..here].iter().all(|&sum| usable(sum))
        })
    }
}

/// `sum + term`, and what rounding added to it, to be taken off the next term (Kahan).
#[inline(always)]
pub fn add_compensated<L: Lane>(sum: L, lost: L, term: L) -> (L, L) {
    let term = term.sub(lost);
    let total = sum.add(term);
    (total, total.sub(sum).sub(term))
}
