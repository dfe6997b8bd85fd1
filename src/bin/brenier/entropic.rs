//! The flags of an entropic plan, of every command that solves for one, and the problem that they pose.

use std::path::PathBuf;

use brenier::backend::{Cost, Device, Storage};
use brenier::io::read_array;
use brenier::measure::Cloud;
use brenier::transport::{Convention, CostScale, GroundCost, LabelCost, Potentials, Problem, Sinkhorn, subsample};
use brenier::watch::Watch;
use clap::Args;

use crate::solver::{Chosen, Regularisation, Stopping};
use crate::{Failure, values};

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
    /// Free marginals as OTT and moscot give them, T = rho/(rho+eps) with rho KL the penalty: 1 holds them exactly
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = values::tau)]
    #[arg(conflicts_with_all = ["reach", "reach_source", "reach_target"])]
    tau: Option<f64>,
    /// The same for the source alone (OTT's tau_a)
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = values::tau)]
    #[arg(conflicts_with_all = ["tau", "reach", "reach_source"])]
    tau_source: Option<f64>,
    /// The same for the target alone (OTT's tau_b)
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = values::tau)]
    #[arg(conflicts_with_all = ["tau", "reach", "reach_target"])]
    tau_target: Option<f64>,
    /// Whose reading of --eps, --blur and the reaches: brenier and geomloss in |x-y|²/2, ott, pot and flash in |x-y|²
    #[arg(long, value_enum, default_value_t)]
    convention: Convention,
}

/// The flags of an entropic plan.
#[derive(Args)]
#[command(mut_arg("tol", |tol| tol.help("L1 error of the marginal at which to stop, or largest change of f/eps with free marginals; 0 makes exactly --max-iter iterations without annealing [default: 1e-3]")))]
pub struct PlanFlags {
    /// Cost of a pair: half-sq-euclidean, euclidean, lp:P with a P of 1 or more, or cosine
    #[arg(long, value_name = "C", default_value_t = Cost::HalfSquaredEuclidean)]
    pub cost: Cost,
    #[command(flatten)]
    penalties: Penalties,
    #[command(flatten)]
    pub stopping: Stopping,
    /// Neither annealing, nor acceleration, nor a start from the clouds' moments
    #[arg(long)]
    plain: bool,
    /// How points are stored: rounded to half precision, relative to their mean, they take half the memory of a GPU and a third of its products
    #[arg(long, value_enum, default_value_t)]
    storage: Storage,
    /// Start from the potentials of a subsample of N points a cloud
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "plain")]
    start_subsample: Option<u32>,
    /// Start from the f.npy and g.npy of an earlier run's folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["start_subsample", "plain"])]
    start_from: Option<PathBuf>,
}

impl PlanFlags {
    /// Whether the cost of a pair is ½|x−y|².
    pub fn is_half_squared(&self) -> bool {
        self.cost == Cost::HalfSquaredEuclidean
    }

    /// Whether a flag frees a marginal by a share of ε, and so asks for an ε that is known beforehand.
    pub fn has_tau(&self) -> bool {
        let Penalties { tau, tau_source, tau_target, .. } = self.penalties;
        tau.or(tau_source).or(tau_target).is_some()
    }

    /// Whether a marginal is free.
    pub fn frees_marginals(&self) -> bool {
        let Penalties { reach, reach_source, reach_target, tau, tau_source, tau_target, .. } = self.penalties;
        let taus = [tau, tau_source, tau_target].into_iter().flatten();
        reach.or(reach_source).or(reach_target).is_some() || taus.into_iter().any(|tau| tau < 1.0)
    }

    /// Where `eps` comes from when it is given, in words.
    pub fn origin(&self, eps: f64) -> String {
        let Penalties { regularisation, convention, .. } = &self.penalties;
        match (regularisation.eps, regularisation.blur) {
            (_, Some(blur)) if !self.is_half_squared() => format!("blur {blur}"),
            (Some(given), _) if given != eps => format!("{given} in units of |x-y|²"),
            (None, Some(blur)) if *convention == Convention::Flash => format!("blur {blur} squared, in units of |x-y|²"),
            _ => regularisation.origin(),
        }
    }

    /// ε as it is given, if it is.
    pub fn given_eps(&self) -> Result<Option<f64>, Failure> {
        let Penalties { regularisation, convention, .. } = &self.penalties;
        // Libraries differ in the square alone.
        match (self.is_half_squared(), regularisation.given(Convention::Brenier)?) {
            (true, _) => regularisation.given(*convention),
            (false, given) => regularisation.blur.map_or(Ok(given), |blur| self.of_length(blur).map(Some)),
        }
    }

    /// Whether the command line says what ε is.
    pub fn has_eps(&self) -> bool {
        self.penalties.regularisation.is_given()
    }

    /// ε, by default this share of `scale`.
    pub fn choose(&self, share: f64, scale: impl FnOnce() -> CostScale) -> Result<Chosen, Failure> {
        Ok(match self.given_eps()? {
            Some(eps) => Chosen { eps, origin: self.origin(eps) },
            None => Chosen::share_of(share, scale()),
        })
    }

    /// What an ε that is not given is a share of.
    pub fn scale(&self, x: &Cloud, y: &Cloud, classes: Option<&LabelCost>, seed: u32) -> CostScale {
        let points = GroundCost::Known(self.cost).scale(x, y, seed);
        classes.map_or(points, |classes| points.with_classes(classes, x, y))
    }

    /// The cost of moving as far as `length`.
    fn of_length(&self, length: f64) -> Result<f64, Failure> {
        match self.cost {
            Cost::HalfSquaredEuclidean => Ok(self.penalties.convention.of_length(length)),
            Cost::Euclidean | Cost::Lp(_) => Ok(length),
            Cost::Cosine => {
                Err("--blur and the reaches are lengths, which the cost cosine does not see; use --eps, and --tau".into())
            }
        }
    }

    /// ρ of both marginals at `eps`, where they are free.
    pub fn rho(&self, eps: f64) -> Result<[Option<f64>; 2], Failure> {
        let Penalties { reach, reach_source, reach_target, tau, tau_source, tau_target, .. } = self.penalties;
        let rho = |reach: Option<f64>, tau: Option<f64>| match (reach, tau) {
            (Some(reach), _) if !(reach > 0.0 && reach.is_finite()) => {
                Err(Failure::from(format!("reach = {reach}; a free marginal needs a finite reach above zero, a length")))
            }
            (Some(reach), _) => self.of_length(reach).map(Some),
            (None, tau) => Ok(tau.filter(|tau| *tau < 1.0).map(|tau| eps * tau / (1.0 - tau))),
        };
        Ok([rho(reach.or(reach_source), tau.or(tau_source))?, rho(reach.or(reach_target), tau.or(tau_target))?])
    }

    /// The problem under the cost, the penalties of its marginals and the storage that are asked for.
    pub fn imposed_on(&self, problem: Problem) -> Result<Problem, Failure> {
        let [source, target] = self.rho(problem.eps())?;
        Ok(problem.with_rho(source, target)?.with_cost(self.cost)?.stored_in(self.storage)?)
    }

    /// The solver.
    pub fn solver(&self) -> Sinkhorn {
        self.stopping.solver(self.plain)
    }

    /// The potentials to start from, where some are asked for.
    pub fn start(&self, problem: &Problem, seed: u32, device: &Device, watch: Watch<'_>) -> Result<Option<Potentials>, Failure> {
        Ok(match (&self.start_from, self.start_subsample) {
            (Some(folder), _) => Some(Potentials {
                f: read_array(&folder.join("f.npy"), "f")?.values,
                g: read_array(&folder.join("g.npy"), "g")?.values,
            }),
            (None, Some(n)) => Some(subsample(problem, n as usize, seed, self.solver(), device, watch)?),
            (None, None) => None,
        })
    }
}
