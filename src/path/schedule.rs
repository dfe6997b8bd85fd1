//! Noise schedules: α_t, σ_t, their derivatives and the inverse of their ratio.

use std::f64::consts::FRAC_PI_2;

use thiserror::Error;

use crate::names::nearest;
use crate::path::Level;

/// The offset s of the cosine schedule (Nichol, Dhariwal 2021, eq. 17), which keeps σ from falling too fast at the data.
const COSINE_OFFSET: f64 = 0.008;

/// Names that [`Schedule::named`] knows.
pub const SCHEDULES: [&str; 8] = ["linear-vp", "cosine", "ve", "condot", "trigonometric", "ddpm", "ddpm-cosine", "scaled-linear"];

/// A noise schedule x_t = α_t · data + σ_t · noise on t ∈ [0, 1], noise at 0 and data at 1; σ/α falls strictly.
///
/// Every schedule but [`Schedule::Ve`] ends in the data, (α, σ) = (1, 0). Those with parameters are made by functions that check
/// them.
///
/// ```
/// use brenier::path::Schedule;
///
/// let middle = Schedule::CondOt.level(0.5);
/// assert_eq!((middle.alpha, middle.sigma), (0.5, 0.5));
/// let vp = Schedule::parse("linear-vp:0.1,20")?.level(0.5);
/// assert!((vp.alpha.powi(2) + vp.sigma.powi(2) - 1.0).abs() < 1e-12); // variance preserving
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Variance preserving with rate β linear in time (Song et al. 2021, eq. 32–33): α = e^{−T/2}, σ = √(1 − e^{−T}),
    /// T = ∫β = β_min u + ½(β_max − β_min)u², u = 1 − t. Made by [`Schedule::linear_vp`].
    #[non_exhaustive]
    LinearVp {
        /// β at the data.
        beta_min: f64,
        /// β at the noise.
        beta_max: f64,
    },
    /// Variance preserving with ᾱ = cos²(½π(u + s)/(1 + s)) / cos²(½πs/(1 + s)), s = 0.008 (Nichol, Dhariwal 2021, eq. 17).
    Cosine,
    /// Variance exploding (Song et al. 2021, eq. 30): α = 1, σ geometric from σ_max to σ_min. Made by [`Schedule::ve`].
    #[non_exhaustive]
    Ve {
        /// σ at t = 1.
        sigma_min: f64,
        /// σ at t = 0.
        sigma_max: f64,
    },
    /// The straight path of flow matching (Lipman et al. 2023, eq. 22): α = t, σ = 1 − t.
    CondOt,
    /// The quarter circle: α = sin(½πt), σ = cos(½πt).
    Trigonometric,
    /// α = t, σ = √(1 − t²): variance preserving with a linear α (Lipman et al. 2024, "flow matching guide", §4.8.2).
    LinearAlpha,
    /// α = tⁿ, σ = 1 − tⁿ, n > 0.
    Polynomial(f64),
    /// A table of β_1…β_T as DDPM has it, between whose entries log ᾱ is linear in t.
    Table(Table),
}

/// A discrete variance-preserving schedule: ᾱ_i = Π_{j≤i} (1 − β_j), α = √ᾱ, σ = √(1 − ᾱ).
///
/// Entry i, from 0, sits at t = 1 − (i + 1)/T, so the last entry is t = 0; the data, ᾱ = 1, sit at t = 1. Between them log ᾱ is
/// linear in t; at an entry the derivatives are those of the interval towards the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// −log ᾱ from the data on: 0, then T rising entries.
    exponent: Vec<f64>,
}

/// Why parameters do not make a schedule, or a schedule does not answer.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A parameter outside its domain.
    #[error("{name} is {value}; the schedule needs {domain}")]
    Domain {
        /// Name of the parameter.
        name: &'static str,
        /// The value found.
        value: f64,
        /// What is needed.
        domain: &'static str,
    },
    /// A β that is not strictly between 0 and 1.
    #[error("entry {index} of the table of betas is {value}; every beta must lie strictly between 0 and 1")]
    Beta {
        /// Entry, from 0.
        index: usize,
        /// The value found.
        value: f64,
    },
    /// A table of no entries.
    #[error("the table of betas is empty; it needs at least one entry")]
    EmptyTable,
    /// A ratio σ/α that the schedule never has.
    #[error("sigma/alpha = {ratio} is outside of this schedule, which runs from {noisiest} (t = 0) to {cleanest} (t = 1)")]
    Ratio {
        /// The ratio asked for.
        ratio: f64,
        /// σ/α at t = 0.
        noisiest: f64,
        /// σ/α at t = 1.
        cleanest: f64,
    },
    /// A forward diffusion dz = f z ds + g dw that is not one.
    #[error(
        "{name} is {value} at s = {s}; a diffusion dz = f z ds + g dw needs finite f and g from s = 0 (data) to s = 1 (noise)"
    )]
    Diffusion {
        /// `f` or `g`.
        name: &'static str,
        /// Time s = 1 − t.
        s: f64,
        /// The value found.
        value: f64,
    },
    /// A name with numbers that are not a schedule's.
    #[error("\"{spec}\" is not a schedule: write linear-vp:0.1,20 or ve:0.01,50, or a name without numbers")]
    Spec {
        /// What was written.
        spec: String,
    },
    /// A name that is not known.
    #[error("there is no schedule {name:?}; did you mean {nearest:?}? known: {}", SCHEDULES.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The nearest known name.
        nearest: &'static str,
    },
}

impl Schedule {
    /// The continuous linear schedule; Song et al. use β ∈ [0.1, 20].
    ///
    /// # Errors
    /// [`ScheduleError::Domain`] unless 0 < `beta_min` ≤ `beta_max` < ∞.
    pub fn linear_vp(beta_min: f64, beta_max: f64) -> Result<Self, ScheduleError> {
        positive("beta_min", beta_min)?;
        if !(beta_max >= beta_min && beta_max.is_finite()) {
            return Err(ScheduleError::Domain { name: "beta_max", value: beta_max, domain: "beta_min <= beta_max < infinity" });
        }
        Ok(Self::LinearVp { beta_min, beta_max })
    }

    /// The geometric variance-exploding schedule.
    ///
    /// # Errors
    /// [`ScheduleError::Domain`] unless 0 < `sigma_min` < `sigma_max` < ∞.
    pub fn ve(sigma_min: f64, sigma_max: f64) -> Result<Self, ScheduleError> {
        positive("sigma_min", sigma_min)?;
        if !(sigma_max > sigma_min && sigma_max.is_finite()) {
            return Err(ScheduleError::Domain {
                name: "sigma_max",
                value: sigma_max,
                domain: "sigma_min < sigma_max < infinity",
            });
        }
        Ok(Self::Ve { sigma_min, sigma_max })
    }

    /// The schedule of a table of β_1…β_T, in the order of the forward process.
    ///
    /// # Errors
    /// [`ScheduleError::EmptyTable`], or [`ScheduleError::Beta`] for an entry outside (0, 1).
    pub fn table(betas: &[f64]) -> Result<Self, ScheduleError> {
        if betas.is_empty() {
            return Err(ScheduleError::EmptyTable);
        }
        if let Some((index, &value)) = betas.iter().enumerate().find(|(_, beta)| !(**beta > 0.0 && **beta < 1.0)) {
            return Err(ScheduleError::Beta { index, value });
        }
        Ok(Self::from_betas(betas.iter().copied()))
    }

    /// DDPM's own table (Ho et al. 2020, §4): T = 1000, β linear from 1e-4 to 0.02.
    pub fn ddpm() -> Self {
        Self::from_betas((0..1000).map(|i| 1e-4 + (0.02 - 1e-4) * f64::from(i) / 999.0))
    }

    /// The table of Stable Diffusion's form: T = 1000, √β linear from √1e-4 to √0.02.
    pub fn scaled_linear() -> Self {
        let (low, high) = (1e-4_f64.sqrt(), 0.02_f64.sqrt());
        Self::from_betas((0..1000).map(|i| (low + (high - low) * f64::from(i) / 999.0).powi(2)))
    }

    /// The cosine table: T = 1000, β_i = min(1 − ᾱ((i+1)/T)/ᾱ(i/T), 0.999) (Nichol, Dhariwal 2021, eq. 17).
    pub fn ddpm_cosine() -> Self {
        let alpha_bar = |i: u16| (FRAC_PI_2 * (f64::from(i) / 1000.0 + COSINE_OFFSET) / (1.0 + COSINE_OFFSET)).cos().powi(2);
        Self::from_betas((0..1000).map(|i| (1.0 - alpha_bar(i + 1) / alpha_bar(i)).min(0.999)))
    }

    fn from_betas(betas: impl Iterator<Item = f64>) -> Self {
        let mut exponent = vec![0.0];
        let mut sum = 0.0;
        exponent.extend(betas.map(|beta| {
            sum -= (-beta).ln_1p();
            sum
        }));
        Self::Table(Table { exponent })
    }

    /// The table of falling ᾱ_1…ᾱ_T; the last may be zero.
    pub(super) fn of_alpha_bars(alpha_bars: impl Iterator<Item = f64>) -> Self {
        Self::Table(Table { exponent: std::iter::once(0.0).chain(alpha_bars.map(|alpha_bar| -alpha_bar.ln())).collect() })
    }

    /// The schedule of one of the names [`SCHEDULES`], with its usual parameters: `linear-vp` has β ∈ [0.1, 20], `ve` has
    /// σ ∈ [0.01, 50]; the tables have T = 1000 and `ddpm` is the linear one.
    ///
    /// # Errors
    /// [`ScheduleError::Unknown`] with the nearest known name.
    pub fn named(name: &str) -> Result<Self, ScheduleError> {
        Ok(match name {
            "linear-vp" => Self::LinearVp { beta_min: 0.1, beta_max: 20.0 },
            "cosine" => Self::Cosine,
            "ve" => Self::Ve { sigma_min: 0.01, sigma_max: 50.0 },
            "condot" => Self::CondOt,
            "trigonometric" => Self::Trigonometric,
            "ddpm" => Self::ddpm(),
            "ddpm-cosine" => Self::ddpm_cosine(),
            "scaled-linear" => Self::scaled_linear(),
            _ => return Err(ScheduleError::Unknown { name: name.to_owned(), nearest: nearest(name, SCHEDULES) }),
        })
    }

    /// The schedule that `spec` names: one of [`SCHEDULES`], `linear-vp:BETA_MIN,BETA_MAX` or `ve:SIGMA_MIN,SIGMA_MAX`.
    ///
    /// # Errors
    /// [`ScheduleError`] for a name that is not known, or ends that are not two numbers in their domain.
    pub fn parse(spec: &str) -> Result<Self, ScheduleError> {
        let Some((name, ends)) = spec.split_once(':') else { return Self::named(spec) };
        let ends = ends.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match (name, ends) {
            ("linear-vp", Some((beta_min, beta_max))) => Self::linear_vp(beta_min, beta_max),
            ("ve", Some((sigma_min, sigma_max))) => Self::ve(sigma_min, sigma_max),
            _ => Err(ScheduleError::Spec { spec: spec.to_owned() }),
        }
    }

    /// The level at time t ∈ [0, 1], derivatives included.
    pub fn level(&self, t: f64) -> Level {
        let u = 1.0 - t;
        match self {
            Self::LinearVp { beta_min, beta_max } => {
                let rate = beta_min + (beta_max - beta_min) * u;
                variance_preserving(t, u * 0.5 * (beta_min + rate), rate)
            }
            Self::Cosine => {
                // 1 − ᾱ by the sum formula, which does not cancel at the data; ᾱ by a sine, which is zero at the noise.
                let (scale, edge) = cosine_angles();
                let alpha = (scale * t).sin() / edge.cos();
                let sigma = ((scale * u).sin() * (scale * u + 2.0 * edge).sin()).sqrt() / edge.cos();
                let alpha_dot = scale * (scale * t).cos() / edge.cos();
                Level { t, alpha, sigma, alpha_dot, sigma_dot: -alpha * alpha_dot / sigma }
            }
            Self::Ve { sigma_min, sigma_max } => {
                let sigma = sigma_max.powf(u) * sigma_min.powf(t);
                Level { t, alpha: 1.0, sigma, alpha_dot: 0.0, sigma_dot: sigma * (sigma_min / sigma_max).ln() }
            }
            Self::CondOt => Level { t, alpha: t, sigma: u, alpha_dot: 1.0, sigma_dot: -1.0 },
            Self::Trigonometric => {
                let (alpha, sigma) = ((FRAC_PI_2 * t).sin(), (FRAC_PI_2 * u).sin());
                Level { t, alpha, sigma, alpha_dot: FRAC_PI_2 * sigma, sigma_dot: -FRAC_PI_2 * alpha }
            }
            Self::LinearAlpha => {
                let sigma = (u * (1.0 + t)).sqrt();
                Level { t, alpha: t, sigma, alpha_dot: 1.0, sigma_dot: -t / sigma }
            }
            Self::Polynomial(n) => {
                let (alpha, slope) = (t.powf(*n), n * t.powf(n - 1.0));
                Level { t, alpha, sigma: 1.0 - alpha, alpha_dot: slope, sigma_dot: -slope }
            }
            Self::Table(table) => {
                let exact = u * table.entries() as f64;
                let position = if (exact - exact.round()).abs() < 1e-9 { exact.round() } else { exact }; // an entry, not beside it
                let below = ((position.ceil() as usize).max(1) - 1).min(table.entries() - 1);
                let rise = table.exponent[below + 1] - table.exponent[below];
                let exponent = table.exponent[below] + rise * (position - below as f64);
                variance_preserving(t, exponent, rise * table.entries() as f64)
            }
        }
    }

    /// The time at which σ/α is `ratio`: the inverse of [`Schedule::level`]. The signal-to-noise ratio is `ratio`⁻².
    ///
    /// # Errors
    /// [`ScheduleError::Ratio`] when the schedule never has this ratio.
    pub fn time(&self, ratio: f64) -> Result<f64, ScheduleError> {
        let (noisiest, cleanest) = (self.level(0.0).ratio(), self.level(1.0).ratio());
        if !(cleanest..=noisiest).contains(&ratio) {
            return Err(ScheduleError::Ratio { ratio, noisiest, cleanest });
        }
        if ratio == noisiest || ratio == cleanest {
            return Ok(if ratio == cleanest { 1.0 } else { 0.0 }); // the ends exactly
        }
        let exponent = (ratio * ratio).ln_1p(); // −log ᾱ of a variance-preserving schedule
        let t = match self {
            Self::LinearVp { beta_min, beta_max } => {
                1.0 - 2.0 * exponent / (beta_min + (beta_min * beta_min + 2.0 * (beta_max - beta_min) * exponent).sqrt())
            }
            Self::Cosine => {
                let (scale, edge) = cosine_angles();
                (edge.cos() / ratio.hypot(1.0)).asin() / scale
            }
            Self::Ve { sigma_min, sigma_max } => (ratio / sigma_max).ln() / (sigma_min / sigma_max).ln(),
            Self::CondOt => 1.0 / (1.0 + ratio),
            Self::Trigonometric => 1.0_f64.atan2(ratio) / FRAC_PI_2,
            Self::LinearAlpha => 1.0 / ratio.hypot(1.0),
            Self::Polynomial(n) => (1.0 + ratio).powf(-1.0 / n),
            Self::Table(table) => {
                let above = table.exponent.partition_point(|&e| e < exponent).clamp(1, table.entries());
                let (low, high) = (table.exponent[above - 1], table.exponent[above]);
                1.0 - ((above - 1) as f64 + (exponent - low) / (high - low)) / table.entries() as f64
            }
        };
        Ok(t.clamp(0.0, 1.0))
    }

    /// The level of this schedule with the σ/α of `level`, one of any schedule, and the factor by which x there is x here:
    /// x = α x̂₀ + σ ε̂ at both, with the same x̂₀ and ε̂.
    ///
    /// # Errors
    /// [`ScheduleError::Ratio`] when the schedule never has this ratio.
    pub fn same_noise(&self, level: Level) -> Result<(Level, f64), ScheduleError> {
        let same = self.level(level.t);
        let own = match (same.alpha, same.sigma) == (level.alpha, level.sigma) {
            true => same,
            false => self.level(self.time(level.ratio())?),
        };
        Ok((own, (own.alpha + own.sigma) / (level.alpha + level.sigma)))
    }
}

impl Table {
    /// Number T of entries.
    pub fn entries(&self) -> usize {
        self.exponent.len() - 1
    }

    /// ᾱ of entry `i`, from 0.
    pub(super) fn alpha_bar(&self, i: usize) -> f64 {
        (-self.exponent[i + 1]).exp()
    }
}

/// The level with ᾱ = e^{−T} where T falls at the `rate` = −dT/dt.
fn variance_preserving(t: f64, exponent: f64, rate: f64) -> Level {
    let alpha = (-0.5 * exponent).exp();
    let sigma = (-(-exponent).exp_m1()).sqrt();
    Level { t, alpha, sigma, alpha_dot: 0.5 * rate * alpha, sigma_dot: -0.5 * rate * alpha * alpha / sigma }
}

/// The cosine schedule's angle is `edge` at the data and rises by `scale` over the path.
fn cosine_angles() -> (f64, f64) {
    (FRAC_PI_2 / (1.0 + COSINE_OFFSET), FRAC_PI_2 * COSINE_OFFSET / (1.0 + COSINE_OFFSET))
}

fn positive(name: &'static str, value: f64) -> Result<(), ScheduleError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(ScheduleError::Domain { name, value, domain: "a positive number" })
    }
}
