//! Draws and likeliest partners, which have no kernel yet: rows and columns are copied to the processor and handled there. They are
//! asked for once a solved plan, not once an iteration; the draws are the processor's, bit for bit.

use crate::backend::cpu::Cpu;
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{Backend, BackendError, Columns, Rows};

/// `index_r = min {j : Σ_{j′≤j} w_ij′ > quantiles_r}` for r ∈ first_i..first_{i+1}.
pub fn sample_plan(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    columns: Columns<'_, Cuda>,
    shift: (&Buffer<f32>, f64),
    first: &Buffer<u32>,
    quantiles: &Buffer<f64>,
    index: &mut Buffer<u32>,
) -> Result<(), BackendError> {
    let (points, packed) = (cuda.download(rows.points)?, cuda.download(columns.packed)?);
    let (potential, first, quantiles) = (cuda.download(shift.0)?, cuda.download(first)?, cuda.download(quantiles)?);
    let mut drawn = vec![0; index.len()];
    let rows = Rows { points: &points, n: rows.n, d: rows.d };
    let columns = Columns { packed: &packed, m: columns.m, d: columns.d };
    Cpu::<f32>::new().sample_plan(rows, columns, (&potential, shift.1), &first, &quantiles, &mut drawn)?;
    index.write(&drawn)
}

/// The `k` columns of largest logit of each row and these logits in nats, n × k.
pub fn top_k(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    columns: Columns<'_, Cuda>,
    k: usize,
    index: &mut Buffer<u32>,
    logit: &mut Buffer<f32>,
) -> Result<(), BackendError> {
    let (points, packed) = (cuda.download(rows.points)?, cuda.download(columns.packed)?);
    let (mut found, mut values) = (vec![0; index.len()], vec![0.0; logit.len()]);
    let rows = Rows { points: &points, n: rows.n, d: rows.d };
    let columns = Columns { packed: &packed, m: columns.m, d: columns.d };
    Cpu::<f32>::new().top_k(rows, columns, k, &mut found, &mut values)?;
    index.write(&found)?;
    logit.write(&values)
}
