//! One file a method.
pub mod program;
/// placeholder
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct UnknownMethod;
