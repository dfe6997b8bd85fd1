//! A field that is a softmax over points.

use crate::backend::{Backend, BackendError, Blend, Logit, Mean, Out, Packed, Reals, Rows};
use crate::field::FieldError;
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::measure::Cloud;
use crate::path::Level;

/// A field that is a softmax over points: x̂₀ = Σ_j w_j y_j.
pub struct Points<B: Backend> {
    d: usize,
    /// y, m × d; those without weight are left out.
    points: Reals<B>,
    /// y − ȳ with ȳ the mean: x·ȳ is common to all columns, so products of points far from the origin need not hold it.
    centred: Packed<B>,
    /// ½|y|² − ½|ȳ|².
    half_squares: Reals<B>,
    /// The part of the logit that no level changes.
    bias: Reals<B>,
    /// ε of the entropic plan; none for a data set.
    eps: Option<f64>,
    /// α and σ that are packed.
    at: Option<(f64, f64)>,
    room: Option<Room<B>>,
}

/// Workspace for `n` rows.
struct Room<B: Backend> {
    n: usize,
    log_sum: Reals<B>,
    index: B::Buf<u32>,
}

impl<B: Backend> Points<B> {
    /// `plan` is the potential g and ε of an entropic plan; none for a data set.
    pub fn new(backend: &B, cloud: &Cloud, plan: Option<(&[f64], f64)>) -> Result<Self, BackendError> {
        let present: Vec<usize> = (0..cloud.len()).filter(|&j| cloud.weight(j) > 0.0).collect();
        let (d, mean) = (cloud.dim(), cloud.mean());
        let potential = |j: usize| plan.map_or(0.0, |(g, eps)| g[j] / eps);
        let bias: Vec<f64> = present.iter().map(|&j| cloud.weight(j).ln() + potential(j)).collect();
        let points: Vec<f64> = present.iter().flat_map(|&j| cloud.row(j)).copied().collect();
        let centred: Vec<f64> = points.iter().zip(mean.iter().cycle()).map(|(y, m)| y - m).collect();
        let half_square = |y: &[f64]| 0.5 * y.iter().zip(&mean).map(|(y, m)| (y - m) * (y + m)).sum::<f64>();
        let half_squares: Vec<f64> = points.chunks_exact(d).map(half_square).collect();
        Ok(Self {
            d,
            points: backend.upload_reals(&points)?,
            centred: Packed::new(backend, &centred, d)?,
            half_squares: backend.upload_reals(&half_squares)?,
            bias: backend.upload_reals(&bias)?,
            eps: plan.map(|(_, eps)| eps),
            at: None,
            room: None,
        })
    }

    /// Packs the columns for `level`, unless they are.
    fn pack(&mut self, backend: &B, level: Level) -> Result<(), BackendError> {
        let Level { alpha, sigma, .. } = level;
        if self.at == Some((alpha, sigma)) {
            return Ok(());
        }
        // −|x − αy|²/2σ² for a data set, −|x − y|²/2εσ for a plan; the parts in |x|² and x·ȳ are common to all columns.
        let (product, square) = match self.eps {
            None => (alpha / (sigma * sigma), -alpha * alpha / (sigma * sigma)),
            Some(eps) => (1.0 / (eps * sigma), -1.0 / (eps * sigma)),
        };
        let potential = Some((&self.half_squares, square));
        self.centred.pack(backend, product, &self.bias, potential)?;
        self.at = Some((alpha, sigma));
        Ok(())
    }
}

impl<B: Backend> Evaluate<B> for Points<B> {
    /// `dst ← p A + q (src − α A)/σ`, with A the softmax mean of the points.
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError> {
        let Evaluation { level, of: (p, q), n, src, dst } = evaluation;
        if level.sigma > 0.0 {
            self.pack(backend, level)?;
        } else if q != 0.0 {
            return Err(FieldError::NoiseAtData);
        }
        let d = self.d;
        let room = match self.room.take() {
            Some(room) if room.n == n => room,
            _ => Room { n, log_sum: backend.zeros(n)?, index: backend.zeros(n)? },
        };
        let room = self.room.insert(room);
        let last = registers.len() - 1;
        let (registers_in, made) = registers.split_at_mut(last);
        let (rows, made) = (Rows { points: &registers_in[src], n, d }, &mut made[0]);
        if level.sigma > 0.0 {
            let columns = self.centred.columns();
            let blend = Some(Blend { s: p - q * level.alpha / level.sigma, t: q / level.sigma, with: rows.points });
            let mean = Some(Mean { values: &self.points, p: d, out: made, blend });
            backend.soft_min(Logit::Product { rows, columns, shift: None }, Out { log_sum: &mut room.log_sum, mean })?;
            registers.swap(dst, last);
            return Ok(());
        }
        backend.nearest(rows, &self.points, &mut room.index)?;
        backend.gather(&self.points, d, &room.index, made)?;
        Ok(backend.combine(registers, dst, &[(last, p)])?)
    }
}
