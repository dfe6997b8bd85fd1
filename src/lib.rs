//! Moves a million particles along the two natural curves of Wasserstein space and measures both with one ruler.
//!
//! On the space of probability measures with the metric W₂, diffusion is the gradient flow of KL(ρ‖π) and optimal-transport
//! flow matching is the geodesic (arXiv 2606.24157): the same ends, different paths. Nearly everything here is one operation,
//! a streaming soft-min over pairs that never stores the n × m matrix:
//!
//! ```text
//! L_i = log Σ_j exp(h_j + k_j x_i·y_j)        w_ij = the softmax behind it        A_i = Σ_j w_ij v_j
//! ```
//!
//! and one kind of program, a short list of evaluations, draws and linear combinations that every sampling method compiles to.
//!
//! # Conventions
//! * Cost c(x, y) = ½|x−y|²; ε in units of c; OT_ε = min ⟨P, c⟩ + ε KL(P ‖ a⊗b); P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε).
//! * x_t = α_t · data + σ_t · noise; t = 0 is noise (the source), t = 1 is data (the target).
//! * Points are row-major n × d.
//!
//! # Layout
//! Data flows one way: [`io`] → [`measure`] → ([`transport`] | [`sampler`], over [`field`] and [`path`]) → ([`gradient_flow`] |
//! [`geodesic`]) → [`metric`] →
//! [`experiment`] → [`report`]. All arithmetic over particles happens behind [`backend`].
#![deny(missing_docs)]

pub mod backend;
pub mod checkpoint;
pub mod error;
pub mod experiment;
pub mod field;
pub mod geodesic;
pub mod gradient_flow;
pub mod io;
pub mod measure;
pub mod metric;
mod names;
pub mod path;
pub mod program;
pub mod random;
pub mod report;
pub mod sampler;
pub mod train;
pub mod transport;
mod vector;
pub mod watch;

pub use error::Error;
pub use names::nearest;

/// The snippets of the README are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
