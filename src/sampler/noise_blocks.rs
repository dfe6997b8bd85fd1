//! Normals for methods whose steps are not known beforehand, so that they are not programs.

use rayon::prelude::*;

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
                let mut normals = vec![0.0; len];
                normals.par_chunks_exact_mut(self.dim).enumerate().with_min_len(256).for_each_init(
                    || vec![0.0f32; self.dim],
                    |row, (i, normals)| {
                        philox.normals(first + i as u32, call as u32, 0, row);
                        normals.iter_mut().zip(row).for_each(|(normal, z)| *normal = f64::from(*z));
                    },
                );
                Some(normals)
            }
        }
    }
}
