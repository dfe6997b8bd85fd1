//! `brenier sample`: particles moved from noise to data by a named method over an exact field.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise};
use brenier::checkpoint::Checkpoint;
use brenier::field::Field;
use brenier::io::{is_network, read_array, read_network};
use brenier::measure::Measure;
use brenier::path::{Grid, Level, Schedule, Spacing};
use brenier::program::Program;
use brenier::random::{Philox, Stream};
use brenier::sampler::unadjusted_langevin::settles;
use brenier::sampler::{
    self, AnnealedLangevin, Churn, Compat, Edm, Loop, LoopOptions, Looped, METHODS, Method, Named, Options, prior_error,
};
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count, counted, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal, values};

/// Particles of the whole run when neither --n nor --start says how many.
const DEFAULT_N: u32 = 4096;
/// Draws that stand for a law where points are needed.
const LAW_DRAWS: u32 = 4096;
const ANNEALED: &str = "annealed-langevin";
const LANGEVIN: &str = "langevin";
/// Entries of the table whose flow --shift moves, as the published codes have it.
const SHIFTED_ENTRIES: usize = 1000;
/// Steps when --steps does not say how many.
const STEPS: u32 = 50;
/// Signal-to-noise ratio of the correctors (Song et al. 2021).
const SNR: f64 = 0.16;
/// Step of langevin over the law's least variance.
const STEP_OF_VARIANCE: f64 = 0.1;
const ADAPTIVE: &[&str] = &["dopri5", "bosh3", "dopri8", "adaptive-heun", "dpm-adaptive"];
const CORRECTED: &[&str] = &["pc-ve", "pc-vp", "pc-subvp"];
const EDM_HEUN: &str = "edm-heun";
const EDM: &[&str] = &["edm-euler", EDM_HEUN];
/// The magnification of edm-heun's first stage that is said.
const MAGNIFIED: f64 = 10.0;
/// The error of the prior, in units of the first level's sigma, above which the samples are said to keep it.
const SHORT_OF_NOISE: f64 = 0.1;
/// Flags that only some methods take, and those.
const TAKEN_BY: [(&str, &[&str]); 7] = [
    ("--eta", &["ddim", "dpm-2", "dpmpp-2s"]),
    ("--churn", EDM),
    ("--step", &[LANGEVIN]),
    ("--tol", ADAPTIVE),
    ("--snr", CORRECTED),
    ("--probability-flow", CORRECTED),
    ("--length", &["energy-matching", "energy-matching-image"]),
];
/// Where results go unless --out says, and the part of a checkpoint with the particles under way.
const FOLDER: &str = "brenier-out/sample";
const PARTICLES: &str = "particles";

/// Move particles from noise to data with any method over any field
///
/// The field of a law is its own, in closed form. The exact field of a data set ends on the points of that set, which it
/// therefore memorises. A network runs on the schedule it was trained on unless --schedule says another. The folder (brenier-out/sample unless --out is given) gets samples.npy and run.json.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier sample 8gaussians --method ddim --steps 20",
    "brenier sample digits --method ddpm --schedule ddpm --steps 100 --n 64 --out digits",
    "brenier sample model.safetensors --method fm-heun --steps 10",
    "brenier sample mixture.json --method pf-heun --grid karras --steps 18 --trajectory",
    "brenier sample 8gaussians --method dopri5 --tol 1e-6",
    "brenier sample normal:3 --method fm-heun --n 1000000 --particles 0..500000 --out first-half",
]))]
pub struct Sample {
    /// A law (8gaussians, normal:D, a .json mixture), data (digits, a file of points), or a network (.safetensors)
    field: String,
    /// Sampling method
    #[arg(long, value_name = "M", default_value = "ddim", value_parser = values::methods())]
    method: String,
    #[arg(long, value_name = "S", help = values::schedules())]
    schedule: Option<String>,
    #[arg(long, value_enum, help = balanced())]
    grid: Option<values::GridName>,
    /// On condot: shift its levels towards the noise, sigma to F sigma/(1 + (F-1) sigma), from 1 to that of 1/1000
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = values::positive)]
    shift: Option<f64>,
    /// Steps; for annealed-langevin updates in all, or with --schedule levels of 5 updates [default: 50]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: Option<u32>,
    /// Tolerance of the adaptive methods: of each particle's end, not of a step [default: 1e-5; 0.05 for dpm-adaptive]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = values::positive)]
    tol: Option<f64>,
    /// Signal-to-noise ratio of the corrector of pc-ve, pc-vp and pc-subvp [default: 0.16]
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = values::snr)]
    snr: Option<f64>,
    /// Step of langevin [default: a tenth of the law's least variance]
    #[arg(long, value_name = "TAU", allow_negative_numbers = true, value_parser = values::positive)]
    step: Option<f64>,
    /// Noise put back by edm-euler and edm-heun, over all steps [default: 0]
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = values::not_negative)]
    churn: Option<f64>,
    /// The levels sigma/alpha at which --churn acts [default: all]
    #[arg(long, value_name = "MIN..MAX", requires = "churn", value_parser = values::levels)]
    churn_between: Option<(f64, f64)>,
    /// The predictor of pc-ve, pc-vp and pc-subvp takes the step of the probability-flow ODE, without noise
    #[arg(long)]
    probability_flow: bool,
    /// energy-matching: a particle whose path is this long stops
    #[arg(long, value_name = "L", allow_negative_numbers = true, value_parser = values::positive)]
    length: Option<f64>,
    /// Reproduce a known defect of the published codes; may be repeated, and --help lists them
    #[arg(long, value_name = "NAME", long_help = values::compats())]
    compat: Vec<String>,
    /// Noise of ddim, from 0 (none) to 1 (that of ddpm), and of dpm-2 and dpmpp-2s [default: 0]
    #[arg(long, value_name = "ETA", allow_negative_numbers = true, value_parser = values::eta)]
    eta: Option<f64>,
    /// Particles of the whole run [default: 4096, or the rows of --start]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// File of start points of the whole run, n x d, instead of seeded normals
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// File of the noise of the whole run, draws x n x d, used in the order of the draws
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Only these particles of the whole run, from A up to but not including B
    #[arg(long, value_name = "A..B", value_parser = values::range)]
    particles: Option<Range<u32>>,
    /// Keep every state: trajectory.npy, steps + 1 x n x d
    #[arg(long)]
    trajectory: bool,
}

/// How the particles are moved.
enum Movement {
    Program(Program),
    Loop(Loop, Box<LoopOptions>),
}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    field: &'a str,
    method: &'a str,
    steps: usize,
    nfe: usize,
    n: usize,
    d: usize,
    seconds: f64,
    wall_seconds: f64,
    device: &'a str,
    precision: &'static str,
    seed: u32,
    flags: Vec<&'static str>,
}

/// How the particles are moved, and from where.
struct Way {
    movement: Movement,
    /// The level they start at.
    first: Level,
    /// Whether they have to be at the level's own law there, as on the way to the data that the reverse process is.
    reversed: bool,
}

impl Sample {
    /// Runs the method.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = match sampler::named(&self.method) {
            Ok(Named::Loop(entry)) if entry.is_for_the_processor() => session.processor_for(entry.name)?,
            _ => session.device()?,
        };
        session.resumable("sample", Some(FOLDER), &device, |checkpoint| self.move_particles(session, &device, checkpoint))
    }

    fn move_particles(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        self.check_flags()?;
        let field = self.read_field(session)?;
        let d = field.dim();
        let Way { movement, first, reversed } = self.way(&field, session)?;
        let whole = self.start.as_deref().map(|path| self.read_start(path, d)).transpose()?;
        let n = whole.as_ref().map_or(self.n.unwrap_or(DEFAULT_N), |rows| (rows.len() / d) as u32);
        let particles = self.particles.clone().unwrap_or(0..n);
        if particles.end > n {
            return Err(format!(
                "particles {}..{} are not among the {n} of the whole run; raise --n",
                particles.start, particles.end
            )
            .into());
        }
        let (program, steps, registers) = match &movement {
            Movement::Program(program) => (Some(program), program.steps.len(), program.registers()),
            Movement::Loop(_, options) => (None, options.steps, 2),
        };
        let states = if self.trajectory { steps + 1 } else { 0 };
        memory::require("this many particles", (states + registers + 3) as u64 * particles.len() as u64 * d as u64)?;
        let short = reversed && whole.is_none() && self.is_short_of_noise(&field, first, session);
        let rows = |whole: &[f64]| whole[particles.start as usize * d..particles.end as usize * d].to_vec();
        let start = match &whole {
            Some(whole) => rows(whole),
            None => sampler::start(first, d, particles.clone(), session.shared.seed),
        };
        let given = self.noise.as_deref().map(|path| read_noise(path, n as usize, d)).transpose()?;
        let given = given.map(|draws| draws.chunks_exact(n as usize * d).flat_map(rows).collect::<Vec<f64>>());
        if given.is_some() && program.is_some_and(Program::is_deterministic) {
            session.note(&format!("{} draws no noise, so the file given is not used", self.method));
        }
        let noise = match &given {
            Some(given) => Noise::Given(given),
            None => Noise::Counter { philox: Philox::new(session.shared.seed, Stream::Noise), first: particles.start },
        };

        let folder = session.folder(Some(FOLDER))?;
        let bar = progress::bar(session, &self.method, steps);
        let mut tell = |made: usize| {
            bar.set_position(made as u64);
            !signal::interrupted()
        };
        let begun = Instant::now();
        let (samples, nfe, trajectory) = match &movement {
            Movement::Program(program) => {
                let kept = checkpoint.part(PARTICLES);
                let (samples, trajectory) = program.resume(&field, start, noise, device, self.trajectory, kept, &mut tell)?;
                (samples, program.nfe(), trajectory)
            }
            Movement::Loop(entry, options) => {
                let Looped { points, nfe } = entry.run(&field, &start, noise, options, device, checkpoint, &mut tell)?;
                (points, nfe, Vec::new())
            }
        };
        let solver_seconds = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();

        if let Some(folder) = &folder {
            folder.clear(&["samples.npy", "trajectory.npy"])?;
            folder.array("samples.npy", &samples, &[particles.len(), d], session.float())?;
            if self.trajectory {
                folder.array("trajectory.npy", &trajectory, &[states, particles.len(), d], session.float())?;
            }
        }
        let record = Record {
            command: "sample",
            version: env!("CARGO_PKG_VERSION"),
            field: &self.field,
            method: &self.method,
            steps,
            nfe,
            n: particles.len(),
            d,
            seconds: solver_seconds,
            wall_seconds: session.wall_seconds(),
            device: device.name(),
            precision: device.precision().name(),
            seed: session.shared.seed,
            flags: short.then_some("short_of_noise").into_iter().collect(),
        };
        let mut summary = Summary::new(format!("sample {} by {}", self.field, self.method));
        summary.line("particles", count(record.n), format!("in dimension {d}"));
        summary.line("steps", count(steps), format!("{} evaluations a particle", count(record.nfe)));
        let each = solver_seconds * 1e9 / (record.n * steps.max(1)) as f64;
        summary.line(
            "time",
            seconds(solver_seconds),
            format!("{each:.1} ns a particle and step, {} in {}", record.device, record.precision),
        );
        session.finish(&record, folder.as_ref(), &summary.text())
    }

    /// Refuses a flag that the method would not look at.
    fn check_flags(&self) -> Result<(), Failure> {
        let given = [
            self.eta.is_some(),
            self.churn.is_some(),
            self.step.is_some(),
            self.tol.is_some(),
            self.snr.is_some(),
            self.probability_flow,
            self.length.is_some(),
        ];
        let method = self.method.as_str();
        for ((flag, methods), given) in TAKEN_BY.into_iter().zip(given) {
            if given && !methods.contains(&method) {
                let methods = methods.join(", ");
                return Err(flags::bad_usage(format!("{flag} is for {methods}; {method} does not take it: leave it out")));
            }
        }
        Ok(())
    }

    /// The field of the law or of the data, or the network.
    fn read_field(&self, session: &Session) -> Result<Field, Failure> {
        let path = Path::new(&self.field);
        if is_network(path)? {
            return Ok(Field::Network(read_network(path)?));
        }
        Ok(match input::measure(&self.field, None, None)? {
            Measure::Law(mixture) => Field::Mixture(mixture),
            Measure::Finite(cloud) => Field::DataSet(cloud),
            shape @ Measure::Shape(_) => {
                let drawn = input::cloud(shape, LAW_DRAWS, session.shared.seed, 1)?;
                let draws = count(drawn.len());
                session.note(&format!("{} has no field in closed form: this is the field of {draws} draws of it", self.field));
                Field::DataSet(drawn)
            }
        })
    }

    /// Whether the first level is so clean that N(0, sigma² I) is not where the particles of the data are there, and says so.
    fn is_short_of_noise(&self, field: &Field, first: Level, session: &Session) -> bool {
        let error = prior_error(field, first);
        let is_short = error > SHORT_OF_NOISE;
        if is_short {
            let (alpha, sigma) = (number(first.alpha), number(first.sigma));
            let of_network = if let Field::Network(_) = field { " for data of unit variance" } else { "" };
            session.note(&format!(
                "the run starts short of pure noise, at alpha = {alpha} and sigma = {sigma}, where the particles are alpha data + sigma noise and not the prior N(0, sigma² I): they are {} sigma apart{of_network}, and the samples keep that; take a schedule with more noise, centre the data, or give the particles with --start",
                number(error)
            ));
        }
        is_short
    }

    /// How the particles are moved.
    fn way(&self, field: &Field, session: &Session) -> Result<Way, Failure> {
        let compat = self.compat.iter().map(|name| self.compat_of_method(name)).collect::<Result<Vec<Compat>, Failure>>()?;
        let steps = self.steps.unwrap_or(STEPS) as usize;
        let entry = match sampler::named(&self.method)? {
            Named::Loop(entry) => return self.loop_of(*entry, steps, compat),
            Named::Method(entry) => entry,
        };
        let step = match (self.method.as_str(), field) {
            (LANGEVIN, Field::Mixture(law)) => {
                let step = self.step.unwrap_or_else(|| STEP_OF_VARIANCE * law.least_variance());
                settles(LANGEVIN, step, law)?;
                step
            }
            (LANGEVIN, _) => {
                let remedy = "8gaussians, normal:D or a .json mixture; for points take annealed-langevin";
                return Err(format!("langevin needs the score of a law: {remedy}").into());
            }
            _ => 0.0,
        };
        let network = match field {
            Field::Network(network) => Some(network.schedule()),
            _ => None,
        };
        let schedule = match (&self.schedule, network) {
            (Some(spec), _) => Schedule::parse(spec)?,
            (None, Some(own)) => own.clone(),
            (None, None) => Schedule::parse(entry.schedule)?,
        };
        let reversed = ![ANNEALED, LANGEVIN].contains(&entry.name);
        if let (ANNEALED, None, Some(sigma_max)) = (entry.name, &self.schedule, widest(field, session.shared.seed)) {
            let (method, grid) = AnnealedLangevin::of_length(steps, sigma_max)?;
            let method = AnnealedLangevin { half_step: compat.contains(&Compat::HALF_STEP_LANGEVIN), ..method };
            let excess = match method.excess_variance(&grid) {
                excess if excess < 1.0 => format!("about {:.0} % too much variance", 100.0 * excess),
                _ => "more than twice the variance".into(),
            };
            session.note(&format!(
                "annealed-langevin in {} leaves {excess} within modes; more steps leave less",
                counted(steps, "step")
            ));
            return Ok(Way { movement: Movement::Program(method.program(&grid)), first: grid.start(), reversed });
        }
        // A network is asked only where it was trained, which balanced levels need not keep to.
        let own = if network.is_some() { Spacing::Trailing } else { entry.grid };
        let grid = self.make_grid(&schedule, steps, own, &compat)?;
        let magnified = if entry.name == EDM_HEUN { Edm::magnification(&grid) } else { 0.0 };
        if magnified > MAGNIFIED {
            let (steps, factor) = (counted(steps, "step"), number(magnified));
            session.note(&format!(
                "edm-heun in {steps} falls so far at once that its second stage magnifies what the first leaves by {factor}: take more steps, or edm-euler"
            ));
        }
        let euler_last = !field.is_regular_at_data();
        let (eta, churn) = (self.eta.unwrap_or(0.0), self.make_churn());
        let options = Options { schedule, eta, euler_last, churn, step, compat, ..Options::default() };
        Ok(Way { movement: Movement::Program((entry.make)(&options).program(&grid)), first: grid.start(), reversed })
    }

    /// How a loop moves the particles.
    fn loop_of(&self, entry: Loop, steps: usize, compat: Vec<Compat>) -> Result<Way, Failure> {
        let name = entry.name;
        let spec = match (&self.schedule, entry.schedule) {
            (Some(_), None) => return Err(format!("{name} has a schedule of its own; leave --schedule out").into()),
            (given, own) => given.as_deref().or(own).unwrap_or("condot"),
        };
        if self.trajectory {
            return Err(format!("{name} keeps no trajectory: each particle has its own times; leave --trajectory out").into());
        }
        if self.grid.is_some() || self.shift.is_some() {
            return Err(flags::bad_usage(format!("{name} has levels of its own; leave --grid and --shift out")));
        }
        if self.steps.is_some() && ADAPTIVE.contains(&name) {
            return Err(flags::bad_usage(format!("{name} chooses its steps; leave --steps out, and set --tol")));
        }
        let schedule = Schedule::parse(spec)?;
        let first = entry.start(&schedule);
        let snr = self.snr.unwrap_or(SNR);
        let (tolerance, probability_flow, length) = (self.tol, self.probability_flow, self.length);
        let options = LoopOptions { schedule, steps, tolerance, snr, probability_flow, length, compat };
        Ok(Way { movement: Movement::Loop(entry, Box::new(options)), first, reversed: true })
    }

    fn make_churn(&self) -> Churn {
        let (min, max) = self.churn_between.unwrap_or((Churn::NONE.min, Churn::NONE.max));
        Churn { amount: self.churn.unwrap_or(0.0), min, max, ..Churn::NONE }
    }

    /// The levels; `own` is the spacing of the method.
    fn make_grid(&self, schedule: &Schedule, steps: usize, own: Spacing, compat: &[Compat]) -> Result<Grid, Failure> {
        if let Some(factor) = self.shift {
            if *schedule != Schedule::CondOt || !matches!(self.grid, None | Some(values::GridName::Trailing)) {
                return Err("--shift moves the levels of a flow: it goes with --schedule condot and --grid trailing".into());
            }
            return Ok(Grid::shifted(steps, SHIFTED_ENTRIES, factor, compat.contains(&Compat::DOUBLE_SHIFT))?);
        }
        let spacing = match self.grid {
            Some(values::GridName::Iddpm) if compat.contains(&Compat::IDDPM_GRID_FLOAT32) => Spacing::IddpmFloat32,
            Some(name) => name.into(),
            None => own,
        };
        let spaced = if EDM.contains(&self.method.as_str()) { Grid::spaced_to_data } else { Grid::spaced };
        Ok(spaced(schedule, steps, spacing)?)
    }

    /// The defect called `name`, which the method must have, with the flag that it shows with.
    fn compat_of_method(&self, name: &str) -> Result<Compat, Failure> {
        let compat = Compat::named(name)?;
        if !compat.methods.contains(&self.method.as_str()) {
            let (methods, method) = (compat.methods.join(", "), &self.method);
            return Err(format!("compat {name} is a defect of {methods}; {method} does not have it: leave it out").into());
        }
        let (shown, flag) = match compat {
            Compat::DOUBLE_SHIFT => (self.shift.is_some(), "--shift F"),
            Compat::IDDPM_GRID_FLOAT32 => (self.grid == Some(values::GridName::Iddpm), "--grid iddpm"),
            Compat::BATCH_PATH_LENGTH => (self.length.is_some(), "--length L"),
            Compat::UNUSED_DRAWS if self.method.starts_with("pc") => (self.probability_flow, "--probability-flow"),
            Compat::UNUSED_DRAWS => (self.churn_between.is_some(), "--churn and --churn-between MIN..MAX"),
            _ => (true, ""),
        };
        if !shown {
            tracing::warn!("compat {name} shows only with {flag}: this run is as it is without the compat");
        }
        Ok(compat)
    }

    /// The start points of the whole run, n × d.
    fn read_start(&self, path: &Path, d: usize) -> Result<Vec<f64>, Failure> {
        let array = read_array(path, "points")?;
        let rows = match array.shape[..] {
            [rows] if d == 1 => rows,
            [rows, columns] if columns == d => rows,
            _ => {
                return Err(format!(
                    "{}: the array has shape {:?}; start points are n x {d}, one row a particle",
                    path.display(),
                    array.shape
                )
                .into());
            }
        };
        match self.n {
            Some(n) if n as usize != rows => {
                Err(format!("{}: {rows} start points for --n {n} particles; leave --n out, or give as many", path.display())
                    .into())
            }
            _ if rows == 0 => Err(format!("{}: there are no start points in it", path.display()).into()),
            _ => Ok(array.values),
        }
    }
}

/// The help of --grid, with the methods whose levels are balanced.
fn balanced() -> String {
    let balanced = METHODS.iter().filter(|entry| entry.grid == Spacing::Balanced).map(|entry| entry.name);
    let balanced = balanced.collect::<Vec<&str>>().join(", ");
    format!("Where the levels lie on the schedule [default: balanced for {balanced} of laws and data, else trailing]")
}

/// At least the largest distance between two points of the data, or of draws of the law: noise that joins them all (Song, Ermon
/// 2020, technique 1), as compare chooses it. None for a network, which does not tell how wide its data are.
fn widest(field: &Field, seed: u32) -> Option<f64> {
    let radius = match field {
        Field::Mixture(mixture) => mixture.sample(LAW_DRAWS as usize, seed, Stream::Source, 1).radius(),
        Field::DataSet(cloud) | Field::Transport { target: cloud, .. } => cloud.radius(),
        Field::Network(_) => return None,
    };
    Some(2.0 * radius)
}

/// The noise of the whole run, draws × n × d.
fn read_noise(path: &Path, n: usize, d: usize) -> Result<Vec<f64>, Failure> {
    let array = read_array(path, "noise")?;
    match array.shape[..] {
        [_, rows, columns] if rows == n && columns == d => Ok(array.values),
        _ => Err(format!("{}: the array has shape {:?}; noise is draws x {n} x {d}", path.display(), array.shape).into()),
    }
}
