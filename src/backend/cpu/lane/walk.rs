//! `zip` and `step_by`, inlined in any profile.
//!
//! Those of the standard library rest on generic functions that are not marked `#[inline]`. Where the code is cut into units and the
//! linker does not optimise across them, each step of a kernel's inner loop is then a call, before which every vector register is
//! written to memory.

use std::ops::Range;

/// The elements of `a` and `b` side by side, until one of the two ends.
#[inline(always)]
pub fn both<A: IntoIterator, B: IntoIterator>(a: A, b: B) -> Both<A::IntoIter, B::IntoIter> {
    Both { a: a.into_iter(), b: b.into_iter() }
}

/// See [`both`].
pub struct Both<A, B> {
    a: A,
    b: B,
}

impl<A: Iterator, B: Iterator> Iterator for Both<A, B> {
    type Item = (A::Item, B::Item);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match (self.a.next(), self.b.next()) {
            (Some(a), Some(b)) => Some((a, b)),
            _ => None,
        }
    }
}

/// Every `step`-th number of `range`, from its start.
#[inline(always)]
pub fn steps(range: Range<usize>, step: usize) -> Steps {
    Steps { range, step }
}

/// See [`steps`].
pub struct Steps {
    range: Range<usize>,
    step: usize,
}

impl Iterator for Steps {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let at = self.range.start;
        let more = at < self.range.end;
        self.range.start += if more { self.step } else { 0 };
        more.then_some(at)
    }
}

/// Writes `from` to `to`, of the same length, without the address of `from` being taken: it can then stay in registers.
#[allow(clippy::manual_memcpy)] // which takes the address
#[inline(always)]
pub fn copy<V: Copy, const C: usize>(from: [V; C], to: &mut [V]) {
    let to = &mut to[..C];
    for c in 0..C {
        to[c] = from[c];
    }
}
