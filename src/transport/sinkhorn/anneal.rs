//! From no potentials to those at ε: levels of ε that start each other by linear extrapolation.

use crate::backend::Backend;
use crate::transport::TransportError;
use crate::transport::cost::Streamed;
use crate::transport::problem::{Problem, Side, dot};
use crate::transport::sinkhorn::{Run, Sinkhorn};
use crate::transport::start;

/// Annealing starts at this share of the spread of the clouds, ½E|x|² + ½E|y|², or of another mean cost…
const FIRST_LEVEL: f64 = 0.05;
/// …falls by this factor a level…
const LEVEL_FACTOR: f64 = 4.0;
/// …and leaves a level at this marginal error. Looser levels start the next ones so badly that clusters hardly find each other:
/// 0.05 instead takes 1.6 times the iterations over 27 hard problems, and more than 600 on two of them.
const LOOSE: f64 = 5e-3;
/// Most iterations of a level, which only has to start the next one well.
const PER_LEVEL: usize = 100;

impl<B: Backend> Run<'_, B> {
    /// Solves the levels of ε above the one asked for, each from the two before, and leaves φ extrapolated to it.
    pub fn anneal(&mut self, problem: &Problem<'_>, solver: &Sinkhorn) -> Result<(), TransportError> {
        let spread = |side: &Side<B>| dot(&side.own, &side.mass);
        let first = FIRST_LEVEL
            * match self.cost {
                Streamed::Product => spread(self.x) + spread(self.y),
                _ => problem.mean_cost(0).abs() * self.x.unit,
            };
        let count = (first / self.eps).log(LEVEL_FACTOR).ceil().max(0.0) as i32;
        let mut levels: Vec<(f64, Vec<f64>)> = Vec::new();
        for k in (0..=count).rev() {
            let eps = self.eps * LEVEL_FACTOR.powi(k);
            match &levels[..] {
                [] if self.balanced() && matches!(self.cost, Streamed::Product) => {
                    self.phi = start::gaussian(self.x, self.y, eps).unwrap_or_else(|| self.x.own.clone());
                }
                [.., (before_eps, before), (last_eps, last)] => {
                    let share = (eps - last_eps) / (last_eps - before_eps);
                    self.phi = last.iter().zip(before).map(|(last, before)| last + share * (last - before)).collect();
                }
                _ => {}
            }
            if k > 0 {
                let left = solver.max_iter.saturating_sub(self.iterations).min(PER_LEVEL);
                let loose = Sinkhorn { tol: LOOSE.max(solver.tol), ..*solver };
                self.solve(eps, &loose, left)?;
                levels.push((eps, self.phi.clone()));
            }
        }
        Ok(())
    }
}
