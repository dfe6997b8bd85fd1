//! The mathematics of the library: closed forms, orders of convergence, properties, agreement with other libraries, bad input.
//!
//! One binary, because each links the whole library: a file is a module.

#[path = "../reference/mod.rs"]
mod reference;

mod applied;
mod arc_length;
mod bridge;
mod by_class;
mod class_costs;
mod closed_forms;
mod compare;
mod costs;
mod derivatives;
mod diffusion_meets_flow;
mod exact;
mod exact_costs;
mod exact_field;
mod fields;
mod floors;
mod free_marginals;
mod gaussian_jko;
mod given;
mod gradient_flow;
mod guidance;
mod hostile_input;
mod ledger;
mod likelihood;
mod low_rank;
mod multiscale;
mod network;
mod noise_schedules;
mod optimal_steps;
mod orders;
mod peers_agree;
mod plan;
mod properties;
mod pushforward;
mod sampler_closed_forms;
mod schemes;
mod semidiscrete;
mod transport;
