//! What the solver found: potentials, values, map, and why it stopped where it did.

use std::fmt;

use crate::backend::Precision;
use crate::transport::problem::Problem;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::transport::{Images, Plan};
use crate::watch::Residual;

/// What the solver found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was solved.
    pub problem: Problem,
    /// The potentials.
    pub potentials: Potentials,
    /// ε in units of c.
    pub eps: f64,
    /// The precision that the exponents were iterated in.
    pub precision: Precision,
    /// Iterations made, those of all annealing levels counted.
    pub iterations: usize,
    /// Whether the error reached the tolerance.
    pub converged: bool,
    /// Why the solver stopped.
    pub verdict: Verdict,
    /// Σ_i |Σ_j P_ij − a_i| of the plan of `potentials`; with a free marginal ‖Δf‖∞/ε of one more iteration.
    pub marginal_error: f64,
    /// A bound of the plan's mass in pairs of points that were left out of the sums; 0 when none was.
    pub skipped_mass_bound: f64,
    /// The error before each iteration, level by level.
    pub residuals: Vec<Residual>,
    /// |P|, the mass moved: 1 unless a marginal is free.
    pub mass: f64,
    /// ⟨P, c⟩.
    pub transport_cost: f64,
    /// Σ a f + Σ b g − ε(|P| − 1), a lower bound of OT_ε itself; a free marginal has −ρ Σ a (e^{−f/ρ} − 1) for Σ a f.
    pub dual: f64,
    /// ⟨P, c⟩ + ε KL(P ‖ a⊗b), and of each free marginal ρ KL(a e^{−f/ρ} ‖ a), what the optimum pays: OT_ε at convergence.
    pub regularised_cost: f64,
    /// −Σ P log P in nats; exp of it is the number of pairs the plan is spread over.
    pub entropy: f64,
    /// Where each source point goes: [`Outcome::map`] as it was computed.
    pub images: Images,
}

impl Outcome {
    /// The plan of the problem under these potentials, under its own cost and with its classes.
    pub fn plan(&self) -> Plan {
        Plan::of(&self.problem, &self.potentials)
    }

    /// Barycentric map T(x_i) = Σ_j P_ij y_j / Σ_j P_ij, n × d row-major.
    pub fn map(&self) -> Vec<f64> {
        self.images.to_vec()
    }

    /// `regularised_cost` − `dual`: 0 at the optimum. It may be negative by as much as the marginal error allows, because the plan
    /// of unfinished potentials is not quite feasible.
    pub fn gap(&self) -> f64 {
        self.regularised_cost - self.dual
    }
}

/// Why the solver stopped, and what would change that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The error is within the tolerance.
    Converged,
    /// A number of iterations was asked for, not a tolerance.
    Counted,
    /// The iterations were used up before the error of the last level was seen to fall.
    Few {
        /// The tolerance.
        tol: f64,
    },
    /// The iterations were used up.
    Slow {
        /// The tolerance.
        tol: f64,
        /// Iterations more that would reach it at the rate of the last ones; none while the error does not fall.
        missing: Option<usize>,
    },
    /// The error is down to the rounding of the exponents.
    Rounding {
        /// The error reached, about the least there is.
        reachable: f64,
        /// Whether double precision would reach further.
        single: bool,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Converged => write!(f, "converged"),
            Self::Counted => write!(f, "--tol 0 makes exactly --max-iter iterations and tests nothing"),
            Self::Few { tol } => {
                write!(f, "the tolerance is {tol:e} and the iterations too few to see the error fall: raise --max-iter")
            }
            Self::Slow { tol, missing: Some(missing) } => {
                let s = if *missing == 1 { "" } else { "s" };
                write!(
                    f,
                    "the tolerance is {tol:e}; about {missing} iteration{s} more would reach it: raise --max-iter, or --eps"
                )
            }
            Self::Slow { tol, missing: None } => {
                write!(f, "the tolerance is {tol:e} and the error hardly falls: raise --eps, or --max-iter by far")
            }
            Self::Rounding { reachable, single } => {
                let further = if *single { ", or use --precision f64 (cpu)" } else { "" };
                write!(f, "rounding keeps the error at about {reachable:.0e} at this eps: raise --tol or --eps{further}")
            }
        }
    }
}

impl Verdict {
    /// Of a run that ended at `error` with these residuals, where exponents are rounded to `rounding`.
    pub(super) fn new(error: f64, solver: &Sinkhorn, residuals: &[Residual], rounding: f64) -> Self {
        let tol = solver.tol;
        if tol == 0.0 {
            return Self::Counted;
        }
        if error <= tol {
            return Self::Converged;
        }
        if error <= 10.0 * rounding {
            return Self::Rounding { reachable: error, single: rounding > 1e-10 };
        }
        // The rate over the last half of the level; acceleration makes single steps erratic.
        let level = residuals.last().map_or(0.0, |last| last.eps);
        let level: Vec<_> = residuals.iter().filter(|r| r.eps == level).collect();
        if level.len() < 3 {
            return Self::Few { tol };
        }
        let (half, last) = (level.len() / 2, level.len() - 1);
        let fall = (level[half].error / error).ln() / (last - half) as f64;
        let missing = ((error / tol).ln() / fall).ceil();
        Self::Slow { tol, missing: (fall > 0.0 && missing < 1e6).then_some(missing as usize) }
    }
}
