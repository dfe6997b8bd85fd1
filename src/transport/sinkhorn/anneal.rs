//! From no potentials to those at ε: levels of ε that start each other by linear extrapolation.

use crate::backend::Backend;
use crate::transport::TransportError;
use crate::transport::cost::Streamed;
use crate::transport::problem::{Problem, Side};
use crate::transport::sinkhorn::Run;
use crate::transport::solver::Sinkhorn;
use crate::transport::start;
use crate::vector::dot;

/// Annealing starts at this share of the spread of the clouds, ½E|x|² + ½E|y|², and of the class costs, or of another mean cost…
const FIRST_LEVEL: f64 = 0.05;
/// …falls by this factor a level…
const LEVEL_FACTOR: f64 = 4.0;
/// …and leaves a level at this marginal error. Looser levels start the next ones so badly that clusters hardly find each other:
/// 0.05 instead takes 1.6 times the iterations over 27 hard problems, and more than 600 on two of them.
const LOOSE: f64 = 5e-3;
/// Most iterations of a level, which only has to start the next one well.
const PER_LEVEL: usize = 100;

impl<B: Backend> Run<'_, B> {
    /// Solves the problem, if `annealed` down levels of ε that are each started from the two before; returns the error of the plan.
    pub fn descend(&mut self, problem: &Problem, solver: &Sinkhorn, annealed: bool) -> Result<f64, TransportError> {
        let spread = |side: &Side<B>| dot(&side.own, &side.mass);
        let of_points = match self.cost {
            Streamed::Product => spread(&self.x) + spread(&self.y),
            _ => problem.mean_cost(0).abs() * self.x.unit,
        };
        let of_classes = problem.labels().map_or(0.0, |labels| labels.spread(problem.source(), problem.target()));
        let first = FIRST_LEVEL * (of_points + of_classes * self.x.unit);
        self.level = if annealed { (first / self.eps).log(LEVEL_FACTOR).ceil().max(0.0) as u32 } else { 0 };
        let watch = std::mem::take(&mut self.watch);
        let recalled = watch.kept().and_then(|part| self.recall(part));
        self.watch = watch;
        let mut under_way = match recalled {
            Some(Err(error)) => return Ok(error),
            other => other.and_then(Result::ok),
        };
        loop {
            let eps = self.eps * LEVEL_FACTOR.powi(self.level as i32);
            let left = solver.max_iter.saturating_sub(self.iterations);
            if annealed && under_way.is_none() {
                self.start_level(eps);
            }
            if self.level == 0 {
                let error = self.go_on(eps, solver, left, under_way)?;
                let mut watch = std::mem::take(&mut self.watch);
                watch.close(|part| self.keep_end(error, part));
                return Ok(error);
            }
            let loose = Sinkhorn { tol: LOOSE.max(solver.tol), ..*solver };
            self.go_on(eps, &loose, left.min(PER_LEVEL), under_way.take())?;
            if self.before.len() == 2 {
                self.before.remove(0);
            }
            self.before.push((eps, self.phi.clone()));
            self.level -= 1;
        }
    }

    /// φ at the first level from the moments of the clouds, at a later one extrapolated from the two before.
    fn start_level(&mut self, eps: f64) {
        match &self.before[..] {
            [] if self.balanced() && matches!(self.cost, Streamed::Product) => {
                self.phi = start::gaussian(&self.x, &self.y, eps).unwrap_or_else(|| self.x.own.clone());
            }
            [(before_eps, before), (last_eps, last)] => {
                let share = (eps - last_eps) / (last_eps - before_eps);
                self.phi = last.iter().zip(before).map(|(last, before)| last + share * (last - before)).collect();
            }
            _ => {}
        }
    }
}
