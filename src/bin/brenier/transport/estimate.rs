//! How long a solve will still take.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Extrapolates the fall of the error on the last level of ε.
pub struct Estimate {
    tol: f64,
    eps: f64,
    /// When the last level began, and its error then.
    begun: Mutex<Option<(Instant, f64)>>,
}

impl Estimate {
    /// Of a solve that ends at `eps` with the error `tol`.
    pub fn new(tol: f64, eps: f64) -> Self {
        Self { tol, eps, begun: Mutex::new(None) }
    }

    /// Seconds left at `error`: none on the levels above, and while the error does not fall.
    pub fn left(&self, eps: f64, error: f64) -> Option<f64> {
        if eps > 1.001 * self.eps || self.tol == 0.0 {
            return None;
        }
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, first) = *begun.get_or_insert((Instant::now(), error));
        let rate = (first / error).ln() / start.elapsed().as_secs_f64();
        let left = (error / self.tol).ln() / rate;
        (left > 0.0 && left.is_finite()).then_some(left)
    }
}
