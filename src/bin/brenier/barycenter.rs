//! `brenier barycenter`: the cloud between several clouds.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::measure::{Cloud, Measure};
use brenier::transport::exact::LARGEST;
use brenier::transport::{Barycenter as Solver, CostScale, Coupling, Sinkhorn};
use brenier::watch::{Progress, Watch};
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count, number};
use crate::session::Session;
use crate::solver::{Chosen, HALF_SQUARED};
use crate::{Failure, flags, input, memory, progress, signal};

/// The cloud between several clouds: the one of least weighted W2² to them
///
/// Its points move to the average of their images in all clouds, under exact plans up to 5,000 points a side and entropic,
/// debiased ones above or with --eps. With --out the folder gets points.npy and run.json.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier barycenter moons circles --n 1000 --out between",
    "brenier barycenter a.npy b.npy c.npy --weights 2,1,1 --json",
    "brenier barycenter a.npy b.npy --eps 0.01 --n 20000",
]))]
pub struct Barycenter {
    /// Two clouds or more: files of points, .json mixtures, or named sources such as moons
    #[arg(required = true, num_args = 2.., value_name = "CLOUD")]
    clouds: Vec<String>,
    /// One weight a cloud, as in 2,1,1; equal by default
    #[arg(long, value_name = "W,…", value_delimiter = ',', allow_negative_numbers = true)]
    weights: Vec<f64>,
    /// Points of the barycenter, and points to draw from a law or a shape
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Most steps
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Entropic plans at this regularisation, in units of |x-y|²/2, debiased
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    eps: Option<f64>,
}

#[derive(Serialize)]
struct Record<'a> {
    clouds: &'a [String],
    n: usize,
    d: usize,
    eps: f64,
    eps_origin: Option<String>,
    steps: usize,
    converged: bool,
    moved: f64,
    objective: Vec<f64>,
}

impl Barycenter {
    /// Finds it.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("barycenter", None, &device, |checkpoint| self.solve(session, &device, checkpoint))
    }

    fn solve(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let mut measures = Vec::new();
        for spec in &self.clouds {
            measures.push(input::measure(session, spec, None, measures.first().map(Measure::dim))?);
        }
        let clouds: Vec<_> =
            measures.into_iter().zip(0..).map(|(measure, k)| input::cloud(measure, self.n, seed, k)).collect::<Result<_, _>>()?;
        let weights = if self.weights.is_empty() { vec![1.0; clouds.len()] } else { self.weights.clone() };
        if weights.len() != clouds.len() {
            return Err(format!("{} weights for {} clouds; give one weight a cloud", weights.len(), clouds.len()).into());
        }
        memory::require("a barycenter of that many points", 8 * u64::from(self.n) * clouds[0].dim() as u64)?;
        let few = clouds.iter().map(Cloud::len).chain([self.n as usize]).all(|n| n <= LARGEST);
        let chosen = match self.eps {
            Some(eps) => Some(Chosen { eps, origin: "given".into() }),
            None if few => None,
            None => {
                let scale = HALF_SQUARED.scale(&clouds[0], &clouds[1], seed);
                let chosen = Chosen::share_of(CostScale::BARYCENTER, scale);
                Some(Chosen { origin: format!("{}, of the first two", chosen.origin), ..chosen })
            }
        };
        let entropic = |eps| Coupling::Entropic { eps, debias: true, solver: Sinkhorn::default() };
        let coupling = chosen.as_ref().map_or(Coupling::Exact, |chosen| entropic(chosen.eps));
        let solver = Solver { coupling, max_iter: self.steps as usize, seed, ..Solver::new(self.n as usize) };
        let folder = session.folder(None)?;
        let bar = progress::bar(session, "barycenter", solver.max_iter);
        let begun = Instant::now();
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            !signal::interrupted()
        };
        let found = solver.solve_watched(&clouds, &weights, device, Watch::telling(&tell).keeping(checkpoint.part("points")))?;
        let taken = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();
        signal::check()?;
        let (n, d) = (found.cloud.len(), found.cloud.dim());
        if let Some(folder) = &folder {
            folder.clear(&["points.npy"])?;
            folder.array("points.npy", found.cloud.points(), &[n, d], session.float())?;
        }
        let unconverged = (!found.converged)
            .then(|| format!("the points still moved by {} in the last step; raise --steps", number(found.moved)));
        let record = Record {
            clouds: &self.clouds,
            n,
            d,
            eps: chosen.as_ref().map_or(0.0, |chosen| chosen.eps),
            eps_origin: chosen.map(|chosen| chosen.origin),
            steps: found.objective.len(),
            converged: found.converged,
            moved: found.moved,
            objective: found.objective,
        };
        let record = session.stamped("barycenter", record, device, taken);
        let own = &record.own;
        let mut summary = Summary::new(format!("barycenter of {}", self.clouds.join(", ")));
        summary.line("points", count(n), format!("in dimension {d}"));
        let plans = if own.eps == 0.0 { "exact plans".into() } else { format!("entropic plans at eps {}", number(own.eps)) };
        summary.line("objective", own.objective.last().map_or(String::new(), |&o| number(o)), format!("weighted W2², {plans}"));
        summary.line("steps", count(own.steps), if own.converged { "converged" } else { "not converged" });
        record.time(&mut summary);
        session.finish_solve(&record, folder.as_ref(), &summary.text(), unconverged.as_deref())
    }
}
