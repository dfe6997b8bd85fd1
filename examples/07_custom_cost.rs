//! A cost given as Rust code: moving against the wind is dearer than with it. `cargo run --release --example 07_custom_cost`

use brenier::backend::{Device, Precision};
use brenier::measure::named;
use brenier::random::Stream;
use brenier::transport::{GroundCost, Problem, Sinkhorn};

fn main() -> Result<(), brenier::Error> {
    let device = Device::cpu(Precision::F64);
    let draw = |name, step| Ok::<_, brenier::Error>(named(name, None)?.sample(400, 0, Stream::Source, step));
    let (source, target) = (draw("moons", 0)?, draw("circles", 1)?);
    for wind in [0.0, 0.5] {
        let cost = move |x: &[f64], y: &[f64]| {
            let (east, north) = (y[0] - x[0], y[1] - x[1]);
            0.5 * (east * east + north * north) * (1.0 - wind * east.signum())
        };
        let eps = 0.05 * GroundCost::given(cost).scale(&source, &target, 0).value;
        let outcome = Sinkhorn::default().solve(&Problem::new(&source, &target, eps)?.with_cost_function(cost)?, &device)?;
        let east: f64 = outcome.map().chunks_exact(2).zip(source.rows()).map(|(t, x)| t[0] - x[0]).sum();
        println!("wind {wind}: cost {:.4}, mean drift to the east {:.3}", outcome.transport_cost, east / 400.0);
    }
    Ok(())
}
