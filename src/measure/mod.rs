//! What is moved: weighted point clouds, and laws that are known in closed form.

pub mod cloud;
mod coordinates;
pub mod digits;
pub mod mixture;
pub mod moments;
pub mod named;
pub mod picture;
pub mod shape;

pub use cloud::{Cloud, CloudError, InverseCdf};
pub use coordinates::Given;
pub use mixture::{Component, Covariance, Mixture, MixtureError};
pub use moments::Moments;
pub use named::{NameError, named};
pub use picture::Picture;
pub use shape::Shape;

use crate::random::Stream;

/// One end of a transport: what the commands take as source or target.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// A law in closed form: it can be drawn from, and its fields are exact.
    Law(Mixture),
    /// A law that can be drawn from, without a closed form.
    Shape(Shape),
    /// Finitely many weighted points.
    Finite(Cloud),
}

impl Measure {
    /// Dimension d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Law(mixture) => mixture.dim(),
            Self::Shape(_) => Shape::DIM,
            Self::Finite(cloud) => cloud.dim(),
        }
    }

    /// `n` ≥ 1 independent draws; row i is a function of (seed, stream, step, i) alone, the same whatever n.
    ///
    /// Points of a finite measure are drawn with replacement, by their weights; [`Cloud::halves`] splits them instead.
    pub fn sample(&self, n: usize, seed: u32, stream: Stream, step: u32) -> Cloud {
        match self {
            Self::Law(mixture) => mixture.sample(n, seed, stream, step),
            Self::Shape(shape) => shape.sample(n, seed, stream, step),
            Self::Finite(cloud) => cloud.resample(n, seed, stream, step),
        }
    }
}
