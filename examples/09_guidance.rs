//! Guidance: a combination of two fields, and where the samples go. `cargo run --release --example 09_guidance`

use brenier::backend::{Device, Noise, Precision};
use brenier::field::Field;
use brenier::measure::{Cloud, Covariance, Mixture};
use brenier::path::{Grid, Schedule};
use brenier::sampler::{Ddim, Method, start};

fn main() -> Result<(), brenier::Error> {
    let modes = |means: &[[f64; 2]]| {
        let (n, means) = (means.len(), means.iter().map(|mean| mean.to_vec()).collect());
        Ok::<_, brenier::Error>(Field::Mixture(Mixture::new(
            vec![1.0 / n as f64; n],
            means,
            vec![Covariance::Isotropic(0.2); n],
        )?))
    };
    let (class, all) = (modes(&[[2.0, 0.0]])?, modes(&[[2.0, 0.0], [0.0, 0.0]])?);
    let (device, grid) = (Device::cpu(Precision::F32), Grid::uniform(&Schedule::CondOt, 50)?);
    for w in [0.0, 1.0, 3.0] {
        let field = Field::guided(class.clone(), all.clone(), w)?;
        let (program, start) = (Ddim { eta: 0.0 }.program(&grid), start(grid.start(), 2, 0..10_000, 0));
        let end = program.run(&field, &start, Noise::NONE, &device)?;
        let samples = Cloud::new(end, 2)?;
        println!("w = {w}: mean x = {:.3}, variance {:.3}", samples.mean()[0], samples.variance());
    }
    Ok(())
}
