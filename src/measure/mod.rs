//! What is moved: weighted point clouds, and laws that are known in closed form.

pub mod cloud;
pub mod mixture;

pub use cloud::{Cloud, CloudError, InverseCdf};
pub use mixture::{Component, Covariance, Mixture, MixtureError};
