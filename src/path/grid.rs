//! Grids: the levels a method steps through, from noise to data.

use thiserror::Error;

use crate::path::{Form, Schedule, ScheduleError, sigmas, table};

/// One noise level of x = α · data + σ · noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Time, 0 at noise and 1 at data.
    pub t: f64,
    /// Factor α of the data.
    pub alpha: f64,
    /// Factor σ of the noise.
    pub sigma: f64,
    /// dα/dt.
    pub alpha_dot: f64,
    /// dσ/dt; −∞ where the schedule meets the data like √(1−t).
    pub sigma_dot: f64,
}

impl Level {
    /// The same level, a σ of zero replaced by one whose square is the smallest positive number: there the score −ε̂/σ of a law
    /// with a density is that law's own, to all digits.
    pub fn with_score(self) -> Self {
        Self { sigma: if self.sigma == 0.0 { f64::MIN_POSITIVE.sqrt() } else { self.sigma }, ..self }
    }

    /// σ/α, the noise level of x/α; ∞ at pure noise.
    pub fn ratio(&self) -> f64 {
        self.sigma / self.alpha
    }
}

/// The levels of a run in order: a method makes `steps` = `levels.len() − 1` steps between neighbours.
///
/// Times rise and σ/α falls strictly, so σ is zero at most at the last level.
///
/// ```
/// use brenier::path::{Grid, Schedule};
///
/// let grid = Grid::uniform(&Schedule::CondOt, 4)?;
/// assert_eq!(grid.steps().len(), 4);
/// assert_eq!(grid.levels()[1].t, 0.25);
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    levels: Vec<Level>,
}

/// Where the levels of a run lie on its schedule. Every grid ends at t = 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Spacing {
    /// Equal steps of time from pure noise; on a table its last entries.
    ///
    /// Of T entries: round(T − jT/n) − 1, half to even.
    Trailing,
    /// Tables only: every ⌊T/n⌋-th entry from the first.
    ///
    /// So the run starts below the noisiest entry.
    Leading,
    /// Tables only: from the first to the last entry.
    ///
    /// round(linspace(0, T − 1, n)), half to even.
    Linspace,
    /// sigma/alpha to the power 1/7 in equal steps.
    ///
    /// Karras et al. 2022, eq. 5.
    Karras,
    /// log(sigma/alpha) in equal steps.
    Geometric,
    /// 1/(1 + sqrt(sigma/alpha)) in equal steps, which reach pure noise and the data.
    ///
    /// σ/α = ((1 − s)/s)² reaches pure noise at s = 0 and the data at s = 1. Near the data x̂₀ changes like (σ/α)², so a method of
    /// order p in λ = log(α/σ) makes an error of Σ h_λ^{p+1} (σ/α)². With σ/α ∝ (1 − s)^a this is of order n^{−p} only if 2a > p: here
    /// up to order 3, where equal steps of t on a variance-preserving schedule (a = ½) leave order 1.
    Balanced,
    /// sigma/alpha evenly by rank among the levels of iDDPM's cosine schedule.
    ///
    /// It has 1,000 levels (Karras et al. 2022, table 1).
    Iddpm,
    /// The same, as published (`compat iddpm_grid_float32`).
    #[cfg_attr(feature = "cli", value(skip))]
    IddpmFloat32,
    /// Equal lengths of the path in W2, from a pilot run of the field.
    ///
    /// [`ArcLength`](crate::sampler::ArcLength) makes it.
    ArcLength,
}

impl Spacing {
    /// Those that a user may name.
    pub const NAMED: [Self; 8] = [
        Self::Trailing,
        Self::Leading,
        Self::Linspace,
        Self::Karras,
        Self::Geometric,
        Self::Balanced,
        Self::Iddpm,
        Self::ArcLength,
    ];

    /// The spacing called `name`.
    ///
    /// # Errors
    /// [`GridError::UnknownSpacing`] with the known names.
    pub fn named(name: &str) -> Result<Self, GridError> {
        let known = Self::NAMED.into_iter().find(|spacing| spacing.name() == name);
        known.ok_or_else(|| GridError::UnknownSpacing { name: name.into(), known: Self::NAMED.map(Self::name).join(", ") })
    }

    /// Its name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trailing => "trailing",
            Self::Leading => "leading",
            Self::Linspace => "linspace",
            Self::Karras => "karras",
            Self::Geometric => "geometric",
            Self::Balanced => "balanced",
            Self::Iddpm => "iddpm",
            Self::IddpmFloat32 => "iddpm-float32",
            Self::ArcLength => "arc-length",
        }
    }
}

/// Why times or levels do not make a grid.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum GridError {
    /// A name that no spacing has.
    #[error("there is no grid \"{name}\"; the grids are {known}")]
    UnknownSpacing {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A run of no steps.
    #[error("a run needs at least one step")]
    NoSteps,
    /// Times that do not increase within [0, 1].
    #[error("time {index} of the grid is {value}; times must increase strictly within [0, 1], from noise (0) to data (1)")]
    NotIncreasing {
        /// Index of the time, from 0.
        index: usize,
        /// The time found.
        value: f64,
    },
    /// Times of a whole run that do not go all the way.
    #[error("the times run from {first} to {last}; a run starts at 0 (noise) and ends at 1 (data)")]
    NotWhole {
        /// The first time.
        first: f64,
        /// The last time.
        last: f64,
    },
    /// Too few times for a step.
    #[error("{count} times make no step; give at least two, of which the first is 0 (noise) and the last 1 (data)")]
    TooFew {
        /// Times given.
        count: usize,
    },
    /// A level not finite, negative, or no cleaner than the one before.
    #[error(
        "level {index} of the grid has alpha = {alpha} and sigma = {sigma}; both must be finite and not negative, and sigma/alpha must fall strictly"
    )]
    NotFalling {
        /// Index of the level, from 0.
        index: usize,
        /// α found.
        alpha: f64,
        /// σ found.
        sigma: f64,
    },
    /// A number of steps that the schedule's table cannot give.
    #[error("{steps} steps from a table of {table} levels; ask for at most {table}")]
    TooManySteps {
        /// Steps asked for.
        steps: usize,
        /// Levels of the table.
        table: usize,
    },
    /// A spacing of table entries on a schedule that is not a table.
    #[error("{0:?} spacing counts entries of a table, and this schedule is continuous; take trailing, or a table such as ddpm")]
    NeedsTable(Spacing),
    /// Levels by the length of a path, without the field that makes it.
    #[error("arc-length spacing follows a field's particles; make the grid with sampler::ArcLength")]
    NeedsField,
    /// σ/α spaced from pure noise, where it is infinite.
    #[error(
        "{0:?} spacing of sigma/alpha cannot start at pure noise, where it is infinite; take trailing, or a schedule such as linear-vp"
    )]
    PureNoise(Spacing),
    /// A ratio that the schedule does not have.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

impl Grid {
    /// The grid of `schedule` at increasing `times` in [0, 1].
    ///
    /// # Errors
    /// [`GridError`] for fewer than two times, or times that leave [0, 1] or do not increase.
    pub fn at(schedule: &Schedule, times: &[f64]) -> Result<Self, GridError> {
        Self::from_levels(times.iter().map(|&t| schedule.level(t)).collect())
    }

    /// `steps` equal steps of t from 0 to 1: the trailing grid of the samplers' literature, whose first level is pure noise.
    ///
    /// # Errors
    /// [`GridError::NoSteps`] when `steps` is 0.
    pub fn uniform(schedule: &Schedule, steps: usize) -> Result<Self, GridError> {
        let times: Vec<f64> = (0..=steps).map(|i| i as f64 / steps as f64).collect();
        Self::at(schedule, &times)
    }

    /// The grid of `steps` steps on `schedule` with the given `spacing`. Where the schedule reaches the data the last level is
    /// (α, σ) = (1, 0); spacings of σ/α place the levels before it, from the start of the
    /// schedule to t = 0.999 (on a table its first entry), except [`Spacing::Balanced`], which runs to the data itself.
    ///
    /// # Errors
    /// [`GridError`] for no steps, more steps than the table has, a table's spacing on a continuous schedule, σ/α spaced from a
    /// start of pure noise, where it is infinite, or [`Spacing::ArcLength`], which needs a field.
    pub fn spaced(schedule: &Schedule, steps: usize, spacing: Spacing) -> Result<Self, GridError> {
        if steps == 0 {
            return Err(GridError::NoSteps);
        }
        match (spacing, schedule) {
            (Spacing::ArcLength, _) => Err(GridError::NeedsField),
            (Spacing::Karras | Spacing::Geometric | Spacing::Balanced | Spacing::Iddpm | Spacing::IddpmFloat32, _) => {
                let (noisiest, cleanest) = range(schedule, spacing, steps)?;
                // iDDPM's levels do not have the schedule's end among them.
                let ends = cleanest == schedule.level(1.0).ratio() && !matches!(spacing, Spacing::Iddpm | Spacing::IddpmFloat32);
                Self::at_ratios(schedule, &ratios(spacing, (noisiest, cleanest), if ends { steps + 1 } else { steps }))
            }
            (_, Schedule::Table(table)) => Self::at(schedule, &entries(table.entries(), steps, spacing)?),
            (Spacing::Trailing, _) => Self::uniform(schedule, steps),
            _ => Err(GridError::NeedsTable(spacing)),
        }
    }

    /// As [`Grid::spaced`], except that the run ends in the data on [`Schedule::Ve`] too: `steps` levels from σ_max to σ_min and
    /// then σ = 0, as EDM has it (Karras et al. 2022, algorithm 1). The clock of these levels is linear in σ.
    ///
    /// # Errors
    /// As [`Grid::spaced`].
    pub fn spaced_to_data(schedule: &Schedule, steps: usize, spacing: Spacing) -> Result<Self, GridError> {
        let Schedule::Ve { .. } = schedule else { return Self::spaced(schedule, steps, spacing) };
        let mut sigmas = match spacing {
            _ if steps == 0 => return Err(GridError::NoSteps),
            Spacing::Leading | Spacing::Linspace => return Err(GridError::NeedsTable(spacing)),
            Spacing::ArcLength => return Err(GridError::NeedsField),
            Spacing::Trailing => ratios(Spacing::Geometric, range(schedule, spacing, steps)?, steps), // time and log σ are one
            of_ratios => ratios(of_ratios, range(schedule, spacing, steps)?, steps),
        };
        sigmas.push(0.0);
        Self::of_sigmas(&sigmas, Form::Exploding)
    }

    /// The grid of `schedule` at `times`, the last of which is the data, (α, σ) = (1, 0), on
    /// [`Schedule::Ve`] too; the clock of these levels is then linear in σ.
    ///
    /// # Errors
    /// As [`Grid::at`].
    pub fn at_to_data(schedule: &Schedule, times: &[f64]) -> Result<Self, GridError> {
        let (Schedule::Ve { .. }, [noisy @ .., _]) = (schedule, times) else { return Self::at(schedule, times) };
        let sigmas: Vec<f64> = noisy.iter().map(|&t| schedule.level(t).sigma).chain([0.0]).collect();
        Self::of_sigmas(&sigmas, Form::Exploding)
    }

    /// The levels of `schedule` at falling `ratios` σ/α, and then its end t = 1 where that is cleaner.
    ///
    /// # Errors
    /// [`GridError::Schedule`] for a ratio that the schedule does not have, [`GridError::NotIncreasing`] when they do not fall.
    pub fn at_ratios(schedule: &Schedule, ratios: &[f64]) -> Result<Self, GridError> {
        let mut times = ratios.iter().map(|&ratio| schedule.time(ratio)).collect::<Result<Vec<f64>, _>>()?;
        if times.last() != Some(&1.0) {
            times.push(1.0);
        }
        Self::at(schedule, &times)
    }

    /// NCSN's ladder: `noisy` levels with α = 1 and σ geometric from `sigma_max` to `sigma_min`, then the data (1, 0).
    ///
    /// # Errors
    /// [`GridError::NoSteps`] for no levels, [`GridError::Schedule`] unless 0 < `sigma_min` < `sigma_max` < ∞.
    pub fn ladder(sigma_max: f64, sigma_min: f64, noisy: usize) -> Result<Self, GridError> {
        Schedule::ve(sigma_min, sigma_max)?;
        let slope = (sigma_min / sigma_max).ln() * noisy as f64 / noisy.saturating_sub(1).max(1) as f64;
        let mut levels: Vec<Level> = ratios(Spacing::Geometric, (sigma_max, sigma_min), noisy)
            .into_iter()
            .enumerate()
            .map(|(i, sigma)| Level { t: i as f64 / noisy as f64, alpha: 1.0, sigma, alpha_dot: 0.0, sigma_dot: slope * sigma })
            .collect();
        levels.push(Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 });
        Self::from_levels(levels)
    }

    /// `steps` equal steps of the time s of the Ornstein–Uhlenbeck flow, which takes any law to N(0, I), from s = `time` back to the
    /// data: α = e^{−s}, σ² = 1 − e^{−2s}.
    ///
    /// # Errors
    /// [`GridError`] for no steps, or a time so long that two levels cannot be told apart.
    pub fn ornstein_uhlenbeck(time: f64, steps: usize) -> Result<Self, GridError> {
        if steps == 0 {
            return Err(GridError::NoSteps);
        }
        let level = |i: usize| {
            let t = i as f64 / steps as f64;
            let s = time * (1.0 - t);
            let (alpha, sigma) = ((-s).exp(), (-(-2.0 * s).exp_m1()).sqrt());
            Level { t, alpha, sigma, alpha_dot: time * alpha, sigma_dot: -time * alpha * alpha / sigma }
        };
        Self::from_levels((0..=steps).map(level).collect())
    }

    /// A grid from levels made elsewhere (a table, σ values of a solver).
    ///
    /// # Errors
    /// [`GridError`] for fewer than two levels, times that do not increase in [0, 1], or σ/α that does not fall.
    pub fn from_levels(levels: Vec<Level>) -> Result<Self, GridError> {
        if levels.len() < 2 {
            return Err(GridError::NoSteps);
        }
        for (index, level) in levels.iter().enumerate() {
            let before = index.checked_sub(1).map(|i| levels[i]);
            if !(0.0..=1.0).contains(&level.t) || before.is_some_and(|before| level.t <= before.t) {
                return Err(GridError::NotIncreasing { index, value: level.t });
            }
            let Level { alpha, sigma, .. } = *level;
            let valid = alpha >= 0.0 && sigma >= 0.0 && alpha.is_finite() && sigma.is_finite() && alpha + sigma > 0.0;
            if !valid || before.is_some_and(|before| sigma * before.alpha >= before.sigma * alpha) {
                return Err(GridError::NotFalling { index, alpha, sigma });
            }
        }
        Ok(Self { levels })
    }

    /// All levels, first noise, last data.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The steps (from, to) in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (Level, Level)> + '_ {
        self.levels.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// The level where the run starts.
    pub fn start(&self) -> Level {
        self.levels[0]
    }
}

/// Refuses `times` that are not those of a whole run: at least two, rising strictly from 0 to 1.
///
/// # Errors
/// [`GridError`] that says what they are instead.
pub fn check_times(times: &[f64]) -> Result<(), GridError> {
    let [first, .., last] = *times else { return Err(GridError::TooFew { count: times.len() }) };
    if let Some(index) = (0..times.len()).find(|&i| !times[i].is_finite() || i > 0 && times[i] <= times[i - 1]) {
        return Err(GridError::NotIncreasing { index, value: times[index] });
    }
    if first == 0.0 && last == 1.0 { Ok(()) } else { Err(GridError::NotWhole { first, last }) }
}

/// Times of `steps` entries of a table of `size`, noisiest first, and of the data.
fn entries(size: usize, steps: usize, spacing: Spacing) -> Result<Vec<f64>, GridError> {
    let entries = table::entries(size, spacing, steps, steps, 0, true)?;
    Ok(entries.into_iter().map(|entry| 1.0 - (entry + 1.0) / size as f64).chain([1.0]).collect())
}

/// The least σ/α of a balanced grid before the data: below it two levels may have one time in double precision. The last step
/// from there is off by the square of it.
const FINEST: f64 = 1e-6;

/// σ/α at the start of `schedule` and where a spacing of σ/α in `steps` steps ends.
fn range(schedule: &Schedule, spacing: Spacing, steps: usize) -> Result<(f64, f64), GridError> {
    let noisiest = schedule.level(0.0).ratio();
    if noisiest.is_infinite() && spacing != Spacing::Balanced {
        return Err(GridError::PureNoise(spacing));
    }
    let last = match schedule {
        Schedule::Ve { .. } => 1.0,
        Schedule::Table(table) => 1.0 - 1.0 / table.entries() as f64,
        _ if spacing == Spacing::Balanced && steps as f64 * FINEST.sqrt() > 1.0 => return Ok((noisiest, FINEST)),
        _ if spacing == Spacing::Balanced => 1.0,
        _ => 0.999,
    };
    Ok((noisiest, schedule.level(last).ratio()))
}

/// `count` ratios from `noisiest` to `cleanest`, both exact but those of iDDPM, which are entries of its table.
fn ratios(spacing: Spacing, (noisiest, cleanest): (f64, f64), count: usize) -> Vec<f64> {
    if let Spacing::Iddpm | Spacing::IddpmFloat32 = spacing {
        return sigmas::iddpm(noisiest, cleanest, count, 1000, [0.001, 0.008], spacing == Spacing::IddpmFloat32);
    }
    let between = |i: usize| match i as f64 / (count - 1).max(1) as f64 {
        0.0 => noisiest,
        1.0 => cleanest,
        s if spacing == Spacing::Karras => {
            let (first, last) = (noisiest.powf(1.0 / 7.0), cleanest.powf(1.0 / 7.0));
            (first + s * (last - first)).powi(7)
        }
        s if spacing == Spacing::Balanced => {
            let place = |ratio: f64| 1.0 / (1.0 + ratio.sqrt());
            let place = place(noisiest) + s * (place(cleanest) - place(noisiest));
            ((1.0 - place) / place).powi(2)
        }
        s => noisiest * (cleanest / noisiest).powf(s),
    };
    (0..count).map(between).collect()
}
