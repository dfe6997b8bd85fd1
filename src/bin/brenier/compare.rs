//! `brenier compare`: both principles from the same ends, measured with one ruler.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::experiment::columns::{COLUMNS, Column, Unit};
use brenier::experiment::{self, CompareRecord, Family, Found, Ledger, Named, NoiseFloor, Row};
use brenier::field::Conditions;
use brenier::io::Float;
use brenier::measure::Measure;
use brenier::path::Spacing;
use brenier::report;
use brenier::sampler::OptimalSteps;
use brenier::watch::{Progress, Watch};
use clap::Args;

use crate::condition::{self, GuidanceFlags, Under};
use crate::flags::bad_usage;
use crate::model::{COMMAND, ModelFlags, is_model, is_onnx};
use crate::output::{columns, count, in_words, maybe, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal, values};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/compare";

/// Compare diffusion and transport between the same ends
///
/// With --target the first argument is a network: its own samplers at every number of steps, so how many it needs.
///
/// Moves the same particles from the source to the target by every method and number of steps, and measures each row against
/// held-out points. A flag is raised on an independent sample of the target with a chance of about 1 %; a flagged row is never
/// called best. The folder (brenier-out/compare unless --out is given) gets report.html, run.json, rows.csv, figures and the
/// samples of every row.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier compare 8gaussians",
    "brenier compare digits",
    "brenier compare data.npy --image 28x28 --steps 5,10,20 --out result",
    "brenier compare model.safetensors --target data.npy       how many steps a network needs",
    "brenier compare model.safetensors --target data.npy --find-steps 8       which eight steps are best for it",
    "brenier compare --field-command 'python serve.py' --target data.npy",
    "brenier compare 8gaussians --grid arc-length      the same curves at constant speed: does it take fewer steps?",
    "brenier compare tilted-b --source tilted-a        ends with a coupling gap",
    "brenier compare 8gaussians --source moons        diffusion needs Gaussian noise and is left out",
]))]
pub struct Compare {
    /// Data (split in halves: one makes the fields, one judges), a .json mixture, or a named source; or, with --target, a model
    /// (.safetensors, .onnx)
    #[arg(required_unless_present = COMMAND, conflicts_with = COMMAND)]
    target: Option<String>,
    /// What the network is judged against, as TARGET otherwise; "data" in a file for run
    #[arg(long = "target", value_name = "DATA")]
    data: Option<String>,
    /// Where the particles start
    #[arg(long, value_name = "S", default_value = "normal")]
    source: String,
    /// Draws of a target that is a law, for each of the two halves
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,
    /// Numbers of steps to try
    #[arg(long, value_name = "K,K,…", value_delimiter = ',', default_value = "1,2,5,10,20,50,100",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: Vec<u32>,
    /// Where the levels of each row lie on the schedule: trailing (equal steps of time), balanced, or arc-length (equal lengths of the
    /// path in W2, from a pilot run); unless trailing, also how many evaluations the same solver error takes there
    #[arg(long, value_name = "GRID", default_value = "trailing", value_parser = values::grid_of_all)]
    grid: Spacing,
    /// Also search for the best K steps of each method that draws no noise (dynamic programming, then coordinate descent from there and
    /// from each named grid, on draws of their own), and write times-METHOD-K.npy, which sample --times takes
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=100))]
    find_steps: Option<u32>,
    /// Height and width of points that are grey images [default: 8x8 for digits]
    #[arg(long, value_name = "HxW", value_parser = values::image)]
    image: Option<(usize, usize)>,
    /// Schedule that a model in an ONNX file, or behind --field-command, was trained on
    #[arg(long, value_name = "S")]
    schedule: Option<String>,
    /// File of a condition for each point of DATA, n classes or n x c numbers: the model is asked under those of the points of one half,
    /// and each class is also judged by itself
    #[arg(long, value_name = "FILE", requires = "data", help_heading = "Conditions and guidance")]
    condition: Option<PathBuf>,
    #[command(flatten)]
    guidance: GuidanceFlags,
    #[command(flatten)]
    model: ModelFlags,
}

impl Compare {
    /// Compares.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("compare", Some(FOLDER), &device, |checkpoint| self.compare(session, &device, checkpoint))
    }

    fn compare(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let under = self.model(session)?;
        let name = self.data.as_deref().unwrap_or(self.name());
        let (source, target) = input::ends(session, (&self.source, None), (name, None))?;
        let d = target.dim();
        let conditions = self.condition.as_deref().map(|path| OfPoints::read(path, &target, session.shared.seed)).transpose()?;
        let of_start = conditions.as_ref().map(|conditions| &conditions.of_start);
        let model = under.map(|under| self.guidance.field(of_start, &under)).transpose()?;
        if let Some(network) = model.as_ref().filter(|network| network.dim() != d) {
            let (model, dim) = (self.name(), network.dim());
            let why = "give data like those that the network was trained on";
            return Err(format!("{model} moves points of dimension {dim} and {name} has dimension {d}; {why}").into());
        }
        let image = self.image.or((name == "digits").then_some((8, 8)));
        if let Some((height, width)) = image.filter(|(h, w)| h * w != d) {
            return Err(format!("points of dimension {d} are not images of {height}x{width}; leave --image out").into());
        }
        let find_steps = self.find_steps.map(|steps| steps as usize);
        let of_search = find_steps.map_or(0, |steps| OptimalSteps::numbers(d, steps)) as u64;
        memory::require("a comparison of that many points", 12 * u64::from(self.n) * d as u64 + of_search)?;
        let folder = session.folder(Some(FOLDER))?.map(|folder| folder.with(&["figures", "samples"])).transpose()?;

        let bar = progress::bar(session, "noise floor", 1);
        let tell = |Progress { stage: what, done, of, .. }: Progress<'_>| {
            let all = of.unwrap_or(done);
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            if !what.is_empty() {
                tracing::info!(what, done, all);
                bar.set_message(what.to_owned());
            }
            !signal::interrupted()
        };
        let steps = self.steps.iter().map(|&steps| steps as usize).collect();
        let seed = session.shared.seed;
        let is_example = model.is_none() && name == "digits";
        let trained = if is_example && seed == 0 { Some(experiment::digits_network()?) } else { None };
        if is_example && seed != 0 {
            session.note(
                "the rows of the network that comes with brenier are left out: it was trained on the half that --seed 0 gives",
            );
        }
        let compare = experiment::Compare { n: self.n as usize, steps, grid: self.grid, find_steps, trained, seed };
        let (target, source) = (Named { name, measure: &target }, Named { name: &self.source, measure: &source });
        let watch = Watch::telling(&tell).keeping(checkpoint.whole());
        let mut comparison = match &model {
            Some(network) => compare.run_model(self.name(), network, target, device, watch)?,
            None => compare.run(target, source, device, watch)?,
        };
        if let Some((train, heldout)) = conditions.as_ref().and_then(|conditions| conditions.classes.as_ref()) {
            let labels = experiment::Labels { train, heldout };
            comparison.judge_classes(labels, session.shared.seed, device, Watch::telling(&tell))?;
        }
        comparison.record.wall_seconds = session.wall_seconds();
        bar.finish_and_clear();

        if let Some(folder) = &folder {
            let report = report::draw(&comparison, image)?;
            folder.clear(&["rows.csv", "report.html"])?;
            folder.clear_in("samples", |name| name.ends_with(".npy"))?;
            folder.clear_in(".", |name| name.starts_with("times-") && name.ends_with(".npy"))?;
            folder.report(&report)?;
            folder.text("rows.csv", &report.rows_csv)?;
            for (row, samples) in comparison.record.rows.iter().zip(&comparison.samples) {
                let shape = [samples.len(), samples.dim()];
                folder.array(&format!("samples/{}-{}.npy", row.label, row.steps), samples.points(), &shape, session.float())?;
            }
            for found in &comparison.record.found {
                folder.array(&times_of(found), &found.times, &[found.times.len()], Float::F64)?;
            }
        }
        let code = session.finish(&comparison.record, folder.as_ref(), &summary(&comparison.record))?;
        if let Some(folder) = &folder {
            session.note(&format!("open {} for the pictures", folder.path().join("report.html").display()));
        }
        Ok(code)
    }

    /// What is compared: the model, where there is one.
    fn name(&self) -> &str {
        self.target.as_deref().or(self.model.command()).unwrap_or_default()
    }

    /// The model, where there is one.
    fn model(&self, session: &Session) -> Result<Option<Under>, Failure> {
        let (name, path, is_served) = (self.name(), Path::new(self.name()), self.model.command().is_some());
        let is_model = is_served || is_model(path)?;
        if !is_model {
            self.model.refuse(path)?;
        }
        if self.schedule.is_some() && !is_served && !is_onnx(path) {
            return Err(bad_usage(format!(
                "--schedule is that of a model in an ONNX file or behind --field-command, and {name} is not one; leave it out"
            )));
        }
        match (&self.data, is_model) {
            (None, false) => Ok(None),
            (None, true) => Err(format!("{name} is a network; say with --target DATA what to judge it against").into()),
            (Some(_), _) if self.source != "normal" => {
                Err("a network starts from a normal, so it is compared with no other --source; leave --source out".into())
            }
            (Some(_), _) => {
                let flags = self.model.trained_on(self.schedule.as_deref());
                flags.serve(None, session)?.map_or_else(|| flags.open(path, None, session), Ok).map(Some)
            }
        }
    }
}

/// The file of the times that were found.
fn times_of(found: &Found) -> String {
    format!("times-{}-{}.npy", found.method, found.steps())
}

/// The conditions of the points of the data, by halves.
struct OfPoints {
    /// Those of A, under which particles are asked.
    of_start: Conditions,
    /// Those of A and of B, where they are classes.
    classes: Option<(Vec<u32>, Vec<u32>)>,
}

impl OfPoints {
    /// Those in the file at `path`, one for each point of `target`, which is split by `seed`.
    fn read(path: &Path, target: &Measure, seed: u32) -> Result<Self, Failure> {
        let (conditions, name) = (condition::read(path)?, path.display());
        let Measure::Finite(cloud) = target else {
            return Err(format!("{name}: conditions are those of the points of data, and the target is a law; give data").into());
        };
        if conditions.len() != cloud.len() {
            let (found, points) = (conditions.len(), cloud.len());
            return Err(format!("{name}: {found} conditions for {points} points; give each point of the data its own").into());
        }
        let (a, b) = cloud.rows_of_halves(seed);
        let of = |rows: &[usize]| rows.iter().flat_map(|&row| conditions.of(row)).copied().collect::<Vec<f64>>();
        let is_class = |value: &f64| *value >= 0.0 && *value < 4e9 && value.fract() == 0.0;
        let classes = |rows: &[usize]| of(rows).into_iter().map(|class| class as u32).collect();
        let are_classes = conditions.width() == 1 && of(&a).iter().chain(&of(&b)).all(is_class);
        let classes = are_classes.then(|| (classes(&a), classes(&b)));
        Ok(Self { of_start: Conditions::new(of(&a), conditions.width())?, classes })
    }
}

fn summary(record: &CompareRecord) -> String {
    let CompareRecord { model, target, source, n, m, d, noise_floor, .. } = record;
    let source = model.as_ref().unwrap_or(source);
    let mut text =
        format!("compare {target} from {source}: {} particles against {} held out, in dimension {d}\n\n", count(*n), count(*m));
    let cells = Cell::all();
    let of_numbers: Vec<bool> = cells.iter().map(|cell| cell.is_number()).collect();
    let mut lines = vec![cells.iter().map(|cell| cell.head().to_owned()).collect::<Vec<_>>()];
    lines.extend(record.rows.iter().map(|row| cells.iter().map(|cell| cell.of(row)).collect()));
    let limit = record.model_limit.as_ref().map(|limit| ("its 1,024", limit));
    let levels = limit.into_iter().chain([("noise floor", noise_floor)]);
    lines.extend(levels.map(|(name, level)| cells.iter().map(|cell| cell.of_level(name, level)).collect()));
    text += &columns(&lines, |column| of_numbers[column]);
    if let Some(row) = record.telling().filter(|_| !record.classes.is_empty()) {
        let Row { label, steps, .. } = &record.rows[row];
        text += &format!("\n\nEach class by itself, in {label} with {} steps\n\n", count(*steps));
        let mut lines = vec![["class", "particles", "held out", "divergence", "its floor", "variance"].map(str::to_owned)];
        lines.extend(record.classes.iter().map(|class| {
            let (of_class, floor) = (&class.rows[row], class.noise_floor.divergence);
            let variance = format!("{:.3}", of_class.variance_ratio);
            [class.class.to_string(), count(class.n), count(class.m), number(of_class.divergence), number(floor), variance]
        }));
        text += &columns(&lines, |_| true);
    }
    if !record.ledger.is_empty() {
        text += "\n\n";
        let mut lines = vec![ACCOUNTS.map(|(head, _)| head.to_owned())];
        lines.extend(record.ledger.iter().map(|ledger| ACCOUNTS.map(|(_, of)| of(ledger))));
        let words = [0, ACCOUNTS.len() - 1];
        text += &columns(&lines, |column| !words.contains(&column));
    }
    let reclocked = record.reclocked();
    if !reclocked.is_empty() {
        let told: Vec<String> = reclocked.iter().map(|(method, ratio)| format!("{method} {ratio:.2}")).collect();
        text += &format!("\n\nEvaluations on {} over trailing, at equal solver error: {}.", record.grid, told.join(", "));
    }
    if let Some(steps) = record.found.first().map(Found::steps) {
        text += &format!("\n\n{}", best_steps(steps, &record.found));
    }
    if model.is_some() {
        let enough = [Family::Diffusion, Family::Flow].into_iter().find_map(|family| record.enough(family));
        text += &match enough {
            Some(row) => format!(
                "\n\nEnough: {} with {} steps ({} evaluations) comes within 1.2 × of what the network, or a cloud of this size, can reach.",
                row.method, row.steps, row.nfe
            ),
            None => "\n\nNo row is within 1.2 × of what the network or a cloud of this size can reach; try more --steps.".into(),
        };
    }
    if !record.notes.is_empty() {
        text += &format!("\n\n{}", record.notes.join("\n"));
    }
    text + &format!("\n\ntime {}, {} in {}", seconds(record.wall_seconds), record.device, record.precision)
}

/// The best steps of each method, and what they gain.
fn best_steps(steps: usize, all: &[Found]) -> String {
    let heads = [&format!("best {steps} steps"), "solver error", "best named grid", "its error", "less by"].map(str::to_owned);
    let line = |found: &Found| {
        let Found { method, solver_error, best_grid, .. } = found;
        let less = 100.0 * (1.0 - solver_error / best_grid.solver_error);
        [method.clone(), number(*solver_error), best_grid.grid.clone(), number(best_grid.solver_error), format!("{less:.0} %")]
    };
    let lines: Vec<[String; 5]> = std::iter::once(heads).chain(all.iter().map(line)).collect();
    let times = all.iter().map(|found| {
        let times: Vec<String> = found.times.iter().map(|t| format!("{t:.4}")).collect();
        format!("\n  {} at t = {}", found.method, times.join(" "))
    });
    columns(&lines, |column| [1, 3, 4].contains(&column)) + "\n" + &times.collect::<String>()
}

/// A cell of a row in the terminal.
enum Cell {
    Family,
    Method,
    Steps,
    Evaluations,
    Number(&'static Column, &'static str, Unit),
    Flags,
}

impl Cell {
    /// The cells of a row from left to right.
    fn all() -> Vec<Self> {
        let numbers = COLUMNS.iter().filter_map(|column| column.terminal.map(|(head, unit)| Self::Number(column, head, unit)));
        [Self::Family, Self::Method, Self::Steps, Self::Evaluations].into_iter().chain(numbers).chain([Self::Flags]).collect()
    }

    fn head(&self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Method => "method",
            Self::Steps => "steps",
            Self::Evaluations => "nfe",
            Self::Number(_, head, _) => head,
            Self::Flags => "flags",
        }
    }

    fn is_number(&self) -> bool {
        !matches!(self, Self::Family | Self::Method | Self::Flags)
    }

    fn of(&self, row: &Row) -> String {
        match self {
            Self::Family => row.family.name().into(),
            Self::Method => row.label.clone(),
            Self::Steps => count(row.steps),
            Self::Evaluations => count(row.nfe),
            Self::Number(column, _, unit) => match (unit, (column.value)(row)) {
                (Unit::Seconds, Some(value)) => seconds(value),
                (Unit::Ratio, value) => value.map_or("–".into(), |ratio| format!("{ratio:.3}")),
                (_, value) => maybe(value),
            },
            Self::Flags => in_words(&row.flags),
        }
    }

    /// What a cloud called `name` scores.
    fn of_level(&self, name: &str, level: &NoiseFloor) -> String {
        match self {
            Self::Method => name.into(),
            Self::Number(column, ..) => column.floor.map_or(String::new(), |floor| number(floor(level))),
            _ => String::new(),
        }
    }
}

/// A column of the ledger: its head and its cell.
type Account = (&'static str, fn(&Ledger) -> String);

/// The columns of the ledger: words at both ends, and numbers.
const ACCOUNTS: [Account; 8] = [
    ("path", |ledger| ledger.path.clone()),
    ("action", |ledger| number(ledger.action)),
    ("= W2²", |ledger| number(ledger.w2_squared)),
    ("+ coupling gap", |ledger| number(ledger.coupling_gap)),
    ("+ bend", |ledger| number(ledger.bend)),
    ("+ clock", |ledger| number(ledger.clock)),
    ("residual", |ledger| format!("{:.1e}", ledger.residual)),
    ("", |ledger| if ledger.closes { "closes" } else { "does not close" }.into()),
];
