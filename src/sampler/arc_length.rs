//! Grids by arc length: steps in which a path covers equal parts of its length.
//!
//! ```text
//! ℓ(t) = ∫₀ᵗ √E|v_s|² ds,        ℓ(t_k) = (k/K) ℓ(1)
//! ```
//!
//! With v the velocity of the probability-flow ODE, √E|v|² is the speed of the laws in W₂, so the grid runs the curve at constant
//! speed: of all clocks this has the least action, ℓ². It comes from a pilot run of 256 particles in 256 Heun steps of equal
//! time, a step's length being its root mean square, linear in between.
//!
//! Equal lengths are not equal errors: whether it takes fewer steps is for `compare --grid arc-length` to say. Where the speed
//! goes to zero, as at the noise end of linear VP or where a law turns from shrinking to spreading, steps get shorter more slowly
//! than 1/K, so that methods fall short of their order. The speed is that of x as the schedule scales it: on `ve`, whose
//! particles come in from far away, nearly all steps are spent on noise.

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::measure::Measure;
use crate::path::{Form, Grid, GridError, Schedule};
use crate::random::Stream;
use crate::sampler::{CourseError, Heun, Method, Observe};
use crate::vector::{dot, squared_distance};

/// Particles and steps of the pilot.
const PARTICLES: usize = 256;
const STEPS: usize = 256;
/// Philox step of its draws.
const STEP: u32 = 1 << 21;
/// The least length of a step, as a share of the particles' root mean square: above rounding in f32, and so that times rise also
/// where nothing moves.
const LEAST: f64 = 1e-6;

/// How far a path has come at each time.
#[derive(Clone, Debug, PartialEq)]
pub struct ArcLength {
    schedule: Schedule,
    /// ℓ at equal steps of time, from 0.
    lengths: Vec<f64>,
}

impl ArcLength {
    /// From a pilot run of `field` on `schedule`, whose particles are draws of `source` under `seed`, scaled to the schedule's
    /// start.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`](crate::program::Program::run).
    pub fn of(field: &Field, schedule: &Schedule, source: &Measure, seed: u32, device: &Device) -> Result<Self, CourseError> {
        let grid = Grid::uniform(schedule, STEPS)?;
        let drawn = source.sample(PARTICLES, seed, Stream::Metric, STEP);
        let start: Vec<f64> = drawn.points().iter().map(|x| grid.start().sigma * x).collect();
        let program = Heun { euler_last: !field.is_regular_at_data() }.program(&grid);
        let (mut last, mut steps) = (start.clone(), Vec::with_capacity(STEPS));
        let mut measure = |step: usize, state: &[f64]| {
            if step > 0 {
                steps.push(squared_distance(state, &last).sqrt());
            }
            last.copy_from_slice(state);
            true
        };
        program.observed(field, &start, Noise::NONE, device, Observe::States(&mut measure))?;
        let least = (LEAST * dot(&start, &start).sqrt()).max(f64::MIN_POSITIVE);
        let mut length = 0.0;
        let sums = steps.iter().map(|step| {
            length += step.max(least);
            length
        });
        Ok(Self { schedule: schedule.clone(), lengths: std::iter::once(0.0).chain(sums).collect() })
    }

    /// The time by which `share` of the path is covered.
    fn time(&self, share: f64) -> f64 {
        let length = share * self.lengths[STEPS];
        let after = self.lengths.partition_point(|&l| l < length).clamp(1, STEPS);
        let (from, to) = (self.lengths[after - 1], self.lengths[after]);
        ((after - 1) as f64 + (length - from) / (to - from)) / STEPS as f64
    }

    /// `steps` + 1 times from 0 to 1 between which it covers equal lengths.
    pub fn times(&self, steps: usize) -> Vec<f64> {
        let inner = (1..steps).map(|k| self.time(k as f64 / steps as f64));
        std::iter::once(0.0).chain(inner).chain([1.0]).collect()
    }

    /// The grid of `steps` such steps.
    ///
    /// # Errors
    /// [`GridError::NoSteps`] when `steps` is 0, [`GridError`] for more steps than the schedule tells apart in double precision.
    pub fn grid(&self, steps: usize) -> Result<Grid, GridError> {
        if steps == 0 { Err(GridError::NoSteps) } else { Grid::at(&self.schedule, &self.times(steps)) }
    }

    /// As [`ArcLength::grid`], except that the last of the steps goes to the data on [`Schedule::Ve`] too.
    ///
    /// # Errors
    /// As [`ArcLength::grid`].
    pub fn grid_to_data(&self, steps: usize) -> Result<Grid, GridError> {
        let Schedule::Ve { .. } = self.schedule else { return self.grid(steps) };
        let noisy = match steps {
            0 => return Err(GridError::NoSteps),
            1 => vec![0.0],
            _ => self.times(steps - 1),
        };
        let sigmas: Vec<f64> = noisy.into_iter().map(|t| self.schedule.level(t).sigma).chain([0.0]).collect();
        Grid::of_sigmas(&sigmas, Form::Exploding)
    }
}
