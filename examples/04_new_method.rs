//! A new sampling method; it runs on every kind of field, device and precision. `cargo run --release --example 04_new_method`
use brenier::backend::{Device, Noise, Precision};
use brenier::path::{Grid, Schedule};
use brenier::program::{Program, Step};
use brenier::sampler::{Method, start};
use brenier::{field::Field, measure::Mixture};

/// One step along the model's own noise: x′ = α′ x̂₀ + σ′ ε̂.
struct AlongNoise;

impl Method for AlongNoise {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps().map(|(from, to)| Step::evaluate(from, to.alpha, to.sigma)).collect()
    }
    fn order(&self) -> Option<u32> {
        Some(1)
    }
}

fn main() -> Result<(), brenier::Error> {
    let (field, device) = (Field::Mixture(Mixture::standard_normal(2)), Device::cpu(Precision::F32));
    for steps in [8, 16, 32, 64, 128] {
        let grid = Grid::uniform(&Schedule::CondOt, steps)?;
        let (program, from) = (AlongNoise.program(&grid), start(grid.start(), 2, 0..1024, 0));
        let end = program.run(&field, &from, Noise::NONE, &device)?;
        let error = end.iter().zip(&from).map(|(end, z)| (end - z).abs()).fold(0.0, f64::max);
        println!("{steps:4} steps: at most {error:.4} from the ends of the flow, which is at rest; order 1 halves it");
    }
    Ok(())
}
