//! Two-dimensional toy laws that can be drawn from, in the sizes the flow literature uses (FFJORD, Grathwohl et al. 2019).

use std::f64::consts::{PI, TAU};

use crate::measure::Cloud;
use crate::random::{Philox, Stream};

/// A law on R² given by its sampler. With u, u′ uniform on [0, 1) and z standard normal in R²:
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two interleaved half circles of radius 2: with φ = πu, 2(±(cos φ − ½, sin φ − ¼) + 0.1 z), either sign with
    /// probability ½. Mean 0.
    Moons,
    /// Uniform on the 8 squares of side 2 of [−4, 4]² whose column and row numbers, from 0, add up to an even number. Mean 0.
    Checkerboard,
    /// A spiral of one and a half turns: with t = 3π/2 (1 + 2u), (t cos t, t sin t)/5 + z/5; the plane of the roll of
    /// scikit-learn's `make_swiss_roll`, without its width. Mean (2/5, 2/15π).
    SwissRoll,
    /// Two concentric circles of radii 3/2 and 3 with equal mass and noise 0.24 z. Mean 0.
    Circles,
    /// Five bent arms: 2 R(2πk/5 + e^r/4) (r, s) with k uniform, r = 1 + 0.3 z₁, s = 0.1 z₂ and R the rotation. Mean 0.
    Pinwheel,
    /// An S: with t = 3π(u − ½), 2(sin t, sign(t)(cos t − 1)) + 0.2 z; the plane of the curve of scikit-learn's
    /// `make_s_curve`, without its width. Mean 0.
    SCurve,
}

impl Shape {
    /// Dimension of every shape.
    pub const DIM: usize = 2;

    /// `n` ≥ 1 independent draws; row i is a function of (seed, stream, step, i) alone, the same whatever n.
    pub fn sample(self, n: usize, seed: u32, stream: Stream, step: u32) -> Cloud {
        let philox = Philox::new(seed, stream);
        let point = |i: u32| {
            let mut z = [0.0f32; 2];
            philox.normals(i, step, 0, &mut z);
            let uniform = |draw| philox.uniform(i, step, draw);
            self.point([uniform(1), uniform(2)], z.map(f64::from))
        };
        Cloud::of_known((0..n as u32).flat_map(point).collect(), Self::DIM)
    }

    /// The point that two uniforms and two normals stand for.
    fn point(self, [u, v]: [f64; 2], [z0, z1]: [f64; 2]) -> [f64; 2] {
        let coin = if v < 0.5 { 1.0 } else { -1.0 };
        match self {
            Self::Moons => {
                let (sin, cos) = (PI * u).sin_cos();
                [2.0 * (coin * (cos - 0.5) + 0.1 * z0), 2.0 * (coin * (sin - 0.25) + 0.1 * z1)]
            }
            Self::Checkerboard => {
                let column = (4.0 * u).floor();
                let row = column.rem_euclid(2.0) + if v < 0.5 { 0.0 } else { 2.0 };
                [8.0 * u - 4.0, 2.0 * (row + (2.0 * v).fract()) - 4.0]
            }
            Self::SwissRoll => {
                let t = 1.5 * PI * (1.0 + 2.0 * u);
                [(t * t.cos() + z0) / 5.0, (t * t.sin() + z1) / 5.0]
            }
            Self::Circles => {
                let radius = if v < 0.5 { 1.5 } else { 3.0 };
                let (sin, cos) = (TAU * u).sin_cos();
                [radius * cos + 0.24 * z0, radius * sin + 0.24 * z1]
            }
            Self::Pinwheel => {
                let (r, s) = (1.0 + 0.3 * z0, 0.1 * z1);
                let (sin, cos) = (TAU * (5.0 * u).floor() / 5.0 + r.exp() / 4.0).sin_cos();
                [2.0 * (cos * r - sin * s), 2.0 * (sin * r + cos * s)]
            }
            Self::SCurve => {
                let t = 3.0 * PI * (u - 0.5);
                [2.0 * t.sin() + 0.2 * z0, 2.0 * t.signum() * (t.cos() - 1.0) + 0.2 * z1]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 6] = [Shape::Moons, Shape::Checkerboard, Shape::SwissRoll, Shape::Circles, Shape::Pinwheel, Shape::SCurve];

    /// Mean and E|x|² of each shape, integrated by hand.
    fn moments(shape: Shape) -> ([f64; 2], f64) {
        match shape {
            Shape::Moons => ([0.0, 0.0], 4.0 * (0.75 + 0.5625 - 1.0 / PI + 0.02)),
            Shape::Checkerboard => ([0.0, 0.0], 32.0 / 3.0),
            Shape::SwissRoll => ([0.4, 2.0 / (15.0 * PI)], (9.75 * PI * PI + 2.0) / 25.0),
            Shape::Circles => ([0.0, 0.0], (1.5 * 1.5 + 9.0) / 2.0 + 2.0 * 0.24 * 0.24),
            Shape::Pinwheel => ([0.0, 0.0], 4.0 * 1.1),
            Shape::SCurve => ([0.0, 0.0], 4.0 * (2.0 + 4.0 / (3.0 * PI)) + 0.08),
        }
    }

    #[test]
    fn shapes_have_the_moments_of_their_laws() {
        let n = 100_000;
        for shape in ALL {
            let cloud = shape.sample(n, 5, Stream::Source, 0);
            let (mean, square) = moments(shape);
            let squares: Vec<f64> = cloud.rows().map(|x| x[0] * x[0] + x[1] * x[1]).collect();
            let found = squares.iter().sum::<f64>() / n as f64;
            let spread = squares.iter().map(|s| (s - found).powi(2)).sum::<f64>() / n as f64;
            // Four standard errors; the pinwheel's radius has a normal tail, the others are bounded apart from the noise.
            assert!((found - square).abs() < 4.0 * (spread / n as f64).sqrt(), "{shape:?}: E|x|² {found} for {square}");
            for (m, truth) in cloud.mean().iter().zip(mean) {
                assert!((m - truth).abs() < 4.0 * (square / n as f64).sqrt(), "{shape:?}: mean {m} for {truth}");
            }
        }
    }

    #[test]
    fn a_checkerboard_fills_its_even_squares_alone_and_evenly() {
        let n = 32_000;
        let mut counts = [[0; 4]; 4];
        for x in Shape::Checkerboard.sample(n, 2, Stream::Source, 0).rows() {
            counts[(x[0] / 2.0 + 2.0) as usize][(x[1] / 2.0 + 2.0) as usize] += 1;
        }
        for (i, row) in counts.iter().enumerate() {
            for (j, &count) in row.iter().enumerate() {
                let expected = if (i + j) % 2 == 0 { n as f64 / 8.0 } else { 0.0 };
                assert!((f64::from(count) - expected).abs() <= 4.0 * expected.sqrt(), "square {i} {j}: {count}");
            }
        }
    }

    #[test]
    fn a_row_is_the_same_whatever_the_number_of_rows() {
        for shape in ALL {
            let (few, many) = (shape.sample(10, 1, Stream::Metric, 3), shape.sample(100, 1, Stream::Metric, 3));
            assert_eq!(few.points(), &many.points()[..20]);
            assert_ne!(few, shape.sample(10, 1, Stream::Metric, 4));
            assert_ne!(few, shape.sample(10, 2, Stream::Metric, 3));
        }
    }
}
