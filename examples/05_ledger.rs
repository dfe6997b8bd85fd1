//! Action = W2² + coupling gap + bend + clock, for two couplings of the same ends. `cargo run --release --example 05_ledger`

use brenier::backend::{Device, Precision};
use brenier::experiment::ledger::{Path, ledger};
use brenier::experiment::walk::{Route, Walk};
use brenier::field::Field;
use brenier::measure::{Cloud, Mixture};
use brenier::path::{Grid, Schedule};
use brenier::random::Stream;
use brenier::sampler::{Heun, Method};
use brenier::transport::problem::mean_cost;
use brenier::transport::{Problem, Sinkhorn};

fn main() -> Result<(), brenier::Error> {
    let device = Device::cpu(Precision::F32);
    let law = Mixture::eight_gaussians();
    let start = Mixture::standard_normal(2).sample(1024, 0, Stream::Source, 0);
    let data = law.sample(1024, 0, Stream::Source, 1);
    let problem = Problem::new(&start, &data, 0.002 * mean_cost(&start, &data, 0))?;
    let plan = Sinkhorn::default().solve(&problem, &device)?;
    let optimal = Field::Transport { target: data, g: plan.potentials.g, eps: plan.eps };
    for (name, field) in [("independent coupling", Field::Mixture(law)), ("optimal coupling", optimal)] {
        let grid = Grid::uniform(&Schedule::CondOt, 1024)?;
        let program = Heun { euler_last: !field.is_regular_at_data() }.program(&grid);
        let route = Route { program: &program, grid: &grid, field: &field, start: start.points(), followed: start.len() };
        let walk = Walk::new(&route, &device, &|| true)?;
        let end = Cloud::new(walk.end, 2)?;
        let sum = ledger(&Path { name, start: &start, end: &end, steps: &walk.steps }, None, 0)?;
        println!(
            "{name:>20}: action {:.3} = W2² {:.3} + coupling gap {:.4} + bend {:.3} + clock {:.3}",
            sum.action, sum.w2_squared, sum.coupling_gap, sum.bend, sum.clock
        );
    }
    Ok(())
}
