//! A program folded over a Gaussian mixture: what the interpreters take.

use crate::program::Op;

/// A program whose evaluations carry the mixture's coefficients, computed in f64 on the host.
///
/// # Layout
/// The e-th [`Op::Evaluate`] of a step owns the e-th run of [`MixtureProgram::stride`] numbers of its `coefficients`: one block
/// of `stride / components` numbers for each component. Its `level`, `p` and `q` are already in them. In both forms
///
/// ```text
/// dst = Σ_k r_k v_k        r_k = 2^logit_k / Σ_l 2^logit_l
/// ```
///
/// * [`Form::Isotropic`], block `[c, q, g (d), e, m (d)]`, 2d + 3 numbers:
///   `logit = c + q |src|² + g·src` and `v = e src + m`. Logits are the log-odds, in bits, against the widest component, whose
///   c, q and g are zero: what all components share cancels in f64, so that f32 need not hold it. All q ≤ 0.
/// * [`Form::Full`], block `[c, w (d), W (d × d), m (d), G (d × d)]`, 2d² + 2d + 1 numbers, matrices row-major:
///   `z = W src − w`, `logit = c − |z|²` and `v = m + G z`. The factor √(½ log₂ e) of the logit is in W and w, its inverse in G.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureProgram {
    /// Dimension d.
    pub dim: usize,
    /// Number of registers used, at least 1.
    pub registers: usize,
    /// Number K of components; those of weight zero are left out.
    pub components: usize,
    /// Layout of the blocks.
    pub form: Form,
    /// Steps in order.
    pub steps: Vec<MixtureStep>,
}

/// The layout of a [`MixtureProgram`]'s coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every covariance is a multiple of the identity.
    Isotropic,
    /// At least one is not.
    Full,
}

/// One step of a [`MixtureProgram`].
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureStep {
    /// Operations in order, as in the program.
    pub ops: Vec<Op>,
    /// Coefficients of its evaluations, [`MixtureProgram::stride`] numbers each.
    pub coefficients: Vec<f64>,
}

impl MixtureProgram {
    /// Numbers an evaluation: K (2d + 3) when isotropic, K (2d² + 2d + 1) when full.
    pub fn stride(&self) -> usize {
        let d = self.dim;
        match self.form {
            Form::Isotropic => self.components * (2 * d + 3),
            Form::Full => self.components * (2 * d * (d + 1) + 1),
        }
    }
}
