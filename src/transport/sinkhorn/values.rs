//! What a run has found, in the input coordinates.

use crate::backend::Backend;
use crate::transport::TransportError;
use crate::transport::images::Images;
use crate::transport::outcome::{Outcome, Verdict};
use crate::transport::problem::{Problem, Relative, precision};
use crate::transport::sinkhorn::Run;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::transport::values::Ended;

impl<B: Backend> Run<'_, B> {
    /// Values, map and potentials of the plan, in f64 and in the input coordinates; afterwards the run no longer holds its points.
    pub fn outcome(&mut self, problem: &Problem, error: f64, solver: &Sinkhorn) -> Result<Outcome, TransportError> {
        // Coordinates on the device may be others than those of the input.
        let other = (!problem.cost().is_half_squared()).then(|| Relative::new(problem.target(), problem.target().mean(), 1.0));
        let origin = other.as_ref().unwrap_or(&self.y.relative).origin();
        let mut images = Images::about(origin, self.x.n, precision::<B>());
        let rows = self.coupling(other.as_ref(), &mut images)?;
        let plan = Ended {
            eps: self.eps,
            mass: [&self.x.mass, &self.y.mass],
            holds: [&self.hold_x, &self.hold_y],
            convex: [&self.phi, &self.psi],
            rows: &rows,
        };
        let values = plan.values();
        let verdict = Verdict::new(error, solver, &self.history, self.rounding / self.eps);
        let unit = self.x.unit;
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
            images,
        })
    }
}
