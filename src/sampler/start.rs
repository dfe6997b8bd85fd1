//! Where the particles of a run start: the prior at the grid's first level.

use std::ops::Range;

use rayon::prelude::*;

use crate::path::Level;
use crate::random::{Philox, Stream};

/// Start points σ z of `particles`, n × d row-major, with z standard normals of (seed, stream 1, particle) and σ that of `level`.
///
/// Row i is a function of its particle's index alone, so a range is exactly those rows of the whole run. The prior leaves out
/// α · data, which every schedule makes small at its start.
pub fn start(level: Level, dim: usize, particles: Range<u32>, seed: u32) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Source);
    let mut points = vec![0.0; particles.len() * dim];
    points.par_chunks_mut(dim).zip(particles).for_each(|(point, particle)| {
        for (block, four) in point.chunks_mut(4).enumerate() {
            let z = philox.normal_block([particle, 0, 0, block as u32]);
            four.iter_mut().zip(z).for_each(|(x, z)| *x = level.sigma * f64::from(z));
        }
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::named;
    use crate::path::Schedule;

    #[test]
    fn particles_start_at_sigma_times_the_rows_of_the_normal_source() {
        let level = Schedule::named("ve").unwrap().level(0.0);
        let normal = named("normal:5", None).unwrap().sample(100, 7, Stream::Source, 0);
        let whole = start(level, 5, 0..100, 7);
        assert!(whole.iter().zip(normal.points()).all(|(x, z)| *x == level.sigma * z));
        assert_eq!(start(level, 5, 40..60, 7), whole[200..300]);
    }
}
