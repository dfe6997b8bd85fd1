//! `brenier transport`: the distance, the potentials and the map between two measures.

mod estimate;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::io::{Checkpoint, Float, NamedArray, Numbers, read_array};
use brenier::measure::Cloud;
use brenier::transport::problem::mean_cost;
use brenier::transport::{
    Convention, ExactPlan, LabelCost, LinePlan, LowRank, Outcome, Plan, PlanEntry, Potentials, Problem, Sinkhorn, SlicedDistance,
    Verdict, sliced_w2, subsample,
};
use clap::{Args, ValueEnum};
use estimate::Estimate;
use record::{Entropic, Record, Sliced};

use crate::output::{Folder, count, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, input, machine, output, progress, signal, values};

/// ε over the mean cost when neither --eps nor --blur is given.
const DEFAULT_EPS: f64 = 0.05;
const FILES: [&str; 5] = ["f.npy", "g.npy", "map.npy", "plan.npz", "partners.npz"];
/// Stations of a low-rank plan go as far as its cost falls by this share over ten steps.
const LOW_RANK_TOL: f64 = 1e-4;

/// The flags of the entropic problem.
const ENTROPIC: [&str; 11] = [
    "eps",
    "blur",
    "reach",
    "reach_source",
    "reach_target",
    "class_costs",
    "debias",
    "plain",
    "start_subsample",
    "start_from",
    "top_k",
];

/// Distance, potentials and map between two measures
///
/// Solves the entropic problem min <P, c> + eps KL(P | a x b) with c = |x-y|²/2, or, on a line and with --exact, the exact one.
/// With --out the folder gets f.npy and g.npy (potentials), map.npy (where each source point goes) and run.json; an exact plan
/// adds plan.npz (row, column, mass of each entry) and on a line has no potentials; neither has a plan of low rank.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier transport moons 8gaussians",
    "brenier transport x.npy y.csv --blur 0.1 --debias --out result",
    "brenier transport x.npy y.npy --reach 0.5",
    "brenier transport x.npy y.npy --source-weights a.npy --eps 0.01 --precision f64 --json",
    "brenier transport normal digits --n 1797 --exact",
    "brenier transport x.npy y.npy --target-weights b.npy --exact --out result",
    "brenier transport x.npy y.npy --rank 20 --sliced 500",
]))]
pub struct Transport {
    /// What is moved: a .npy, .npz, .csv or .safetensors file of points, a .json mixture, or a named source such as moons
    source: String,
    /// Where it is moved to
    target: String,
    /// Regularisation, in units of |x-y|²/2 [default: 0.05 x the mean cost; on a line the plan is exact instead]
    #[arg(long, value_name = "E", allow_negative_numbers = true, conflicts_with = "blur")]
    eps: Option<f64>,
    /// Regularisation as a length: eps = S²
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    blur: Option<f64>,
    /// Free marginals: mass that would move farther than about S is destroyed and created instead, at S² KL
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    reach: Option<f64>,
    /// The same for the source alone, whose marginal is held exactly otherwise
    #[arg(long, value_name = "S", allow_negative_numbers = true, conflicts_with = "reach")]
    reach_source: Option<f64>,
    /// The same for the target alone
    #[arg(long, value_name = "S", allow_negative_numbers = true, conflicts_with = "reach")]
    reach_target: Option<f64>,
    /// Whose reading of --eps, --blur and the reaches: brenier and geomloss in |x-y|²/2, ott, pot and flash in |x-y|²
    #[arg(long, value_enum, default_value_t)]
    convention: Library,
    /// L1 error of the marginal at which to stop, or largest change of f/eps with free marginals; 0 makes exactly --max-iter iterations without annealing
    #[arg(long, value_name = "T", default_value = "1e-3", allow_negative_numbers = true, value_parser = values::tolerance)]
    tol: f64,
    /// Most iterations, all annealing levels counted
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_iter: usize,
    /// The Sinkhorn divergence as well, which is 0 between equal measures
    #[arg(long, conflicts_with = "class_costs")]
    debias: bool,
    /// The exact plan: on a line, or of at most 5,000 points a side, with any weights
    #[arg(long, conflicts_with_all = ENTROPIC)]
    exact: bool,
    /// A plan through R way-stations instead: an upper bound of the exact cost, for many points
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ENTROPIC)]
    #[arg(conflicts_with = "exact")]
    rank: Option<u32>,
    /// The sliced distance over K random directions as well
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    sliced: Option<u32>,
    /// Neither annealing, nor acceleration, nor a start from the clouds' moments
    #[arg(long)]
    plain: bool,
    /// The K likeliest partners of each source point as well: partners.npz with index and probability, n x K
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["exact", "rank", "class_costs"])]
    top_k: Option<u32>,
    /// Start from the potentials of a subsample of N points a cloud
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "plain")]
    start_subsample: Option<u32>,
    /// Start from the f.npy and g.npy of an earlier run's folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["start_subsample", "plain"])]
    start_from: Option<PathBuf>,
    /// File of n classes 0, 1, … for the source, whose costs --class-costs adds to those of the points
    #[arg(long, value_name = "FILE", requires_all = ["target_labels", "class_costs"])]
    source_labels: Option<PathBuf>,
    /// File of m classes for the target
    #[arg(long, value_name = "FILE", requires = "source_labels")]
    target_labels: Option<PathBuf>,
    /// File of the table W: a row for each class of the source, a column for each of the target, in units of |x-y|²/2
    #[arg(long, value_name = "FILE", requires = "source_labels")]
    class_costs: Option<PathBuf>,
    /// File of n weights for the source
    #[arg(long, value_name = "FILE")]
    source_weights: Option<PathBuf>,
    /// File of m weights for the target
    #[arg(long, value_name = "FILE")]
    target_weights: Option<PathBuf>,
    /// Points to draw from an end that is a law or a shape
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
}

/// A library whose numbers are known by heart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Library {
    /// ε in units of |x-y|²/2
    #[default]
    Brenier,
    /// GeomLoss, SamplesLoss with p = 2
    Geomloss,
    /// OTT-JAX, PointCloud
    Ott,
    /// POT with sqeuclidean costs
    Pot,
    /// FlashSinkhorn, SamplesLoss
    Flash,
}

impl Library {
    fn convention(self) -> Convention {
        match self {
            Self::Brenier => Convention::Brenier,
            Self::Geomloss => Convention::Geomloss,
            Self::Ott => Convention::Ott,
            Self::Pot => Convention::Pot,
            Self::Flash => Convention::Flash,
        }
    }
}

/// Classes of the points and what they cost each other.
struct Classes {
    source: Vec<u32>,
    target: Vec<u32>,
    table: Vec<f64>,
    columns: usize,
}

/// A plan as the solver that was chosen describes it.
struct Solved {
    outcome: Outcome,
    /// The entries of an exact plan.
    plan: Vec<PlanEntry>,
    kind: &'static str,
    divergence: Option<f64>,
    seconds: f64,
}

impl Transport {
    /// Solves the problem.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("transport", None, &device, |checkpoint| self.solve(session, &device, checkpoint))
    }

    fn solve(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let source = (self.source.as_str(), self.source_weights.as_deref());
        let target = (self.target.as_str(), self.target_weights.as_deref());
        let (source, target) = input::ends(source, target)?;
        let x = input::cloud(source, self.n, seed, 0)?;
        let y = input::cloud(target, self.n, seed, 1)?;
        let folder = session.folder(None)?;
        if self.top_k.is_some() && folder.is_none() {
            return Err("--top-k writes partners.npz; say into which folder with --out DIR".into());
        }
        let reach = self.reach.or(self.reach_source).or(self.reach_target);
        let on_a_line = x.dim() == 1
            && y.dim() == 1
            && self.eps.or(self.blur).or(reach).is_none()
            && self.class_costs.is_none()
            && self.top_k.is_none()
            && !self.debias;
        let solved = match self.rank {
            Some(rank) => self.low_rank(&x, &y, rank as usize, session)?,
            None if self.exact || on_a_line => exact(&x, &y)?,
            None => self.entropic(&x, &y, device, checkpoint, session)?,
        };
        signal::check()?;
        let sliced = self.sliced.map(|directions| sliced_w2(&x, &y, directions as usize, seed)).transpose()?;
        if let Some(folder) = &folder {
            folder.clear(&FILES)?;
            write(folder, &x, &y, &solved)?;
            if let Some(k) = self.top_k {
                let problem = Problem::new(&x, &y, solved.outcome.eps)?;
                let top = Plan::new(&problem, &solved.outcome.potentials)?.partners().top(&x, k as usize, device)?;
                let array = |name, numbers| NamedArray { name, numbers, shape: vec![x.len(), top.k] };
                let index = array("index", Numbers::Indices(&top.index));
                let probability = array("probability", Numbers::Reals(&top.probability, Float::F64));
                folder.arrays("partners.npz", &[index, probability])?;
            }
        }
        self.finish(session, device, (&x, &y), (&solved, sliced), folder.as_ref())
    }

    /// ε, and where it comes from.
    fn eps(&self, x: &Cloud, y: &Cloud, seed: u32) -> Result<f64, Failure> {
        match (self.eps, self.blur) {
            (Some(eps), _) => Ok(self.convention.convention().strength(eps)),
            (None, Some(blur)) if blur > 0.0 && blur.is_finite() => Ok(self.convention.convention().of_length(blur)),
            (None, Some(blur)) => {
                Err(format!("blur = {blur}; the entropic problem needs a finite blur above zero, a length").into())
            }
            (None, None) => Ok(DEFAULT_EPS * mean_cost(x, y, seed)),
        }
    }

    /// ρ of both marginals, where they are free.
    fn rho(&self) -> Result<[Option<f64>; 2], Failure> {
        let rho = |reach: Option<f64>| match reach {
            Some(reach) if !(reach > 0.0 && reach.is_finite()) => {
                Err(format!("reach = {reach}; a free marginal needs a finite reach above zero, a length"))
            }
            reach => Ok(reach.map(|reach| self.convention.convention().of_length(reach))),
        };
        Ok([rho(self.reach.or(self.reach_source))?, rho(self.reach.or(self.reach_target))?])
    }

    /// Labels and their table, where they are given.
    fn classes(&self) -> Result<Option<Classes>, Failure> {
        let (Some(source), Some(target), Some(table)) = (&self.source_labels, &self.target_labels, &self.class_costs) else {
            return Ok(None);
        };
        let labels = |path: &Path| -> Result<Vec<u32>, Failure> {
            let values = read_array(path, "labels")?.values;
            match values.iter().position(|l| !(*l >= 0.0 && *l < 4e9 && l.fract() == 0.0)) {
                Some(at) => Err(format!("{}: label {} is {}; classes are 0, 1, …", path.display(), at, values[at]).into()),
                None => Ok(values.iter().map(|&l| l as u32).collect()),
            }
        };
        let costs = read_array(table, "costs")?;
        let columns = costs.shape.last().copied().unwrap_or(0);
        Ok(Some(Classes { source: labels(source)?, target: labels(target)?, table: costs.values, columns }))
    }

    /// Where ε comes from, in words.
    fn origin(&self) -> String {
        match (self.eps, self.blur) {
            (Some(eps), _) if self.convention.convention().strength(eps) != eps => format!("{eps} in units of |x-y|²"),
            (Some(_), _) => String::new(),
            (None, Some(blur)) if self.convention == Library::Flash => format!("blur {blur} squared, in units of |x-y|²"),
            (None, Some(blur)) => format!("blur {blur} squared"),
            (None, None) => format!("{DEFAULT_EPS} x the mean cost"),
        }
    }

    fn entropic(
        &self,
        x: &Cloud,
        y: &Cloud,
        device: &Device,
        checkpoint: &mut Checkpoint,
        session: &Session,
    ) -> Result<Solved, Failure> {
        // Coordinates and potentials on both sides and at every scale, in f64 and in the precision of the run, and what is kept of the pairs.
        machine::require("solving this problem", ((x.len() + y.len()) * (8 * x.dim() + 12)) as u64)?;
        let seed = session.shared.seed;
        let [rho_source, rho_target] = self.rho()?;
        if self.debias && rho_source != rho_target {
            return Err("--debias compares problems alike on both sides; give both ends the same reach".into());
        }
        let classes = self.classes()?;
        let mut problem = Problem::new(x, y, self.eps(x, y, seed)?)?.with_rho(rho_source, rho_target)?;
        if let Some(Classes { source, target, table, columns }) = &classes {
            problem = problem.with_labels(LabelCost { source, target, table, columns: *columns })?;
        }
        let solver = Sinkhorn { tol: self.tol, max_iter: self.max_iter, plain: self.plain };
        let spinner = progress::spinner(session, "transport");
        let estimate = Estimate::new(self.tol, problem.eps());
        let tell = |iteration: usize, eps: f64, error: f64| {
            tracing::debug!(iteration, eps, error);
            let left = estimate.left(eps, error).map_or(String::new(), |left| format!("   about {} left", seconds(left)));
            spinner.set_message(format!("eps {}   iteration {}   error {error:.1e}{left}", number(eps), count(iteration)));
            !signal::interrupted()
        };
        let begun = Instant::now();
        let warm = match (&self.start_from, self.start_subsample) {
            (Some(folder), _) => Some(Potentials {
                f: read_array(&folder.join("f.npy"), "f")?.values,
                g: read_array(&folder.join("g.npy"), "g")?.values,
            }),
            (None, Some(n)) => Some(subsample(&problem, n as usize, seed, solver, device, Some(&tell))?),
            (None, None) => None,
        };
        let outcome = solver.resume(&problem, device, warm.as_ref(), Some(&tell), checkpoint.part("plan"))?;
        let divergence = match self.debias {
            true => {
                // The two self-terms, with the same progress and the same way to stop.
                let mut own = |cloud, part| {
                    let problem = Problem::new(cloud, cloud, problem.eps())?.with_rho(rho_source, rho_source)?;
                    solver.resume(&problem, device, None, Some(&tell), checkpoint.part(part))
                };
                Some(outcome.dual - 0.5 * own(x, "source")?.dual - 0.5 * own(y, "target")?.dual)
            }
            false => None,
        };
        let seconds = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        let kind = if self.debias { "debiased" } else { "entropic" };
        Ok(Solved { outcome, plan: Vec::new(), kind, divergence, seconds })
    }

    /// The plan of low rank: no ε and no potentials.
    fn low_rank(&self, x: &Cloud, y: &Cloud, rank: usize, session: &Session) -> Result<Solved, Failure> {
        // A factor and its gradient on both sides.
        machine::require("a plan of that rank", 2 * (x.len() + y.len()) as u64 * rank as u64)?;
        let solver = LowRank { rank, tol: LOW_RANK_TOL, max_iter: self.max_iter, seed: session.shared.seed };
        let spinner = progress::spinner(session, "plan of low rank");
        let begun = Instant::now();
        let plan = solver.solve(
            x,
            y,
            Some(&|iteration, cost| {
                spinner.set_message(format!("step {}   cost {}", count(iteration), number(cost)));
                !signal::interrupted()
            }),
        )?;
        let seconds = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        let verdict = match plan.converged {
            true => Verdict::Converged,
            false => Verdict::Slow { tol: LOW_RANK_TOL, missing: None },
        };
        let outcome = Outcome {
            iterations: plan.iterations,
            converged: plan.converged,
            verdict,
            marginal_error: plan.marginal_error,
            ..unregularised(plan.transport_cost, plan.map)
        };
        Ok(Solved { outcome, plan: Vec::new(), kind: "low_rank", divergence: None, seconds })
    }

    fn finish(
        &self,
        session: &Session,
        device: &Device,
        (x, y): (&Cloud, &Cloud),
        (solved, sliced): (&Solved, Option<SlicedDistance>),
        folder: Option<&Folder>,
    ) -> Result<ExitCode, Failure> {
        let Solved { outcome, kind, divergence, seconds, .. } = solved;
        let [rho_source, rho_target] = self.rho()?;
        let mut record = Record {
            command: "transport",
            version: env!("CARGO_PKG_VERSION"),
            source: &self.source,
            target: &self.target,
            n: x.len(),
            m: y.len(),
            d: x.dim(),
            eps: outcome.eps,
            iterations: outcome.iterations,
            converged: outcome.converged,
            marginal_error: outcome.marginal_error,
            transport_cost: outcome.transport_cost,
            w2_squared: 2.0 * divergence.unwrap_or(outcome.transport_cost),
            w2_squared_kind: kind,
            dual: outcome.dual,
            regularised_cost: outcome.regularised_cost,
            entropic: matches!(*kind, "entropic" | "debiased").then_some(Entropic {
                gap: outcome.gap(),
                entropy: outcome.entropy,
                mass: outcome.mass,
                skipped_mass_bound: outcome.skipped_mass_bound,
                rho_source,
                rho_target,
                verdict: outcome.verdict.to_string(),
                residuals: &outcome.residuals,
            }),
            divergence: *divergence,
            rank: self.rank,
            sliced: sliced.map(Sliced::from),
            seconds: *seconds,
            wall_seconds: session.wall_seconds(),
            device: device.name(),
            precision: device.precision().name(),
            seed: session.shared.seed,
            flags: Vec::new(),
        };
        if record.flag_not_finite() {
            session
                .note("some values are not finite, so JSON has null for them: the plan is far from converged; use a larger eps");
        }
        if !record.converged {
            let error = number(record.marginal_error);
            let (iterations, advice) = (count(record.iterations), outcome.verdict);
            let sentence = format!("not converged: marginal error {error} after {iterations} iterations ({advice})");
            if session.shared.strict {
                output::error(&sentence);
            } else {
                session.note(&sentence);
            }
        }
        let code = session.finish(&record, folder, &record.summary(self.origin()).text())?;
        Ok(if session.shared.strict && !record.converged { ExitCode::FAILURE } else { code })
    }
}

/// The exact plan: quantiles on a line, network simplex elsewhere.
fn exact(x: &Cloud, y: &Cloud) -> Result<Solved, Failure> {
    let begun = Instant::now();
    let (plan, potentials, map, w2_squared) = if x.dim() == 1 && y.dim() == 1 {
        let plan = LinePlan::new(x, y)?;
        (plan.pairs, Potentials { f: Vec::new(), g: Vec::new() }, plan.map, plan.w2_squared)
    } else {
        let plan = ExactPlan::new(x, y)?;
        (plan.entries, plan.potentials, plan.map, plan.w2_squared)
    };
    let outcome = Outcome { potentials, ..unregularised(0.5 * w2_squared, map) };
    Ok(Solved { outcome, plan, kind: "exact", divergence: None, seconds: begun.elapsed().as_secs_f64() })
}

/// The outcome of a plan without ε, so that every cost is the transport cost.
fn unregularised(cost: f64, map: Vec<f64>) -> Outcome {
    Outcome {
        potentials: Potentials { f: Vec::new(), g: Vec::new() },
        eps: 0.0,
        iterations: 0,
        converged: true,
        verdict: Verdict::Converged,
        marginal_error: 0.0,
        skipped_mass_bound: 0.0,
        residuals: Vec::new(),
        mass: 1.0,
        transport_cost: cost,
        dual: cost,
        regularised_cost: cost,
        entropy: f64::NAN,
        map,
    }
}

/// The files, in f64: potentials carry more digits than the particles they were computed from.
fn write(folder: &Folder, x: &Cloud, y: &Cloud, solved: &Solved) -> Result<(), Failure> {
    let outcome = &solved.outcome;
    if !outcome.potentials.f.is_empty() {
        folder.array("f.npy", &outcome.potentials.f, &[x.len()], Float::F64)?;
        folder.array("g.npy", &outcome.potentials.g, &[y.len()], Float::F64)?;
    }
    if !solved.plan.is_empty() {
        let index = |of: fn(&PlanEntry) -> usize| solved.plan.iter().map(|entry| of(entry) as u32).collect::<Vec<u32>>();
        let (rows, columns) = (index(|entry| entry.source), index(|entry| entry.target));
        let mass: Vec<f64> = solved.plan.iter().map(|entry| entry.mass).collect();
        let array = |name, numbers| NamedArray { name, numbers, shape: vec![mass.len()] };
        let (row, column) = (array("row", Numbers::Indices(&rows)), array("column", Numbers::Indices(&columns)));
        folder.arrays("plan.npz", &[row, column, array("mass", Numbers::Reals(&mass, Float::F64))])?;
    }
    folder.array("map.npy", &outcome.map, &[x.len(), y.dim()], Float::F64)
}
