//! A step of a sampler's program in its two parts: the drift, and the noise that it ends in.

use crate::backend::{Backend, BackendError, Device, Draw, Noise, Task};
use crate::field::Field;
use crate::gradient_flow::FlowError;
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
