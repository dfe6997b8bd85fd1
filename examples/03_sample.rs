//! How many steps do DDIM and flow matching need on an exact mixture? `cargo run --release --example 03_sample`

use brenier::backend::{Device, Noise, Precision};
use brenier::experiment::walk::rms_distance;
use brenier::field::Field;
use brenier::measure::Mixture;
use brenier::path::{Grid, Schedule};
use brenier::random::Stream;
use brenier::sampler::{Ddim, Euler, Heun, Method};

fn main() -> Result<(), brenier::Error> {
    let start = Mixture::standard_normal(2).sample(10_000, 0, Stream::Source, 0);
    let (field, device) = (Field::Mixture(Mixture::eight_gaussians()), Device::cpu(Precision::F32));
    let run = |method: &dyn Method, schedule: &Schedule, steps: usize| {
        let program = method.program(&Grid::uniform(schedule, steps)?);
        let end = program.run(&field, start.points(), Noise::NONE, &device)?;
        Ok::<_, brenier::Error>((end, program.nfe()))
    };
    let (vp, condot) = (Schedule::linear_vp(0.1, 20.0)?, Schedule::CondOt);
    let heun = Heun { euler_last: false };
    println!("RMS distance of 10,000 particles to the end points of 1,024 Heun steps on the same schedule");
    for (name, method, schedule) in
        [("ddim", &Ddim { eta: 0.0 } as &dyn Method, &vp), ("fm-euler", &Euler, &condot), ("fm-heun", &heun, &condot)]
    {
        let (exact, _) = run(&heun, schedule, 1024)?;
        for steps in [5, 10, 20, 40, 80, 160] {
            let (end, nfe) = run(method, schedule, steps)?;
            println!("{name:>9} {steps:4} steps {nfe:4} evaluations: {:.5}", rms_distance(&end, &exact, 2));
        }
    }
    Ok(())
}
