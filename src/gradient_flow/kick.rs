//! The noise at the end of a step: one draw a particle.

use crate::backend::{Backend, BackendError, Draw, Noise, Task};

/// x + s z with the normals z of one step.
pub(super) struct Kick<'a> {
    pub points: &'a [f64],
    pub dim: usize,
    pub scale: f64,
    pub noise: Noise<'a>,
    pub step: u32,
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
