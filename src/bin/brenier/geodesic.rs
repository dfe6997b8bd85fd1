//! `brenier geodesic`: the displacement interpolation between two measures, or the flow of new points along it.

#[cfg(feature = "image")]
mod pictures;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::experiment::walk::Walk;
use brenier::field::Field;
use brenier::geodesic::{Bridge, Displacement};
use brenier::measure::{Cloud, Measure};
use brenier::metric::{paired_cost, variance_ratio};
use brenier::path::{Grid, Schedule};
use brenier::sampler::{Euler, Heun, Method};
use brenier::transport::problem::mean_cost;
use brenier::transport::{Divergence, LinePlan, Plan, Potentials, Problem, Sinkhorn};
use clap::{Args, ValueEnum};

use crate::session::Session;
use crate::solver::{DEFAULT_EPS, Regularisation};
use crate::{Failure, flags, input, machine, progress, signal};
use record::Record;

const UNCONVERGED: &str = "the plan has not converged; use a larger eps";

/// Straight paths of optimal transport between two measures
///
/// Row k of path.npy is (1-t)x + tT(x) at t = k/K, with T the barycentric map of the entropic plan (on a line the exact map). T
/// shrinks at large eps: the endpoint divergence shows it. The folder (brenier-out/geodesic unless --out is given) gets path.npy
/// and run.json; between two pictures (--as) frame-00000.jpg, …, and geodesic.html, which plays them.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier geodesic moons 8gaussians --steps 10",
    "brenier geodesic normal digits --eps 5 --steps 20 --out path",
    "brenier geodesic moons 8gaussians --pairs",
    "brenier geodesic moons 8gaussians --points new.npy --method heun --steps 50",
    "brenier geodesic moons 8gaussians --bridge --eps 0.1 --steps 100",
    "brenier geodesic A.jpg B.jpg --as colour --steps 24     geodesic.html plays the frames",
]))]
pub struct Geodesic {
    /// Pieces K of the path
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    #[command(flatten)]
    regularisation: Regularisation,
    /// End at partners drawn from the plan instead of at their mean
    #[arg(long)]
    pairs: bool,
    /// File of new points, n x d, to move along the velocity of the plan
    #[arg(long, value_name = "FILE", conflicts_with = "pairs")]
    points: Option<PathBuf>,
    /// How --points are moved
    #[arg(long, value_enum, default_value = "heun", requires = "points")]
    method: Integrator,
    /// Particles of the Schrödinger bridge: along the drift of the plan with its noise of variance eps a unit of time
    #[arg(long, conflicts_with_all = ["pairs", "method"])]
    bridge: bool,
    /// Source and target are pictures, .png or .jpg, whose colours or ink are moved
    #[cfg(feature = "image")]
    #[arg(long = "as", id = "as", value_name = "WHAT", value_enum, conflicts_with_all = ["pairs", "points", "bridge", "source_weights", "target_weights"])]
    kind: Option<pictures::PictureKind>,
    /// Pixels of the square that pictures are drawn on with --as density
    #[cfg(feature = "image")]
    #[arg(long, value_name = "PIXELS", default_value_t = 96, requires = "as", value_parser = clap::value_parser!(u32).range(2..=1024))]
    canvas: u32,
    #[command(flatten)]
    ends: input::Ends,
}

/// An integrator by its name.
#[derive(Clone, Copy, ValueEnum)]
enum Integrator {
    /// Order 1
    Euler,
    /// Order 2; the last step is an Euler step
    Heun,
}

/// A plan in the form the paths need.
struct Coupling {
    eps: f64,
    converged: bool,
    map: Vec<f64>,
    potentials: Potentials,
}

/// Finished paths and their accounts.
struct Paths {
    states: Vec<f64>,
    end: Cloud,
    w2_squared: f64,
    kind: &'static str,
    action: Option<f64>,
}

impl Geodesic {
    /// Draws the paths.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        #[cfg(feature = "image")]
        if let Some(kind) = self.kind {
            return pictures::run(self, kind, session);
        }
        let device = session.device()?;
        let seed = session.shared.seed;
        let (x, y) = self.ends.points(self.ends.measures()?, seed)?;
        let d = y.dim();
        let new = self.points.as_deref().map(|path| read_points(path, d)).transpose()?;
        let moved = new.as_ref().map_or(x.len(), Cloud::len);
        machine::require("a path of that many states", 2 * u64::from(self.steps + 1) * moved as u64 * d as u64)?;
        let folder = session.folder(Some("brenier-out/geodesic"))?;

        let spinner = progress::spinner(session, "transport");
        let begun = Instant::now();
        let on_a_line = d == 1 && !self.regularisation.is_given() && !(self.pairs || self.bridge) && new.is_none();
        let (coupling, paths) = if on_a_line {
            let plan = LinePlan::new(&x, &y)?;
            (None, self.straight(&x, plan.map, "exact")?)
        } else {
            let coupling = self.couple(&x, &y, &device, seed)?;
            let paths = match &new {
                points if self.bridge => self.bridge(points.as_ref().unwrap_or(&x), (&x, &y), &coupling, &device, seed)?,
                Some(points) => self.flow(points, &y, &coupling, &device, seed)?,
                None if self.pairs => {
                    let plan = Plan::new(&Problem::new(&x, &y, coupling.eps)?, &coupling.potentials)?;
                    let partners = plan.draw_partners(seed, &device)?;
                    self.straight(&x, partners.iter().flat_map(|&j| y.row(j as usize)).copied().collect(), "entropic")?
                }
                None => self.straight(&x, coupling.map.clone(), "map")?,
            };
            (Some(coupling), paths)
        };
        let taken = begun.elapsed().as_secs_f64();
        spinner.set_message("divergence at the end");
        let reference = Divergence::to(&y, DEFAULT_EPS * mean_cost(&y, &y, seed), Sinkhorn::default(), &device)?;
        let endpoint_divergence = 2.0 * reference.from(&paths.end, &device)?;
        spinner.finish_and_clear();
        signal::check()?;

        let pieces = pieces(&paths.states, &paths.end);
        let record = Record {
            command: "geodesic",
            version: env!("CARGO_PKG_VERSION"),
            source: &self.ends.source,
            target: &self.ends.target,
            n: moved,
            m: y.len(),
            d,
            eps: coupling.as_ref().map(|coupling| coupling.eps),
            converged: coupling.is_none_or(|coupling| coupling.converged),
            steps: self.steps,
            w2_squared: paths.w2_squared,
            w2_squared_kind: paths.kind,
            action: paths.action,
            length: paths.action.map(|_| pieces.iter().sum()),
            speed_deviation: paths.action.map(|_| deviation(&pieces)),
            endpoint_divergence,
            variance_ratio: variance_ratio(&paths.end, &y)?,
            seconds: taken,
            wall_seconds: session.wall_seconds(),
            device: device.name(),
            precision: device.precision().name(),
            seed,
            flags: Vec::new(),
        };
        if let Some(folder) = &folder {
            folder.clear(&["path.npy"])?;
            folder.array("path.npy", &paths.states, &[self.steps as usize + 1, moved, d], session.float())?;
        }
        let unconverged = (!record.converged).then_some(UNCONVERGED);
        session.finish_solve(
            &record,
            folder.as_ref(),
            &record.summary(self.regularisation.origin(DEFAULT_EPS)).text(),
            unconverged,
        )
    }

    fn couple(&self, x: &Cloud, y: &Cloud, device: &Device, seed: u32) -> Result<Coupling, Failure> {
        let eps = self.regularisation.or_share(DEFAULT_EPS, (x, y), seed)?;
        let go_on = |_: usize, _: f64, _: f64| !signal::interrupted();
        let outcome = Sinkhorn::default().solve(&Problem::new(x, y, eps)?, device, None, Some(&go_on))?;
        Ok(Coupling { eps, converged: outcome.converged, map: outcome.map, potentials: outcome.potentials })
    }

    /// Straight paths from the points of `x` to `ends`.
    fn straight(&self, x: &Cloud, ends: Vec<f64>, kind: &'static str) -> Result<Paths, Failure> {
        let line = Displacement::new(x, ends)?;
        let action = line.action();
        Ok(Paths { states: line.path(self.steps as usize), end: line.end()?, w2_squared: action, kind, action: Some(action) })
    }

    /// The paths of new points along the velocity of the plan.
    fn flow(&self, points: &Cloud, y: &Cloud, coupling: &Coupling, device: &Device, seed: u32) -> Result<Paths, Failure> {
        let field = Field::Transport { target: y.clone(), g: coupling.potentials.g.clone(), eps: coupling.eps };
        let grid = Grid::uniform(&Schedule::CondOt, self.steps as usize)?;
        let program = match self.method {
            Integrator::Euler => Euler.program(&grid),
            Integrator::Heun => Heun { euler_last: true }.program(&grid),
        };
        let walk = Walk::new(&program, &grid, &field, points.points(), 1, device, &|| !signal::interrupted())?;
        let end = Cloud::new(walk.end, y.dim())?;
        let action = walk.action.iter().sum::<f64>() / walk.action.len() as f64;
        let states = walk.states.into_iter().flat_map(|(_, state)| state).collect();
        Ok(Paths { states, w2_squared: paired_cost(points, &end, seed)?.w2_squared, end, kind: "exact", action: Some(action) })
    }

    /// Particles of the bridge from `start`.
    fn bridge(
        &self,
        start: &Cloud,
        (x, y): (&Cloud, &Cloud),
        coupling: &Coupling,
        device: &Device,
        seed: u32,
    ) -> Result<Paths, Failure> {
        let bridge = Bridge::new(Plan::new(&Problem::new(x, y, coupling.eps)?, &coupling.potentials)?);
        let grid = Grid::uniform(&Schedule::CondOt, self.steps as usize)?;
        let mut states = Vec::with_capacity((self.steps as usize + 1) * start.points().len());
        let mut keep = |_: usize, state: &[f64]| {
            states.extend_from_slice(state);
            !signal::interrupted()
        };
        let end = Displacement::new(start, bridge.run(start.points(), &grid, seed, device, &mut keep)?)?;
        Ok(Paths { states, end: end.end()?, w2_squared: end.action(), kind: "entropic", action: None })
    }
}

/// √E|x_{k+1} − x_k|² of each piece of `states`, whose points have the weights of `end`.
fn pieces(states: &[f64], end: &Cloud) -> Vec<f64> {
    let (d, stride) = (end.dim(), end.points().len());
    let squared = |(x, y): (&[f64], &[f64])| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let piece = |x: &[f64], y: &[f64]| {
        let pairs = x.chunks_exact(d).zip(y.chunks_exact(d)).map(squared);
        pairs.enumerate().map(|(i, squared)| end.weight(i) * squared).sum::<f64>().sqrt()
    };
    states.windows(2 * stride).step_by(stride).map(|pair| piece(&pair[..stride], &pair[stride..])).collect()
}

/// max |p − mean| / mean of the `pieces`; 0 where nothing moves.
fn deviation(pieces: &[f64]) -> f64 {
    let mean = pieces.iter().sum::<f64>() / pieces.len() as f64;
    if mean > 0.0 { pieces.iter().map(|piece| (piece / mean - 1.0).abs()).fold(0.0, f64::max) } else { 0.0 }
}

/// The points of a file, in dimension `d`.
fn read_points(path: &Path, d: usize) -> Result<Cloud, Failure> {
    match input::measure(&path.to_string_lossy(), None, Some(d))? {
        Measure::Finite(cloud) if cloud.dim() == d => Ok(cloud),
        other => Err(format!("{}: new points have dimension {d}, not {}, and are a file", path.display(), other.dim()).into()),
    }
}
