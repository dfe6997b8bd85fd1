//! The running sums of R vectors of rows.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use crate::backend::cpu::lane::{Lane, UNIT, transpose};
use crate::backend::{LARGEST_BIAS, Real};

/// The shift of R vectors of rows in units of log 2; lanes beyond the last row repeat it.
#[inline(always)]
pub fn given_shift<L: Lane, const R: usize>((shift, factor): (&[L::Elem], f64), rows: Range<usize>) -> [L; R] {
    let mut lanes = [L::Elem::from_f64(0.0); 16];
    let mut given = [L::splat(lanes[0]); R];
    for (r, given) in given.iter_mut().enumerate() {
        transpose(shift, 1, (rows.start + r * L::N).min(rows.end - 1)..rows.end, L::N, &mut lanes[..L::N]);
        // In this order: a factor that is not there must not be multiplied ahead of its use, whatever its bits.
        for lane in &mut lanes[..L::N] {
            *lane = L::Elem::from_f64(LOG2_E * (factor * lane.to_f64()));
        }
        *given = L::load(&lanes);
    }
    given
}

/// Below 2⁻²⁰ a sum may miss weights that count in it, since those below 2⁻¹⁰⁰ are zero…
pub const LEAST: f64 = 1.0 / MOST;
/// …and above 2²⁰ its products with values may overflow.
const MOST: f64 = 1_048_576.0;
/// Bits by which a log-sum that is kept may differ from its shift.
pub const KEPT_BITS: f64 = 20.0;

/// What a sum of weights held in units of [`UNIT`] is.
#[inline(always)]
pub fn in_units<T: Real>(sum: T) -> f64 {
    sum.to_f64() / UNIT
}

/// Whether a sum neither misses weights that count nor is, times the values of a mean, near overflow.
#[inline(always)]
pub fn is_usable(sum: f64) -> bool {
    (LEAST..MOST).contains(&sum)
}

/// Σ_j 2^(logit_ij − shift_i) of R vectors of rows in units of [`UNIT`], compensated (Kahan) from tile to tile.
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

    /// Raises the shift to the largest logit of the tile and returns the factors by which the sums so far shrink.
    #[inline(always)]
    pub fn raise_shift(&mut self, logits: &[[L; R]]) -> [Rescale<L>; R] {
        let one = L::splat(L::Elem::from_f64(1.0));
        let mut rescale = [Rescale { factor: one, least: one, is_less: false }; R];
        for r in 0..R {
            let mut raised = self.shift[r];
            for logit in logits {
                raised = raised.max(logit[r]);
            }
            rescale[r] = Rescale::by(self.shift[r].sub(raised).exp2());
            self.shift[r] = raised;
            (self.sum[r], self.lost[r]) = rescale[r].of(self.sum[r], self.lost[r]);
        }
        rescale
    }

    /// Replaces the logits by their exponentials and adds these to the sums.
    #[inline(always)]
    pub fn add_exponentials(&mut self, logits: &mut [[L; R]]) {
        let mut tile = [L::splat(L::Elem::from_f64(0.0)); R];
        for weights in logits {
            for r in 0..R {
                let weight = weights[r].sub(self.shift[r]).weight();
                tile[r] = tile[r].add(weight);
                weights[r] = weight;
            }
        }
        self.add(tile);
    }

    /// Adds the sums over a tile.
    #[inline(always)]
    pub fn add(&mut self, tile: [L; R]) {
        for (r, term) in tile.into_iter().enumerate() {
            (self.sum[r], self.lost[r]) = add_compensated(self.sum[r], self.lost[r], term);
        }
    }

    /// Whether the first `rows` sums are all usable; where other columns add to them, one that misses weights is.
    #[inline(always)]
    pub fn is_usable(&self, rows: usize, is_part: bool) -> bool {
        let mut lanes = [L::Elem::from_f64(0.0); 16];
        for r in 0..R {
            self.sum[r].store(&mut lanes);
            let here = rows.saturating_sub(r * L::N).min(L::N);
            for &sum in &lanes[..here] {
                let sum = in_units(sum);
                if !(is_usable(sum) || is_part && sum < LEAST) {
                    return false;
                }
            }
        }
        true
    }
}

/// What brings sums relative to an old shift to a larger one.
#[derive(Clone, Copy)]
pub struct Rescale<L> {
    factor: L,
    /// Sums below it are zero: in units of [`UNIT`] they come to less than 2⁻⁴⁰ [`Real::TINY`], and may be denormal or leave
    /// denormal remainders. It is zero where the factor is one, so that no row depends on its neighbours.
    least: L,
    /// Whether any factor is less than one.
    pub is_less: bool,
}

impl<L: Lane> Rescale<L> {
    #[inline(always)]
    fn by(factor: L) -> Self {
        let constant = |x: f64| L::Elem::from_f64(x);
        let (one, tiny) = (L::splat(constant(1.0)), L::splat(constant(L::Elem::TINY)));
        Self { factor, least: tiny.div(factor).sub(tiny), is_less: factor.any_less(one) }
    }

    /// A sum and its remainder, rescaled.
    #[inline(always)]
    pub fn of(&self, sum: L, lost: L) -> (L, L) {
        (sum.flush(self.least).mul(self.factor), lost.flush(self.least).mul(self.factor))
    }
}

/// `weighted` sums over `sum`: means, those below [`Real::TINY`] zero.
#[inline(always)]
pub fn mean_of<L: Lane>(weighted: L, sum: L) -> L {
    weighted.flush(sum.mul(L::splat(L::Elem::from_f64(L::Elem::TINY)))).div(sum)
}

/// `sum + term`, and what rounding added to it, to be taken off the next term (Kahan).
#[inline(always)]
pub fn add_compensated<L: Lane>(sum: L, lost: L, term: L) -> (L, L) {
    let term = term.sub(lost);
    let total = sum.add(term);
    (total, total.sub(sum).sub(term))
}
