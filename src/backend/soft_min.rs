//! What a soft-min is of, and what is wanted of it.

use crate::backend::{
    BackendError, Columns, HalfColumns, HalfPoints, Memory, PairCost, Potentials, Reals, Rows, Scale, TileList, Tiles,
};

/// Rows, columns and the exponent that a pair of them has; a shift is a factor times a buffer of length n.
pub enum Logit<'a, B: Memory> {
    /// `logit_ij = h_j + k_j x_i·y_j`, of packed columns.
    Product {
        /// x.
        rows: Rows<'a, B>,
        /// (k y, h).
        columns: Columns<'a, B>,
        /// What the log-sums are relative to.
        shift: Option<(&'a Reals<B>, f64)>,
    },
    /// The same of points in half the memory, whose products are exact.
    Half {
        /// x.
        rows: &'a HalfPoints<B>,
        /// y, k and h.
        columns: HalfColumns<'a, B>,
        /// What the log-sums are relative to.
        shift: Option<(&'a Reals<B>, f64)>,
    },
    /// `logit_ij = h_j − k c(x_i, y_j)`, of a cost that is not a product.
    Cost {
        /// x.
        rows: Rows<'a, B>,
        /// Packed with scale [`LN_2`](std::f64::consts::LN_2), so that they hold y itself beside log₂e h.
        columns: Columns<'a, B>,
        /// c.
        cost: PairCost<'a>,
        /// Factor k of the cost.
        k: f64,
        /// What the log-sums are relative to.
        shift: Option<(&'a Reals<B>, f64)>,
        /// Where the mean cost `Σ_j w_ij c_ij` of each row goes, of length n, if it is wanted.
        mean: Option<&'a mut Reals<B>>,
    },
    /// `logit_ij − shift_i = log b_j + (x_i·y_j − φ_i − ψ_j)/ε` where the tile of i keeps that of j, and else −∞.
    Tiles {
        /// x and φ.
        rows: &'a Tiles<'a, B>,
        /// y, ψ and log b.
        columns: &'a Tiles<'a, B>,
        /// The pairs of tiles that are kept.
        list: &'a TileList<'a, B>,
        /// ε.
        eps: f64,
        /// Workspace of m × (d + 1) or more.
        packed: &'a mut Reals<B>,
    },
    /// `logit_ij − shift_i = log a_j + k x_i·x_j − s_i − s_j`, of a cloud with itself, with s a factor times a buffer. A backend may
    /// use that it is symmetric and visit each pair once.
    Symmetric(Symmetric<'a, B>),
}

/// A cloud with itself: [`Logit::Symmetric`].
pub struct Symmetric<'a, B: Memory> {
    /// x.
    pub rows: Rows<'a, B>,
    /// Factor k of the products.
    pub k: f64,
    /// a and log a.
    pub weights: (&'a Reals<B>, &'a Reals<B>),
    /// s.
    pub shift: (&'a Reals<B>, f64),
    /// Workspace of n × (d + 1).
    pub packed: &'a mut Reals<B>,
}

impl<'a, B: Potentials> Symmetric<'a, B> {
    /// The same logit as that of packed columns, which visits each pair twice.
    pub(super) fn packed(self, backend: &B) -> Result<Logit<'a, B>, BackendError> {
        let Self { rows, k, weights, shift, packed } = self;
        backend.pack(rows, Scale::Uniform(k), weights.1, Some((shift.0, -shift.1)), packed)?;
        Ok(Logit::Product { rows, columns: Columns { packed, m: rows.n, d: rows.d }, shift: Some(shift) })
    }
}

/// Where the results of a soft-min go.
pub struct Out<'a, B: Memory> {
    /// L, of length n.
    pub log_sum: &'a mut Reals<B>,
    /// The means behind it.
    pub mean: Option<Mean<'a, B>>,
}

impl<'a, B: Memory> Out<'a, B> {
    /// Log-sums alone.
    pub fn of(log_sum: &'a mut Reals<B>) -> Self {
        Self { log_sum, mean: None }
    }

    /// Log-sums, and behind them the means of `values`, m × p, in `out`, n × p.
    pub fn with_mean(log_sum: &'a mut Reals<B>, values: &'a Reals<B>, p: usize, out: &'a mut Reals<B>) -> Self {
        Self { log_sum, mean: Some(Mean { values, p, out, blend: None }) }
    }
}

/// The weighted mean to take in the same pass: `mean_i = Σ_j w_ij v_j`.
pub struct Mean<'a, B: Memory> {
    /// Values v, m × p.
    pub values: &'a Reals<B>,
    /// Numbers a value.
    pub p: usize,
    /// Where the means go, n × p.
    pub out: &'a mut Reals<B>,
    /// What is made of them, if anything.
    pub blend: Option<Blend<'a, B>>,
}

/// What a denoiser makes of a mean: `out_i = s mean_i + t z_i`.
pub struct Blend<'a, B: Memory> {
    /// Factor of the mean.
    pub s: f64,
    /// Factor of z.
    pub t: f64,
    /// z, n × p: often the rows themselves.
    pub with: &'a Reals<B>,
}
