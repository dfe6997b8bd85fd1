//! A step of a sampler's program in its two parts, the drift and the noise that it ends in, and the equation x + c∇log p(x) = y
//! that gives the start of a drift and the end of the noise's probability flow.

use crate::backend::{Backend, BackendError, Device, Draw, Noise, Task};
use crate::field::{Field, Prepared};
use crate::gradient_flow::FlowError;
use crate::gradient_flow::jko::rounding;
use crate::measure::Cloud;
use crate::path::Level;
use crate::program::{Program, Step};
use crate::random::{Philox, Stream};

/// Particles after a step x′ = drift(x) + s z.
pub(super) struct Stepped {
    /// drift(x), n × d.
    pub drifted: Vec<f64>,
    /// s.
    pub scale: f64,
    /// x′, n × d.
    pub moved: Vec<f64>,
}

impl Stepped {
    /// The particles `points` after `step` on `field`, with the noise of (seed, step).
    pub fn by(
        step: &Step,
        field: &Field,
        points: &[f64],
        (seed, number): (u32, usize),
        device: &Device,
    ) -> Result<Self, FlowError> {
        let (drift, scale) = step.split();
        let drifted = Program { steps: vec![drift] }.run(field, points, Noise::NONE, device)?;
        if scale == 0.0 {
            return Ok(Self { moved: drifted.clone(), scale, drifted });
        }
        let noise = Noise::Counter { philox: Philox::new(seed, Stream::Noise), first: 0 };
        let moved = device.run(Kick { points: &drifted, dim: field.dim(), scale, noise, step: number as u32 })?;
        Ok(Self { drifted, scale, moved })
    }
}

/// x + s z with the normals z of one step.
struct Kick<'a> {
    points: &'a [f64],
    dim: usize,
    scale: f64,
    noise: Noise<'a>,
    step: u32,
}

impl Task for Kick<'_> {
    type Output = Result<Vec<f64>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let mut registers = [backend.upload_reals(self.points)?, backend.zeros(self.points.len())?];
        let draw = Draw { step: self.step, number: 0, call: 0 };
        backend.normals(self.noise, draw, self.dim, &mut registers[1])?;
        backend.combine(&mut registers, 0, &[(0, 1.0), (1, self.scale)])?;
        backend.download_reals(&registers[0])
    }
}

/// Rounds in which the points are found, what each share of one has to gain, and what may be left of the deviation of the cloud.
const ROUNDS: usize = 100;
const LEAST_GAIN: f64 = 0.3;
const UNSETTLED: f64 = 1e-5;

/// The points x with x + `c` ∇log p(x) = `y`, n × d, for the law p at `level`; none where `c` times the curvature of −log p comes
/// near 1.
///
/// Each takes a share of what it is off by, halved where that overshoots: between modes −log p is steep and not convex.
pub(super) fn settle(
    prepared: &Prepared,
    y: &[f64],
    c: f64,
    level: Level,
    device: &Device,
) -> Result<Option<Vec<f64>>, FlowError> {
    let d = prepared.dim();
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    // Rounding is relative to the numbers themselves, what may be left of the points to their distances.
    let rounded = 8.0 * rounding(device) * norm(y) / ((y.len() / d) as f64).sqrt();
    let deviation = Cloud::new(y.to_vec(), d)?.variance().sqrt();
    let (mut x, mut last) = (y.to_vec(), y.to_vec());
    let (mut left, mut shares) = (vec![0.0; y.len()], vec![1.0; y.len() / d]);
    let mut open: Vec<usize> = (0..shares.len()).collect();
    for round in 0..ROUNDS {
        let asked: Vec<f64> = open.iter().flat_map(|&i| &x[i * d..][..d]).copied().collect();
        let score = prepared.score(level, &asked)?;
        let mut still = Vec::new();
        for (&i, (at, score)) in open.iter().zip(asked.chunks_exact(d).zip(score.chunks_exact(d))) {
            let row = i * d..(i + 1) * d;
            let off: Vec<f64> = (0..d).map(|k| y[row.start + k] - at[k] - c * score[k]).collect();
            if norm(&off) <= rounded {
                continue;
            }
            still.push(i);
            if round > 0 && norm(&off) > (1.0 - LEAST_GAIN * shares[i]) * norm(&left[row.clone()]) {
                shares[i] *= 0.5;
            } else {
                last[row.clone()].copy_from_slice(at);
                left[row.clone()].copy_from_slice(&off);
            }
            row.for_each(|k| x[k] = last[k] + shares[i] * left[k]);
        }
        open = still;
        if open.is_empty() {
            break;
        }
    }
    let settled = open.iter().all(|&i| norm(&left[i * d..][..d]) < UNSETTLED * deviation);
    Ok(settled.then_some(x))
}
