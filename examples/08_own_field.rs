//! A field of one's own: data at −1 and 1, whose x̂₀ is tanh(αx/σ²). `cargo run --release --example 08_own_field`

use brenier::backend::{Device, Noise, Precision};
use brenier::field::{Batch, Field, HostField};
use brenier::path::{Grid, Schedule};
use brenier::sampler::{Ddim, Method, start};

struct Coin;

impl HostField for Coin {
    fn dim(&self) -> usize {
        1
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let slope = batch.level.alpha / batch.level.sigma.powi(2);
        out.iter_mut().zip(batch.points).for_each(|(out, x)| *out = (slope * x).tanh());
        Ok(())
    }
}

fn main() -> Result<(), brenier::Error> {
    let (field, device, grid) = (Field::given(Coin), Device::cpu(Precision::F32), Grid::uniform(&Schedule::CondOt, 50)?);
    let (program, start) = (Ddim { eta: 0.0 }.program(&grid), start(grid.start(), 1, 0..10_000, 0));
    let end = program.run(&field, &start, Noise::NONE, &device)?;
    let heads = end.iter().filter(|x| **x > 0.0).count();
    println!("{heads} of {} particles end at 1, the others at −1", end.len());
    Ok(())
}
