//! Standard normals for a block of particles.

use rayon::prelude::*;

use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd};
use crate::backend::{Draw, Noise};
use crate::random::Philox;

const ROWS: usize = 256;

/// Fills `out`, n × d, with the normals of each row and `draw`, or with its call of the given noise.
pub fn fill<T: Simd>(isa: Isa, noise: Noise<'_>, draw: Draw, d: usize, out: &mut [T]) {
    match noise {
        Noise::Given(given) => {
            let from = &given[draw.call * out.len()..][..out.len()];
            out.iter_mut().zip(from).for_each(|(o, &z)| *o = T::from_f64(z));
        }
        Noise::Counter { philox, first } => out.par_chunks_mut(ROWS * d).enumerate().for_each(|(b, out)| {
            T::dispatch(isa, Rows { philox, first: first.wrapping_add((b * ROWS) as u32), draw, d, out });
        }),
    }
}

/// The normals of consecutive particles. Scalar code: dispatched for its fused multiply-adds.
struct Rows<'a, T> {
    philox: Philox,
    first: u32,
    draw: Draw,
    d: usize,
    out: &'a mut [T],
}

impl<T: Simd> Kernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let Draw { step, number, .. } = self.draw;
        for (row, out) in self.out.chunks_exact_mut(self.d).enumerate() {
            for (block, out) in out.chunks_mut(4).enumerate() {
                let z = self.philox.normal_block([self.first.wrapping_add(row as u32), step, number, block as u32]);
                out.iter_mut().zip(z).for_each(|(o, z)| *o = T::from_f64(f64::from(z)));
            }
        }
    }
}
