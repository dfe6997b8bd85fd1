//! Launches `kernels/normals.cu`.

use crate::backend::cuda::launcher::Shape;
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Draw, Noise};

/// Fills `out`, n × d, with the normals of each row and `draw`, or with its call of the given noise.
pub fn fill(cuda: &Cuda, noise: Noise<'_>, draw: Draw, d: usize, out: &mut Buffer<f32>) -> Result<(), BackendError> {
    let Draw { step, number, call } = draw;
    match noise {
        Noise::Given(given) => {
            let rounded: Vec<f32> = given[call * out.len()..][..out.len()].iter().map(|&z| z as f32).collect();
            out.write(&rounded)
        }
        Noise::Counter { philox, first } => {
            let ([seed, stream], n) = (philox.key(), out.len() / d);
            let shape = Shape::covering(n * d.div_ceil(4))?;
            cuda.launch("normals", shape, &[&(n as u64), &(d as u32), &seed, &stream, &first, &step, &number, out])
        }
    }
}
