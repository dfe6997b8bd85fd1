//! Launches `kernels/softmin.cu`.

use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Columns, Rows};

/// Values v, m × p, and where their weighted mean goes, n × p.
pub struct Mean<'a> {
    pub values: &'a Buffer<f32>,
    pub p: usize,
    pub out: &'a mut Buffer<f32>,
}

/// `out_i = log Σ_j exp(h_j + k_j x_i·y_j − shift_i)`, and the weighted mean behind it.
pub fn soft_min(
    _cuda: &Cuda,
    _rows: Rows<'_, Cuda>,
    _columns: Columns<'_, Cuda>,
    _shift: Option<(&Buffer<f32>, f64)>,
    _out: &mut Buffer<f32>,
    _mean: Option<Mean<'_>>,
) -> Result<(), BackendError> {
    Err(BackendError::Launch { what: "soft_min".into(), reason: "the kernel is on the branch `kernels`".into() })
}
