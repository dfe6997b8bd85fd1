//! The ε at which a plan is as sharp as asked: by its renormalised entropy, which is 0 for a map and 1 for independent pairs, whatever
//! the number of points (Zhang et al. 2025).
//!
//! The entropy rises with ε: linearly in log ε where a point shares its mass among about (ε/c₀)^{d/2} n others, exponentially where
//! hardly any does. So the root of its logarithm is bracketed and then found by false position in log ε (Illinois: an end that stays
//! has its value halved). A plan that is tried is the very one that is solved at that ε later.

use crate::backend::Device;
use crate::transport::{Problem, Sinkhorn, TransportError};
use crate::watch::Watch;

/// Renormalised entropies that are asked for, within a part of themselves.
const WITHIN: f64 = 0.05;
/// Most plans solved.
const TRIALS: usize = 16;
/// Factors between the first ε, before the entropy is bracketed.
const FACTOR: f64 = 8.0;
/// A change, over the entropy asked for, below which the entropy has settled: between equal points, or clusters that lie much closer
/// together than others, ε changes nothing.
const SETTLED: f64 = 1e-3;
/// Below this share of the entropy asked for a plan is as good as a map.
const NONE: f64 = 0.01;

/// The plans tried: log ε, and the logarithm of the entropy over the one asked for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bracket {
    low: Option<(f64, f64)>,
    high: Option<(f64, f64)>,
}

impl Bracket {
    /// Whether the root lies between two plans.
    fn is_closed(&self) -> bool {
        self.low.is_some() && self.high.is_some()
    }

    /// Takes in a plan; the next log ε to try.
    fn next(&mut self, at: f64, off: f64) -> f64 {
        let (own, other) = if off < 0.0 { (&mut self.low, &mut self.high) } else { (&mut self.high, &mut self.low) };
        // The other end stayed, and this one moves again: half of its value, so that it does not stay for ever.
        if let (Some(_), Some((_, value))) = (&own, other) {
            *value *= 0.5;
        }
        *own = Some((at, off));
        match (self.low, self.high) {
            (Some((low, below)), Some((high, above))) => low + (high - low) * below / (below - above),
            (None, _) => at - FACTOR.ln(),
            (_, None) => at + FACTOR.ln(),
        }
    }
}

impl Sinkhorn {
    /// The ε, to three digits, at which the plan of `problem` has the renormalised `entropy`
    /// ([`PlanEntropy::renormalised`](crate::transport::PlanEntropy::renormalised)) within 5 % of itself; the search begins at the
    /// problem's own.
    ///
    /// # Errors
    /// [`TransportError::Entropy`] where no ε that the precision holds has it, or the entropy has settled elsewhere, as between points
    /// of which many are equal; and as [`Sinkhorn::solve_watched`].
    pub fn eps_of_entropy(
        &self,
        problem: &Problem,
        entropy: f64,
        device: &Device,
        watch: &Watch<'_>,
    ) -> Result<f64, TransportError> {
        if problem.source().len().min(problem.target().len()) < 2 {
            return Err(TransportError::Entropy { asked: entropy, found: 0.0, eps: problem.eps() });
        }
        let (mut bracket, mut eps, mut found) = (Bracket::default(), rounded(problem.eps()), f64::NAN);
        for _ in 0..TRIALS {
            let outcome = match self.solve_watched(&problem.clone().with_eps(eps)?, None, device, watch.not_keeping()) {
                // Beyond what the precision holds no plan is known.
                Err(TransportError::EpsTooSmall { .. } | TransportError::EpsTooLarge { .. }) if !found.is_nan() => break,
                solved => solved?,
            };
            let last = std::mem::replace(&mut found, outcome.plan().entropy(device)?.renormalised());
            if (found - entropy).abs() <= WITHIN * entropy {
                return Ok(eps);
            }
            let next = bracket.next(eps.ln(), (found / entropy).max(NONE).ln());
            if !bracket.is_closed() && (found - last).abs() < SETTLED * entropy {
                break;
            }
            eps = rounded(next.exp());
        }
        Err(TransportError::Entropy { asked: entropy, found, eps })
    }
}

/// A positive number to three digits.
fn rounded(x: f64) -> f64 {
    format!("{x:.2e}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::measure::{Cloud, named};
    use crate::random::Stream;

    #[test]
    fn plans_are_as_sharp_as_asked() {
        let device = Device::cpu(Precision::F64);
        let cloud = |name: &str, stream| named(name, None).unwrap().sample(400, 0, stream, 0);
        for (source, target) in [("normal:2", "8gaussians"), ("normal:32", "normal:32"), ("moons", "moons")] {
            let (x, y) = (cloud(source, Stream::Source), cloud(target, Stream::Metric));
            for entropy in [0.02, 0.1, 0.4, 0.9] {
                let start = Problem::new(&x, &y, 1.0).unwrap();
                let eps = Sinkhorn::default().eps_of_entropy(&start, entropy, &device, &Watch::default()).unwrap();
                let plan = Sinkhorn::default().solve(&start.with_eps(eps).unwrap(), &device).unwrap().plan();
                let found = plan.entropy(&device).unwrap().renormalised();
                assert!((found - entropy).abs() < 0.06 * entropy, "{source} to {target}: {found} for {entropy}");
            }
        }
    }

    #[test]
    fn where_no_eps_has_it_the_error_says_so() {
        let device = Device::cpu(Precision::F64);
        let one = Cloud::new(vec![1.0; 6], 2).unwrap();
        // Half of the points twice: such a pair shares its mass, log 2 of entropy for each.
        let pairs = Cloud::new((0..40).map(|i| f64::from(i / 2)).collect(), 1).unwrap();
        for (x, y) in [(&one, &one), (&pairs, &pairs)] {
            let problem = Problem::new(x, y, 1.0).unwrap();
            let error = Sinkhorn::default().eps_of_entropy(&problem, 0.1, &device, &Watch::default()).unwrap_err();
            assert!(matches!(error, TransportError::Entropy { found, .. } if found > 0.1), "{error}");
        }
    }
}
