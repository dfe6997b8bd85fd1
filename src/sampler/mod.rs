//! One file a method.
pub mod program;
