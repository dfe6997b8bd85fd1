//! A new sampling method in fifteen lines; it runs over every kind of field. `cargo run --release --example 04_new_method`

use brenier::path::Grid;
use brenier::program::{Op, Program, STATE, Step};
use brenier::sampler::Method;

/// The midpoint rule on dx/dt = α̇ x̂₀ + σ̇ ε̂, with every other level of the grid as a midpoint. It never looks at σ = 0.
struct Midpoint;

impl Method for Midpoint {
    fn program(&self, grid: &Grid) -> Program {
        let steps = grid.levels().windows(3).step_by(2).map(|levels| {
            let [from, middle, to] = [levels[0], levels[1], levels[2]];
            let (half, h) = (middle.t - from.t, to.t - from.t);
            let (p, q) = (from.alpha + half * from.alpha_dot, from.sigma + half * from.sigma_dot); // an Euler step to the middle
            Step::default()
                .then(Op::Evaluate { level: from, src: STATE, p, q, dst: 1 })
                .then(Op::Evaluate { level: middle, src: 1, p: h * middle.alpha_dot, q: h * middle.sigma_dot, dst: 1 })
                .then(Op::Combine { dst: STATE, terms: vec![(STATE, 1.0), (1, 1.0)] })
        });
        steps.collect()
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}

use brenier::backend::{Device, Noise, Precision};
use brenier::field::Field;
use brenier::measure::Mixture;
use brenier::path::Schedule;
use brenier::random::Stream;
use brenier::sampler::Observe;
use brenier::transport::problem::mean_cost;
use brenier::transport::{Problem, Sinkhorn};

fn main() -> Result<(), brenier::Error> {
    let device = Device::cpu(Precision::F32);
    let mixture = Mixture::eight_gaussians();
    let start = Mixture::standard_normal(2).sample(1024, 0, Stream::Source, 0);
    let data = mixture.sample(1024, 0, Stream::Source, 1);
    let problem = Problem::new(&start, &data, 0.002 * mean_cost(&start, &data, 0))?;
    let plan = Sinkhorn::default().solve(&problem, &device)?;
    let plan = Field::Transport { target: data.clone(), g: plan.potentials.g, eps: plan.eps };
    println!("median distance to the end points at 1,024 steps for 8, 16, 32, 64 and 128 steps; order 2 divides it by 4");
    for (name, field) in [("mixture", Field::Mixture(mixture)), ("data set", Field::DataSet(data)), ("entropic plan", plan)] {
        let run = |steps: usize| {
            let program = Midpoint.program(&Grid::uniform(&Schedule::CondOt, 2 * steps)?);
            let end = program.run(&field, start.points(), Noise::Given(&[]), &device, Observe::Progress(&mut |_| true))?;
            Ok::<_, brenier::Error>(end)
        };
        let exact = run(1024)?;
        print!("{name:>14}");
        for steps in [8, 16, 32, 64, 128] {
            let end = run(steps)?;
            let pairs = end.chunks_exact(2).zip(exact.chunks_exact(2));
            let mut errors: Vec<f64> = pairs.map(|(x, y)| (x[0] - y[0]).hypot(x[1] - y[1])).collect();
            print!("  {:.1e}", errors.select_nth_unstable_by(512, f64::total_cmp).1);
        }
        println!();
    }
    println!("fields of points end on one of them: once the steps resolve its neighbourhood, only rounding is left");
    Ok(())
}
