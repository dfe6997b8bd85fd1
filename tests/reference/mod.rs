//! Two plain f64 interpreters, for one particle: of a program over any field, and of a folded program straight from its layout.

use brenier::path::Level;
use brenier::program::{Form, MixtureProgram};
use brenier::program::{Op, Program, STATE, Step};

/// The state after `program` from `x`; `field(level, p, q, point)` is p x̂₀ + q ε̂ and `normals(step, draw)` the noise.
pub fn interpret(
    program: &Program,
    x: &[f64],
    field: impl Fn(Level, f64, f64, &[f64]) -> Vec<f64>,
    mut normals: impl FnMut(u32, u32) -> Vec<f64>,
) -> Vec<f64> {
    let mut registers = vec![x.to_vec(); program.registers()];
    for (step, Step { ops }) in program.steps.iter().enumerate() {
        for op in ops {
            apply(op, step, &mut registers, |src, level, p, q| field(level, p, q, src), &mut normals);
        }
    }
    registers.swap_remove(STATE)
}

/// The state after the folded `program` from `x`.
pub fn interpret_folded(program: &MixtureProgram, x: &[f64], mut normals: impl FnMut(u32, u32) -> Vec<f64>) -> Vec<f64> {
    let mut registers = vec![x.to_vec(); program.registers];
    for (step, folded) in program.steps.iter().enumerate() {
        let mut runs = folded.coefficients.chunks_exact(program.stride());
        for op in &folded.ops {
            apply(
                op,
                step,
                &mut registers,
                |src, _, _, _| evaluate_folded(program, runs.next().expect("a run an evaluation"), src),
                &mut normals,
            );
        }
    }
    registers.swap_remove(STATE)
}

fn apply(
    op: &Op,
    step: usize,
    registers: &mut [Vec<f64>],
    evaluate: impl FnOnce(&[f64], Level, f64, f64) -> Vec<f64>,
    normals: &mut impl FnMut(u32, u32) -> Vec<f64>,
) {
    match op {
        Op::Evaluate { level, src, p, q, dst } => registers[*dst] = evaluate(&registers[*src], *level, *p, *q),
        Op::Draw { dst, draw } => registers[*dst] = normals(step as u32, *draw),
        Op::Combine { dst, terms } => {
            registers[*dst] =
                (0..registers[0].len()).map(|i| terms.iter().map(|(r, factor)| factor * registers[*r][i]).sum()).collect();
        }
        Op::Clip { register, low, high } => registers[*register].iter_mut().for_each(|x| *x = x.clamp(*low, *high)),
    }
}

fn evaluate_folded(program: &MixtureProgram, run: &[f64], src: &[f64]) -> Vec<f64> {
    let d = program.dim;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let parts: Vec<(f64, Vec<f64>)> = run
        .chunks_exact(program.stride() / program.components)
        .map(|block| match program.form {
            Form::Isotropic => {
                let (g, rest) = block[2..].split_at(d);
                let value = (0..d).map(|i| rest[0] * src[i] + rest[1 + i]).collect();
                (block[0] + block[1] * dot(src, src) + dot(g, src), value)
            }
            Form::Full => {
                let (w, rest) = block[1..].split_at(d);
                let (matrix, rest) = rest.split_at(d * d);
                let (m, spread) = rest.split_at(d);
                let z: Vec<f64> = (0..d).map(|i| dot(&matrix[i * d..][..d], src) - w[i]).collect();
                (block[0] - dot(&z, &z), (0..d).map(|i| m[i] + dot(&spread[i * d..][..d], &z)).collect())
            }
        })
        .collect();
    let top = parts.iter().map(|part| part.0).fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = parts.iter().map(|part| (part.0 - top).exp2()).sum();
    (0..d).map(|i| parts.iter().map(|(logit, v)| (logit - top).exp2() / total * v[i]).sum()).collect()
}
