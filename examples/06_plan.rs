//! A plan, and what can be asked of it without ever storing it. `cargo run --release --example 06_plan`

use brenier::backend::{Device, Precision};
use brenier::measure::{Mixture, Shape};
use brenier::random::Stream;
use brenier::transport::problem::mean_cost;
use brenier::transport::{Problem, Sinkhorn};

fn main() -> Result<(), brenier::Error> {
    let device = Device::cpu(Precision::F32);
    let source = Shape::Moons.sample(2000, 0, Stream::Source, 0);
    let target = Mixture::eight_gaussians().sample(3000, 0, Stream::Source, 1);
    let problem = Problem::new(&source, &target, 0.05 * mean_cost(&source, &target, 0))?;
    let plan = Sinkhorn::default().solve(&problem, &device)?.plan();

    let radius: Vec<f64> = target.rows().map(|y| y[0].hypot(y[1])).collect();
    let carried = plan.pull(&radius, 1, &device)?; // E[|y| | x_i]
    let mass = plan.row_mass(&device)?; // Σ_j P_ij
    let partner = plan.draw_partners(0, &device)?; // j ~ P_ij / Σ_k P_ik
    let top = plan.partners_of_source().top(&source, 3, &device)?;
    for i in 0..3 {
        let (x, y) = (source.row(i), target.row(partner[i] as usize));
        println!("({:5.2}, {:5.2}), of mass {:.1e}, expects a radius of {:.2}", x[0], x[1], mass[i], carried[i]);
        println!("  drew ({:5.2}, {:5.2}); its likeliest partners are {:?}", y[0], y[1], &top.index[3 * i..3 * i + 3]);
    }
    println!("the plan is spread over {:.0} pairs", plan.entropy(&device)?.joint.exp());
    Ok(())
}
