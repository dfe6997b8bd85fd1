//! Examples run to their end.

#[path = "../../examples/07_custom_cost.rs"]
mod custom_cost;
#[path = "../../examples/06_plan.rs"]
mod plan;

#[test]
fn a_plan_is_applied_and_drawn_from() {
    plan::main().unwrap();
}

#[test]
fn a_cost_is_a_function() {
    custom_cost::main().unwrap();
}
