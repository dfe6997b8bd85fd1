//! A row of the table of methods: what a method is called, what it is made of, and what it takes and needs.

use thiserror::Error;

use crate::field::Field;
use crate::measure::Mixture;
use crate::names::nearest;
use crate::path::{Schedule, Spacing};
use crate::sampler::{Churn, Compat, Loop, METHODS, Method, RunError};

/// Steps where none are given.
const STEPS: usize = 50;

/// A method by its name: one row of [`METHODS`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Name of the schedule it runs on unless told otherwise; none where it has its own.
    pub schedule: Option<&'static str>,
    /// Where the levels of a program lie unless told otherwise.
    pub levels: Levels,
    /// The options that it takes beyond those of its kind.
    pub options: &'static [Choice],
    /// The fields that it runs on.
    pub needs: Needs,
    /// The defects of published codes that it can reproduce.
    pub defects: &'static [Compat],
    /// Whether its particles have to start from the law of the first level, as on the reverse of a diffusion.
    pub reverses: bool,
    /// Whether it runs on the processor in f64, whatever the device.
    pub on_processor: bool,
}

/// What a method is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A program, made along a grid.
    Program(fn(&Setting<'_>) -> Result<Box<dyn Method>, RunError>),
    /// A loop with levels or steps of its own.
    Loop(fn(&Setting<'_>) -> Result<Box<dyn Loop>, RunError>),
}

/// Where the levels of a program lie unless told otherwise. Its order is that on this grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Levels {
    /// Spaced on the schedule.
    Spaced(Spacing),
    /// Those of [`Spacing::Trailing`] down to the data also on schedules that end short of them.
    ToData,
    /// Without a schedule given, geometric from the width of the data down; else those of [`Spacing::Trailing`].
    Ladder,
}

/// The fields that a method runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any field.
    AnyField,
    /// That of a law.
    Law {
        /// What of the law it needs.
        what: &'static str,
        /// What to take for points.
        instead: &'static str,
    },
}

/// An option that some methods take and others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The schedule.
    Schedule,
    /// The spacing of the levels.
    Grid,
    /// The times of the levels.
    Times,
    /// The shift of a flow's levels.
    Shift,
    /// The number of steps.
    Steps,
    /// Noise put back, η.
    Eta,
    /// Noise put back by EDM.
    Churn,
    /// The length of a Langevin step.
    Step,
    /// The tolerance of adaptive steps.
    Tolerance,
    /// The corrector's signal-to-noise ratio.
    Snr,
    /// Predictors without noise.
    ProbabilityFlow,
    /// The length of a path after which it stops.
    Length,
    /// The log density of each sample.
    LogP,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Eta,
        Self::Churn,
        Self::Step,
        Self::Tolerance,
        Self::Snr,
        Self::ProbabilityFlow,
        Self::Length,
        Self::LogP,
        Self::Schedule,
        Self::Grid,
        Self::Times,
        Self::Shift,
        Self::Steps,
    ];

    /// Its flag on the command line.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Schedule => "--schedule",
            Self::Grid => "--grid",
            Self::Times => "--times",
            Self::Shift => "--shift",
            Self::Steps => "--steps",
            Self::Eta => "--eta",
            Self::Churn => "--churn",
            Self::Step => "--step",
            Self::Tolerance => "--tol",
            Self::Snr => "--snr",
            Self::ProbabilityFlow => "--probability-flow",
            Self::Length => "--length",
            Self::LogP => "--log-p",
        }
    }

    /// The names of the methods that take it.
    pub fn methods(self) -> impl Iterator<Item = &'static str> {
        METHODS.iter().filter(move |entry| entry.takes(self)).map(|entry| entry.name)
    }
}

impl Entry {
    /// A method that is a program, on any field.
    pub const fn program(
        name: &'static str,
        about: &'static str,
        schedule: &'static str,
        make: fn(&Setting<'_>) -> Result<Box<dyn Method>, RunError>,
    ) -> Self {
        Self::new(name, about, Kind::Program(make)).on(schedule)
    }

    /// A method that is a loop, on any field and on a schedule of its own.
    pub const fn looped(
        name: &'static str,
        about: &'static str,
        make: fn(&Setting<'_>) -> Result<Box<dyn Loop>, RunError>,
    ) -> Self {
        Self::new(name, about, Kind::Loop(make))
    }

    const fn new(name: &'static str, about: &'static str, kind: Kind) -> Self {
        Self {
            name,
            about,
            kind,
            schedule: None,
            levels: Levels::Spaced(Spacing::Trailing),
            options: &[],
            needs: Needs::AnyField,
            defects: &[],
            reverses: true,
            on_processor: false,
        }
    }

    /// With levels elsewhere.
    pub const fn at(self, levels: Levels) -> Self {
        Self { levels, ..self }
    }

    /// On a schedule that may be chosen.
    pub const fn on(self, schedule: &'static str) -> Self {
        Self { schedule: Some(schedule), ..self }
    }

    /// With more options.
    pub const fn taking(self, options: &'static [Choice]) -> Self {
        Self { options, ..self }
    }

    /// For the field of a law alone, of which it needs `what`; for points there is `instead`.
    pub const fn of_law(self, what: &'static str, instead: &'static str) -> Self {
        Self { needs: Needs::Law { what, instead }, ..self }
    }

    /// With defects to reproduce.
    pub const fn with(self, defects: &'static [Compat]) -> Self {
        Self { defects, ..self }
    }

    /// From wherever the particles start.
    pub const fn from_anywhere(self) -> Self {
        Self { reverses: false, ..self }
    }

    /// On the processor alone.
    pub const fn on_processor(self) -> Self {
        Self { on_processor: true, ..self }
    }

    /// Whether it takes an option.
    pub fn takes(&self, choice: Choice) -> bool {
        let is_program = matches!(self.kind, Kind::Program(_));
        match choice {
            Choice::Schedule => self.schedule.is_some(),
            Choice::Grid | Choice::Shift => is_program,
            Choice::LogP => is_program || self.options.contains(&choice),
            Choice::Times => is_program && !self.options.contains(&Choice::Step), // whose steps all are at one level
            Choice::Steps => !self.options.contains(&Choice::Tolerance),          // which chooses them
            other => self.options.contains(&other),
        }
    }

    /// Where the levels lie unless told otherwise.
    pub fn spacing(&self) -> Spacing {
        if let Levels::Spaced(spacing) = self.levels { spacing } else { Spacing::Trailing }
    }

    /// Refuses a field that the method cannot run on.
    ///
    /// # Errors
    /// [`RunError::NeedsLaw`].
    pub fn check(&self, field: &Field) -> Result<(), RunError> {
        if self.needs == Needs::AnyField || field.has_score_of_data() { Ok(()) } else { Err(self.needs_law()) }
    }

    fn needs_law(&self) -> RunError {
        let (what, instead) =
            if let Needs::Law { what, instead } = self.needs { (what, instead) } else { ("the field", "pf-heun") };
        RunError::NeedsLaw { method: self.name, what, instead }
    }
}

/// The options of all methods; what is not given is the method's own choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The schedule; none: a network's own, or else that of the method.
    pub schedule: Option<Schedule>,
    /// Where the levels lie; none: where the method has them.
    pub grid: Option<Spacing>,
    /// The times of the levels, rising strictly from 0 (noise) to 1 (data), in place of `grid`, `shift` and `steps`.
    pub times: Option<Vec<f64>>,
    /// F of a flow whose levels are shifted towards the noise, σ ← Fσ/(1 + (F − 1)σ).
    pub shift: Option<f64>,
    /// Steps or levels, of methods that do not choose them; 50.
    pub steps: Option<usize>,
    /// η of methods that put noise back; 0.
    pub eta: Option<f64>,
    /// Churn of [`Edm`](crate::sampler::Edm); none.
    pub churn: Option<Churn>,
    /// Step τ of [`UnadjustedLangevin`](crate::sampler::UnadjustedLangevin); a tenth of the law's least variance, so that the bias
    /// is 5 % there.
    pub step: Option<f64>,
    /// Relative and absolute tolerance of adaptive steps; 1e-5, and DPM-Solver's own.
    pub tolerance: Option<f64>,
    /// Signal-to-noise ratio of a corrector; 0.16 (Song et al. 2021).
    pub snr: Option<f64>,
    /// Whether a predictor takes the step of the probability-flow ODE.
    pub probability_flow: bool,
    /// Path length after which a particle of Energy Matching in the plane stops; none.
    pub length: Option<f64>,
    /// Whether the log density of each sample is wanted: of loops, which find it on the way; that of a program is its
    /// [`Pushforward`](crate::sampler::Pushforward).
    pub log_p: bool,
    /// Defects of published codes to reproduce.
    pub compat: Vec<Compat>,
    /// Seed of the draws that stand for a law where its width is needed.
    pub seed: u32,
}

impl Options {
    /// Whether an option is given.
    pub fn gives(&self, choice: Choice) -> bool {
        match choice {
            Choice::Schedule => self.schedule.is_some(),
            Choice::Grid => self.grid.is_some(),
            Choice::Times => self.times.is_some(),
            Choice::Shift => self.shift.is_some(),
            Choice::Steps => self.steps.is_some(),
            Choice::Eta => self.eta.is_some(),
            Choice::Churn => self.churn.is_some(),
            Choice::Step => self.step.is_some(),
            Choice::Tolerance => self.tolerance.is_some(),
            Choice::Snr => self.snr.is_some(),
            Choice::ProbabilityFlow => self.probability_flow,
            Choice::Length => self.length.is_some(),
            Choice::LogP => self.log_p,
        }
    }
}

/// What a method is made for.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Its row.
    pub entry: &'static Entry,
    /// The field.
    pub field: &'a Field,
    /// The schedule that the grid lies on.
    pub schedule: Schedule,
    /// Updates at each level of a method that makes several.
    pub updates: usize,
    /// The options.
    pub options: &'a Options,
}

impl Setting<'_> {
    /// Whether a defect is to be reproduced.
    pub fn has(&self, defect: Compat) -> bool {
        self.options.compat.contains(&defect)
    }

    /// Whether the last step has to be an Euler step: the field knows only x̂₀ at σ = 0.
    pub fn euler_last(&self) -> bool {
        !self.field.is_regular_at_data()
    }

    /// η.
    pub fn eta(&self) -> f64 {
        self.options.eta.unwrap_or(0.0)
    }

    /// Steps.
    pub fn steps(&self) -> usize {
        let given = self.options.times.as_ref().map(|times| times.len().saturating_sub(1));
        given.or(self.options.steps).unwrap_or(STEPS)
    }

    /// The law whose field it is.
    ///
    /// # Errors
    /// [`RunError::NeedsLaw`] for other fields.
    pub fn law(&self) -> Result<&Mixture, RunError> {
        match self.field {
            Field::Mixture(law) => Ok(law),
            _ if self.field.has_score_of_data() => Err(RunError::NeedsStep { method: self.entry.name }),
            _ => Err(self.entry.needs_law()),
        }
    }
}

/// The names of all methods.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|entry| entry.name)
}

/// A method's name that is not known.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("there is no method {name:?}; did you mean {nearest:?}? known: {}", names().collect::<Vec<_>>().join(", "))]
pub struct UnknownMethod {
    /// The name asked for.
    pub name: String,
    /// The nearest known name.
    pub nearest: &'static str,
}

/// The method called `name`, a row of [`METHODS`].
///
/// # Errors
/// [`UnknownMethod`] with the nearest known name.
pub fn named(name: &str) -> Result<&'static Entry, UnknownMethod> {
    let unknown = || UnknownMethod { name: name.to_owned(), nearest: nearest(name, names()) };
    METHODS.iter().find(|entry| entry.name == name).ok_or_else(unknown)
}
