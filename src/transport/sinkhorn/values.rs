//! What a run has found, in the input coordinates.

use std::borrow::Cow;

use crate::backend::Backend;
use crate::transport::TransportError;
use crate::transport::outcome::{Outcome, Verdict};
use crate::transport::problem::{Problem, precision};
use crate::transport::sinkhorn::Run;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::transport::values::{Ended, RowMeans};

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
