//! What the solver found: potentials, values, map, and why it stopped where it did.

use std::borrow::Cow;
use std::fmt;

use crate::backend::{Backend, Precision};
use crate::transport::problem::{Problem, dot, precision};
use crate::transport::sinkhorn::{Hold, Potentials, RowMeans, Run, Sinkhorn};
use crate::transport::{Plan, TransportError};
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
    /// Barycentric map T(x_i) = Σ_j P_ij y_j / Σ_j P_ij, n × d row-major.
    pub map: Vec<f64>,
}

impl Outcome {
    /// The plan of the problem under these potentials, under its own cost and with its classes.
    pub fn plan(&self) -> Plan {
        Plan::of(&self.problem, &self.potentials)
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

impl Hold {
    /// −ρ Σ a (e^{−f/ρ} − 1), or Σ a f.
    fn dual(&self, mass: &[f64], potential: &[f64]) -> f64 {
        match self.rho {
            None => dot(mass, potential),
            Some(rho) => -rho * mass.iter().zip(potential).map(|(a, f)| a * (-f / rho).exp_m1()).sum::<f64>(),
        }
    }

    /// ρ KL(p ‖ a) of the marginal p = a e^{−f/ρ} that the optimum has: that of an unfinished plan is off by ρ times the square of its
    /// error, which knows no bound as ρ grows.
    fn penalty(&self, mass: &[f64], potential: &[f64]) -> f64 {
        let Some(rho) = self.rho else { return 0.0 };
        let of = |(a, f): (&f64, &f64)| a * (-f / rho * (-f / rho).exp() - (-f / rho).exp_m1());
        rho * mass.iter().zip(potential).filter(|(a, _)| **a > 0.0).map(of).sum::<f64>()
    }
}

/// A plan as a solver leaves it, with its own lengths, in any order of the points.
pub(super) struct Ended<'a> {
    pub eps: f64,
    /// Weights of source and target.
    pub mass: [&'a [f64]; 2],
    pub holds: [&'a Hold; 2],
    /// φ and ψ.
    pub convex: [&'a [f64]; 2],
    pub rows: &'a RowMeans,
}

/// Potentials and values of an [`Ended`] plan, with its lengths.
pub(super) struct Values {
    pub potentials: Potentials,
    pub mass: f64,
    pub transport_cost: f64,
    pub dual: f64,
    pub regularised_cost: f64,
    pub entropy: f64,
}

impl Ended<'_> {
    /// All of them are sums over the first marginal p of means under the rows, whose terms have one sign or are as small as their sum:
    ///
    /// ```text
    /// ⟨P, c⟩ = Σ p E[c | x]      ε Σ P log(P/ab) = Σ p E[x·y − φ − ψ | x]      −Σ P log P = −Σ P log(P/ab) − Σ p (log a + E[log b | x])
    /// ```
    pub fn values(&self) -> Values {
        let Self { eps, mass: [a, b], holds: [hold_x, hold_y], rows, .. } = *self;
        let potential = |hold: &Hold, convex: &[f64]| hold.ground.iter().zip(convex).map(|(ground, phi)| ground - phi).collect();
        let (mut f, mut g): (Vec<f64>, Vec<f64>) = (potential(hold_x, self.convex[0]), potential(hold_y, self.convex[1]));

        let p: Vec<f64> = a.iter().zip(&rows.log_ratio).map(|(a, r)| a * r.exp()).collect();
        let mass: f64 = p.iter().sum();
        let moved = |means: &[f64]| p.iter().zip(means).filter(|(p, _)| **p > 0.0).map(|(p, mean)| p * mean).sum::<f64>();
        let transport_cost = moved(&rows.costs);
        let information = moved(&rows.exponents);
        let log_product: f64 = p.iter().zip(a).filter(|(_, a)| **a > 0.0).map(|(p, a)| p * a.ln()).sum();
        let penalties = hold_x.penalty(a, &f) + hold_y.penalty(b, &g);
        let regularised_cost = transport_cost + information - eps * (mass - 1.0) + penalties;
        let dual = hold_x.dual(a, &f) + hold_y.dual(b, &g) - eps * (mass - 1.0);

        let balanced = hold_x.rho.is_none() && hold_y.rho.is_none();
        let gauge = if balanced { dot(b, &g) } else { 0.0 };
        f.iter_mut().for_each(|f| *f += gauge);
        g.iter_mut().for_each(|g| *g -= gauge);
        Values {
            potentials: Potentials { f, g },
            mass,
            transport_cost,
            dual,
            regularised_cost,
            entropy: -information / eps - log_product - moved(&rows.log_masses),
        }
    }
}

impl<B: Backend> Run<'_, B> {
    /// T(x_i) = Σ_j P_ij y_j / Σ_j P_ij in the input coordinates, and with it what couples the clouds.
    fn barycentric_map(&mut self, problem: &Problem) -> Result<(RowMeans, Vec<f64>), TransportError> {
        let y = self.y;
        let (mean, scale, centred) = match problem.cost().is_half_squared() {
            true => (y.mean.clone(), y.scale, Cow::Borrowed(&y.centred[..])),
            // Coordinates on the device are others than those of the input.
            false => {
                let mean = problem.target().mean();
                (mean.clone(), 1.0, Cow::Owned(problem.target().relative_to(&mean)))
            }
        };
        let means = self.coupling(self.eps, &centred, y.d)?;
        let map = means.values.iter().zip(mean.iter().cycle()).map(|(t, m)| (t + m) / scale).collect();
        Ok((means, map))
    }

    /// Values, map and potentials of the plan, in f64 and in the input coordinates.
    pub fn outcome(&mut self, problem: &Problem, error: f64, solver: &Sinkhorn) -> Result<Outcome, TransportError> {
        let (x, y) = (self.x, self.y);
        let (rows, map) = self.barycentric_map(problem)?;
        let plan = Ended {
            eps: self.eps,
            mass: [&x.mass, &y.mass],
            holds: [&self.hold_x, &self.hold_y],
            convex: [&self.phi, &self.psi],
            rows: &rows,
        };
        let values = plan.values();
        let verdict = Verdict::new(error, solver, &self.history, self.rounding / self.eps);
        let unit = x.unit;
        let Potentials { mut f, mut g } = values.potentials;
        f.iter_mut().chain(&mut g).for_each(|f| *f /= unit);
        Ok(Outcome {
            problem: problem.clone(),
            potentials: Potentials { f, g },
            eps: problem.eps(),
            precision: precision::<B>(),
            iterations: self.iterations,
            converged: verdict == Verdict::Converged,
            verdict,
            marginal_error: error,
            skipped_mass_bound: 0.0,
            residuals: self.history.clone(),
            mass: values.mass,
            transport_cost: values.transport_cost / unit,
            dual: values.dual / unit,
            regularised_cost: values.regularised_cost / unit,
            entropy: values.entropy,
            map,
        })
    }
}
