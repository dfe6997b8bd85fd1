//! Operations on potentials: what a soft-min reads of them, what an iteration does to them, and when it may stop.

use crate::backend::{Anderson, BackendError, Memory, Reals, Rows, Scale, Ticket, Update};

/// Operations on potentials: what a soft-min reads of them, what an iteration does to them, and when it may stop.
///
/// Every operation fails with [`BackendError`] when memory runs out or the device fails.
pub trait Potentials: Memory {
    /// Packs columns for the soft-min: `out_j = log₂e · (k_j y_j, bias_j + factor · potential_j)`, m × (d + 1).
    fn pack(
        &self,
        points: Rows<'_, Self>,
        scale: Scale<'_, Self>,
        bias: &Reals<Self>,
        potential: Option<(&Reals<Self>, f64)>,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// `out_i = x_i`, rounded to [`Memory::Real`].
    fn round(&self, x: &Self::Buf<f64>, out: &mut Reals<Self>) -> Result<(), BackendError>;

    /// What an update would change of a potential: `change = share (ω ε log_ratio + (1 − ω)(ground − potential))`, in f64; ω = 1
    /// without damping.
    fn relax(
        &self,
        log_ratio: &Reals<Self>,
        update: Update<'_, Self>,
        potential: &Self::Buf<f64>,
        change: &mut Self::Buf<f64>,
    ) -> Result<(), BackendError>;

    /// `potential ← potential + change`, in f64.
    fn advance(&self, change: &Self::Buf<f64>, potential: &mut Self::Buf<f64>) -> Result<(), BackendError>;

    /// Moves `point`, whose residual is `residual`, to the next one by [`Anderson`]'s step in the norm of `mass`.
    fn accelerate(
        &self,
        memory: &mut Anderson<Self>,
        mass: &Self::Buf<f64>,
        residual: &Self::Buf<f64>,
        point: &mut Self::Buf<f64>,
    ) -> Result<(), BackendError>;

    /// `Σ_i a_i |exp(log_ratio_i) − 1|`: the L1 error of a marginal whose density with respect to a is exp(log_ratio).
    fn marginal_error(&self, a: &Reals<Self>, log_ratio: &Reals<Self>) -> Result<Ticket, BackendError>;

    /// `max_i |change_i|` over the points with mass, NaN if any of them is.
    fn largest_change(&self, mass: &Self::Buf<f64>, change: &Self::Buf<f64>) -> Result<Ticket, BackendError>;

    /// `max(0, max_i (before_i − after_i))`, NaN if any difference is.
    fn largest_fall(&self, before: &Self::Buf<f64>, after: &Self::Buf<f64>) -> Result<Ticket, BackendError>;
}
