//! The flags of the entropic solver.

use brenier::backend::Cost;
use brenier::metric::flag::MAP_COLLAPSED;
use brenier::transport::{Convention, CostScale, GroundCost, Sinkhorn};
use clap::Args;

use crate::output::number;
use crate::{Failure, values};

/// The cost of all commands that have no other.
pub const HALF_SQUARED: GroundCost = GroundCost::Known(Cost::HalfSquaredEuclidean);

/// ε, as itself or as a length.
#[derive(Args)]
pub struct Regularisation {
    /// Regularisation, in units of |x-y|²/2 [default: 0.05 x the mean cost within the clouds]
    #[arg(long, value_name = "E", allow_negative_numbers = true, conflicts_with = "blur")]
    pub eps: Option<f64>,
    /// Regularisation as a length: eps = S²
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub blur: Option<f64>,
}

impl Regularisation {
    /// Whether the command line says what ε is.
    pub fn is_given(&self) -> bool {
        self.eps.or(self.blur).is_some()
    }

    /// ε as it is given in the reading of `convention`, if it is.
    pub fn given(&self, convention: Convention) -> Result<Option<f64>, Failure> {
        match (self.eps, self.blur) {
            (Some(eps), _) => Ok(Some(convention.strength(eps))),
            (None, Some(blur)) if blur > 0.0 && blur.is_finite() => Ok(Some(convention.of_length(blur))),
            (None, Some(blur)) => {
                Err(format!("blur = {blur}; the entropic problem needs a finite blur above zero, a length").into())
            }
            (None, None) => Ok(None),
        }
    }

    /// Where an ε that is given comes from, in words.
    pub fn origin(&self) -> String {
        self.blur.map_or("given".into(), |blur| format!("blur {blur} squared"))
    }
}

/// ε, and where it comes from.
#[derive(Clone)]
pub struct Chosen {
    pub eps: f64,
    pub origin: String,
}

impl Chosen {
    /// `share` of `scale`.
    pub fn share_of(share: f64, scale: CostScale) -> Self {
        Self { eps: share * scale.value, origin: format!("{share} x {}", scale.of) }
    }
}

/// What to say of an `eps` that blurs too much: above the mean cost within an end, or above the ρ of a free marginal.
pub fn too_large(eps: f64, scale: &CostScale, rho: [Option<f64>; 2]) -> Vec<String> {
    let ends = ["source", "target"]
        .into_iter()
        .zip(scale.within)
        .filter(|(_, within)| *within > 0.0 && eps > *within && eps.is_finite());
    let spread = ends.map(|(end, within)| {
        let (eps, within) = (number(eps), number(within));
        format!("eps = {eps} is above {within}, the mean cost within the {end}: the plan hardly tells its points apart; use a smaller --eps")
    });
    let least = rho.into_iter().flatten().fold(f64::INFINITY, f64::min);
    let reach = (eps > least && eps.is_finite()).then(|| {
        let (eps, rho) = (number(eps), number(least));
        format!(
            "eps = {eps} is above rho = {rho}: mass is blurred farther than it may move; use a smaller --eps or a larger reach"
        )
    });
    spread.chain(reach).collect()
}

/// What to say of a map that keeps this share of the target's variance, if it has collapsed.
pub fn collapse(kept: f64) -> Option<String> {
    let percent = 100.0 * kept;
    let words = || format!("the map keeps {percent:.1} % of the target's variance, so it has collapsed; use a smaller --eps");
    (kept < MAP_COLLAPSED).then(words)
}

/// When the solver stops.
#[derive(Args)]
pub struct Stopping {
    /// L1 error of the marginal at which to stop; 0 makes exactly --max-iter iterations without annealing [default: 1e-3]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = values::tolerance)]
    tol: Option<f64>,
    /// Most iterations of a solve, all annealing levels counted [default: 10000]
    #[arg(long, value_name = "N")]
    max_iter: Option<usize>,
}

impl Stopping {
    /// The tolerance, where it is given.
    pub fn tol(&self) -> Option<f64> {
        self.tol
    }

    /// Most iterations.
    pub fn max_iter(&self) -> usize {
        self.max_iter.unwrap_or(Sinkhorn::default().max_iter)
    }

    /// The solver that stops then.
    pub fn solver(&self, plain: bool) -> Sinkhorn {
        Sinkhorn { tol: self.tol.unwrap_or(Sinkhorn::default().tol), max_iter: self.max_iter(), plain }
    }
}
