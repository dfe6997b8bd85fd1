//! Both principles from the same ends: every method at every number of steps, measured with one ruler.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Error;
use crate::backend::{Device, Noise};
use crate::experiment::ledger::{Path, action_from_regression, ledger, standard_error};
use crate::experiment::record::{CompareRecord, Comparison, Family, FreeEnergy, Ledger, Row, Trajectory};
use crate::experiment::walk::{Walk, mean, rms_distance};
use crate::field::Field;
use crate::measure::{Cloud, Covariance, Measure};
use crate::metric::{Law, NoiseFloor, Ruler, flags, median_distance};
use crate::path::{Grid, Schedule};
use crate::random::{Philox, Stream};
use crate::sampler::{AnnealedLangevin, Ddim, Ddpm, Euler, Heun, Method, Observe, Program, RunError, Variance};
use crate::transport::problem::mean_cost;
use crate::transport::{Problem, Sinkhorn};

/// A comparison: sizes and seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// Draws of a law that make each of A and B.
    pub n: usize,
    /// Numbers of steps tried.
    pub steps: Vec<usize>,
    /// Seed.
    pub seed: u32,
}

impl Default for Compare {
    fn default() -> Self {
        Self { n: 4096, steps: vec![1, 2, 5, 10, 20, 50, 100], seed: 0 }
    }
}

/// A measure and what the user calls it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// The measure.
    pub measure: &'a Measure,
}

/// Told what is being done and how many parts of the whole are finished; `false` stops the comparison.
pub type Progress<'a> = &'a (dyn Fn(&str, usize, usize) -> bool + Sync);

/// Most particles moved.
const MOST_PARTICLES: usize = 4096;
/// Heun steps of the reference end points.
const REFERENCE_STEPS: usize = 1024;
/// ε of the ot rows, relative to the mean of c.
const EPS_TRANSPORT: f64 = 0.002;
/// ε of the displacement row that shows what collapsed looks like.
const EPS_COLLAPSED: f64 = 0.05;
/// Where the accounts of a data set's diffusion path end: its velocity grows like 1/√(1−t) at the data.
const END_OF_DIFFUSION: f64 = 0.98;
/// Particles and states of the picture of the paths, and points of the free-energy curve.
const DRAWN_PARTICLES: usize = 128;
const DRAWN_STRIDE: usize = 16;
const FREE_ENERGY_STRIDE: usize = 2;

impl Compare {
    /// Runs the comparison. With a source that is not a standard normal only the rows that need no Gaussian noise remain.
    ///
    /// # Errors
    /// [`Error`] when the measures cannot be compared, a device fails, or `progress` says stop ([`RunError::Stopped`]).
    pub fn run(
        &self,
        target: Named<'_>,
        source: Named<'_>,
        device: &Device,
        progress: Progress<'_>,
    ) -> Result<Comparison, Error> {
        let begun = Instant::now();
        let (train, heldout) = match target.measure {
            Measure::Finite(cloud) => cloud.halves(self.seed)?,
            law => (law.sample(self.n, self.seed, Stream::Source, 1), law.sample(self.n, self.seed, Stream::Source, 2)),
        };
        let start = start_points(source.measure, train.len().min(MOST_PARTICLES), self.seed)?;
        let law = match target.measure {
            Measure::Law(mixture) => Some(Field::Mixture(mixture.clone())),
            _ => None,
        };
        let ruler = Ruler::new(&heldout, self.seed, device)?;
        let origin = match target.measure {
            Measure::Finite(_) => Law::Halves(&train, &heldout),
            law => Law::Draws(law),
        };
        let noisy = is_standard_normal(source.measure);
        let mut bench = Bench {
            compare: self,
            floor: ruler.noise_floor(origin, start.len(), device)?,
            nn_heldout: median_distance(&heldout, &train, device)?,
            ruler: &ruler,
            train: &train,
            start: &start,
            device,
            progress,
            parts: Parts::new(if noisy { 9 } else { 2 } * self.steps.len() + if noisy { 5 } else { 3 }),
            rows: Vec::new(),
            samples: Vec::new(),
            ledger: Vec::new(),
            trajectories: Vec::new(),
        };
        let mut notes = Vec::new();
        let mut free_energy = Vec::new();
        if noisy {
            let data = if law.is_some() { target.measure.clone() } else { Measure::Finite(train.clone()) };
            let field = law.clone().unwrap_or_else(|| Field::DataSet(train.clone()));
            free_energy = bench.diffusion(&field, &data)?;
            bench.flow_matching(&field, &data)?;
        } else {
            notes.push(format!(
                "The source \"{}\" is not a standard normal: the diffusion and fm-* rows, whose exact fields need Gaussian noise, are left out.",
                source.name
            ));
        }
        let eps = EPS_TRANSPORT * mean_cost(&start, &train, self.seed);
        bench.optimal_transport(eps, &mut notes)?;
        if law.is_none() {
            notes.push(
                "The exact field of a data set memorises by construction: its flow ends on points of A. A flagged row is never called best."
                    .into(),
            );
        }
        let Bench { rows, samples, ledger, trajectories, floor, .. } = bench;
        let record = CompareRecord {
            command: "compare".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            target: target.name.into(),
            source: source.name.into(),
            n: start.len(),
            m: heldout.len(),
            d: heldout.dim(),
            seed: self.seed,
            device: device.name().into(),
            precision: device.precision().name().into(),
            law: law.is_some(),
            eps_metric: ruler.eps(),
            eps_transport: eps,
            noise_floor: floor,
            rows,
            ledger,
            free_energy,
            notes,
            flags: Vec::new(),
            wall_seconds: begun.elapsed().as_secs_f64(),
        };
        Ok(Comparison { record, samples, train, heldout, trajectories })
    }
}

/// The particles every row starts from: draws of a law, or distinct points of a finite set while there are enough.
fn start_points(source: &Measure, n: usize, seed: u32) -> Result<Cloud, Error> {
    match source {
        Measure::Finite(cloud) if cloud.weights().is_none() && cloud.len() >= n => {
            let order = Philox::new(seed, Stream::Source).permutation(cloud.len(), n, 0);
            Ok(cloud.select(&order)?)
        }
        measure => Ok(measure.sample(n, seed, Stream::Source, 0)),
    }
}

fn is_standard_normal(measure: &Measure) -> bool {
    match measure {
        Measure::Law(mixture) => match mixture.components() {
            [only] => only.covariance == Covariance::Isotropic(1.0) && only.mean.iter().all(|m| *m == 0.0),
            _ => false,
        },
        _ => false,
    }
}

/// Parts of the comparison done and to be done.
struct Parts {
    done: AtomicUsize,
    all: usize,
}

impl Parts {
    fn new(all: usize) -> Self {
        Self { done: AtomicUsize::new(0), all }
    }
}

/// A comparison under way: what every row is measured against, and the rows so far.
struct Bench<'a> {
    compare: &'a Compare,
    floor: NoiseFloor,
    nn_heldout: f64,
    ruler: &'a Ruler<'a>,
    train: &'a Cloud,
    start: &'a Cloud,
    device: &'a Device,
    progress: Progress<'a>,
    parts: Parts,
    rows: Vec<Row>,
    samples: Vec<Cloud>,
    ledger: Vec<Ledger>,
    trajectories: Vec<Trajectory>,
}

/// A family's field, schedule and reference end points.
struct Setting<'a> {
    family: Family,
    field: &'a Field,
    schedule: &'a Schedule,
    reference: &'a Walk,
    /// ε of the coupling behind the field, over the mean of c.
    eps: Option<f64>,
}

/// What a sampler made, before it is measured.
struct Made {
    /// ε of its coupling over the mean of c.
    eps: Option<f64>,
    steps: usize,
    nfe: usize,
    taken: Duration,
    end: Vec<f64>,
    solver_error: Option<f64>,
    action: Option<f64>,
    length: Option<f64>,
}

impl Bench<'_> {
    fn tell(&self, what: &str) -> Result<(), Error> {
        let done = self.parts.done.fetch_add(1, Ordering::Relaxed);
        if (self.progress)(what, done, self.parts.all) { Ok(()) } else { Err(RunError::Stopped { steps: done }.into()) }
    }

    fn go_on(&self) -> bool {
        (self.progress)("", self.parts.done.load(Ordering::Relaxed), self.parts.all)
    }

    /// DDPM, DDIM and the probability-flow ODE on the continuous linear VP schedule, annealed Langevin on VE.
    fn diffusion(&mut self, field: &Field, data: &Measure) -> Result<Vec<FreeEnergy>, Error> {
        let schedule = Schedule::linear_vp(0.1, 20.0)?;
        let euler_last = true; // dσ/dt is −∞ where the schedule meets the data
        let reference = self.reference("pf-heun", &schedule, field, euler_last)?;
        let setting = Setting { family: Family::Diffusion, field, schedule: &schedule, reference: &reference, eps: None };
        let methods: [(&str, Box<dyn Method>); 4] = [
            ("ddpm", Box::new(Ddpm { variance: Variance::Posterior })),
            ("ddim", Box::new(Ddim { eta: 0.0 })),
            ("pf-euler", Box::new(Euler)),
            ("pf-heun", Box::new(Heun { euler_last })),
        ];
        for (name, method) in &methods {
            self.sweep(name, method.as_ref(), &setting)?;
        }
        self.annealed_langevin(field)?;

        let end = if field.is_regular_at_data() { 1.0 } else { END_OF_DIFFUSION };
        self.account("diffusion", &setting, data, end)?;
        self.draw(Family::Diffusion, "pf-heun", &reference)?;
        self.free_energy(&setting)
    }

    /// The straight path under the independent coupling, with the exact marginal field.
    fn flow_matching(&mut self, field: &Field, data: &Measure) -> Result<(), Error> {
        let euler_last = !field.is_regular_at_data();
        let schedule = Schedule::CondOt;
        let reference = self.reference("fm-heun", &schedule, field, euler_last)?;
        let setting = Setting { family: Family::Flow, field, schedule: &schedule, reference: &reference, eps: None };
        self.sweep("fm-euler", &Euler, &setting)?;
        self.sweep("fm-heun", &Heun { euler_last }, &setting)?;
        self.account("fm", &setting, data, 1.0)
    }

    /// The flow of the entropic plan between the start points and A, and its one-step limit.
    fn optimal_transport(&mut self, eps: f64, notes: &mut Vec<String>) -> Result<(), Error> {
        self.tell("optimal transport")?;
        let schedule = Schedule::CondOt;
        let sharp = self.couple(eps, notes)?;
        let field = Field::Transport { target: self.train.clone(), g: sharp.potentials.g, eps };
        let reference = self.reference("ot-heun", &schedule, &field, true)?;
        let setting =
            Setting { family: Family::Flow, field: &field, schedule: &schedule, reference: &reference, eps: Some(EPS_TRANSPORT) };
        self.sweep("ot-euler", &Euler, &setting)?;
        self.sweep("ot-heun", &Heun { euler_last: true }, &setting)?;
        self.account_walk("ot", &reference, None)?;
        self.draw(Family::Flow, "ot-heun", &reference)?;

        let action = self.displacement(EPS_TRANSPORT, sharp.map, sharp.taken)?;
        let map = self.samples.last().expect("displacement was just added").clone();
        let path = Path { name: "displacement", start: self.start, end: &map, action: &action };
        self.ledger.push(ledger(&path, None, self.compare.seed)?);
        let blurred = self.couple(eps * EPS_COLLAPSED / EPS_TRANSPORT, notes)?;
        self.displacement(EPS_COLLAPSED, blurred.map, blurred.taken)?;
        Ok(())
    }

    fn couple(&self, eps: f64, notes: &mut Vec<String>) -> Result<Coupling, Error> {
        let problem = Problem::new(self.start, self.train, eps)?;
        let clock = Instant::now();
        let outcome = Sinkhorn::default().solve(&problem, self.device, None, Some(&|_, _, _| self.go_on()))?;
        let taken = clock.elapsed();
        if !outcome.converged {
            let (error, iterations) = (outcome.marginal_error, outcome.iterations);
            notes.push(format!(
                "The coupling at eps = {eps:.3e} stopped after {iterations} iterations with a marginal error of {error:.1e}."
            ));
        }
        Ok(Coupling { potentials: outcome.potentials, map: outcome.map, taken })
    }

    /// The row of a map at `eps` applied in one straight step; returns the action |T(x) − x|² of each particle.
    fn displacement(&mut self, eps: f64, end: Vec<f64>, taken: Duration) -> Result<Vec<f64>, Error> {
        let d = self.start.dim();
        let squared = |(x, t): (&[f64], &[f64])| x.iter().zip(t).map(|(x, t)| (x - t).powi(2)).sum::<f64>();
        let action: Vec<f64> = self.start.rows().zip(end.chunks_exact(d)).map(squared).collect();
        let total = mean(&action);
        let made = Made {
            eps: Some(eps),
            steps: 1,
            nfe: 1,
            taken,
            end,
            solver_error: None,
            action: Some(total),
            length: Some(total.sqrt()),
        };
        self.add(Family::Flow, "displacement", made)?;
        Ok(action)
    }

    /// The end points at 1,024 Heun steps.
    fn reference(&self, name: &str, schedule: &Schedule, field: &Field, euler_last: bool) -> Result<Walk, Error> {
        self.tell(&format!("{name}, {REFERENCE_STEPS} steps for reference"))?;
        let grid = Grid::uniform(schedule, REFERENCE_STEPS)?;
        let program = Heun { euler_last }.program(&grid);
        Ok(Walk::new(&program, &grid, field, &self.scaled(grid.start().sigma), DRAWN_STRIDE, self.device, &|| self.go_on())?)
    }

    /// The start points scaled to a method's own prior.
    fn scaled(&self, sigma: f64) -> Vec<f64> {
        self.start.points().iter().map(|x| sigma * x).collect()
    }

    /// One row for each number of steps.
    fn sweep(&mut self, name: &str, method: &dyn Method, setting: &Setting<'_>) -> Result<(), Error> {
        for &steps in &self.compare.steps {
            self.tell(&format!("{name}, {steps} steps"))?;
            let grid = Grid::uniform(setting.schedule, steps)?;
            let program = method.program(&grid);
            let start = self.scaled(grid.start().sigma);
            let made = if method.order().is_some() {
                let clock = Instant::now();
                let walk = Walk::new(&program, &grid, setting.field, &start, steps, self.device, &|| self.go_on())?;
                Made {
                    eps: setting.eps,
                    steps,
                    nfe: program.nfe(),
                    taken: clock.elapsed(),
                    solver_error: Some(rms_distance(&walk.end, &setting.reference.end, self.start.dim())),
                    action: Some(mean(&walk.action)),
                    length: Some(walk.length),
                    end: walk.end,
                }
            } else {
                self.stochastic(steps, &program, setting.field, &start)?
            };
            self.add(setting.family, name, made)?;
        }
        Ok(())
    }

    fn stochastic(&self, steps: usize, program: &Program, field: &Field, start: &[f64]) -> Result<Made, Error> {
        let noise = Noise::Counter { philox: Philox::new(self.compare.seed, Stream::Noise), first: 0 };
        let clock = Instant::now();
        let end = program.run(field, start, noise, self.device, Observe::Progress(&mut |_| self.go_on()))?;
        let taken = clock.elapsed();
        Ok(Made { eps: None, steps, nfe: program.nfe(), taken, end, solver_error: None, action: None, length: None })
    }

    fn annealed_langevin(&mut self, field: &Field) -> Result<(), Error> {
        // Technique 1 of Song & Ermon (2020): the largest noise covers the largest distance between data points.
        let sigma_max = 2.0 * self.train.radius();
        for &steps in &self.compare.steps {
            self.tell(&format!("annealed-langevin, {steps} steps"))?;
            let (method, grid) = AnnealedLangevin::of_length(steps, sigma_max)?;
            let made = self.stochastic(steps, &method.program(&grid), field, &self.scaled(grid.start().sigma))?;
            self.add(Family::Diffusion, "annealed-langevin", made)?;
        }
        Ok(())
    }

    /// Measures what was made and adds its row.
    fn add(&mut self, family: Family, method: &str, made: Made) -> Result<(), Error> {
        let samples = Cloud::new(made.end, self.start.dim())?;
        let reading = self.ruler.measure(&samples, self.device)?;
        let nn_train = median_distance(&samples, self.train, self.device)?;
        let distances = [(reading.divergence, self.floor.divergence), (reading.w2_squared_exact, self.floor.w2_squared_exact)];
        self.rows.push(Row {
            family,
            method: method.into(),
            label: match made.eps {
                Some(EPS_COLLAPSED) => format!("{method}-{EPS_COLLAPSED}"),
                _ => method.into(),
            },
            eps_relative: made.eps,
            steps: made.steps,
            nfe: made.nfe,
            seconds: made.taken.as_secs_f64(),
            solver_error: made.solver_error,
            divergence: Some(reading.divergence),
            w2_squared_exact: Some(reading.w2_squared_exact),
            variance_ratio: Some(reading.variance_ratio),
            nn_train: Some(nn_train),
            nn_heldout: Some(self.nn_heldout),
            action: made.action,
            length: made.length,
            flags: flags(&distances, reading.variance_ratio, Some((nn_train, self.nn_heldout))),
        });
        self.samples.push(samples);
        Ok(())
    }

    /// The ledger of a setting's reference path up to time `end`, beside the action its regression implies.
    fn account(&mut self, name: &str, setting: &Setting<'_>, data: &Measure, end: f64) -> Result<(), Error> {
        self.tell(&format!("ledger of the {name} path"))?;
        let regression = action_from_regression(setting.field, data, setting.schedule, end, self.compare.seed, self.device)?;
        if end == 1.0 {
            return self.account_walk(name, setting.reference, Some(regression));
        }
        // The same steps, stopped early.
        let times: Vec<f64> = (0..=REFERENCE_STEPS).map(|k| end * k as f64 / REFERENCE_STEPS as f64).collect();
        let grid = Grid::at(setting.schedule, &times)?;
        let start = self.scaled(grid.start().sigma);
        let program = Heun { euler_last: false }.program(&grid);
        let walk = Walk::new(&program, &grid, setting.field, &start, REFERENCE_STEPS, self.device, &|| self.go_on())?;
        self.account_walk(name, &walk, Some(regression))
    }

    fn account_walk(
        &mut self,
        name: &str,
        walk: &Walk,
        regression: Option<crate::experiment::ledger::Estimate>,
    ) -> Result<(), Error> {
        let end = Cloud::new(walk.end.clone(), self.start.dim())?;
        let path = Path { name, start: self.start, end: &end, action: &walk.action };
        self.ledger.push(ledger(&path, regression, self.compare.seed)?);
        Ok(())
    }

    fn draw(&mut self, family: Family, method: &str, walk: &Walk) -> Result<(), Error> {
        let states = walk.paths(DRAWN_PARTICLES, self.start.dim())?;
        self.trajectories.push(Trajectory { family, method: method.into(), states });
        Ok(())
    }

    /// F(ρ_t) = E log ρ_t − log N(0, I) over the particles of the reference path.
    fn free_energy(&self, setting: &Setting<'_>) -> Result<Vec<FreeEnergy>, Error> {
        let d = self.start.dim();
        let mut curve = Vec::new();
        for (step, state) in setting.reference.states.iter().step_by(FREE_ENERGY_STRIDE) {
            let level = setting.schedule.level(*step as f64 / REFERENCE_STEPS as f64);
            if level.t > END_OF_DIFFUSION && !setting.field.is_regular_at_data() {
                break;
            }
            let cloud = Cloud::new(state.clone(), d)?;
            let Some(log_density) = setting.field.log_density(level, &cloud, self.device)? else { break };
            let log_normal = |x: &[f64]| -0.5 * x.iter().map(|x| x * x + std::f64::consts::TAU.ln()).sum::<f64>();
            let terms: Vec<f64> = log_density.iter().zip(cloud.rows()).map(|(l, x)| l - log_normal(x)).collect();
            let flow_time = -level.alpha.ln();
            curve.push(FreeEnergy { t: level.t, flow_time, free_energy: mean(&terms), standard_error: standard_error(&terms) });
        }
        Ok(curve)
    }
}

/// An entropic coupling of the start points with A.
struct Coupling {
    potentials: crate::transport::Potentials,
    map: Vec<f64>,
    taken: Duration,
}
