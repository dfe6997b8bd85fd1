//! Standard normals for a block of particles.

use rayon::prelude::*;

use crate::backend::cpu::lane::Isa;
use crate::backend::{Noise, Real};
use crate::random::Philox;

const ROWS: usize = 256;

/// Fills `out`, n × d, with the normals of (row, step, draw), or with call number `call` of the given noise.
pub fn fill<T: Real>(isa: Isa, noise: Noise<'_>, step: u32, draw: u32, call: usize, d: usize, out: &mut [T]) {
    match noise {
        Noise::Given(given) => {
            let from = &given[call * out.len()..][..out.len()];
            out.iter_mut().zip(from).for_each(|(o, &z)| *o = T::from_f64(z));
        }
        Noise::Counter { philox, first } => out.par_chunks_mut(ROWS * d).enumerate().for_each(|(b, rows)| {
            isa.with_fma(|| fill_rows(philox, first + (b * ROWS) as u32, step, draw, d, rows));
        }),
    }
}

#[inline(always)]
fn fill_rows<T: Real>(philox: Philox, first: u32, step: u32, draw: u32, d: usize, rows: &mut [T]) {
    for (row, out) in rows.chunks_exact_mut(d).enumerate() {
        for (block, out) in out.chunks_mut(4).enumerate() {
            let z = philox.normal_block([first + row as u32, step, draw, block as u32]);
            out.iter_mut().zip(z).for_each(|(o, z)| *o = T::from_f64(f64::from(z)));
        }
    }
}
