//! From moons to a checkerboard by entropic transport, and where a new point goes. `cargo run --release --example 02_transport`

use brenier::backend::{Device, Precision};
use brenier::measure::named;
use brenier::random::Stream;
use brenier::transport::problem::mean_cost;
use brenier::transport::{Divergence, EntropicMap, Problem, Sinkhorn};

fn main() -> Result<(), brenier::Error> {
    let device = Device::cpu(Precision::F32);
    let draw = |name, step| Ok::<_, brenier::Error>(named(name, None)?.sample(4096, 0, Stream::Source, step));
    let (source, target, new) = (draw("moons", 0)?, draw("checkerboard", 1)?, draw("moons", 2)?.select(&[0, 1, 2])?);
    let mean = mean_cost(&source, &target, 0);
    for share in [0.5, 0.05, 0.005] {
        let problem = Problem::new(&source, &target, share * mean)?;
        let plan = Sinkhorn::default().solve(&problem, &device)?;
        let divergence = Divergence::to(&target, plan.eps, Sinkhorn::default(), &device)?.debias(&source, plan.dual, &device)?;
        let map = EntropicMap { target: target.clone(), g: plan.potentials.g[..].into(), eps: plan.eps };
        let moved = map.apply(&new, &device)?;
        println!("eps = {share} x mean c: {} iterations, marginal error {:.1e}", plan.iterations, plan.marginal_error);
        println!("  W2² = {:.4} entropic, {:.4} debiased", 2.0 * plan.transport_cost, 2.0 * divergence);
        for (x, y) in new.rows().zip(moved.chunks_exact(2)) {
            println!("  a new point ({:5.2}, {:5.2}) goes to ({:5.2}, {:5.2})", x[0], x[1], y[0], y[1]);
        }
    }
    Ok(())
}
