//! Launches `kernels/integrate.cu`: writes the program as the tape that the kernel reads.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::backend::cuda::launcher::{Argument, Pointer, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Noise};
use crate::program::{Form, MixtureProgram};
use crate::program::{Op, REGISTERS};

/// Threads of a block, as in the kernel file.
const THREADS: usize = 128;
/// Logit of a component that fills a group up.
const ABSENT: f32 = -3e38;

/// `Run` of the kernel file.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Run {
    registers: [Pointer; REGISTERS],
    given: Pointer,
    seed: u32,
    stream: u32,
    first: u32,
    n: u32,
    count: i32,
    components: i32,
}

/// The kernel for a program.
#[derive(Clone, Copy)]
enum Kernel {
    /// A thread for a few particles, components in groups.
    Thread { group: usize, particles: usize },
    /// A warp for each particle.
    Warp,
}

impl Kernel {
    fn of(program: &MixtureProgram) -> Self {
        match (program.dim, program.form) {
            (4.., _) => Self::Warp,
            (_, Form::Full) => Self::Thread { group: 4, particles: 2 },
            _ => Self::Thread { group: if program.components <= 4 { 4 } else { 8 }, particles: 4 },
        }
    }
}

/// Runs `program.steps[steps]` for every particle; `registers[r]` is n × d.
pub fn interpret(
    cuda: &Cuda,
    program: &MixtureProgram,
    steps: Range<usize>,
    noise: Noise<'_>,
    registers: &mut [Buffer<f32>],
) -> Result<(), BackendError> {
    let (d, kernel) = (program.dim, Kernel::of(program));
    let (total, n) = (registers[0].len(), registers[0].len() / d);
    let draws = |steps: Range<usize>| {
        let ops = program.steps[steps].iter().flat_map(|step| &step.ops);
        ops.filter(|op| matches!(op, Op::Draw { .. })).count()
    };
    let (before, here) = (draws(0..steps.start), draws(steps.clone()));
    // The tape, and behind it the noise where it is given.
    let mut words = tape(program, steps, kernel);
    let given = words.len();
    if let Noise::Given(noise) = noise {
        words.extend(noise[before * total..][..here * total].iter().map(|&z| (z as f32).to_bits()));
    }
    let scratch = cuda.scratch(4 * words.len())?;
    cuda.launcher().write(scratch.at(), bytemuck::cast_slice(&words))?;

    let mut run = Run {
        registers: [0; REGISTERS],
        given: 0,
        seed: 0,
        stream: 0,
        first: 0,
        n: u32::try_from(n).map_err(|_| refused(format!("{n} particles are more than a launch takes; use shards")))?,
        count: registers.len() as i32,
        components: program.components as i32,
    };
    for (at, register) in run.registers.iter_mut().zip(registers.iter()) {
        *at = register.at();
    }
    match noise {
        Noise::Given(_) => run.given = scratch.at() + 4 * given as Pointer,
        Noise::Counter { philox, first } => {
            ([run.seed, run.stream], run.first) = (philox.key(), first);
        }
    }
    let form = match program.form {
        Form::Isotropic => "isotropic",
        Form::Full => "full",
    };
    let tape = scratch.at();
    match kernel {
        Kernel::Thread { group, particles } => {
            run.components = program.components.div_ceil(group) as i32;
            let shape = Shape {
                grid: [blocks(n, THREADS * particles)?, 1, 1],
                block: [THREADS as u32, 1, 1],
                shared: (registers.len() * d * 4 * particles * THREADS) as u32,
            };
            cuda.launch(&format!("integrate_{form}_d{d}_k{group}"), shape, &[&tape, &run])
        }
        Kernel::Warp => {
            // Two vectors of d numbers a warp; four warps a block while they fit what every device has without asking.
            let each = 8 * d;
            let warps = [4, 2].into_iter().find(|warps| warps * each <= 48 << 10).unwrap_or(1);
            if each > 99 << 10 {
                return Err(refused(format!("{d} dimensions are more than a multiprocessor holds; use --device cpu")));
            }
            let shape =
                Shape { grid: [blocks(n, warps)?, 1, 1], block: [32 * warps as u32, 1, 1], shared: (warps * each) as u32 };
            let arguments: [&dyn Argument; 3] = [&tape, &run, &(d as i32)];
            cuda.launch(&format!("integrate_{form}"), shape, &arguments)
        }
    }
}

fn refused(reason: String) -> BackendError {
    BackendError::Launch { what: "integrate".into(), reason }
}

/// The operations of `steps` in the words of the kernel file.
fn tape(program: &MixtureProgram, steps: Range<usize>, kernel: Kernel) -> Vec<u32> {
    let [evaluate, draws, combine, clip, end] = [0, 1, 2, 3, 4]; // `Kind` of the kernel file
    let kind = |kind: usize, dst: usize, third: usize| (kind | dst << 8 | third << 16) as u32;
    let mut words = Vec::new();
    let mut call = 0;
    for index in steps {
        let step = &program.steps[index];
        let mut coefficients = step.coefficients.chunks_exact(program.stride());
        for op in &step.ops {
            match *op {
                Op::Evaluate { src, dst, .. } => {
                    words.extend([kind(evaluate, dst, src), 0, 0, 0]);
                    evaluation(program, coefficients.next().unwrap_or_default(), kernel, &mut words);
                }
                Op::Draw { dst, draw } => {
                    words.extend([kind(draws, dst, 0), index as u32, draw, call]);
                    call += 1;
                }
                Op::Combine { dst, ref terms } => {
                    words.extend([kind(combine, dst, terms.len()), 0, 0, 0]);
                    words.extend(terms.iter().flat_map(|&(register, factor)| [register as u32, (factor as f32).to_bits()]));
                }
                Op::Clip { register, low, high } => {
                    words.extend([kind(clip, register, 0), (low as f32).to_bits(), (high as f32).to_bits(), 0]);
                }
            }
            words.resize(words.len().next_multiple_of(4), 0);
        }
    }
    words.extend([kind(end, 0, 0), 0, 0, 0]);
    words
}

/// The coefficients of one evaluation, rearranged from [`MixtureProgram`]'s layout to that of `kernels/field.cuh`.
fn evaluation(program: &MixtureProgram, coefficients: &[f64], kernel: Kernel, words: &mut Vec<u32>) {
    let d = program.dim;
    let logit = match program.form {
        Form::Isotropic => d + 2,
        Form::Full => 1 + d + d * d,
    };
    let mut put = |numbers: &mut dyn Iterator<Item = f64>| words.extend(numbers.map(|x| (x as f32).to_bits()));
    for block in coefficients.chunks_exact(program.stride() / program.components) {
        let (of_logit, of_value) = block.split_at(logit);
        match kernel {
            Kernel::Thread { .. } => {
                for run in [of_logit, of_value] {
                    let padding = run.len().next_multiple_of(4) - run.len();
                    put(&mut run.iter().copied().chain(std::iter::repeat_n(0.0, padding)));
                }
            }
            Kernel::Warp if program.form == Form::Isotropic => put(&mut block.iter().copied()),
            // Matrices column-major.
            Kernel::Warp => {
                for run in [of_logit, of_value] {
                    let (vector, matrix) = run.split_at(run.len() - d * d);
                    put(&mut vector.iter().copied());
                    put(&mut (0..d * d).map(|at| matrix[at % d * d + at / d]));
                }
            }
        }
    }
    if let Kernel::Thread { group, .. } = kernel {
        let length = logit.next_multiple_of(4) + (program.stride() / program.components - logit).next_multiple_of(4);
        for _ in program.components..program.components.next_multiple_of(group) {
            words.push(ABSENT.to_bits());
            words.resize(words.len() + length - 1, 0);
        }
    }
}
