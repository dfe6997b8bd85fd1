//! The two families: which methods run on which field and schedule.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::experiment::record::{Family, FreeEnergy};
use crate::experiment::workbench::{END_OF_DIFFUSION, Made, Setting, Workbench};
use crate::field::{Field, Network};
use crate::measure::{Cloud, Measure};
use crate::metric::NoiseFloor;
use crate::path::Schedule;
use crate::sampler::{AnnealedLangevin, Ddim, Ddpm, Euler, Heun, Method, Variance};
use crate::transport::{Problem, Sinkhorn};
use crate::vector::mean;
use crate::watch::{Progress, Watch};

/// ε of the ot rows, relative to c₀.
pub const EPS_TRANSPORT: f64 = 0.002;
/// ε of the displacement row that shows what collapsed looks like.
pub const EPS_COLLAPSED: f64 = 0.05;

impl Workbench<'_> {
    /// DDPM, DDIM and the probability-flow ODE on the continuous linear VP schedule, annealed Langevin on VE.
    pub fn diffusion(&mut self, field: &Field, data: &Measure) -> Result<Vec<FreeEnergy>, Error> {
        let schedule = Schedule::linear_vp(0.1, 20.0)?;
        let euler_last = true; // dσ/dt is −∞ where the schedule meets the data
        let reference = self.reference("pf-heun", &schedule, field, euler_last)?;
        let setting = Setting { family: Family::Diffusion, field, schedule: &schedule, reference: &reference, eps: None };
        for (name, method) in &diffusion_methods(euler_last) {
            self.sweep(name, method.as_ref(), &setting)?;
        }
        self.annealed_langevin(field)?;

        let end = if field.is_regular_at_data() { 1.0 } else { END_OF_DIFFUSION };
        self.account("diffusion", &setting, data, end)?;
        self.draw(Family::Diffusion, "pf-heun", &reference)?;
        self.free_energy(&setting)
    }

    /// The straight path under the independent coupling, with the exact marginal field.
    pub fn flow_matching(&mut self, field: &Field, data: &Measure) -> Result<(), Error> {
        let euler_last = !field.is_regular_at_data();
        let schedule = Schedule::CondOt;
        let reference = self.reference("fm-heun", &schedule, field, euler_last)?;
        let setting = Setting { family: Family::Flow, field, schedule: &schedule, reference: &reference, eps: None };
        for (name, method) in &flow_methods(euler_last) {
            self.sweep(name, method.as_ref(), &setting)?;
        }
        self.account("fm", &setting, data, 1.0)
    }

    /// The flow of the entropic plan between the start points and A, and its one-step limit.
    pub fn optimal_transport(&mut self, eps: f64, notes: &mut Vec<String>) -> Result<(), Error> {
        self.tell("optimal transport")?;
        let schedule = Schedule::CondOt;
        let sharp = self.couple(eps, EPS_TRANSPORT, notes)?;
        let field = Field::Transport { target: self.train.clone(), g: sharp.g, eps };
        let reference = self.reference("ot-heun", &schedule, &field, true)?;
        let setting =
            Setting { family: Family::Flow, field: &field, schedule: &schedule, reference: &reference, eps: Some(EPS_TRANSPORT) };
        for (name, method) in &transport_methods() {
            self.sweep(name, method.as_ref(), &setting)?;
        }
        self.account_walk("ot", &reference)?;
        self.draw(Family::Flow, "ot-heun", &reference)?;

        let action = self.displacement(EPS_TRANSPORT, &sharp.map, sharp.taken)?;
        self.account_path("displacement", self.start.points(), &sharp.map, &action)?;
        let blurred = self.couple(eps * EPS_COLLAPSED / EPS_TRANSPORT, EPS_COLLAPSED, notes)?;
        self.displacement(EPS_COLLAPSED, &blurred.map, blurred.taken)?;
        Ok(())
    }

    /// A network by the methods of its schedule's family; returns what its own flow scores.
    pub fn network(&mut self, network: &Network) -> Result<NoiseFloor, Error> {
        let (family, methods) = network_methods(network);
        let (field, schedule) = (Field::Network(network.clone()), network.schedule());
        let heun = if family == Family::Flow { "fm-heun" } else { "pf-heun" };
        let reference = self.reference(heun, schedule, &field, !network.is_regular_at_data())?;
        let setting = Setting { family, field: &field, schedule, reference: &reference, eps: None };
        for (name, method) in &methods {
            self.sweep(name, method.as_ref(), &setting)?;
        }
        self.account_walk("model", &reference)?;
        self.draw(family, heun, &reference)?;
        let limit = self.ruler.measure(&Cloud::new(reference.end, network.dim())?, self.device)?;
        Ok(NoiseFloor { divergence: limit.divergence, w2_squared_exact: limit.w2_squared_exact })
    }

    /// The coupling at `eps`, `relative` to c₀; it is not solved again where the checkpoint has it.
    fn couple(&mut self, eps: f64, relative: f64, notes: &mut Vec<String>) -> Result<Coupling, Error> {
        let [part, of_g, of_map] = ["", ": g", ": map"].map(|end| format!("coupling at {relative}{end}"));
        let kept = |name: &str| self.watch.array(name).map(<[f64]>::to_vec);
        let (coupling, note) = match self.watch.record(&part).zip(kept(&of_g)).zip(kept(&of_map)) {
            Some((((taken, note), g), map)) => (Coupling { g, map, taken }, note),
            None => self.solve(eps)?,
        };
        self.watch.keep_record(&part, &(coupling.taken, &note));
        self.watch.keep_array(&of_g, &coupling.g);
        self.watch.keep_array(&of_map, &coupling.map);
        notes.extend(note);
        Ok(coupling)
    }

    /// The coupling at `eps`, and a sentence where it has not converged.
    fn solve(&self, eps: f64) -> Result<(Coupling, Option<String>), Error> {
        let problem = Problem::new(self.start, self.train, eps)?;
        let clock = Instant::now();
        let outcome = {
            let tell = |_: Progress<'_>| self.go_on();
            Sinkhorn::default().solve_watched(&problem, None, self.device, Watch::telling(&tell))?
        };
        let taken = clock.elapsed();
        let note = (!outcome.converged).then(|| {
            let (error, iterations) = (outcome.marginal_error, outcome.iterations);
            format!("The coupling at eps = {eps:.3e} stopped after {iterations} iterations with a marginal error of {error:.1e}.")
        });
        Ok((Coupling { g: outcome.potentials.g, map: outcome.map, taken }, note))
    }

    /// The row of a map at `eps` applied in one straight step; returns the action |T(x) − x|² of each particle.
    fn displacement(&mut self, eps: f64, end: &[f64], taken: Duration) -> Result<Vec<f64>, Error> {
        let d = self.start.dim();
        let squared = |(x, t): (&[f64], &[f64])| x.iter().zip(t).map(|(x, t)| (x - t).powi(2)).sum::<f64>();
        let action: Vec<f64> = self.start.rows().zip(end.chunks_exact(d)).map(squared).collect();
        let total = mean(&action);
        let (action_mean, length) = (Some(total), Some(total.sqrt()));
        self.row((Family::Flow, "displacement", Some(eps)), 1, |_| {
            Ok(Made { nfe: 1, taken, end: end.to_vec(), solver_error: None, action: action_mean, length })
        })?;
        Ok(action)
    }

    fn annealed_langevin(&mut self, field: &Field) -> Result<(), Error> {
        // Technique 1 of Song & Ermon (2020): the largest noise covers the largest distance between data points.
        let sigma_max = 2.0 * self.train.radius();
        for &steps in &self.compare.steps {
            self.row((Family::Diffusion, "annealed-langevin", None), steps, |bench| {
                let (method, grid) = AnnealedLangevin::of_length(steps, sigma_max)?;
                bench.stochastic(&method.program(&grid), field, &bench.scaled(grid.start().sigma))
            })?;
        }
        Ok(())
    }
}

/// Methods by their names.
pub type Methods = Vec<(&'static str, Box<dyn Method>)>;

fn diffusion_methods(euler_last: bool) -> Methods {
    vec![
        ("ddpm", Box::new(Ddpm { variance: Variance::Posterior })),
        ("ddim", Box::new(Ddim { eta: 0.0 })),
        ("pf-euler", Box::new(Euler)),
        ("pf-heun", Box::new(Heun { euler_last })),
    ]
}

fn flow_methods(euler_last: bool) -> Methods {
    vec![("fm-euler", Box::new(Euler)), ("fm-heun", Box::new(Heun { euler_last }))]
}

fn transport_methods() -> Methods {
    vec![("ot-euler", Box::new(Euler)), ("ot-heun", Box::new(Heun { euler_last: true }))]
}

/// Rows of a comparison at so many numbers of steps; those that need Gaussian noise only where it is `noisy`.
pub fn rows(noisy: bool, steps: usize) -> usize {
    let annealed_langevin = 1; // a row for each number of steps as the others, on levels of its own
    let of_noise = diffusion_methods(false).len() + annealed_langevin + flow_methods(false).len();
    (transport_methods().len() + if noisy { of_noise } else { 0 }) * steps + [EPS_TRANSPORT, EPS_COLLAPSED].len()
}

/// The family of a network's schedule, and its methods.
pub fn network_methods(network: &Network) -> (Family, Methods) {
    let euler_last = !network.is_regular_at_data();
    match network.schedule() {
        Schedule::CondOt | Schedule::Polynomial(_) => (Family::Flow, flow_methods(euler_last)),
        _ => (Family::Diffusion, diffusion_methods(euler_last)),
    }
}

/// An entropic coupling of the start points with A.
struct Coupling {
    g: Vec<f64>,
    map: Vec<f64>,
    taken: Duration,
}
