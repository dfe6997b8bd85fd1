//! `brenier geodesic`: the displacement interpolation between two measures, or the flow of new points along it.

#[cfg(feature = "image")]
mod pictures;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Noise};
use brenier::checkpoint::Checkpoint;
use brenier::field::Field;
use brenier::geodesic::{Bridge, Displacement, Pieces};
use brenier::io::Float;
use brenier::measure::{Cloud, Measure};
use brenier::metric::{Flag, paired_cost, variance_ratio};
use brenier::path::{Grid, Schedule};
use brenier::program::Program;
use brenier::sampler::{Euler, Heun, Method};
use brenier::transport::solved::Kind;
use brenier::transport::{AnyPlan, CostScale, Images, Problem, Sinkhorn, Solved};
use brenier::watch::{Progress, Residual, Watch};
#[cfg(feature = "image")]
use clap::Id;
use clap::{Args, ValueEnum};

use crate::entropic::PlanFlags;
use crate::flags::Asked;
use crate::output::{count, number};
use crate::session::Session;
use crate::solver::{HALF_SQUARED, collapse, too_large};
use crate::transport::files::{PARTNERS, write_partners};
use crate::transport::labels::Labels;
use crate::unregularised::Unregularised;
use crate::{Failure, flags, input, memory, progress, signal};
use record::Record;

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/geodesic";
/// W₂² that the map of a plan may miss, relative, by rounding.
const WHOLE: f64 = 1e-12;
const UNCONVERGED: &str = "the plan has not converged; use a larger eps";

/// Straight paths of optimal transport between two measures
///
/// Row k of path.npy is (1-t)x + tT(x) at t = k/K, with T the barycentric map of the entropic plan (on a line the exact map). T
/// shrinks at large eps: the endpoint divergence shows it. With --exact or --rank it is the map of that plan. The folder
/// (brenier-out/geodesic unless --out is given) gets path.npy and run.json; with free marginals weights.npy has the share of each point in the mass that moves; between two pictures (--as) frame-00000.jpg, …, and geodesic.html, which plays them.
#[derive(Args)]
#[command(mut_arg("source_labels", |labels| labels.requires("class_costs").help("File of the label 0, 1, … of each source point, for --class-costs")))]
#[command(mut_arg("target_labels", |labels| labels.requires("class_costs").help("File of the label of each target point, the same way")))]
#[command(after_help = flags::examples(&[
    "brenier geodesic moons 8gaussians --steps 10",
    "brenier geodesic moons 8gaussians --exact --top-k 1",
    "brenier geodesic normal digits --eps 5 --steps 20 --out path",
    "brenier geodesic moons 8gaussians --pairs",
    "brenier geodesic moons 8gaussians --points new.npy --method heun --steps 50",
    "brenier geodesic moons 8gaussians --bridge --eps 0.1 --steps 100",
    "brenier geodesic x.npy y.npy --reach 0.5",
    "brenier geodesic A.jpg B.jpg --as colour --steps 24     geodesic.html plays the frames",
]))]
pub struct Geodesic {
    /// Pieces K of the path
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    #[command(flatten)]
    asked: Asked<PlanFlags>,
    #[command(flatten)]
    plan: PlanFlags,
    /// End at partners drawn from the plan instead of at their mean
    #[arg(long)]
    pairs: bool,
    #[command(flatten)]
    unregularised: Unregularised,
    /// The K likeliest partners of each source point as well: partners.npz with index and probability, n x K
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    #[command(flatten)]
    labels: Labels,
    /// File of new points, n x d, to move along the velocity of the plan
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pairs", "exact", "rank", "class_costs"])]
    points: Option<PathBuf>,
    /// How --points are moved
    #[arg(long, value_enum, default_value = "heun", requires = "points")]
    method: Integrator,
    /// Paths of the Schrödinger bridge: Brownian bridges, of variance eps per unit time, to partners drawn from the plan; each state has
    /// the bridge's own law, in any number of steps
    #[arg(long, conflicts_with_all = ["pairs", "method", "exact", "rank"])]
    bridge: bool,
    /// Source and target are pictures, .png or .jpg, whose colours or ink are moved
    #[cfg(feature = "image")]
    #[arg(long = "as", id = "as", value_name = "WHAT", value_enum, conflicts_with_all = ["pairs", "points", "bridge", "n", "source_weights", "target_weights"], conflicts_with_all = of_points())]
    kind: Option<pictures::PictureKind>,
    /// Pixels of the square that pictures are drawn on with --as density [default: 96]
    #[cfg(feature = "image")]
    #[arg(long, value_name = "PIXELS", requires = "as", value_parser = clap::value_parser!(u32).range(2..=1024))]
    canvas: Option<u32>,
    #[command(flatten)]
    ends: input::Ends,
}

/// The flags of a plan of points that a film of pictures does not take.
#[cfg(feature = "image")]
fn of_points() -> Vec<Id> {
    let taken = ["eps", "blur", "convention", "tol", "max_iter", "plain"];
    let others = flags::of::<Unregularised>().into_iter().chain(flags::of::<Labels>()).chain([Id::from("top_k")]);
    flags::of::<PlanFlags>().into_iter().filter(|id| !taken.contains(&id.as_str())).chain(others).collect()
}

/// An integrator by its name.
#[derive(Clone, Copy, ValueEnum)]
enum Integrator {
    /// Order 1
    Euler,
    /// Order 2; the last step is an Euler step
    Heun,
}

/// Finished paths and their accounts.
struct Paths {
    states: Vec<f64>,
    end: Cloud,
    w2_squared: f64,
    kind: Kind,
    action: Option<f64>,
}

/// The plan that they follow.
struct Found {
    plan: Option<AnyPlan>,
    /// ε and where it comes from; none without one.
    eps: Option<(f64, String)>,
    /// Why it is not final.
    unfinished: Option<String>,
    /// That its map has collapsed.
    collapsed: Option<String>,
}

impl Geodesic {
    /// Draws the paths.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        if !self.plan.is_half_squared() {
            let why = "a geodesic is that of |x-y|²/2, along whose straight lines mass moves at constant speed; leave --cost out";
            return Err(flags::bad_usage(format!("{why}, or draw pairs under {} with brenier couple", self.plan.cost)));
        }
        let device = session.device()?;
        session.resumable("geodesic", Some(FOLDER), &device, |checkpoint| {
            #[cfg(feature = "image")]
            match self.kind {
                Some(kind) => return pictures::run(self, kind, session, &device, checkpoint),
                None => pictures::refuse_unasked(&self.ends)?,
            }
            self.draw(session, &device, checkpoint)
        })
    }

    fn draw(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let (mut x, mut y) = self.ends.points(self.ends.measures(session)?, seed)?;
        let mut moved_mass = None;
        let d = y.dim();
        let new = self.points.as_deref().map(|path| read_points(session, path, d)).transpose()?;
        let moved = new.as_ref().map_or(x.len(), Cloud::len);
        memory::require("a path of that many states", 2 * u64::from(self.steps + 1) * moved as u64 * d as u64)?;
        let folder = session.folder(Some(FOLDER))?;

        let spinner = progress::spinner(session, "transport");
        let tell = |now: Progress<'_>| {
            let Some(Residual { iteration, eps, error }) = now.residual else { return !signal::interrupted() };
            spinner.set_message(format!("eps {}   iteration {}   error {error:.1e}", number(eps), count(iteration)));
            !signal::interrupted()
        };
        let begun = Instant::now();
        let classes = self.labels.costs()?;
        let on_a_line = d == 1 && !self.asked.is_one() && !(self.pairs || self.bridge) && new.is_none() && classes.is_none();
        let (found, paths) = if on_a_line || self.unregularised.what().is_some() {
            let part = checkpoint.part("plan");
            let (solved, _) = self.unregularised.solve((&x, &y), &self.plan, classes.as_ref(), part, session)?;
            let paths = self.along((&x, &y), &solved, classes.is_none(), (device, seed))?;
            let unfinished = (!solved.converged).then(|| format!("the plan is not the best there is: {}", solved.ending));
            (Found { plan: solved.plan, eps: None, unfinished, collapsed: None }, paths)
        } else {
            let scale = self.plan.scale(&x, &y, classes.as_ref(), seed);
            let chosen = self.plan.choose(CostScale::PLAN, || scale)?;
            let eps = chosen.eps;
            too_large(eps, &scale, self.plan.rho(eps)?).iter().for_each(|words| session.note(words));
            let mut problem = self.plan.imposed_on(Problem::new(&x, &y, eps)?)?;
            if let Some(classes) = classes {
                problem = problem.with_labels(classes)?;
            }
            let start = self.plan.start(&problem, seed, device, Watch::telling(&tell))?;
            let watch = Watch::telling(&tell).keeping(checkpoint.part("plan"));
            let coupling = self.plan.solver().solve_watched(&problem, start.as_ref(), device, watch)?;
            let plan = coupling.plan();
            if self.plan.frees_marginals() {
                // What is destroyed and created does not move: the path is that of the rest.
                let of_target = plan.transposed().row_mass(device)?;
                (x, y) = (x.with_weights(plan.row_mass(device)?)?, y.with_weights(of_target)?);
                moved_mass = Some(coupling.mass);
            }
            spinner.set_message("paths");
            let paths = match &new {
                points if self.bridge => {
                    let start = points.as_ref().unwrap_or(&x);
                    let mut states = Vec::new();
                    let mut keep = |_: usize, state: &[f64]| {
                        states.extend_from_slice(state);
                        !signal::interrupted()
                    };
                    let end = Bridge::new(plan.clone()).run(points.as_ref(), &self.grid()?, seed, device, &mut keep)?;
                    let line = Displacement::new(start, end)?;
                    Paths { states, end: line.end()?, w2_squared: line.action(), kind: Kind::Entropic, action: None }
                }
                Some(points) => {
                    let field = Field::Transport { target: y.clone(), g: coupling.potentials.g.clone(), eps };
                    let grid = self.grid()?;
                    let program = match self.method {
                        Integrator::Euler => Euler.program(&grid),
                        Integrator::Heun => Heun { euler_last: true }.program(&grid),
                    };
                    let (end, states) = self.follow(&program, &field, points, device, checkpoint)?;
                    let end = Cloud::new(end, d)?;
                    let action = Pieces::new(&states, &end).action();
                    let w2_squared = paired_cost(points, &end, seed)?.w2_squared;
                    Paths { states, w2_squared, end, kind: Kind::Exact, action: Some(action) }
                }
                None if self.pairs => {
                    let partners = plan.draw_partners(seed, device)?;
                    self.straight(&x, partners.iter().flat_map(|&j| y.row(j as usize)).copied().collect(), Kind::Entropic)?
                }
                None => self.straight(&x, coupling.map(), Kind::Map)?,
            };
            let found = Found {
                eps: Some((coupling.eps, chosen.origin)),
                unfinished: (!coupling.converged).then(|| UNCONVERGED.into()),
                collapsed: collapse(coupling.variance_kept()),
                plan: Some(AnyPlan::Entropic(plan)),
            };
            (found, paths)
        };
        let taken = begun.elapsed().as_secs_f64();
        let eps = CostScale::PLAN * HALF_SQUARED.scale(&y, &y, seed).value;
        let mut term = |from: &Cloud, to: &Cloud, part: &str| -> Result<f64, Failure> {
            let problem = Problem::new(from, to, eps)?;
            Ok(Sinkhorn::default()
                .solve_watched(&problem, None, device, Watch::telling(&tell).keeping(checkpoint.part(part)))?
                .dual)
        };
        let cross = term(&paths.end, &y, "end and target")?;
        let endpoint_divergence = 2.0 * cross - term(&paths.end, &paths.end, "end")? - term(&y, &y, "target")?;
        spinner.finish_and_clear();
        signal::check()?;

        let pieces = Pieces::new(&paths.states, &paths.end);
        let record = Record {
            source: &self.ends.source,
            target: &self.ends.target,
            n: moved,
            m: y.len(),
            d,
            eps: found.eps.as_ref().map(|(eps, _)| *eps),
            converged: found.unfinished.is_none(),
            eps_origin: found.eps.map(|(_, origin)| origin),
            rank: self.unregularised.rank,
            steps: self.steps,
            mass: moved_mass,
            w2_squared: paths.w2_squared,
            w2_squared_kind: paths.kind,
            action: paths.action,
            length: paths.action.map(|_| pieces.length()),
            speed_deviation: paths.action.map(|_| pieces.deviation()),
            endpoint_divergence,
            variance_ratio: variance_ratio(&paths.end, &y)?,
        };
        let mut flags = Vec::new();
        if let Some(words) = &found.collapsed {
            flags.push(Flag::Collapsed);
            session.note(words);
        }
        if !record.is_finite() {
            flags.push(Flag::NotFinite);
        }
        let record = session.stamped("geodesic", record, device, taken).flagged(flags);
        if let Some(folder) = &folder {
            folder.clear(&["path.npy", "weights.npy", PARTNERS])?;
            if let (Some(k), Some(plan)) = (self.top_k, &found.plan) {
                write_partners(folder, &plan.top(k as usize, device)?)?;
            }
            if let (Some(_), Some(weights)) = (moved_mass.filter(|_| new.is_none()), x.weights()) {
                folder.array("weights.npy", weights, &[moved], Float::F64)?;
            }
            folder.array("path.npy", &paths.states, &[self.steps as usize + 1, moved, d], session.float())?;
        }
        let mut summary = record.own.summary();
        record.time(&mut summary);
        session.finish_solve(&record, folder.as_ref(), &summary.text(), found.unfinished.as_deref())
    }

    /// Straight paths along a plan without ε, to its map or to partners drawn from it; where costs are those of the points alone
    /// (`quadratic`) an optimal plan that splits no point moves them by W₂.
    fn along(
        &self,
        (x, y): (&Cloud, &Cloud),
        solved: &Solved,
        quadratic: bool,
        (device, seed): (&Device, u32),
    ) -> Result<Paths, Failure> {
        let ends = match &solved.plan {
            Some(plan) if self.pairs => {
                plan.draw_partners(seed, device)?.iter().flat_map(|&j| y.row(j as usize)).copied().collect()
            }
            _ => solved.map.as_ref().map_or(Vec::new(), Images::to_vec),
        };
        let paths = self.straight(x, ends, Kind::Map)?;
        let whole = (solved.w2_squared - paths.w2_squared).abs() <= WHOLE * solved.w2_squared;
        let kind = if quadratic && solved.kind == Kind::Exact && whole { Kind::Exact } else { Kind::Map };
        Ok(Paths { kind, ..paths })
    }

    /// Straight paths from the points of `x` to `ends`.
    fn straight(&self, x: &Cloud, ends: Vec<f64>, kind: Kind) -> Result<Paths, Failure> {
        let line = Displacement::new(x, ends)?;
        let action = line.action();
        Ok(Paths { states: line.path(self.steps as usize), end: line.end()?, w2_squared: action, kind, action: Some(action) })
    }

    fn grid(&self) -> Result<Grid, Failure> {
        Ok(Grid::uniform(&Schedule::CondOt, self.steps as usize)?)
    }

    /// Where `program` takes `points`, and all states on the way.
    fn follow(
        &self,
        program: &Program,
        field: &Field,
        points: &Cloud,
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<(Vec<f64>, Vec<f64>), Failure> {
        let watch = Watch::telling(&|_| !signal::interrupted()).keeping(checkpoint.part("paths"));
        Ok(program.resume(field, points.points().to_vec(), Noise::NONE, device, true, watch)?)
    }
}

/// The points of a file, in dimension `d`.
fn read_points(session: &Session, path: &Path, d: usize) -> Result<Cloud, Failure> {
    match input::measure(session, &path.to_string_lossy(), None, Some(d))? {
        Measure::Finite(cloud) if cloud.dim() == d => Ok(cloud),
        other => Err(format!("{}: new points have dimension {d}, not {}, and are a file", path.display(), other.dim()).into()),
    }
}
