//! The two families: which methods run on which field and schedule.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::experiment::entrants::{EPS_TRANSPORT, Entrant, On, Way};
use crate::experiment::find_steps::Finding;
use crate::experiment::ledger::Ends;
use crate::experiment::record::{Family, FreeEnergy};
use crate::experiment::workbench::{END_OF_DIFFUSION, Made, Setting, Workbench};
use crate::field::Field;
use crate::measure::Cloud;
use crate::metric::NoiseFloor;
use crate::path::{Schedule, Spacing};
use crate::sampler::{AnnealedLangevin, ArcLength, Method, Options, named};
use crate::transport::{Problem, Sinkhorn};
use crate::vector::mean;
use crate::watch::{Progress, Watch};

impl Workbench<'_> {
    /// Diffusion: the linear VP schedule, and annealed Langevin on VE.
    pub fn diffusion(&mut self, field: &Field, ends: Ends<'_>) -> Result<Vec<FreeEnergy>, Error> {
        let schedule = Schedule::linear_vp(0.1, 20.0)?;
        let reference = self.reference("pf-heun", &schedule, field)?;
        let setting = Setting { field, schedule: &schedule, reference: &reference, eps: None };
        self.enter(Entrant::on(On::Diffusion), &setting)?;

        let end = if field.is_regular_at_data() { 1.0 } else { END_OF_DIFFUSION };
        if end == 1.0 {
            self.account("diffusion", &setting, ends)?;
        } else {
            self.account_until("diffusion", field, ends, &schedule, end)?;
        }
        self.account_until("diffusion-cosine", field, ends, &Schedule::Cosine, end)?;
        self.draw(Family::Diffusion, "pf-heun", &reference)?;
        self.free_energy(&setting)
    }

    /// The straight path under the independent coupling, with the exact marginal field.
    pub fn flow_matching(&mut self, field: &Field, ends: Ends<'_>) -> Result<(), Error> {
        let schedule = Schedule::CondOt;
        let reference = self.reference("fm-heun", &schedule, field)?;
        let setting = Setting { field, schedule: &schedule, reference: &reference, eps: None };
        self.enter(Entrant::on(On::Independent), &setting)?;
        self.account("fm", &setting, ends)
    }

    /// The flow of the entropic plan between the start points and A, and its one-step limit.
    pub fn optimal_transport(&mut self, eps: f64, notes: &mut Vec<String>) -> Result<(), Error> {
        self.tell("optimal transport")?;
        let schedule = Schedule::CondOt;
        let sharp = self.couple(eps, EPS_TRANSPORT, notes)?;
        let field = Field::Transport { target: self.train.clone(), g: sharp.g.clone(), eps };
        let reference = self.reference("ot-heun", &schedule, &field)?;
        let setting = Setting { field: &field, schedule: &schedule, reference: &reference, eps: Some(EPS_TRANSPORT) };
        self.enter(Entrant::on(On::Optimal), &setting)?;
        self.account_walk("ot", &reference)?;
        self.draw(Family::Flow, "ot-heun", &reference)?;

        for entrant in Entrant::on(On::Optimal) {
            let Way::Map(all) = entrant.way else { continue };
            for &relative in all {
                if relative == EPS_TRANSPORT {
                    let squares = self.displacement(entrant, relative, &sharp)?;
                    self.account_map(entrant.name, &sharp.map, &squares)?;
                } else {
                    let blurred = self.couple(eps * relative / EPS_TRANSPORT, relative, notes)?;
                    self.displacement(entrant, relative, &blurred)?;
                }
            }
        }
        Ok(())
    }

    /// A network trained on A, on straight paths.
    pub fn trained(&mut self, field: &Field) -> Result<(), Error> {
        let schedule = Schedule::CondOt;
        let reference = self.reference("network-heun", &schedule, field)?;
        let setting = Setting { field, schedule: &schedule, reference: &reference, eps: None };
        self.enter(Entrant::on(On::Trained), &setting)
    }

    /// A model by the methods of its schedule's family; returns what its own flow scores.
    pub fn model(&mut self, field: &Field) -> Result<NoiseFloor, Error> {
        let (family, schedule) = (family_of(field), field.schedule().unwrap_or(&Schedule::CondOt));
        let heun = if family == Family::Flow { "fm-heun" } else { "pf-heun" };
        let reference = self.reference(heun, schedule, field)?;
        let setting = Setting { field, schedule, reference: &reference, eps: None };
        self.enter(Entrant::on_network(family), &setting)?;
        self.account_walk("model", &reference)?;
        self.draw(family, heun, &reference)?;
        let limit = self.ruler.measure(&Cloud::new(reference.end, field.dim())?, self.device)?;
        Ok(NoiseFloor { divergence: limit.divergence, w2_squared_exact: limit.w2_squared_exact })
    }

    /// The rows of entrants that run at every number of steps.
    fn enter(&mut self, entrants: impl Iterator<Item = &'static Entrant>, setting: &Setting<'_>) -> Result<(), Error> {
        let Self { grid, source, seed, device, .. } = *self;
        let entrants: Vec<&Entrant> = entrants.collect();
        let find_steps = self.find_steps.filter(|_| entrants.iter().any(|entrant| entrant.is_searched()));
        let needed = grid == Spacing::ArcLength || find_steps.is_some();
        let pilot = needed.then(|| ArcLength::of(setting.field, setting.schedule, source, seed, device)).transpose()?;
        let finding = pilot.as_ref().zip(find_steps);
        let mut finding = finding.map(|(pilot, steps)| Finding { steps, pilot, device, reference: None });
        for entrant in entrants {
            match entrant.way {
                Way::Method(name) => {
                    let method = named(name)?.method(setting.field, setting.schedule, &Options::default())?;
                    self.sweep(entrant, method.as_ref(), setting, pilot.as_ref().filter(|_| grid == Spacing::ArcLength))?;
                    if let Some(finding) = finding.as_mut().filter(|_| entrant.is_searched()) {
                        self.find_steps(entrant, method.as_ref(), setting, finding)?;
                    }
                }
                Way::Ladder => self.annealed_langevin(entrant, setting.field)?,
                Way::Map(_) => {}
            }
        }
        Ok(())
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
        Ok((Coupling { map: outcome.map(), g: outcome.potentials.g, taken }, note))
    }

    /// The row of a map at `eps` applied in one straight step; returns the action |T(x) − x|² of each particle.
    fn displacement(&mut self, entrant: &Entrant, eps: f64, coupling: &Coupling) -> Result<Vec<f64>, Error> {
        let (d, end) = (self.start.dim(), &coupling.map);
        let squared = |(x, t): (&[f64], &[f64])| x.iter().zip(t).map(|(x, t)| (x - t).powi(2)).sum::<f64>();
        let action: Vec<f64> = self.start.rows().zip(end.chunks_exact(d)).map(squared).collect();
        let total = mean(&action);
        let (action_mean, length) = (Some(total), Some(total.sqrt()));
        self.row(entrant, Some(eps), 1, |_| {
            Ok(Made { nfe: 1, taken: coupling.taken, end: end.clone(), solver_error: None, action: action_mean, length })
        })?;
        Ok(action)
    }

    fn annealed_langevin(&mut self, entrant: &Entrant, field: &Field) -> Result<(), Error> {
        // Technique 1 of Song & Ermon (2020): the largest noise covers the largest distance between data points.
        let sigma_max = 2.0 * self.train.radius();
        for &steps in self.steps {
            self.row(entrant, None, steps, |bench| {
                let (method, grid) = AnnealedLangevin::of_length(steps, sigma_max)?;
                bench.stochastic(&method.program(&grid), field, &bench.scaled(grid.start().sigma))
            })?;
        }
        Ok(())
    }
}

/// The family of a model's schedule; a model without one runs on the straight path.
pub fn family_of(model: &Field) -> Family {
    match model.schedule() {
        None | Some(Schedule::CondOt | Schedule::Polynomial(_)) => Family::Flow,
        _ => Family::Diffusion,
    }
}

/// An entropic coupling of the start points with A.
struct Coupling {
    g: Vec<f64>,
    map: Vec<f64>,
    taken: Duration,
}
