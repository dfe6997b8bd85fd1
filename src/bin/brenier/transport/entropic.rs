//! The entropic problem: its flags and its solution.

use std::path::PathBuf;
use std::time::Instant;

use brenier::backend::{Cost, Device, Storage};
use brenier::checkpoint::Checkpoint;
use brenier::io::read_array;
use brenier::measure::Cloud;
use brenier::transport::{Convention, CostScale, GroundCost, Potentials, Problem, Solved, subsample};
use brenier::watch::{Progress, Residual, Watch};
use clap::Args;

use super::estimate::Estimate;
use super::labels::Labels;
use crate::flags::Asked;
use crate::output::{count, number, seconds};
use crate::session::Session;
use crate::solver::{Chosen, Regularisation, Stopping, too_large};
use crate::{Failure, memory, progress, signal};

/// The flags of what the plan is penalised by, which a closed form knows too.
#[derive(Args)]
pub struct Penalties {
    #[command(flatten)]
    regularisation: Regularisation,
    /// Free marginals: mass that would move farther than about S is destroyed and created instead, at S² KL, or S KL where the cost is a length
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
    convention: Convention,
}

/// The flags of the entropic problem.
#[derive(Args)]
pub struct Entropic {
    #[command(flatten)]
    asked: Asked<Self>,
    /// Cost of a pair: half-sq-euclidean, euclidean, lp:P with a P of 1 or more, or cosine
    #[arg(long, value_name = "C", default_value_t = Cost::HalfSquaredEuclidean)]
    pub cost: Cost,
    #[command(flatten)]
    penalties: Penalties,
    #[command(flatten)]
    pub stopping: Stopping,
    /// The Sinkhorn divergence as well, which is 0 between equal measures
    #[arg(long, conflicts_with = "class_costs")]
    debias: bool,
    /// Neither annealing, nor acceleration, nor a start from the clouds' moments
    #[arg(long)]
    plain: bool,
    /// How points are stored: rounded to half precision, relative to their mean, they take half the memory of a GPU and a third of its products
    #[arg(long, value_enum, default_value_t, conflicts_with = "class_costs")]
    storage: Storage,
    /// The K likeliest partners of each source point as well: partners.npz with index and probability, n x K
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "class_costs")]
    pub top_k: Option<u32>,
    /// Start from the potentials of a subsample of N points a cloud
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "plain")]
    start_subsample: Option<u32>,
    /// Start from the f.npy and g.npy of an earlier run's folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["start_subsample", "plain"])]
    start_from: Option<PathBuf>,
    #[command(flatten)]
    labels: Labels,
}

impl Entropic {
    /// Whether a flag asks for what an exact plan does not have.
    pub fn is_asked_for(&self) -> bool {
        self.asked.is_one()
    }

    /// Whether classes have a cost of their own beside that of the points.
    pub fn has_class_costs(&self) -> bool {
        self.labels.are_given()
    }

    /// Where `eps` comes from when it is given, in words.
    pub fn origin(&self, eps: f64) -> String {
        match (self.penalties.regularisation.eps, self.penalties.regularisation.blur) {
            (_, Some(blur)) if self.cost != Cost::HalfSquaredEuclidean => format!("blur {blur}"),
            (Some(given), _) if given != eps => format!("{given} in units of |x-y|²"),
            (None, Some(blur)) if self.penalties.convention == Convention::Flash => {
                format!("blur {blur} squared, in units of |x-y|²")
            }
            _ => self.penalties.regularisation.origin(),
        }
    }

    /// ε as it is given, if it is.
    pub fn given_eps(&self) -> Result<Option<f64>, Failure> {
        // Libraries differ in the square alone.
        match (self.cost, self.penalties.regularisation.given(Convention::Brenier)?) {
            (Cost::HalfSquaredEuclidean, _) => self.penalties.regularisation.given(self.penalties.convention),
            (_, given) => self.penalties.regularisation.blur.map_or(Ok(given), |blur| self.of_length(blur).map(Some)),
        }
    }

    /// ε, by default the share of `scale` that is usual.
    pub fn choose(&self, scale: impl FnOnce() -> CostScale) -> Result<Chosen, Failure> {
        Ok(match self.given_eps()? {
            Some(eps) => Chosen { eps, origin: self.origin(eps) },
            None => Chosen::share_of(CostScale::PLAN, scale()),
        })
    }

    /// The cost of moving as far as `length`.
    fn of_length(&self, length: f64) -> Result<f64, Failure> {
        match self.cost {
            Cost::HalfSquaredEuclidean => Ok(self.penalties.convention.of_length(length)),
            Cost::Euclidean | Cost::Lp(_) => Ok(length),
            Cost::Cosine => Err("--blur and the reaches are lengths, which the cost cosine does not see; use --eps".into()),
        }
    }

    /// ρ of both marginals, where they are free.
    pub fn rho(&self) -> Result<[Option<f64>; 2], Failure> {
        let rho = |reach: Option<f64>| match reach {
            Some(reach) if !(reach > 0.0 && reach.is_finite()) => {
                Err(Failure::from(format!("reach = {reach}; a free marginal needs a finite reach above zero, a length")))
            }
            reach => reach.map(|reach| self.of_length(reach)).transpose(),
        };
        Ok([
            rho(self.penalties.reach.or(self.penalties.reach_source))?,
            rho(self.penalties.reach.or(self.penalties.reach_target))?,
        ])
    }

    /// Solves the problem, and with --debias those of each end with itself; also the seconds taken, and where ε comes from.
    pub fn solve(
        &self,
        x: &Cloud,
        y: &Cloud,
        device: &Device,
        checkpoint: &mut Checkpoint,
        session: &Session,
    ) -> Result<((Solved, f64), Option<String>), Failure> {
        // Coordinates as given, on the device, as columns of one side and as its values; potentials and what else a point has at two scales.
        memory::require("solving this problem", ((x.len() + y.len()) * (4 * x.dim() + 24)) as u64)?;
        let seed = session.shared.seed;
        let [rho_source, rho_target] = self.rho()?;
        if self.debias && rho_source != rho_target {
            return Err("--debias compares problems alike on both sides; give both ends the same reach".into());
        }
        let classes = self.labels.read()?;
        let points = GroundCost::Known(self.cost).scale(x, y, seed);
        let scale = classes.as_ref().map_or(points, |classes| points.with_classes(classes, x, y));
        let Chosen { eps, origin } = self.choose(|| scale)?;
        too_large(eps, &scale, [rho_source, rho_target]).iter().for_each(|words| session.note(words));
        let mut problem =
            Problem::new(x, y, eps)?.with_rho(rho_source, rho_target)?.with_cost(self.cost)?.stored_in(self.storage)?;
        if let Some(classes) = &classes {
            problem = problem.with_labels(classes.clone())?;
        }
        let solver = self.stopping.solver(self.plain);
        let spinner = progress::spinner(session, "transport");
        let estimate = Estimate::new(solver.tol, eps);
        let tell = |now: Progress<'_>| {
            let Some(Residual { iteration, eps, error }) = now.residual else { return !signal::interrupted() };
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
            (None, Some(n)) => Some(subsample(&problem, n as usize, seed, solver, device, Watch::telling(&tell))?),
            (None, None) => None,
        };
        let outcome =
            solver.solve_watched(&problem, warm.as_ref(), device, Watch::telling(&tell).keeping(checkpoint.part("plan")))?;
        // The two self-terms, with the same progress and the same way to stop.
        let mut own = |cloud, part| {
            let problem = problem.between(cloud, cloud)?;
            solver.solve_watched(&problem, None, device, Watch::telling(&tell).keeping(checkpoint.part(part)))
        };
        let own = if self.debias { Some([own(x, "source")?, own(y, "target")?]) } else { None };
        let seconds = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        Ok(((Solved::entropic(outcome, own), seconds), Some(origin)))
    }
}
