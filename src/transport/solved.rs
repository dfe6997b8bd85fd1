//! What a solver found of a problem, whichever solver it was: the values that all plans have, and those that some have.

use std::fmt;

use serde::Serialize;

use crate::backend::{Precision, Storage};
use crate::transport::{AnyPlan, ClosedForm, ExactPlan, Images, LinePlan, LowRankPlan, Outcome, Potentials, Verdict};
use crate::watch::Residual;

/// What a W₂² was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The laws themselves, both Gaussian.
    ClosedForm,
    /// An optimal plan.
    Exact,
    /// A plan that is not proved optimal.
    UpperBound,
    /// A plan of low rank, an upper bound as well.
    LowRank,
    /// 2⟨P, c⟩ of the entropic plan.
    Entropic,
    /// 2 S_ε of the Sinkhorn divergence.
    Debiased,
    /// The mean of |T(x) − x|² of a map.
    Map,
}

/// Why a solution is as good as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// Of the problem itself.
    Solver(Verdict),
    /// The problem converged, and that between one of its ends and itself did not.
    OwnTerm {
        /// `source` or `target`.
        end: &'static str,
        /// Why not.
        verdict: Verdict,
    },
    /// The plan is not proved optimal.
    Unproved {
        /// The least ⟨P, c⟩ that the dual proves.
        transport_cost: f64,
    },
    /// The cost of a plan of low rank still fell.
    Falling,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Solver(verdict) => verdict.fmt(f),
            Self::OwnTerm { end, verdict } => write!(f, "between the {end} and itself: {verdict}"),
            Self::Unproved { transport_cost } => {
                write!(f, "the dual proves a cost of {transport_cost:.4e} and no more: too many scales at once for f64")
            }
            Self::Falling => write!(f, "the cost still falls: raise --max-iter"),
        }
    }
}

/// What only an entropic plan has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entropic {
    /// The regularised cost less the dual.
    pub gap: f64,
    /// −Σ P log P, in nats.
    pub entropy: f64,
    /// |P|.
    pub mass: f64,
    /// A bound of the mass in pairs of points that were left out of the sums.
    pub skipped_mass_bound: f64,
    /// How far storing moves the points, root mean square: a bound of what it does to W₂. None where they are stored as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_error: Option<f64>,
    /// ρ of the source's marginal, where it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho_source: Option<f64>,
    /// ρ of the target's marginal, where it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho_target: Option<f64>,
    /// [`Solved::ending`], in words.
    pub verdict: String,
    /// The error before each iteration.
    pub residuals: Vec<Residual>,
}

impl Entropic {
    /// exp H of the plan as a law of mass one: the number of pairs it is spread over.
    pub fn pairs(&self) -> f64 {
        (self.entropy / self.mass + self.mass.ln()).exp()
    }
}

/// What a solver found. Costs are in units of c.
///
/// ```
/// use brenier::measure::Cloud;
/// use brenier::transport::solved::Kind;
/// use brenier::transport::{LinePlan, Solved};
///
/// let (x, y) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![3.0, 2.0], 1)?);
/// let solved = Solved::from(LinePlan::new(&x, &y)?);
/// assert_eq!((solved.kind, solved.w2_squared, solved.dual), (Kind::Exact, 4.0, Some(2.0)));
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Solved {
    /// What `w2_squared` was computed from.
    pub kind: Kind,
    /// ε; 0 without regularisation.
    pub eps: f64,
    /// What it was computed in.
    pub precision: Precision,
    /// Iterations made.
    pub iterations: usize,
    /// Whether there is nothing left to gain.
    pub converged: bool,
    /// Why, or why not.
    pub ending: Ending,
    /// The L1 error of the marginals, the largest of all problems solved.
    pub marginal_error: f64,
    /// ⟨P, c⟩; none where the closed form has none.
    pub transport_cost: Option<f64>,
    /// W₂² as `kind` says, in units of |x−y|² where c = ½|x−y|².
    pub w2_squared: f64,
    /// The value of the dual; none where the solver has no dual problem.
    pub dual: Option<f64>,
    /// OT_ε, the transport cost itself for an exact plan.
    pub regularised_cost: Option<f64>,
    /// S_ε, where it was asked for.
    pub divergence: Option<f64>,
    /// The share of the target's variance that an entropic map keeps.
    pub variance_kept: Option<f64>,
    /// What only an entropic plan has.
    pub entropic: Option<Entropic>,
    /// f and g, where there are any.
    pub potentials: Option<Potentials>,
    /// The barycentric map; none in closed form, and of costs without points.
    pub map: Option<Images>,
    /// The plan; none in closed form.
    pub plan: Option<AnyPlan>,
}

impl Solved {
    /// A problem without regularisation whose plan costs `transport_cost`, and of which nothing else is known.
    fn unregularised(kind: Kind, transport_cost: f64) -> Self {
        Self {
            kind,
            eps: 0.0,
            precision: Precision::F64,
            iterations: 0,
            converged: true,
            ending: Ending::Solver(Verdict::Converged),
            marginal_error: 0.0,
            transport_cost: Some(transport_cost),
            w2_squared: 2.0 * transport_cost,
            dual: None,
            regularised_cost: None,
            divergence: None,
            variance_kept: None,
            entropic: None,
            potentials: None,
            map: None,
            plan: None,
        }
    }

    /// The `outcome` of an entropic problem; with `own`, those of the source with itself and of the target with itself, its
    /// divergence S_ε = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b).
    pub fn entropic(outcome: Outcome, own: Option<[Outcome; 2]>) -> Self {
        let problem = outcome.problem.clone();
        let divergence = own.as_ref().map(|own| outcome.dual - 0.5 * own.iter().map(|own| own.dual).sum::<f64>());
        // A value is as good as the worst of its terms.
        let mut terms = own.iter().flatten().zip(["source", "target"]);
        let unfinished = terms.find(|(own, _)| outcome.converged && !own.converged);
        let (ending, marginal_error) = match unfinished {
            Some((own, end)) => (Ending::OwnTerm { end, verdict: own.verdict }, own.marginal_error),
            None => (Ending::Solver(outcome.verdict), outcome.marginal_error),
        };
        let [rho_source, rho_target] = problem.rho();
        Self {
            plan: Some(AnyPlan::Entropic(outcome.plan())),
            eps: problem.eps(),
            precision: outcome.precision,
            iterations: outcome.iterations,
            converged: outcome.converged && unfinished.is_none(),
            ending,
            marginal_error,
            w2_squared: 2.0 * divergence.unwrap_or(outcome.transport_cost),
            dual: Some(outcome.dual),
            regularised_cost: Some(outcome.regularised_cost),
            divergence,
            variance_kept: Some(outcome.variance_kept()),
            entropic: Some(Entropic {
                gap: outcome.gap(),
                entropy: outcome.entropy,
                mass: outcome.mass,
                skipped_mass_bound: outcome.skipped_mass_bound,
                storage_error: (problem.storage() != Storage::Full).then(|| problem.storage_error()),
                rho_source,
                rho_target,
                verdict: ending.to_string(),
                residuals: outcome.residuals,
            }),
            potentials: Some(outcome.potentials),
            map: Some(outcome.images),
            ..Self::unregularised(if own.is_some() { Kind::Debiased } else { Kind::Entropic }, outcome.transport_cost)
        }
    }

    /// The problem between two Gaussians at `eps`, or the exact one.
    pub fn closed_form(closed: &ClosedForm, eps: Option<f64>) -> Self {
        let half = eps.is_none().then_some(0.5 * closed.w2_squared);
        let regularised_cost = closed.regularised_cost.or(half);
        Self {
            eps: eps.unwrap_or(0.0),
            transport_cost: closed.transport_cost.or(half),
            w2_squared: closed.w2_squared,
            // There is no gap between the problem and its dual.
            dual: regularised_cost,
            regularised_cost,
            divergence: closed.divergence,
            ..Self::unregularised(Kind::ClosedForm, 0.0)
        }
    }
}

impl From<ExactPlan> for Solved {
    fn from(plan: ExactPlan) -> Self {
        let (proved, cost) = (plan.is_proved(), plan.transport_cost);
        let (n, m) = (plan.potentials.f.len(), plan.potentials.g.len());
        Self {
            converged: proved,
            ending: if proved { Ending::Solver(Verdict::Converged) } else { Ending::Unproved { transport_cost: plan.dual } },
            dual: Some(plan.dual),
            regularised_cost: Some(cost),
            map: plan.map.map(|map| Images::new(map, n)),
            potentials: Some(plan.potentials),
            plan: Some(AnyPlan::Sparse { entries: plan.entries, n, m }),
            ..Self::unregularised(if proved { Kind::Exact } else { Kind::UpperBound }, cost)
        }
    }
}

/// The quantile coupling is optimal whatever its potentials round to.
impl From<LinePlan> for Solved {
    fn from(plan: LinePlan) -> Self {
        let cost = 0.5 * plan.w2_squared;
        let (n, m) = (plan.potentials.f.len(), plan.potentials.g.len());
        Self {
            w2_squared: plan.w2_squared,
            dual: Some(cost),
            regularised_cost: Some(cost),
            map: Some(Images::new(plan.map, n)),
            potentials: Some(plan.potentials),
            plan: Some(AnyPlan::Sparse { entries: plan.pairs, n, m }),
            ..Self::unregularised(Kind::Exact, cost)
        }
    }
}

impl From<LowRankPlan> for Solved {
    fn from(plan: LowRankPlan) -> Self {
        Self {
            iterations: plan.iterations,
            converged: plan.converged,
            ending: if plan.converged { Ending::Solver(Verdict::Converged) } else { Ending::Falling },
            marginal_error: plan.marginal_error,
            map: Some(Images::new(plan.map, plan.q.len() / plan.g.len())),
            plan: Some(AnyPlan::LowRank { q: plan.q, r: plan.r, g: plan.g }),
            ..Self::unregularised(Kind::LowRank, plan.transport_cost)
        }
    }
}
