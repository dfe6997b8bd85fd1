//! Normals for methods whose steps are not known beforehand, and so are no programs.

use crate::backend::Noise;
use crate::sampler::RunError;

/// The draws of a run, one n × d block after another.
pub(super) struct NoiseBlocks<'a> {
    noise: Noise<'a>,
    dim: usize,
    /// Blocks drawn so far.
    pub made: usize,
}

impl<'a> NoiseBlocks<'a> {
    /// The draws after the first `made`.
    pub fn after(made: usize, noise: Noise<'a>, dim: usize) -> Self {
        Self { noise, dim, made }
    }

    /// The next `len` = n × d normals.
    ///
    /// # Errors
    /// [`RunError::Noise`] when the given ones are used up.
    pub fn take(&mut self, len: usize) -> Result<Vec<f64>, RunError> {
        let given = if let Noise::Given(given) = self.noise { given.len() } else { 0 };
        self.next(len).ok_or(RunError::Noise { needed: self.made * len, given, draws: self.made })
    }

    fn next(&mut self, len: usize) -> Option<Vec<f64>> {
        let call = self.made;
        self.made += 1;
        match self.noise {
            Noise::Given(given) => given.get(call * len..(call + 1) * len).map(<[f64]>::to_vec),
            Noise::Counter { philox, first } => {
                let mut row = vec![0.0f32; self.dim];
                let mut normals = Vec::with_capacity(len);
                for i in 0..len / self.dim {
                    philox.normals(first + i as u32, call as u32, 0, &mut row);
                    normals.extend(row.iter().map(|&z| f64::from(z)));
                }
                Some(normals)
            }
        }
    }
}
