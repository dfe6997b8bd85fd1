//! The command line: what it prints, writes, refuses and repeats.
//!
//! One binary, because each links the whole library: a file is a module.

mod applied;
mod bad_input;
mod barycenter;
#[cfg(unix)]
mod checkpoint;
mod closed_form;
#[cfg(target_os = "linux")]
mod command;
mod conditions;
mod couple;
mod examples;
mod experiment;
mod geodesic;
mod jko;
#[cfg(target_os = "linux")]
mod memory;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "image")]
mod pictures;
mod records;
mod sample;
mod schedule;
mod semidiscrete;
mod session;
mod tables;
mod times;
mod train;
