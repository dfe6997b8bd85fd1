//! A deterministic run with its accounts kept: action and length of the path, and a few states of it.

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::measure::{Cloud, CloudError};
use crate::path::Grid;
use crate::program::Program;
use crate::sampler::{Observe, RunError};

/// Steps from one kept state to the next.
const STRIDE: usize = 16;

/// A deterministic run: a program made for a grid, over a field.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// What is run.
    pub program: &'a Program,
    /// The levels that it was made for.
    pub grid: &'a Grid,
    /// The field.
    pub field: &'a Field,
    /// Where the particles start, n × d.
    pub start: &'a [f64],
    /// How many of them, from the first on, have every single step kept.
    pub followed: usize,
}

/// The steps of particles one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    /// |Δx|² of each particle in each step, steps × particles.
    pub squares: Vec<f64>,
    /// Δt of each step.
    pub widths: Vec<f64>,
}

/// A state that a run has passed.
#[derive(Clone, Debug)]
pub struct State {
    /// Steps made so far.
    pub step: usize,
    /// Σ of the RMS steps so far.
    pub length: f64,
    /// The particles, n × d.
    pub points: Vec<f64>,
}

/// A finished deterministic run.
#[derive(Clone, Debug)]
pub struct Walk {
    /// End points, n × d.
    pub end: Vec<f64>,
    /// ∫|v|² dt of each particle, from its increments: Σ_k |Δx|²/Δt.
    pub action: Vec<f64>,
    /// Σ of the RMS steps.
    pub length: f64,
    /// States after every 16 steps, the start and the end among them.
    pub states: Vec<State>,
    /// Every step of the particles that were followed.
    pub steps: Steps,
}

impl Walk {
    /// Runs `route`, and keeps a state every 16 steps.
    ///
    /// # Errors
    /// [`RunError`] as for [`Program::run`], or when `go_on` says stop.
    pub fn new(route: &Route<'_>, device: &Device, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Self, RunError> {
        let Route { program, grid, field, start, followed } = *route;
        let d = field.dim();
        let (count, levels) = (program.steps.len(), grid.levels());
        let mut last = start.to_vec();
        let (mut action, mut length, mut states) = (vec![0.0; start.len() / d], 0.0, Vec::new());
        let mut steps = Steps::default();
        let mut keep = |step: usize, state: &[f64]| {
            if step > 0 {
                let time = levels[step].t - levels[step - 1].t;
                let mut total = 0.0;
                for (i, (x, before)) in state.chunks_exact(d).zip(last.chunks_exact(d)).enumerate() {
                    let moved: f64 = x.iter().zip(before).map(|(x, b)| (x - b).powi(2)).sum();
                    action[i] += moved / time;
                    total += moved;
                    if i < followed {
                        steps.squares.push(moved);
                    }
                }
                steps.widths.push(time);
                length += (total * d as f64 / state.len() as f64).sqrt();
            }
            if step.is_multiple_of(STRIDE) || step == count {
                states.push(State { step, length, points: state.to_vec() });
            }
            last.copy_from_slice(state);
            go_on()
        };
        let end = program.observed(field, start, Noise::NONE, device, Observe::States(&mut keep))?;
        Ok(Self { end, action, length, states, steps })
    }

    /// The kept states of the first `particles` particles.
    ///
    /// # Errors
    /// [`CloudError`] when a coordinate is not finite.
    pub fn paths(&self, particles: usize, d: usize) -> Result<Vec<Cloud>, CloudError> {
        self.states.iter().map(|State { points, .. }| Cloud::new(points[..points.len().min(particles * d)].to_vec(), d)).collect()
    }
}

/// √E|x − y|² between the same particles at two ends, n × d.
pub fn rms_distance(x: &[f64], y: &[f64], d: usize) -> f64 {
    let squares: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
    (squares * d as f64 / x.len() as f64).sqrt()
}
