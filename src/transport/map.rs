//! The entropic map T_ε(x) = Σ_j w_j y_j, w_j ∝ b_j exp((g_j − ½|x−y_j|²)/ε): the barycentric map, for any point.

use crate::backend::Device;
use crate::measure::Cloud;
use crate::transport::{Conditional, TransportError};

/// The entropic map of a solved problem (Pooladian & Niles-Weed 2021, eq. 8).
#[derive(Clone, Copy, Debug)]
pub struct EntropicMap<'a> {
    /// Target y, b.
    pub target: &'a Cloud,
    /// Potential g, of length m, in the input coordinates.
    pub g: &'a [f64],
    /// ε in units of c.
    pub eps: f64,
}

impl EntropicMap<'_> {
    /// T_ε of each of `points`, n × d row-major.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or memory runs out.
    pub fn apply(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        Conditional { target: self.target, g: self.g, eps: self.eps, source: None }.map(points, device)
    }
}
