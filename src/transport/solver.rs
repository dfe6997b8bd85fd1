//! What a solver is told, and the potentials it finds.

/// The solver and when it stops.
///
/// ```
/// use brenier::backend::{Device, Precision};
/// use brenier::measure::Cloud;
/// use brenier::transport::{Problem, Sinkhorn};
///
/// let (x, y) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![2.0, 3.0], 1)?);
/// let outcome = Sinkhorn::default().solve(&Problem::new(&x, &y, 0.05)?, &Device::cpu(Precision::F64))?;
/// assert!(outcome.converged);
/// assert!((2.0 * outcome.transport_cost - 4.0).abs() < 0.01); // W₂² of a shift by 2
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinkhorn {
    /// L1 error of the marginal that was not just updated or, with a free marginal, ‖Δf‖∞/ε of an iteration; 0 makes exactly
    /// `max_iter` plain iterations.
    pub tol: f64,
    /// Most iterations, those of all annealing levels counted; one is an update of f and one of g.
    pub max_iter: usize,
    /// Neither annealing, nor acceleration, nor a start from moments.
    pub plain: bool,
}

impl Default for Sinkhorn {
    fn default() -> Self {
        Self { tol: 1e-3, max_iter: 10_000, plain: false }
    }
}

/// Potentials of the plan P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) in the input coordinates, with Σ_j b_j g_j = 0
/// where both marginals are held.
#[derive(Clone, Debug, PartialEq)]
pub struct Potentials {
    /// f, of length n, in units of c.
    pub f: Vec<f64>,
    /// g, of length m, in units of c.
    pub g: Vec<f64>,
}

impl Sinkhorn {
    /// Whether the updates are accelerated: not when a number of iterations is asked for.
    pub(super) fn accelerated(&self) -> bool {
        !self.plain && self.tol > 0.0
    }
}
