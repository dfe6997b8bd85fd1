//! The program interpreter over a mixture: all operations of all steps fused, one block of particles at a time.
//! Twin of `kernels/integrate.cu`.
//!
//! Particles lie in the lanes, two vectors of them a block, so that independent chains hide the latencies; the block's
//! registers and logits stay in the first-level cache for the whole run. At K = 8, d = 2 an evaluation costs a particle about
//! K (2d + 5) multiply-adds and K exponentials.

use std::ops::Range;

use rayon::prelude::*;

use crate::backend::cpu::lane::{Aligned, Isa, Kernel, Lane, Simd, Twice, transpose};
use crate::backend::{Noise, Real};
use crate::program::{Form, MixtureProgram};
use crate::program::{Op, Register};

/// Particles a task handles.
const ROWS: usize = 256;

/// Runs `program.steps[steps]` for every particle; `registers[r]` is n × d.
pub fn interpret<T: Simd>(isa: Isa, program: &MixtureProgram, steps: Range<usize>, noise: Noise<'_>, registers: &mut [Vec<T>]) {
    let d = program.dim;
    let coefficients: Vec<Vec<T>> =
        program.steps[steps.clone()].iter().map(|step| step.coefficients.iter().map(|&c| T::from_f64(c)).collect()).collect();
    let draws = program.steps.iter().map(|step| step.ops.iter().filter(|op| matches!(op, Op::Draw { .. })).count());
    let calls: Vec<usize> = draws.scan(0, |sum, draws| Some(std::mem::replace(sum, *sum + draws))).collect();
    let total = registers[0].len();
    // One task owns the same rows of every register.
    let mut columns: Vec<_> = registers.iter_mut().map(|r| r.chunks_mut(ROWS * d)).collect();
    let tasks: Vec<Vec<&mut [T]>> = std::iter::from_fn(|| columns.iter_mut().map(Iterator::next).collect()).collect();
    tasks.into_par_iter().enumerate().for_each_init(Aligned::new, |scratch, (b, registers)| {
        let first = b * ROWS;
        let run = Run {
            program,
            coefficients: &coefficients,
            steps: steps.clone(),
            noise,
            calls: &calls,
            first,
            total,
            registers,
            scratch,
        };
        T::dispatch(isa, run);
    });
}

/// One task: its rows of every register, through all steps.
struct Run<'a, T> {
    program: &'a MixtureProgram,
    coefficients: &'a [Vec<T>],
    steps: Range<usize>,
    noise: Noise<'a>,
    /// Draws made before each step of the program.
    calls: &'a [usize],
    /// Index of the first row.
    first: usize,
    /// Numbers in a whole register, all tasks together.
    total: usize,
    registers: Vec<&'a mut [T]>,
    scratch: &'a mut Aligned<T>,
}

impl<T: Simd> Kernel<T> for Run<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        match (self.program.form, self.program.dim) {
            (Form::Isotropic, 1) => self.blocks::<Twice<L>, 1>(),
            (Form::Isotropic, 2) => self.blocks::<Twice<L>, 2>(),
            (Form::Isotropic, 3) => self.blocks::<Twice<L>, 3>(),
            _ => self.blocks::<Twice<L>, 0>(),
        }
    }
}

impl<T: Simd> Run<'_, T> {
    /// Block after block; D is the dimension when known at compile time, else 0.
    #[inline(always)]
    fn blocks<L: Lane<Elem = T>, const D: usize>(mut self) {
        let (d, width) = (if D > 0 { D } else { self.program.dim }, L::N);
        let rows = self.registers[0].len() / d;
        let components = self.program.components;
        // Registers, then what an evaluation needs: logits, whitened coordinates, and its result.
        let whitened = if self.program.form == Form::Full { components * d } else { 0 };
        let vectors = self.registers.len() * d + components + whitened + d;
        self.scratch.resize(vectors * width);
        for start in (0..rows).step_by(width) {
            let here = width.min(rows - start);
            self.load(start, here, d, width);
            for (index, step) in self.steps.clone().enumerate() {
                self.step::<L, D>(index, step, start, here, d);
            }
            self.store(start, here, d, width);
        }
    }

    /// Transposes the rows of the block into the scratch; lanes beyond the last row repeat it.
    #[inline(always)]
    fn load(&mut self, start: usize, here: usize, d: usize, width: usize) {
        for (register, lanes) in self.registers.iter().zip(self.scratch.chunks_exact_mut(d * width)) {
            transpose(register, d, start..start + here, width, lanes);
        }
    }

    #[inline(always)]
    fn store(&mut self, start: usize, here: usize, d: usize, width: usize) {
        for (register, lanes) in self.registers.iter_mut().zip(self.scratch.chunks_exact(d * width)) {
            for (k, lanes) in lanes.chunks_exact(width).enumerate() {
                for (l, &lane) in lanes[..here].iter().enumerate() {
                    register[(start + l) * d + k] = lane;
                }
            }
        }
    }

    /// All operations of step number `step` of the program, the `index`-th of this run.
    #[inline(always)]
    fn step<L: Lane<Elem = T>, const D: usize>(&mut self, index: usize, step: usize, start: usize, here: usize, d: usize) {
        let width = L::N;
        let (registers, work) = self.scratch.split_at_mut(self.registers.len() * d * width);
        let (mut evaluations, mut calls) = (0, self.calls[step]);
        let program = self.program;
        for op in &program.steps[step].ops {
            match *op {
                Op::Evaluate { src, dst, .. } => {
                    let stride = program.stride();
                    let coefficients = &self.coefficients[index][evaluations * stride..][..stride];
                    evaluations += 1;
                    let x = &registers[src * d * width..][..d * width];
                    match program.form {
                        Form::Isotropic => isotropic::<L, D>(coefficients, program.components, d, x, work),
                        Form::Full => full::<L>(coefficients, program.components, d, x, work),
                    }
                    registers[dst * d * width..][..d * width].copy_from_slice(&work[..d * width]);
                }
                Op::Draw { dst, draw } => {
                    let out = &mut registers[dst * d * width..][..d * width];
                    match self.noise {
                        Noise::Counter { philox, first } => {
                            // Lanes beyond the last particle may wrap; they are not stored.
                            let first = first.wrapping_add((self.first + start) as u32);
                            for block in 0..d.div_ceil(4) {
                                let mut z = [[0.0f32; 4]; 32];
                                for (l, z) in z[..width].iter_mut().enumerate() {
                                    *z = philox.normal_block([first.wrapping_add(l as u32), step as u32, draw, block as u32]);
                                }
                                for k in 4 * block..d.min(4 * block + 4) {
                                    for (lane, z) in out[k * width..][..width].iter_mut().zip(&z) {
                                        *lane = T::from_f64(f64::from(z[k % 4]));
                                    }
                                }
                            }
                        }
                        Noise::Given(given) => {
                            let rows = &given[calls * self.total + (self.first + start) * d..];
                            for k in 0..d {
                                for (l, lane) in out[k * width..][..width].iter_mut().enumerate() {
                                    *lane = T::from_f64(rows[l.min(here - 1) * d + k]);
                                }
                            }
                        }
                    }
                    calls += 1;
                }
                Op::Combine { dst, ref terms } => combine::<L>(registers, d, dst, terms),
                Op::Clip { register, low, high } => {
                    let (low, high) = (L::splat(T::from_f64(low)), L::splat(T::from_f64(high)));
                    for lanes in registers[register * d * width..][..d * width].chunks_exact_mut(width) {
                        L::load(lanes).max(low).min(high).store(lanes);
                    }
                }
            }
        }
    }
}

/// `dst ← Σ coefficient · register`.
#[inline(always)]
fn combine<L: Lane>(registers: &mut [L::Elem], d: usize, dst: Register, terms: &[(Register, f64)]) {
    let size = d * L::N;
    for at in (0..size).step_by(L::N) {
        let mut sum = L::splat(L::Elem::from_f64(0.0));
        for &(register, coefficient) in terms {
            let value = L::load(&registers[register * size + at..]);
            sum = value.mul_add(L::splat(L::Elem::from_f64(coefficient)), sum);
        }
        sum.store(&mut registers[dst * size + at..]);
    }
}

/// `factor` in every lane times `x`, plus `add`.
#[inline(always)]
fn scaled<L: Lane>(x: L, factor: L::Elem, add: L) -> L {
    x.mul_add(L::splat(factor), add)
}

/// Softmax weights 2^(logit − max), in units of a weight, in place of the K logits; returns their sum.
#[inline(always)]
fn softmax<L: Lane>(logits: &mut [L::Elem]) -> L {
    let mut max = L::load(logits);
    for lanes in logits.chunks_exact(L::N).skip(1) {
        max = max.max(L::load(lanes));
    }
    let mut sum = L::splat(L::Elem::from_f64(0.0));
    for lanes in logits.chunks_exact_mut(L::N) {
        let weight = L::load(lanes).sub(max).weight();
        sum = sum.add(weight);
        weight.store(lanes);
    }
    sum
}

/// One over the sum of the weights, and what a weighted sum must come to for a mean that is not next to nothing.
#[inline(always)]
fn divisor<L: Lane>(sum: L) -> (L, L) {
    let constant = |x: f64| L::Elem::from_f64(x);
    (L::splat(constant(1.0)).div(sum), sum.mul(L::splat(constant(L::Elem::TINY))))
}

/// [`Form::Isotropic`]: `work[..d] = Σ_k r_k (e_k x + m_k)`; the logits follow behind.
#[inline(always)]
fn isotropic<L: Lane, const D: usize>(c: &[L::Elem], components: usize, dim: usize, x: &[L::Elem], work: &mut [L::Elem]) {
    let d = if D > 0 { D } else { dim };
    let zero = L::splat(L::Elem::from_f64(0.0));
    let (out, logits) = work.split_at_mut(d * L::N);
    let logits = &mut logits[..components * L::N];
    let mut square = zero;
    for lanes in x.chunks_exact(L::N) {
        let x = L::load(lanes);
        square = x.mul_add(x, square);
    }
    let stride = 2 * d + 3;
    for (c, lanes) in c.chunks_exact(stride).zip(logits.chunks_exact_mut(L::N)) {
        let mut logit = scaled(square, c[1], L::splat(c[0]));
        for k in 0..d {
            logit = scaled(L::load(&x[k * L::N..]), c[2 + k], logit);
        }
        logit.store(lanes);
    }
    let (inverse, least) = divisor(softmax::<L>(logits));
    let mut slope = zero;
    for (c, lanes) in c.chunks_exact(stride).zip(logits.chunks_exact(L::N)) {
        slope = scaled(L::load(lanes), c[2 + d], slope);
    }
    for k in 0..d {
        let mut sum = slope.mul(L::load(&x[k * L::N..]));
        for (c, lanes) in c.chunks_exact(stride).zip(logits.chunks_exact(L::N)) {
            sum = scaled(L::load(lanes), c[3 + d + k], sum);
        }
        sum.flush(least).mul(inverse).store(&mut out[k * L::N..]);
    }
}

/// [`Form::Full`]: `work[..d] = Σ_k r_k (m_k + G_k z_k)`, `z_k = W_k x − w_k`; logits and z follow behind.
#[inline(always)]
fn full<L: Lane>(c: &[L::Elem], components: usize, d: usize, x: &[L::Elem], work: &mut [L::Elem]) {
    let (out, rest) = work.split_at_mut(d * L::N);
    let (logits, whitened) = rest.split_at_mut(components * L::N);
    let stride = 2 * d * (d + 1) + 1;
    for ((c, lanes), z) in c.chunks_exact(stride).zip(logits.chunks_exact_mut(L::N)).zip(whitened.chunks_exact_mut(d * L::N)) {
        let mut logit = L::splat(c[0]);
        for i in 0..d {
            let mut coordinate = L::splat(L::Elem::from_f64(0.0)).sub(L::splat(c[1 + i]));
            for j in 0..d {
                coordinate = scaled(L::load(&x[j * L::N..]), c[1 + d + i * d + j], coordinate);
            }
            logit = logit.sub(coordinate.mul(coordinate));
            coordinate.store(&mut z[i * L::N..]);
        }
        logit.store(lanes);
    }
    let (inverse, least) = divisor(softmax::<L>(logits));
    out.fill(L::Elem::from_f64(0.0));
    for ((c, lanes), z) in c.chunks_exact(stride).zip(logits.chunks_exact(L::N)).zip(whitened.chunks_exact(d * L::N)) {
        let weight = L::load(lanes);
        let (means, spread) = c[1 + d + d * d..].split_at(d);
        for i in 0..d {
            let mut value = L::splat(means[i]);
            for j in 0..d {
                value = scaled(L::load(&z[j * L::N..]), spread[i * d + j], value);
            }
            let lanes = &mut out[i * L::N..];
            weight.mul_add(value, L::load(lanes)).store(lanes);
        }
    }
    for lanes in out.chunks_exact_mut(L::N) {
        L::load(lanes).flush(least).mul(inverse).store(lanes);
    }
}
