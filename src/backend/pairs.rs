//! Operations over all pairs of two clouds.

use crate::backend::cpu::Cpu;
use crate::backend::{
    BackendError, Columns, Draws, Logit, Memory, Out, PairCost, PairKernel, Reals, Rows, Scores, Shares, Stations, Sweep,
    Weighted,
};

/// Operations over all pairs of two clouds, none of which keeps a matrix unless it says so.
///
/// Every operation fails with [`BackendError`] when memory runs out or the device fails.
pub trait Pairs: Memory {
    /// The streaming soft-min: `L_i = log Σ_j exp(logit_ij − shift_i)`, length n, and where asked the means behind it under the
    /// weights `w_ij ∝ exp(logit_ij)`.
    ///
    /// A shift near the answer saves the running maximum; a row whose sum over- or underflows is run again with it.
    fn soft_min(&self, logit: Logit<'_, Self>, out: Out<'_, Self>) -> Result<(), BackendError>;

    /// Draws from the softmax of each row by inverse CDF: `index_r = min {j : Σ_{j′≤j} w_ij′ > quantiles_r}` for
    /// r ∈ first_i..first_{i+1}.
    ///
    /// A shift near the row's log-sum makes it one pass over the columns, however many draws a row has.
    fn sample_plan(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: (&Reals<Self>, f64),
        draws: Draws<'_, Self>,
        index: &mut Self::Buf<u32>,
    ) -> Result<(), BackendError>;

    /// The `k` ≤ m columns of largest `logit_ij = h_j + k_j x_i·y_j` of each row in falling order, n × k; ties go to the lower
    /// index.
    fn top_k(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        k: usize,
        index: &mut Self::Buf<u32>,
        logit: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// The nearest column of each row, the limit of the soft-min at infinite scale: `index_i = argmin_j |x_i − y_j|²`.
    /// `points` are the columns, m × d, unpacked; ties go to the lower index.
    fn nearest(&self, rows: Rows<'_, Self>, points: &Reals<Self>, index: &mut Self::Buf<u32>) -> Result<(), BackendError>;

    /// `Σ_ij a_i b_j k(x_i, y_j)`, accumulated in f64.
    fn pair_sum(&self, x: Weighted<'_, Self>, y: Weighted<'_, Self>, kernel: PairKernel) -> Result<f64, BackendError>;

    /// Points x_i of masses a_i shared softly among r stations, in f64: `q_ik = softmax_k(x_i·z_k + β_k)`, themselves or their sums.
    ///
    /// Unless a device has a kernel of its own, the processor does it.
    fn share(
        &self,
        points: &Self::Buf<f64>,
        masses: &Self::Buf<f64>,
        stations: Stations<'_, Self>,
        out: Shares<'_, Self>,
    ) -> Result<(), BackendError> {
        let (points, masses) = (self.download(points)?, self.download(masses)?);
        let (slopes, levels) = (self.download(stations.slopes)?, self.download(stations.levels)?);
        let (processor, stations) = (Cpu::<f64>::new(), Stations { slopes: &slopes, levels: &levels });
        match out {
            Shares::Each(shares) => {
                let mut found = vec![0.0; masses.len() * levels.len()];
                processor.share(&points, &masses, stations, Shares::Each(&mut found))?;
                *shares = self.upload(&found)?;
            }
            Shares::Sums { moments, overlaps } => {
                let mut found = (vec![0.0; slopes.len()], vec![0.0; levels.len() * levels.len()]);
                processor.share(&points, &masses, stations, Shares::Sums { moments: &mut found.0, overlaps: &mut found.1 })?;
                (*moments, *overlaps) = (self.upload(&found.0)?, self.upload(&found.1)?);
            }
        }
        Ok(())
    }

    /// The scores of `rows` against `columns`, products or of a cost, where keeping them pays and memory allows it.
    fn scores(
        &self,
        _rows: Rows<'_, Self>,
        _columns: Rows<'_, Self>,
        _cost: Option<PairCost<'_>>,
    ) -> Result<Option<Scores<Self::Real>>, BackendError> {
        Ok(None)
    }

    /// Both half-steps of a Sinkhorn iteration in one pass over kept scores s, with the potentials p of rows and q of columns, and
    /// their weights b and a:
    ///
    /// ```text
    /// log_sum_i   = log Σ_j a_j exp(k (s_ij − p_i − q_j))                              length n
    /// log_ratio_j = log Σ_i b_i exp(k (s_ij − p_i − change_i − q_j))                   length m
    /// change_i    = ω log_sum_i / k + (1 − ω)(ground_i − p_i)                          ω = 1 without damping
    /// ```
    ///
    /// Returns false, and nothing of use, where the potentials are so far from the answer that a sum over- or underflows, and on a
    /// device that keeps no scores: soft-mins then do the work.
    fn sweep(
        &self,
        _scores: &mut Scores<Self::Real>,
        _sweep: &Sweep<'_, Self>,
        _log_sum: &mut Reals<Self>,
        _log_ratio: &mut Reals<Self>,
    ) -> Result<bool, BackendError> {
        Ok(false)
    }
}
