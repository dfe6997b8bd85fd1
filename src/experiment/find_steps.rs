//! The best K steps of each method of a comparison, beside the named grids of as many steps.
//!
//! Times are fitted on draws of their own ([`OptimalSteps`]) and judged on the comparison's, by the solver error of its rows. If a
//! named grid does at least as well on those, its times are returned instead.

use crate::backend::{Device, Noise};
use crate::error::Error;
use crate::experiment::entrants::Entrant;
use crate::experiment::record::{Found, NamedGrid};
use crate::experiment::walk::rms_distance;
use crate::experiment::workbench::{Setting, Workbench};
use crate::path::{Grid, Spacing, check_times};
use crate::sampler::{ArcLength, Method, Observe, OptimalSteps};
use crate::watch::Progress;

/// The methods whose times are searched for: those of one-step form that draw no noise and run on what `sample` runs on.
const SEARCHED: [&str; 5] = ["ddim", "pf-euler", "pf-heun", "fm-euler", "fm-heun"];

/// The spacings that a search is measured against, where a schedule has them; and arc-length.
const SPACINGS: [Spacing; 5] = [Spacing::Trailing, Spacing::Linspace, Spacing::Karras, Spacing::Geometric, Spacing::Balanced];

impl Entrant {
    /// Whether the best times of its method are searched for.
    pub fn is_searched(&self) -> bool {
        SEARCHED.contains(&self.name)
    }
}

/// What the searches on one field share.
pub struct Finding<'a> {
    pub steps: usize,
    pub pilot: &'a ArcLength,
    pub device: &'a Device,
    /// The reference run, once it is made.
    pub reference: Option<OptimalSteps<'a>>,
}

impl Workbench<'_> {
    /// Adds the best times of a method; they are not searched for again where the checkpoint has them.
    pub fn find_steps<'f>(
        &mut self,
        entrant: &Entrant,
        method: &dyn Method,
        setting: &Setting<'f>,
        finding: &mut Finding<'f>,
    ) -> Result<(), Error> {
        let steps = finding.steps;
        let part = format!("{}, best {steps} steps", entrant.name);
        self.tell(&part)?;
        let found = match self.watch.record(&part) {
            Some(found) => found,
            None => {
                let grids = self.named_grids(method, setting, finding)?;
                let search = match &finding.reference {
                    Some(search) => search,
                    None => {
                        let of = (setting.field, setting.schedule);
                        let made = OptimalSteps::of(of, steps, self.source, self.seed, finding.device, &|| self.go_on())?;
                        finding.reference.insert(made)
                    }
                };
                let starts: Vec<Vec<f64>> = grids.iter().map(|grid| grid.times.clone()).collect();
                let (told, done, all) = (self.watch.not_keeping(), self.done(), self.all);
                let tell = |now: Progress<'_>| {
                    let stage = format!("{part}, {}", now.stage);
                    told.tell(Progress { stage: &stage, done, of: Some(all), ..now })
                };
                let times = search.best(method, steps, &starts, self.watch.part_telling(&part, &tell))?;
                let solver_error = self.error_at(&times, method, setting)?;
                Found::judged(entrant.name, times, solver_error, grids)
            }
        };
        self.watch.keep_record(&part, &found);
        self.found.extend(found);
        self.tell("")?;
        self.watch.save_if_due();
        Ok(())
    }

    /// The grids of so many steps that go from the schedule's start to its end, and their solver errors.
    fn named_grids(&self, method: &dyn Method, setting: &Setting<'_>, finding: &Finding<'_>) -> Result<Vec<NamedGrid>, Error> {
        let Finding { steps, pilot, .. } = *finding;
        let times_of = |grid: Grid| grid.levels().iter().map(|level| level.t).collect::<Vec<f64>>();
        let spaced =
            SPACINGS.into_iter().filter_map(|spacing| Some((spacing, Grid::spaced(setting.schedule, steps, spacing).ok()?)));
        let all = spaced.chain([(Spacing::ArcLength, pilot.grid(steps)?)]).map(|(spacing, grid)| (spacing, times_of(grid)));
        let judged = all.filter(|(_, times)| check_times(times).is_ok()).map(|(spacing, times)| {
            let solver_error = self.error_at(&times, method, setting)?;
            Ok(NamedGrid { grid: spacing.name().into(), times, solver_error })
        });
        judged.collect()
    }

    /// The solver error at `times` on the comparison's particles.
    fn error_at(&self, times: &[f64], method: &dyn Method, setting: &Setting<'_>) -> Result<f64, Error> {
        let grid = Grid::at(setting.schedule, times)?;
        let (program, start) = (method.program(&grid), self.scaled(grid.start().sigma));
        let observe = Observe::Progress(&mut |_| self.go_on());
        let end = program.observed(setting.field, &start, Noise::NONE, self.device, observe)?;
        Ok(rms_distance(&end, &setting.reference.end, self.start.dim()))
    }
}
