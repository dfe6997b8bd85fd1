//! `brenier sample`: particles moved from noise to data by a named method over an exact field.

mod explain;
mod inputs;

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise};
use brenier::checkpoint::Checkpoint;
use brenier::field::{Conditions, Field};
use brenier::io::Float;
#[cfg(feature = "image")]
use brenier::io::{PictureFormat, encode_picture, grid};
use brenier::metric::Flag;
use brenier::path::{Level, Schedule, Spacing};
use brenier::program::Program;
use brenier::random::{Philox, Stream};
use brenier::sampler::likelihood::usual_probes;
use brenier::sampler::{
    self, Choice, Churn, Compat, Course, CourseError, Ensemble, Entry, Looped, METHODS, Moves, Options, Pushforward, Tries,
    prior_error,
};
use brenier::watch::{Progress, Watch};
use clap::Args;
use serde::Serialize;

use crate::condition::ConditionFlags;
use crate::model::{COMMAND, ModelFlags};
use crate::output::{Folder, Summary, count, number, seconds};
use crate::session::Session;
use crate::shards::{self, Format, Shards};
use crate::{Failure, flags, memory, progress, signal, values};
use explain::Explained;
use inputs::{read_noise, read_times};

/// Particles of the whole run when neither --n nor --start says how many.
const DEFAULT_N: u32 = 4096;
/// The error of the prior, in units of the first level's sigma, above which the samples are said to keep it.
const SHORT_OF_NOISE: f64 = 0.1;
/// Where results go unless --out says, and the part of a checkpoint with the particles under way.
const FOLDER: &str = "brenier-out/sample";
const PARTICLES: &str = "particles";
const LOG_P: &str = "log p";

/// Move particles from noise to data with any method over any field
///
/// The field of a law is its own, in closed form. The exact field of a data set ends on the points of that set, which it
/// therefore memorises. A network runs on the schedule it was trained on unless --schedule says another. The folder (brenier-out/sample unless --out is given) gets samples.npy and run.json.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier sample 8gaussians --method ddim --steps 20",
    "brenier sample digits --method ddpm --schedule ddpm --steps 100 --n 64 --out digits",
    "brenier sample model.safetensors --method fm-heun --steps 10",
    "brenier sample --field-command 'python serve.py' --method ddim --steps 20",
    "brenier sample mixture.json --method pf-heun --grid karras --steps 18 --trajectory",
    "brenier sample 8gaussians --method ddim --times brenier-out/compare/times-ddim-8.npy",
    "brenier sample 8gaussians --method dopri5 --tol 1e-6",
    "brenier sample 8gaussians --method ddpm --steps 10 --explain",
    "brenier sample normal:3 --method fm-heun --n 1000000 --particles 0..500000 --out first-half",
]))]
pub struct Sample {
    /// A law (8gaussians, normal:D, a .json mixture), data (digits, a file of points), or a model (.safetensors, .onnx)
    #[arg(required_unless_present = COMMAND, conflicts_with = COMMAND)]
    field: Option<String>,
    /// Sampling method
    #[arg(long, value_name = "M", default_value = "ddim", value_parser = values::methods())]
    method: String,
    #[arg(long, value_name = "S", help = values::schedules())]
    schedule: Option<String>,
    #[arg(long, value_enum, help = balanced())]
    grid: Option<Spacing>,
    /// File of K+1 times of the schedule, from 0 (noise) to 1 (data), in place of --steps and --grid: .npy or one a line, as compare
    /// --find-steps K writes it
    #[arg(long, value_name = "FILE")]
    times: Option<PathBuf>,
    /// On condot: shift its levels towards the noise, sigma to F sigma/(1 + (F-1) sigma), from 1 to that of 1/1000
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = values::positive)]
    shift: Option<f64>,
    /// Steps; for annealed-langevin updates in all, or with --schedule levels of 5 updates [default: 50]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: Option<u32>,
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = values::positive,
        help = values::taken(Choice::Tolerance,
            "Tolerance of each particle's end, not of a step [default: 1e-5; 0.05 for dpm-adaptive]"))]
    tol: Option<f64>,
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = values::snr,
        help = values::taken(Choice::Snr, "Signal-to-noise ratio of the corrector [default: 0.16]"))]
    snr: Option<f64>,
    #[arg(long, value_name = "TAU", allow_negative_numbers = true, value_parser = values::positive,
        help = values::taken(Choice::Step, "Step [default: a tenth of the law's least variance]"))]
    step: Option<f64>,
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = values::not_negative,
        help = values::taken(Choice::Churn, "Noise put back over all steps [default: 0]"))]
    churn: Option<f64>,
    /// The levels sigma/alpha at which --churn acts [default: all]
    #[arg(long, value_name = "MIN..MAX", requires = "churn", value_parser = values::levels)]
    churn_between: Option<(f64, f64)>,
    #[arg(long, help = values::taken(Choice::ProbabilityFlow,
        "The predictor takes the step of the probability-flow ODE, without noise"))]
    probability_flow: bool,
    #[arg(long, value_name = "L", allow_negative_numbers = true, value_parser = values::positive,
        help = values::taken(Choice::Length, "A particle whose path is this long stops"))]
    length: Option<f64>,
    /// Reproduce a known defect of the published codes; may be repeated, and --help lists them
    #[arg(long, value_name = "NAME", long_help = values::compats())]
    compat: Vec<String>,
    #[arg(long, value_name = "ETA", allow_negative_numbers = true, value_parser = values::eta,
        help = values::taken(Choice::Eta, "Noise put back at each step, from 0 (none) to 1 (for ddim that of ddpm) [default: 0]"))]
    eta: Option<f64>,
    /// Particles of the whole run [default: 4096, or the rows of --start or --condition]
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
    /// Also the log density of each sample, log_p.npy: of the steps as they are made, by the determinant of their Jacobian; of methods
    /// that choose their steps, by the divergence along the way
    #[arg(long)]
    log_p: bool,
    /// Keep every state: trajectory.npy, steps + 1 x n x d
    #[arg(long)]
    trajectory: bool,
    /// Also pairs-00000.npz, …: where each particle starts and where it ends, which train --pairs learns straight paths from
    #[arg(long)]
    pairs: bool,
    /// Also print what each call of the model weighs in the samples, exactly, for each output that the model may have: the denoised
    /// point x0, the noise eps, v, or the velocity
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    condition: ConditionFlags,
    #[command(flatten)]
    model: ModelFlags,
}

#[derive(Serialize)]
struct Record<'a> {
    field: &'a str,
    method: &'a str,
    /// None where the method chooses them.
    steps: Option<usize>,
    /// Steps by a method that chooses them, the means over the particles.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<f64>,
    nfe: usize,
    /// None where the method has levels of its own.
    grid: Option<&'static str>,
    /// Those of --times.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Vec<f64>>,
    n: usize,
    d: usize,
    /// Mean of the samples' log densities, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explained>,
}

impl Sample {
    /// Runs the method.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let entry = sampler::named(&self.method)?;
        let device = if entry.on_processor { session.processor_for(entry.name)? } else { session.device()? };
        session.resumable("sample", Some(FOLDER), &device, |checkpoint| self.move_particles(entry, session, &device, checkpoint))
    }

    fn move_particles(
        &self,
        entry: &'static Entry,
        session: &Session,
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let options = self.options(entry, session)?;
        entry.check_options(&options).map_err(of_options)?;
        let conditions = self.condition.read()?;
        let under = self.read_field(session)?;
        let field = self.condition.field(conditions.as_ref(), &under)?;
        let d = field.dim();
        let Course { moves, first, steps, grid, advice } = entry.course(&field, &options, device)?;
        if self.trajectory && matches!(moves, Moves::Loop(_)) {
            let name = entry.name;
            return Err(format!("{name} keeps no trajectory: each particle has its own times; leave --trajectory out").into());
        }
        let explain = match &moves {
            Moves::Program(program) => self.explain.then(|| Explained::new(program)),
            Moves::Loop(_) if self.explain => {
                let name = entry.name;
                return Err(flags::bad_usage(format!(
                    "{name} takes its steps from the particles, so no weights hold for all of them; leave --explain out"
                )));
            }
            Moves::Loop(_) => None,
        };
        if let (true, Moves::Program(program)) = (self.log_p, &moves) {
            Pushforward { program, first, field: &field }.check()?;
        }
        advice.iter().for_each(|words| session.note(words));
        let whole = self.start.as_deref().map(|path| self.read_start(session, path, d)).transpose()?;
        let rows = whole.as_ref().map(|rows| (rows.len() / d) as u32).or(self.n);
        let n = self.condition.particles(conditions.as_ref(), rows)?.unwrap_or(DEFAULT_N);
        let particles = self.particles.clone().unwrap_or(0..n);
        if particles.end > n {
            return Err(format!(
                "particles {}..{} are not among the {n} of the whole run; raise --n",
                particles.start, particles.end
            )
            .into());
        }
        let (program, registers) = match &moves {
            Moves::Program(program) => (Some(program), program.registers()),
            Moves::Loop(_) => (None, 2),
        };
        let states = if self.trajectory { steps + 1 } else { 0 };
        let held = states + registers + usize::from(self.pairs) + if self.condition.is_guided() { 7 } else { 3 };
        memory::require("this many particles", held as u64 * particles.len() as u64 * d as u64)?;
        let short = entry.reverses && whole.is_none() && self.is_short_of_noise(&field, first, session);
        // The levels are those of the whole run; of its conditions, a part of it has its own.
        let field = match &conditions {
            Some(all) if particles.len() < n as usize => {
                let own = all.of_particles(particles.start as usize..particles.end as usize)?;
                self.condition.field(Some(&own), &under)?
            }
            _ => field,
        };
        let rows = |whole: &[f64]| whole[particles.start as usize * d..particles.end as usize * d].to_vec();
        let start = match &whole {
            Some(whole) => rows(whole),
            None => sampler::start(first, d, particles.clone(), session.shared.seed),
        };
        let given = self.noise.as_deref().map(|path| read_noise(path, n as usize, d)).transpose()?;
        let given = given.map(|draws| draws.chunks_exact(n as usize * d).flat_map(rows).collect::<Vec<f64>>());
        if given.is_some() && program.map_or(entry.takes(Choice::Tolerance), Program::is_deterministic) {
            session.note(&format!("{} draws no noise, so the file given is not used", self.method));
        }
        let starts = if self.pairs { start.clone() } else { Vec::new() };
        let noise = match &given {
            Some(given) => Noise::Given(given),
            None => Noise::Counter { philox: Philox::new(session.shared.seed, Stream::Noise), first: particles.start },
        };

        let folder = session.folder(Some(FOLDER))?;
        let bar = progress::bar(session, &self.method, steps);
        let tell = |made: usize| {
            bar.set_position(made as u64);
            !signal::interrupted()
        };
        let is_estimated = matches!(moves, Moves::Loop(_)) && usual_probes(&field) > 0;
        let begun = Instant::now();
        let (samples, nfe, tries, trajectory, log_p) = match &moves {
            Moves::Program(program) => {
                let mut log_p = Vec::new();
                if self.log_p {
                    let law = Pushforward { program, first, field: &field };
                    log_p = self.log_densities(&law, &start, session, checkpoint)?;
                }
                let tell = |now: Progress<'_>| tell(now.done);
                let watch = Watch::telling(&tell).keeping(checkpoint.part(PARTICLES));
                let (samples, trajectory) = program.resume(&field, start, noise, device, self.trajectory, watch)?;
                (samples, program.evaluations(&field), Vec::new(), trajectory, log_p)
            }
            Moves::Loop(looped) => {
                let ensemble = Ensemble { field: &field, start: &start, noise, device };
                let Looped { points, nfe, tries, log_p } = looped.resume(ensemble, checkpoint, &mut |made| tell(made))?;
                (points, nfe, tries, Vec::new(), log_p)
            }
        };
        let solver_seconds = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();

        if let Some(folder) = &folder {
            folder.clear(&["samples.npy", "samples.png", "trajectory.npy", "steps.npy", "log_p.npy", "log_p_error.npy"])?;
            let shape = field.shape();
            folder.array("samples.npy", &samples, &[&[particles.len()], &shape[..]].concat(), session.float())?;
            if self.pairs {
                let shards = Shards::new(Some(folder), Format::Npz, shards::rows(None, d), d, session.float())?;
                write_pairs(shards, (&starts, &samples), (conditions.as_ref(), particles.start as usize))?;
            }
            show(&samples, &shape, field.schedule().is_some(), folder)?;
            if self.trajectory {
                folder.array("trajectory.npy", &trajectory, &[states, particles.len(), d], session.float())?;
            }
            if self.log_p {
                let column = |at: usize| log_p.iter().map(|of_one| of_one[at]).collect::<Vec<f64>>();
                folder.array("log_p.npy", &column(0), &[log_p.len()], session.float())?;
                if is_estimated {
                    folder.array("log_p_error.npy", &column(1), &[log_p.len()], session.float())?;
                }
            }
            if !tries.is_empty() {
                let numbers: Vec<f64> = tries.iter().flat_map(|tries| [tries.accepted as f64, tries.rejected as f64]).collect();
                folder.array("steps.npy", &numbers, &[tries.len(), 2], Float::F64)?;
            }
        }
        let made = entry.takes(Choice::Steps).then_some(steps);
        let mean_log_p = self.log_p.then(|| log_p.iter().map(|[value, _]| value).sum::<f64>() / log_p.len() as f64);
        let (field, method, times, n) = (self.name(), &self.method, options.times, particles.len());
        let of_each = |count: fn(&Tries) -> usize| {
            let mean = tries.iter().map(count).sum::<usize>() as f64 / tries.len() as f64;
            (!tries.is_empty()).then_some(mean)
        };
        let (accepted, rejected) = (of_each(|tries| tries.accepted), of_each(|tries| tries.rejected));
        let record =
            Record { field, method, steps: made, accepted, rejected, nfe, grid, times, n, d, log_p: mean_log_p, explain };
        let record = session.stamped("sample", record, device, solver_seconds);
        let record = record.flagged(short.then_some(Flag::ShortOfNoise).into_iter().collect());
        let mut summary = Summary::new(format!("sample {} by {}", self.name(), self.method));
        summary.line("particles", count(particles.len()), format!("in dimension {d}"));
        let on_grid = grid.map_or(String::new(), |grid| format!(", levels: {grid}"));
        let evaluations = format!("{} evaluations a particle{on_grid}", count(nfe));
        summary.line("steps", made.map_or("chosen".into(), count), evaluations);
        if let Some((accepted, rejected)) = accepted.zip(rejected) {
            let most = tries.iter().map(|tries| tries.accepted).max().unwrap_or(0);
            let of_them = format!("accepted a particle, {} at most; {} rejected", count(most), number(rejected));
            summary.line("", number(accepted), of_them);
        }
        if let Some(mean) = mean_log_p {
            let how = match &moves {
                Moves::Program(_) => "by the Jacobian of the steps",
                Moves::Loop(_) if is_estimated => "by probes of the divergence",
                Moves::Loop(_) => "by the divergence along the way",
            };
            summary.line("log p", number(mean), format!("nats, the mean over the samples, {how}"));
        }
        let (parts, part) = made.map_or((nfe, "evaluation"), |steps| (steps, "step"));
        let each = solver_seconds * 1e9 / (particles.len() * parts.max(1)) as f64;
        summary.line(
            "time",
            seconds(solver_seconds),
            format!("{each:.1} ns a particle and {part}, {} in {}", record.device, record.precision),
        );
        let explained = record.own.explain.as_ref().map_or(String::new(), |explain| format!("\n\n{}", explain.text()));
        session.finish(&record, folder.as_ref(), &format!("{}{explained}", summary.text()))
    }

    /// The options that the flags give.
    fn options(&self, entry: &Entry, session: &Session) -> Result<Options, Failure> {
        let churn = self.churn.map(|amount| {
            let (min, max) = self.churn_between.unwrap_or((Churn::NONE.min, Churn::NONE.max));
            Churn { amount, min, max, ..Churn::NONE }
        });
        Ok(Options {
            schedule: self.schedule.as_deref().map(Schedule::parse).transpose()?,
            grid: self.grid,
            times: self.times.as_deref().map(read_times).transpose()?,
            shift: self.shift,
            steps: self.steps.map(|steps| steps as usize),
            eta: self.eta,
            churn,
            step: self.step,
            tolerance: self.tol,
            snr: self.snr,
            probability_flow: self.probability_flow,
            length: self.length,
            log_p: self.log_p,
            compat: self.compat.iter().map(|name| self.defect(name, entry)).collect::<Result<_, _>>()?,
            seed: session.shared.seed,
        })
    }

    /// The defect called `name`, with the flag that it shows with.
    fn defect(&self, name: &str, entry: &Entry) -> Result<Compat, Failure> {
        let compat = Compat::named(name)?;
        let (shown, flag) = match compat {
            Compat::DOUBLE_SHIFT => (self.shift.is_some(), "--shift F"),
            Compat::IDDPM_GRID_FLOAT32 => (self.grid == Some(Spacing::Iddpm), "--grid iddpm"),
            Compat::BATCH_PATH_LENGTH => (self.length.is_some(), "--length L"),
            Compat::UNUSED_DRAWS if entry.takes(Choice::ProbabilityFlow) => (self.probability_flow, "--probability-flow"),
            Compat::UNUSED_DRAWS => (self.churn_between.is_some(), "--churn and --churn-between MIN..MAX"),
            _ => (true, ""),
        };
        if !shown && entry.defects.contains(&compat) {
            tracing::warn!("compat {name} shows only with {flag}: this run is as it is without the compat");
        }
        Ok(compat)
    }

    /// The log densities of a program's samples, each with its error: none.
    fn log_densities(
        &self,
        law: &Pushforward<'_>,
        start: &[f64],
        session: &Session,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<[f64; 2]>, Failure> {
        let bar = progress::bar(session, "log p", start.len() / law.field.dim());
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            !signal::interrupted()
        };
        let values = law.log_p(start, Watch::telling(&tell).keeping(checkpoint.part(LOG_P)))?;
        bar.finish_and_clear();
        Ok(values.into_iter().map(|value| [value, 0.0]).collect())
    }

    /// What the field is called.
    fn name(&self) -> &str {
        self.field.as_deref().or(self.model.command()).unwrap_or_default()
    }

    /// Whether the first level is so clean that N(0, sigma² I) is not where the particles of the data are there, and says so.
    fn is_short_of_noise(&self, field: &Field, first: Level, session: &Session) -> bool {
        let error = prior_error(field, first);
        let is_short = error > SHORT_OF_NOISE;
        if is_short {
            let (alpha, sigma) = (number(first.alpha), number(first.sigma));
            let of_network = if field.schedule().is_some() { " for data of unit variance" } else { "" };
            session.note(&format!(
                "the run starts short of pure noise, at alpha = {alpha} and sigma = {sigma}, where the particles are alpha data + sigma noise and not the prior N(0, sigma² I): they are {} sigma apart{of_network}, and the samples keep that; take a schedule with more noise, centre the data, or give the particles with --start",
                number(error)
            ));
        }
        is_short
    }
}

/// Writes where the particles from `first` on start and end, n × d, with the class or the condition of each.
fn write_pairs(
    mut shards: Shards<'_>,
    (starts, ends): (&[f64], &[f64]),
    (conditions, first): (Option<&Conditions>, usize),
) -> Result<(), Failure> {
    let d = shards.dim();
    let is_class = |value: &f64| (0.0..4e9).contains(value) && value.fract() == 0.0;
    let of = |particle| conditions.map_or(&[][..], |all| all.of(particle));
    let are_classes = conditions.is_some_and(|all| all.width() == 1 && (0..all.len()).all(|i| is_class(&all.of(i)[0])));
    for (i, (x0, x1)) in starts.chunks_exact(d).zip(ends.chunks_exact(d)).enumerate() {
        let condition = of(first + i);
        let (class, condition) = if are_classes { (Some(condition[0] as u32), &[][..]) } else { (None, condition) };
        shards.push([x0, x1], None, class, condition)?;
    }
    shards.finish().map(drop)
}

/// Draws samples that are pictures side by side: from −1 to 1 those of a model, others from their least to their greatest number.
#[cfg(feature = "image")]
fn show(samples: &[f64], shape: &[usize], is_model: bool, folder: &Folder) -> Result<(), Failure> {
    let range = |of: fn(f64, f64) -> f64| samples.iter().copied().reduce(of).unwrap_or_default();
    let range = if is_model { (-1.0, 1.0) } else { (range(f64::min), range(f64::max)) };
    match grid(samples, shape, range) {
        Some(picture) => folder.bytes("samples.png", &encode_picture(&picture, PictureFormat::Png)?),
        None => Ok(()),
    }
}

/// This build has no pictures.
#[cfg(not(feature = "image"))]
fn show(_: &[f64], _: &[usize], _: bool, _: &Folder) -> Result<(), Failure> {
    Ok(())
}

/// The help of --grid, with the methods whose levels are balanced.
fn balanced() -> String {
    let balanced = METHODS.iter().filter(|entry| entry.spacing() == Spacing::Balanced).map(|entry| entry.name);
    let balanced = balanced.collect::<Vec<&str>>().join(", ");
    format!("Where the levels lie on the schedule [default: balanced for {balanced} of laws and data, else trailing]")
}

/// An option that the method does not take is bad usage.
fn of_options(error: CourseError) -> Failure {
    if error.is_of_options() { flags::bad_usage(error) } else { error.into() }
}
