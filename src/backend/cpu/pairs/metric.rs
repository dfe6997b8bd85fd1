//! Costs of a few vectors of rows and a few columns at once, in registers: what the streaming soft-min over costs and kept
//! scores share.

use std::ops::Range;

use crate::backend::Real;
use crate::backend::cpu::lane::{Lane, both, log2};

/// R vectors of rows.
#[derive(Clone)]
pub struct Lines<'a, T> {
    /// Transposed: coordinate, row.
    pub x: &'a [T],
    pub d: usize,
    /// Their numbers; lanes beyond the last repeat it.
    pub rows: Range<usize>,
    /// Numbers a column.
    pub stride: usize,
}

impl<T> Lines<'_, T> {
    /// Coordinate `k` of all rows.
    #[inline(always)]
    fn coordinate<L: Lane<Elem = T>, const R: usize>(&self, k: usize) -> [L; R] {
        let mut x = [L::load(&self.x[k * R * L::N..]); R];
        for (r, x) in x.iter_mut().enumerate().skip(1) {
            *x = L::load(&self.x[(k * R + r) * L::N..]);
        }
        x
    }
}

/// Costs of R vectors of rows and C columns.
pub trait Metric {
    /// c_ij of the columns from `j` on, with which `y` begins.
    fn costs<L: Lane, const R: usize, const C: usize>(&self, lines: &Lines<'_, L::Elem>, y: &[L::Elem], j: usize) -> [[L; R]; C];
}

/// A norm of the difference as a sum over coordinates and a function of it.
pub trait Norm {
    fn add<L: Lane>(sum: L, difference: L) -> L;
    fn of_sum<L: Lane>(sum: L) -> L;
}

/// |x−y|.
pub struct Euclidean;
/// Σ_k |x_k − y_k|.
pub struct Manhattan;
/// (Σ_k |x_k − y_k|^p)^(1/p).
pub struct Lp(pub f64);
/// Any, by the numbers of row and column.
pub struct Given<'a>(pub &'a (dyn Fn(usize, usize) -> f64 + Sync));

/// Near the smallest normal number: what a length of zero is divided by.
#[inline(always)]
fn smallest<L: Lane>() -> L {
    L::splat(L::Elem::from_f64(if L::Elem::ROUNDING > 1e-10 { 1e-37 } else { 1e-300 }))
}

#[inline(always)]
fn absolute<L: Lane>(x: L) -> L {
    x.max(L::splat(L::Elem::from_f64(0.0)).sub(x))
}

impl Norm for Euclidean {
    #[inline(always)]
    fn add<L: Lane>(sum: L, difference: L) -> L {
        difference.mul_add(difference, sum)
    }
    #[inline(always)]
    fn of_sum<L: Lane>(sum: L) -> L {
        sum.sqrt()
    }
}

impl Norm for Manhattan {
    #[inline(always)]
    fn add<L: Lane>(sum: L, difference: L) -> L {
        sum.add(absolute(difference))
    }
    #[inline(always)]
    fn of_sum<L: Lane>(sum: L) -> L {
        sum
    }
}

impl<N: Norm> Metric for N {
    #[inline(always)]
    fn costs<L: Lane, const R: usize, const C: usize>(&self, lines: &Lines<'_, L::Elem>, y: &[L::Elem], _: usize) -> [[L; R]; C] {
        let mut sums = [[L::splat(L::Elem::from_f64(0.0)); R]; C];
        for k in 0..lines.d {
            let x = lines.coordinate::<L, R>(k);
            for (c, sums) in sums.iter_mut().enumerate() {
                let y = L::splat(y[c * lines.stride + k]);
                for r in 0..R {
                    sums[r] = N::add(sums[r], x[r].sub(y));
                }
            }
        }
        for sums in &mut sums {
            for sum in sums {
                *sum = N::of_sum(*sum);
            }
        }
        sums
    }
}

impl Metric for Lp {
    /// About the largest difference, so that no power over- or underflows.
    #[inline(always)]
    fn costs<L: Lane, const R: usize, const C: usize>(&self, lines: &Lines<'_, L::Elem>, y: &[L::Elem], _: usize) -> [[L; R]; C] {
        let constant = |x: f64| L::splat(L::Elem::from_f64(x));
        // Below it a share adds nothing, whatever p.
        let (zero, least, smallest) = (constant(0.0), constant(1e-30), smallest::<L>());
        let (power, root) = (constant(self.0), constant(1.0 / self.0));
        let (mut largest, mut sums) = ([[zero; R]; C], [[zero; R]; C]);
        for k in 0..lines.d {
            let x = lines.coordinate::<L, R>(k);
            for (c, largest) in largest.iter_mut().enumerate() {
                let y = L::splat(y[c * lines.stride + k]);
                for r in 0..R {
                    largest[r] = largest[r].max(absolute(x[r].sub(y)));
                }
            }
        }
        for k in 0..lines.d {
            let x = lines.coordinate::<L, R>(k);
            for c in 0..C {
                let y = L::splat(y[c * lines.stride + k]);
                for r in 0..R {
                    let share = absolute(x[r].sub(y)).div(largest[c][r].max(smallest)).max(least);
                    sums[c][r] = sums[c][r].add(log2(share).mul(power).exp2());
                }
            }
        }
        for c in 0..C {
            for r in 0..R {
                sums[c][r] = largest[c][r].mul(log2(sums[c][r]).mul(root).exp2());
            }
        }
        sums
    }
}

impl Metric for Given<'_> {
    #[inline(always)]
    fn costs<L: Lane, const R: usize, const C: usize>(&self, lines: &Lines<'_, L::Elem>, _: &[L::Elem], j: usize) -> [[L; R]; C] {
        let mut lanes = [L::Elem::from_f64(0.0); 16];
        let mut costs = [[L::splat(lanes[0]); R]; C];
        for (c, costs) in costs.iter_mut().enumerate() {
            for (r, cost) in costs.iter_mut().enumerate() {
                let first = lines.rows.start + r * L::N;
                for (i, lane) in both(first..lines.rows.end, &mut lanes[..L::N]) {
                    *lane = L::Elem::from_f64((self.0)(i, j + c));
                }
                *cost = L::load(&lanes);
            }
        }
        costs
    }
}
