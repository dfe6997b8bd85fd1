//! Networks trained here: a multilayer perceptron regressed on what it is to predict of noisy data.
//!
//! ```text
//! L(θ) = E |F_θ(x_t, t) − (p x₁ + q z)|²        x_t = α x₁ + σ z
//! ```
//!
//! with z the source and x₁ the data, coupled or independent, and (p, q) the coefficients of the prediction: a velocity on CondOT is
//! conditional flow matching (Lipman et al. 2023, eq. 23; Tong et al. 2024 for couplings), v or ε̂ on a variance-preserving schedule
//! is denoising score matching (Vincent 2011; Ho et al. 2020, eq. 14), and so is the inner network of Karras et al. 2022 at their levels.
//! A potential is learnt by [`EnergyMatching`].
//!
//! Gradients are by reverse mode over the layers ([`Tape`](crate::backend::cpu::tape::Tape)), steps by Adam with clipped gradients and a
//! falling rate ([`Adam`]), and the network kept is the running mean of the weights. All of it runs on the processor, in the precision of
//! the device. Rows of a batch are independent and the sums over them have one order, so the weights are the same to the bit on any
//! number of threads, and a run that was interrupted goes on as if it had not been.

pub mod adam;
pub mod energy;
pub mod error;
pub mod objective;
pub mod pairs;
#[cfg(test)]
mod tests;
pub mod trainer;
pub mod widths;

pub use adam::Adam;
pub use energy::EnergyMatching;
pub use error::TrainError;
pub use objective::Objective;
pub use pairs::{Coupling, Drawing, Drawn, PairSource, Pairs, Stored, Told};
pub use trainer::{Looks, Trained, Trainer};
pub use widths::Widths;
