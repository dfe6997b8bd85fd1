//! Both principles from the same ends: how many steps does each method need? `cargo run --release --example 01_compare`

use brenier::backend::{Device, Precision};
use brenier::experiment::{Compare, Named};
use brenier::measure::named;
use brenier::watch::Watch;

fn main() -> Result<(), brenier::Error> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "8gaussians".into());
    let target = named(&name, None)?;
    let source = named("normal", Some(target.dim()))?;
    let device = Device::cpu(Precision::F32);
    let compare = Compare { n: 1024, steps: vec![5, 20, 100], ..Compare::default() };
    let comparison = compare.run(
        Named { name: &name, measure: &target },
        Named { name: "normal", measure: &source },
        &device,
        Watch::default(),
    )?;
    let floor = comparison.record.noise_floor.divergence;
    for row in &comparison.record.rows {
        let times_floor = row.divergence.map_or(f64::NAN, |divergence| divergence / floor);
        println!("{:>18} {:>4} steps: {times_floor:8.2} x the noise floor  {:?}", row.label, row.steps, row.flags);
    }
    Ok(())
}
