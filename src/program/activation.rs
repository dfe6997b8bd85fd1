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

    /// Its derivative at `x`; of [`Activation::Relu`] 0 at 0.
    pub fn slope(self, x: f64) -> f64 {
        // (x s(u(x)))′ with s the logistic function.
        let gated = |u: f64, rise: f64| {
            let s = logistic(u);
            s + x * s * (1.0 - s) * rise
        };
        match self {
            Self::Relu => f64::from(u8::from(x > 0.0)),
            Self::Silu => gated(x, 1.0),
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::Gelu if x.abs() > 36.0 => f64::from(u8::from(x > 0.0)),
            Self::Gelu => {
                let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
                0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + x * density
            }
            Self::GeluTanh => gated(GELU_TANH * (x + GELU_CUBE * x * x * x), GELU_TANH * (1.0 + 3.0 * GELU_CUBE * x * x)),
            Self::Softplus => logistic(x),
        }
    }

    /// Its second derivative at `x`; of [`Activation::Relu`] 0.
    pub fn curvature(self, x: f64) -> f64 {
        // (x s(u(x)))″ with s the logistic function.
        let gated = |u: f64, rise: f64, bend: f64| {
            // 1 − s would lose the digits of s(−u).
            let [s, other] = [u, -u].map(logistic);
            s * other * (2.0 * rise + x * ((other - s) * rise * rise + bend))
        };
        match self {
            Self::Relu => 0.0,
            Self::Silu => gated(x, 1.0, 0.0),
            Self::Tanh => -2.0 * x.tanh() * self.slope(x),
            Self::Gelu if x.abs() > 36.0 => 0.0,
            Self::Gelu => (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt() * (2.0 - x * x),
            // There both tails are below 1e-280.
            Self::GeluTanh if x.abs() > 36.0 => 0.0,
            Self::GeluTanh => {
                let (rise, bend) = (1.0 + 3.0 * GELU_CUBE * x * x, 6.0 * GELU_CUBE * x);
                gated(GELU_TANH * (x + GELU_CUBE * x * x * x), GELU_TANH * rise, GELU_TANH * bend)
            }
            Self::Softplus => self.slope(x) * self.slope(-x),
        }
    }
}

/// About the logarithm of the least number that is not denormal.
const LEAST_LOG: f64 = -700.0;

/// 1/(1 + e^{−x}).
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).max(LEAST_LOG).exp())
}

/// 2 √(2/π): ½ (1 + tanh u) = 1/(1 + e^{−2u}).
pub(crate) const GELU_TANH: f64 = 1.595_769_121_605_730_8;
pub(crate) const GELU_CUBE: f64 = 0.044_715;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_and_curvatures_are_central_differences() {
        for activation in
            [Activation::Relu, Activation::Silu, Activation::Tanh, Activation::Gelu, Activation::GeluTanh, Activation::Softplus]
        {
            for x in [-40.0, -3.0, -0.5, 0.2, 2.0, 40.0] {
                let h = 1e-5;
                let difference = (activation.value(x + h) - activation.value(x - h)) / (2.0 * h);
                // h² of truncation, 1e-16 |x|/h of rounding.
                assert!((activation.slope(x) - difference).abs() < 1e-9, "{activation:?} at {x}: {}", activation.slope(x));
                let difference = (activation.slope(x + h) - activation.slope(x - h)) / (2.0 * h);
                assert!((activation.curvature(x) - difference).abs() < 1e-9, "{activation:?} at {x}: {difference}");
            }
        }
    }
}
