//! The functions between the layers of a network.

/// The function between the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x/(1 + e^{−x}).
    Silu,
    /// tanh x.
    Tanh,
    /// x Φ(x), with the normal distribution function Φ (Hendrycks, Gimpel 2016): PyTorch's default.
    Gelu,
    /// ½ x (1 + tanh √(2/π) (x + 0.044715 x³)): PyTorch's `approximate="tanh"`.
    GeluTanh,
    /// log(1 + e^x).
    Softplus,
}

impl Activation {
    /// The function at `x`; no exponential is taken that would be denormal, since it is negligible next to one.
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Silu => x / (1.0 + (-x).max(LEAST_LOG).exp()),
            Self::Tanh => x.tanh(),
            // There Φ differs from 0 and 1 by less than 1e-280.
            Self::Gelu if x.abs() > 36.0 => x.max(0.0),
            Self::Gelu => 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            Self::GeluTanh => x / (1.0 + (-GELU_TANH * (x + GELU_CUBE * x * x * x)).max(LEAST_LOG).exp()),
            Self::Softplus if x.abs() > -LEAST_LOG => x.max(0.0),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// About the logarithm of the least number that is not denormal.
const LEAST_LOG: f64 = -700.0;
/// 2 √(2/π): ½ (1 + tanh u) = 1/(1 + e^{−2u}).
pub(crate) const GELU_TANH: f64 = 1.595_769_121_605_730_8;
pub(crate) const GELU_CUBE: f64 = 0.044_715;
