//! A named method made ready to run on a field: the levels it passes, its program or loop, and what a user should hear of it.

use thiserror::Error;

use crate::backend::Device;
use crate::field::Field;
use crate::measure::{Measure, Mixture};
use crate::path::{Grid, GridError, Level, Schedule, ScheduleError, Spacing, check_times};
use crate::program::Program;
use crate::random::Stream;
use crate::sampler::annealed_langevin::SIGMA_MIN;
use crate::sampler::entry::{Choice, Entry, Kind, Levels, Options, Setting};
use crate::sampler::{ArcLength, Compat, Loop, Method, RunError};

/// Draws that stand for a law where its width is needed.
const LAW_DRAWS: usize = 4096;
/// Entries of the table whose flow is shifted, as the published codes have it.
const SHIFTED_ENTRIES: usize = 1000;
/// Updates at each level of a grid, and on a ladder, which has as many levels as updates.
const UPDATES: usize = 5;
const UPDATES_ON_LADDER: usize = 1;

/// A method made ready for a field.
pub struct Course {
    /// What moves the particles.
    pub moves: Moves,
    /// The level they start at.
    pub first: Level,
    /// Steps or levels.
    pub steps: usize,
    /// Where the levels of a program lie: the name of a spacing, `ladder`, `shifted`, or `times` where they are given.
    pub grid: Option<&'static str>,
    /// What a user should know of such a run, in a sentence.
    pub advice: Option<String>,
}

/// What moves the particles of a [`Course`].
pub enum Moves {
    /// A program.
    Program(Program),
    /// A loop.
    Loop(Box<dyn Loop>),
}

/// Why a method is not made ready.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CourseError {
    /// An option that would not be looked at.
    #[error("{flag} is for {methods}; {method} does not take it: leave it out")]
    NotTaken {
        /// Its flag.
        flag: &'static str,
        /// The methods that take it.
        methods: String,
        /// The method.
        method: &'static str,
    },
    /// Levels for a method that has its own.
    #[error("{method} has levels of its own; leave --grid, --times and --shift out")]
    OwnLevels {
        /// The method.
        method: &'static str,
    },
    /// Levels that are given, and another word about them.
    #[error("--times gives the levels, and so their number; leave {flag} out")]
    TimesAnd {
        /// The flag of the other.
        flag: &'static str,
    },
    /// A number of steps for a method that chooses them.
    #[error("{method} chooses its steps; leave --steps out, and set --tol")]
    OwnSteps {
        /// The method.
        method: &'static str,
    },
    /// A schedule for a method that has its own.
    #[error("{method} has a schedule of its own; leave --schedule out")]
    OwnSchedule {
        /// The method.
        method: &'static str,
    },
    /// A defect that the method does not have.
    #[error("compat {name} is a defect of {methods}; {method} does not have it: leave it out")]
    NotDefective {
        /// The defect.
        name: &'static str,
        /// The methods that have it.
        methods: String,
        /// The method.
        method: &'static str,
    },
    /// The density of samples that a defect made.
    #[error("--log-p is of the method as it is, without defects; leave {flag} out")]
    LogPAnd {
        /// The flag of the defects.
        flag: &'static str,
    },
    /// A shift of levels that are not those of a flow.
    #[error("--shift moves the levels of a flow: it goes with --schedule condot and --grid trailing")]
    Shift,
    /// The schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The levels.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// The method on this field.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CourseError {
    /// Whether the method was asked for something that it does not look at, whatever the field.
    pub fn is_of_options(&self) -> bool {
        matches!(
            self,
            Self::NotTaken { .. } | Self::OwnLevels { .. } | Self::OwnSteps { .. } | Self::TimesAnd { .. } | Self::LogPAnd { .. }
        )
    }
}

impl Entry {
    /// The method on `field`, with `options`; `device` is for the pilot run of [`Spacing::ArcLength`].
    ///
    /// # Errors
    /// [`CourseError`] for options that it does not take, levels that there are not, or a field that it cannot run on.
    pub fn course(&'static self, field: &Field, options: &Options, device: &Device) -> Result<Course, CourseError> {
        self.check_options(options)?;
        self.check(field)?;
        let schedule = match (&options.schedule, field.schedule(), self.schedule) {
            (Some(given), ..) => given.clone(),
            (None, Some(own), _) if self.schedule.is_some() => own.clone(),
            (None, _, Some(usual)) => Schedule::parse(usual)?,
            (None, _, None) => Schedule::CondOt,
        };
        let mut setting = Setting { entry: self, field, schedule, updates: UPDATES, options };
        let steps = setting.steps();
        let make = match self.kind {
            Kind::Program(make) => make,
            Kind::Loop(make) => {
                let looped = make(&setting)?;
                return Ok(Course { first: looped.start(), moves: Moves::Loop(looped), steps, grid: None, advice: None });
            }
        };
        let on_ladder = self.levels == Levels::Ladder && options.schedule.is_none() && options.times.is_none();
        let (grid, name) = match on_ladder.then(|| width(field, options.seed)).flatten() {
            Some(width) => {
                setting.updates = UPDATES_ON_LADDER;
                (Grid::ladder(width, SIGMA_MIN, steps)?, "ladder")
            }
            None => self.grid(&setting, device)?,
        };
        let method = make(&setting)?;
        let (program, first, advice) = (method.program(&grid), grid.start(), method.advice(&grid));
        Ok(Course { steps: program.steps.len(), moves: Moves::Program(program), first, grid: Some(name), advice })
    }

    /// The method on `field` and the levels of `schedule`.
    ///
    /// # Errors
    /// [`CourseError`] for a loop, which has levels of its own, and as for [`Entry::course`].
    pub fn method(&'static self, field: &Field, schedule: &Schedule, options: &Options) -> Result<Box<dyn Method>, CourseError> {
        self.check_options(options)?;
        self.check(field)?;
        let Kind::Program(make) = self.kind else { return Err(CourseError::OwnLevels { method: self.name }) };
        Ok(make(&Setting { entry: self, field, schedule: schedule.clone(), updates: UPDATES, options })?)
    }

    /// The levels on the setting's schedule, and their name.
    fn grid(&self, setting: &Setting<'_>, device: &Device) -> Result<(Grid, &'static str), CourseError> {
        let (schedule, options, steps) = (&setting.schedule, setting.options, setting.steps());
        let to_data = self.levels == Levels::ToData;
        if let Some(times) = &options.times {
            check_times(times)?;
            return Ok((if to_data { Grid::at_to_data(schedule, times) } else { Grid::at(schedule, times) }?, "times"));
        }
        if let Some(factor) = options.shift {
            if *schedule != Schedule::CondOt || !matches!(options.grid, None | Some(Spacing::Trailing)) {
                return Err(CourseError::Shift);
            }
            return Ok((Grid::shifted(steps, SHIFTED_ENTRIES, factor, setting.has(Compat::DOUBLE_SHIFT))?, "shifted"));
        }
        let spacing = match options.grid {
            Some(Spacing::Iddpm) if setting.has(Compat::IDDPM_GRID_FLOAT32) => Spacing::IddpmFloat32,
            Some(given) => given,
            // A model is asked only where it was trained, which balanced levels need not keep to.
            None if setting.field.schedule().is_some() => Spacing::Trailing,
            None => self.spacing(),
        };
        if spacing == Spacing::ArcLength {
            let normal = Measure::Law(Mixture::standard_normal(setting.field.dim()));
            let pilot = ArcLength::of(setting.field, schedule, &normal, options.seed, device)?;
            return Ok((if to_data { pilot.grid_to_data(steps) } else { pilot.grid(steps) }?, spacing.name()));
        }
        let spaced = if to_data { Grid::spaced_to_data } else { Grid::spaced };
        Ok((spaced(schedule, steps, spacing)?, spacing.name()))
    }

    /// Refuses an option that the method would not look at.
    ///
    /// # Errors
    /// [`CourseError`] that says what takes it.
    pub fn check_options(&self, options: &Options) -> Result<(), CourseError> {
        let method = self.name;
        if let Some(choice) = Choice::ALL.iter().find(|choice| options.gives(**choice) && !self.takes(**choice)) {
            return Err(match choice {
                Choice::Schedule => CourseError::OwnSchedule { method },
                Choice::Grid | Choice::Times | Choice::Shift => CourseError::OwnLevels { method },
                Choice::Steps => CourseError::OwnSteps { method },
                other => CourseError::NotTaken { flag: other.flag(), methods: listed(other.methods()), method },
            });
        }
        let levels = [Choice::Grid, Choice::Shift, Choice::Steps];
        if let Some(other) = levels.into_iter().find(|choice| options.times.is_some() && options.gives(*choice)) {
            return Err(CourseError::TimesAnd { flag: other.flag() });
        }
        if options.log_p && !options.compat.is_empty() {
            return Err(CourseError::LogPAnd { flag: "--compat" });
        }
        match options.compat.iter().find(|defect| !self.defects.contains(defect)) {
            Some(defect) => Err(CourseError::NotDefective { name: defect.name, methods: listed(defect.methods()), method }),
            None => Ok(()),
        }
    }
}

/// Names one after the other.
fn listed(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// At least the largest distance between two points of the data, or of draws of the law: noise that joins them all (Song, Ermon
/// 2020, technique 1). None for a network, code, classes or guidance, which do not tell how wide their data are.
fn width(field: &Field, seed: u32) -> Option<f64> {
    let radius = match field {
        Field::Mixture(mixture) => mixture.sample(LAW_DRAWS, seed, Stream::Source, 1).radius(),
        Field::DataSet(cloud) | Field::Transport { target: cloud, .. } => cloud.radius(),
        Field::Network(_) | Field::Given(_) | Field::Classes(_) | Field::Guided(_) => return None,
    };
    Some(2.0 * radius)
}
