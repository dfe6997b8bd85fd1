//! Steps of the gradient flow down a potential of one's own, V = (x² − 1)²/4. `cargo run --release --example 10_potential`

use brenier::backend::{Device, Precision};
use brenier::field::{Field, Potential};
use brenier::gradient_flow::{Langevin, descend};
use brenier::{measure::Mixture, random::Stream, watch::Watch};

struct Wells;

impl Potential for Wells {
    fn dim(&self) -> usize {
        1
    }

    fn value(&self, x: &[f64]) -> f64 {
        0.25 * (x[0] * x[0] - 1.0).powi(2)
    }

    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        out[0] = x[0] * (x[0] * x[0] - 1.0);
    }
}

fn main() -> Result<(), brenier::Error> {
    let (start, device) = (Mixture::standard_normal(1).sample(2000, 0, Stream::Source, 0), Device::cpu(Precision::F32));
    let mut scheme = Langevin::new(start, Field::potential(Wells), 0.05, 0, &device)?;
    let flow = descend(&mut scheme, 20, Watch::default())?;
    flow.accounts.iter().for_each(|account| println!("step {:2}: free energy {:.4?}", account.k, account.free_energy));
    Ok(())
}
