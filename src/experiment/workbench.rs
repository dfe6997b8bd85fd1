//! The comparison's workbench: runs a method, measures what it made, and keeps the accounts of the reference paths.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::{Device, Noise};
use crate::error::Error;
use crate::experiment::entrants::Entrant;
use crate::experiment::ledger::{Ends, Estimate, Path, action_from_regression, ledger};
use crate::experiment::record::{Family, Found, FreeEnergy, Ledger, Reclocked, Row, Trajectory};
use crate::experiment::walk::{Route, Steps, Walk, rms_distance};
use crate::field::Field;
use crate::measure::{Cloud, Measure};
use crate::metric::wasserstein::LARGEST_SUBSAMPLE;
use crate::metric::{Judge, Ruler};
use crate::path::{Grid, GridError, Schedule, Spacing};
use crate::program::Program;
use crate::random::{Philox, Stream};
use crate::sampler::{ArcLength, Heun, Method, Observe, RunError};
use crate::vector::{mean, mean_with_error};
use crate::watch::{Progress, Watch};

/// Heun steps of the reference end points.
const REFERENCE_STEPS: usize = 1024;
/// Particles that the ledgers are of: the first, which are in random order.
const FOLLOWED: usize = LARGEST_SUBSAMPLE;
/// Where the accounts of a data set's diffusion path end: its velocity grows like 1/√(1−t) at the data.
pub const END_OF_DIFFUSION: f64 = 0.98;
/// Particles and states of the picture of the paths, and points of the free-energy curve.
const DRAWN_PARTICLES: usize = 128;
const FREE_ENERGY_STRIDE: usize = 2;

/// A comparison under way: what every row is measured against, and the rows so far.
pub struct Workbench<'a> {
    pub seed: u32,
    pub steps: &'a [usize],
    pub grid: Spacing,
    pub source: &'a Measure,
    pub judge: &'a Judge,
    pub ruler: &'a Ruler,
    pub train: &'a Cloud,
    pub start: &'a Cloud,
    pub device: &'a Device,
    pub watch: Watch<'a>,
    pub rows: Vec<Row>,
    /// The best times of so many steps are searched for too.
    pub find_steps: Option<usize>,
    pub found: Vec<Found>,
    /// Rows and searches there will be.
    pub all: usize,
    pub samples: Vec<Cloud>,
    /// The solver errors on the trailing grid, where the rows are on another.
    pub trailing: Vec<Trailing>,
    pub ledger: Vec<Ledger>,
    pub trajectories: Vec<Trajectory>,
}

/// A family's field, schedule and reference end points.
pub struct Setting<'a> {
    pub field: &'a Field,
    pub schedule: &'a Schedule,
    pub reference: &'a Walk,
    /// ε of the coupling behind the field, over the mean of c.
    pub eps: Option<f64>,
}

/// Equal steps of time on every schedule, also between the entries of a table; any other grid as it is.
fn spaced(schedule: &Schedule, steps: usize, spacing: Spacing) -> Result<Grid, GridError> {
    if spacing == Spacing::Trailing { Grid::uniform(schedule, steps) } else { Grid::spaced(schedule, steps, spacing) }
}

/// The solver error of a method on the trailing grid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trailing {
    method: String,
    nfe: usize,
    solver_error: f64,
}

impl Trailing {
    /// Beside it the evaluations that the method's `rows`, on their own grid, need for the same error: log NFE is linear in log
    /// error between two rows. An error of zero has no logarithm, and none of the rows is asked for it.
    pub fn beside(self, rows: &[Row]) -> Reclocked {
        let Self { method, nfe, solver_error } = self;
        let of_method = rows.iter().filter(|row| row.label == method);
        let points = of_method.filter_map(|row| Some((row.nfe as f64, row.solver_error.filter(|error| *error > 0.0)?)));
        let mut curve: Vec<(f64, f64)> = points.map(|(nfe, error)| (nfe.ln(), error.ln())).collect();
        curve.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = solver_error.ln();
        let crossed = curve.windows(2).find(|pair| pair[0].1 >= wanted && pair[1].1 <= wanted && pair[0].1 > pair[1].1);
        let needed = crossed.map(|pair| {
            let share = (pair[0].1 - wanted) / (pair[0].1 - pair[1].1);
            (pair[0].0 + share * (pair[1].0 - pair[0].0)).exp()
        });
        Reclocked { method, solver_error, nfe_trailing: nfe, nfe: needed }
    }
}

/// What a sampler made, before it is measured.
pub struct Made {
    pub nfe: usize,
    pub taken: Duration,
    pub end: Vec<f64>,
    pub solver_error: Option<f64>,
    pub action: Option<f64>,
    pub length: Option<f64>,
}

impl Workbench<'_> {
    pub fn tell(&self, what: &str) -> Result<(), Error> {
        match self.watch.tell(Progress { stage: what, done: self.done(), of: Some(self.all), ..Progress::default() }) {
            true => Ok(()),
            false => Err(RunError::Stopped { steps: self.rows.len() }.into()),
        }
    }

    /// Rows and searches so far.
    pub fn done(&self) -> usize {
        self.rows.len() + self.found.len()
    }

    pub fn go_on(&self) -> bool {
        self.tell("").is_ok()
    }

    /// The end points at 1,024 Heun steps.
    pub fn reference(&self, name: &str, schedule: &Schedule, field: &Field) -> Result<Walk, Error> {
        self.tell(&format!("{name}, {REFERENCE_STEPS} steps for reference"))?;
        let grid = Grid::uniform(schedule, REFERENCE_STEPS)?;
        let program = Heun { euler_last: !field.is_regular_at_data() }.program(&grid);
        let start = self.scaled(grid.start().sigma);
        self.walk(&Route { program: &program, grid: &grid, field, start: &start, followed: FOLLOWED })
    }

    fn walk(&self, route: &Route<'_>) -> Result<Walk, Error> {
        Ok(Walk::new(route, self.device, &|| self.go_on())?)
    }

    /// The start points scaled to a method's own prior.
    pub fn scaled(&self, sigma: f64) -> Vec<f64> {
        self.start.points().iter().map(|x| sigma * x).collect()
    }

    /// One row for each number of steps, on the grid asked for; `pilot` is that of the setting's path where the grid is by its
    /// length.
    pub fn sweep(
        &mut self,
        entrant: &Entrant,
        method: &dyn Method,
        setting: &Setting<'_>,
        pilot: Option<&ArcLength>,
    ) -> Result<(), Error> {
        for &steps in self.steps {
            self.row(entrant, setting.eps, steps, |bench| {
                let grid = match pilot {
                    Some(pilot) => pilot.grid(steps)?,
                    None => spaced(setting.schedule, steps, bench.grid)?,
                };
                let program = method.program(&grid);
                if method.order().is_none() {
                    return bench.stochastic(&program, setting.field, &bench.scaled(grid.start().sigma));
                }
                let clock = Instant::now();
                let (walk, solver_error) = bench.integrate(&program, &grid, setting)?;
                Ok(Made {
                    nfe: program.evaluations(setting.field),
                    taken: clock.elapsed(),
                    solver_error: Some(solver_error),
                    action: Some(mean(&walk.action)),
                    length: Some(walk.length),
                    end: walk.end,
                })
            })?;
            // One step is the same on every grid.
            if self.grid != Spacing::Trailing && steps > 1 && method.order().is_some() {
                self.integrate_trailing(entrant, method, setting, steps)?;
            }
        }
        Ok(())
    }

    /// A run and its solver error.
    fn integrate(&self, program: &Program, grid: &Grid, setting: &Setting<'_>) -> Result<(Walk, f64), Error> {
        let start = self.scaled(grid.start().sigma);
        let walk = self.walk(&Route { program, grid, field: setting.field, start: &start, followed: 0 })?;
        let error = rms_distance(&walk.end, &setting.reference.end, self.start.dim());
        Ok((walk, error))
    }

    /// The solver error on the trailing grid; it is not found again where the checkpoint has it.
    fn integrate_trailing(
        &mut self,
        entrant: &Entrant,
        method: &dyn Method,
        setting: &Setting<'_>,
        steps: usize,
    ) -> Result<(), Error> {
        let part = format!("{}, {steps} steps on the trailing grid", entrant.name);
        let found = match self.watch.record(&part) {
            Some(found) => found,
            None => {
                let grid = spaced(setting.schedule, steps, Spacing::Trailing)?;
                let program = method.program(&grid);
                let (_, solver_error) = self.integrate(&program, &grid, setting)?;
                Trailing { method: entrant.name.into(), nfe: program.evaluations(setting.field), solver_error }
            }
        };
        self.watch.keep_record(&part, &found);
        self.trailing.push(found);
        Ok(())
    }

    pub fn stochastic(&self, program: &Program, field: &Field, start: &[f64]) -> Result<Made, Error> {
        let noise = Noise::Counter { philox: Philox::new(self.seed, Stream::Noise), first: 0 };
        let clock = Instant::now();
        let end = program.observed(field, start, noise, self.device, Observe::Progress(&mut |_| self.go_on()))?;
        let taken = clock.elapsed();
        Ok(Made { nfe: program.evaluations(field), taken, end, solver_error: None, action: None, length: None })
    }

    /// Adds a row of what `make` makes; `eps` is that of its coupling over the mean of c. A row in the checkpoint is not made again.
    pub fn row(
        &mut self,
        entrant: &Entrant,
        eps: Option<f64>,
        steps: usize,
        make: impl FnOnce(&Self) -> Result<Made, Error>,
    ) -> Result<(), Error> {
        let label = entrant.label(eps);
        let part = format!("{label}, {steps} steps");
        self.tell(&part)?;
        let kept = self.watch.array(&part).map(<[f64]>::to_vec);
        let (row, samples) = match self.watch.record(&part).zip(kept) {
            Some((row, points)) => (row, Cloud::new(points, self.start.dim())?),
            None => {
                let made = make(self)?;
                let (row, samples) = self.measure(entrant, eps, steps, made)?;
                self.watch.keep_record(&part, &row);
                self.watch.keep_array(&part, samples.points());
                (row, samples)
            }
        };
        self.rows.push(Row { label, ..row });
        self.samples.push(samples);
        self.tell("")?;
        self.watch.save_if_due();
        Ok(())
    }

    fn measure(&self, entrant: &Entrant, eps: Option<f64>, steps: usize, made: Made) -> Result<(Row, Cloud), Error> {
        let samples = Cloud::new(made.end, self.start.dim())?;
        let reading = self.ruler.measure(&samples, self.device)?;
        let verdict = self.judge.judge(&samples, &reading, self.device)?;
        let row = Row {
            family: entrant.family,
            method: entrant.name.into(),
            label: String::new(),
            eps_relative: eps,
            steps,
            nfe: made.nfe,
            seconds: made.taken.as_secs_f64(),
            solver_error: made.solver_error,
            divergence: Some(reading.divergence),
            w2_squared_exact: Some(reading.w2_squared_exact),
            variance_ratio: Some(reading.variance_ratio),
            nn_train: verdict.nn_train,
            nn_heldout: self.judge.nn_heldout(),
            action: made.action,
            length: made.length,
            flags: verdict.flags,
        };
        Ok((row, samples))
    }

    /// The ledger of `path`, which is not made again where the checkpoint has it.
    fn add_ledger(&mut self, name: &str, make: impl FnOnce(&Self) -> Result<Ledger, Error>) -> Result<(), Error> {
        let part = format!("ledger of the {name} path");
        let ledger = match self.watch.record(&part) {
            Some(ledger) => ledger,
            None => make(self)?,
        };
        self.watch.keep_record(&part, &ledger);
        self.ledger.push(ledger);
        Ok(())
    }

    /// The ledger of a setting's reference path, beside the action its regression implies.
    pub fn account(&mut self, name: &str, setting: &Setting<'_>, ends: Ends<'_>) -> Result<(), Error> {
        self.tell(&format!("ledger of the {name} path"))?;
        self.add_ledger(name, |bench| {
            let regression = action_from_regression(setting.field, ends, setting.schedule, 1.0, bench.seed, bench.device)?;
            bench.ledger_of(name, setting.reference, Some(regression))
        })
    }

    /// The ledger of the path of `field` on `schedule` up to time `end`, for which the followed particles are run alone, beside
    /// the action its regression implies.
    pub fn account_until(
        &mut self,
        name: &str,
        field: &Field,
        ends: Ends<'_>,
        schedule: &Schedule,
        end: f64,
    ) -> Result<(), Error> {
        self.tell(&format!("ledger of the {name} path"))?;
        self.add_ledger(name, |bench| {
            let regression = action_from_regression(field, ends, schedule, end, bench.seed, bench.device)?;
            let times: Vec<f64> = (0..=REFERENCE_STEPS).map(|k| end * k as f64 / REFERENCE_STEPS as f64).collect();
            let grid = Grid::at(schedule, &times)?;
            let program = Heun { euler_last: false }.program(&grid);
            let start = bench.scaled(grid.start().sigma);
            let start = &start[..start.len().min(FOLLOWED * bench.start.dim())];
            let walk = bench.walk(&Route { program: &program, grid: &grid, field, start, followed: FOLLOWED })?;
            bench.ledger_of(name, &walk, Some(regression))
        })
    }

    /// The ledger of a path without an independent estimate of its action.
    pub fn account_walk(&mut self, name: &str, walk: &Walk) -> Result<(), Error> {
        self.add_ledger(name, |bench| bench.ledger_of(name, walk, None))
    }

    /// The ledger of a map applied in one straight step to all particles, the start among them.
    pub fn account_map(&mut self, name: &str, map: &[f64], squares: &[f64]) -> Result<(), Error> {
        self.add_ledger(name, |bench| {
            let squares = squares[..squares.len().min(FOLLOWED)].to_vec();
            let steps = Steps { squares, widths: vec![1.0] };
            bench.ledger_between(name, (bench.start.points(), map), &steps, None)
        })
    }

    fn ledger_of(&self, name: &str, walk: &Walk, regression: Option<Estimate>) -> Result<Ledger, Error> {
        self.ledger_between(name, (&walk.states[0].points, &walk.end), &walk.steps, regression)
    }

    /// The ledger of the followed particles.
    fn ledger_between(
        &self,
        name: &str,
        (start, end): (&[f64], &[f64]),
        steps: &Steps,
        regression: Option<Estimate>,
    ) -> Result<Ledger, Error> {
        let d = self.start.dim();
        let [start, end] = [start, end].map(|points| Cloud::new(points[..points.len().min(FOLLOWED * d)].to_vec(), d));
        ledger(&Path { name, start: &start?, end: &end?, steps }, regression, self.seed)
    }

    pub fn draw(&mut self, family: Family, method: &str, walk: &Walk) -> Result<(), Error> {
        let states = walk.paths(DRAWN_PARTICLES, self.start.dim())?;
        self.trajectories.push(Trajectory { family, method: method.into(), states });
        Ok(())
    }

    /// F(ρ_t) = E log ρ_t − log N(0, I) over the particles of the reference path, and how far along it they are.
    pub fn free_energy(&self, setting: &Setting<'_>) -> Result<Vec<FreeEnergy>, Error> {
        let d = self.start.dim();
        let mut curve = Vec::new();
        for state in setting.reference.states.iter().step_by(FREE_ENERGY_STRIDE) {
            let level = setting.schedule.level(state.step as f64 / REFERENCE_STEPS as f64);
            if level.t > END_OF_DIFFUSION && !setting.field.is_regular_at_data() {
                break;
            }
            let cloud = Cloud::new(state.points.clone(), d)?;
            let Some(log_density) = setting.field.log_density(level, &cloud, self.device)? else { break };
            let log_normal = |x: &[f64]| -0.5 * x.iter().map(|x| x * x + std::f64::consts::TAU.ln()).sum::<f64>();
            let terms: Vec<f64> = log_density.iter().zip(cloud.rows()).map(|(l, x)| l - log_normal(x)).collect();
            let flow_time = -level.alpha.ln();
            let (free_energy, standard_error) = mean_with_error(&terms);
            let arc_length = setting.reference.length - state.length;
            curve.push(FreeEnergy { t: level.t, flow_time, arc_length, free_energy, standard_error });
        }
        Ok(curve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, nfe: usize, solver_error: f64) -> Row {
        Row {
            family: Family::Flow,
            method: label.into(),
            label: label.into(),
            eps_relative: None,
            steps: nfe,
            nfe,
            seconds: 0.0,
            solver_error: Some(solver_error),
            divergence: None,
            w2_squared_exact: None,
            variance_ratio: None,
            nn_train: None,
            nn_heldout: None,
            action: None,
            length: None,
            flags: Vec::new(),
        }
    }

    /// An error of order 2 in the evaluations is on the curve between two rows: 9/n² is 1/25 at n = 15.
    #[test]
    fn evaluations_at_an_error_are_those_of_the_power_law_between_rows() {
        let rows = [row("a", 10, 0.09), row("b", 12, 0.04), row("a", 20, 0.0225), row("a", 40, 0.0)];
        let needed = |solver_error: f64| Trailing { method: "a".into(), nfe: 7, solver_error }.beside(&rows).nfe;
        assert!((needed(0.04).unwrap() - 15.0).abs() < 1e-12);
        assert_eq!([0.1, 0.02, 0.0].map(needed), [None; 3]);
    }
}
