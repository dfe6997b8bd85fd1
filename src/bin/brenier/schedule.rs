//! `brenier schedule`: a noise schedule in the terms of diffusion and of flow matching.

use std::process::ExitCode;

use brenier::path::{Forward, Grid, Level, Schedule, Spacing, forward_of_levels, levels_of_forward};
use clap::{ArgGroup, Args};
use minijinja::{Environment, context};
use serde::Serialize;

use crate::formula::{self, Formula};
use crate::output::{columns, count, number, strided};
use crate::session::Session;
use crate::{Failure, flags, values};

/// Print a noise schedule, and convert it between the terms of diffusion and of flow matching
///
/// Particles are z = alpha data + sigma noise at time t, 0 at noise and 1 at data. The same law at each time has the diffusion
/// dz = f z ds + g dw in s = 1 - t. Sampling runs it backwards with noise put back, eta of diffusion or epsilon = eta g of stochastic
/// interpolants: dz = [f z - (g² + epsilon²)/2 score] ds + epsilon dw. A schedule is a name, two formulas for alpha and sigma, or two for f
/// and g, from which alpha and sigma are integrated. Formulas may use t, s = 1 - t, + - * / ** (write -(t**2), not -t**2), abs cos exp log max min sin sqrt tan and pi.
/// lambda is the log of the signal-to-noise ratio (alpha/sigma)².
#[derive(Args)]
#[command(group = ArgGroup::new("law").required(true).args(["schedule", "alpha", "f"]), after_help = flags::examples(&[
    "brenier schedule cosine",
    "brenier schedule linear-vp --steps 5 --eta 0.5         the noise of stochastic interpolants that eta is",
    "brenier schedule condot --epsilon 'sqrt(2*(1 - t))'    and the other way round",
    "brenier schedule --f '-1/2' --g 1                      sigma² = 1 - exp(-s)",
    "brenier schedule --alpha t --sigma 'sqrt(1 - t**2)'",
]))]
pub struct ScheduleTable {
    #[arg(value_name = "SCHEDULE", help = values::schedule_names())]
    schedule: Option<String>,
    /// alpha as a formula of t
    #[arg(long, value_name = "FORMULA", requires = "sigma", allow_hyphen_values = true)]
    alpha: Option<String>,
    /// sigma as a formula of t
    #[arg(long, value_name = "FORMULA", requires = "alpha", allow_hyphen_values = true)]
    sigma: Option<String>,
    /// Drift of the diffusion, a formula of s
    #[arg(long, value_name = "FORMULA", requires = "g", allow_hyphen_values = true)]
    f: Option<String>,
    /// Noise of the diffusion, a formula of s
    #[arg(long, value_name = "FORMULA", requires = "f", allow_hyphen_values = true)]
    g: Option<String>,
    /// Noise put back in sampling, as a share of g: 0 is the probability-flow ODE, 1 the reverse diffusion [default: 1]
    #[arg(long, value_name = "FORMULA", conflicts_with = "epsilon", allow_hyphen_values = true)]
    eta: Option<String>,
    /// Noise put back in sampling
    #[arg(long, value_name = "FORMULA", allow_hyphen_values = true)]
    epsilon: Option<String>,
    /// Steps between the levels
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// Where the levels of a named schedule lie [default: trailing, equal steps of t]
    #[arg(long, value_enum, requires = "schedule")]
    grid: Option<Spacing>,
}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    /// None where it is given by formulas.
    schedule: Option<&'a str>,
    steps: u32,
    levels: Vec<Row>,
    flags: Vec<&'static str>,
    wall_seconds: f64,
}

/// One level.
#[derive(Serialize)]
struct Row {
    t: f64,
    alpha: f64,
    sigma: f64,
    log_snr: f64,
    f: f64,
    g: f64,
    eta: f64,
    epsilon: f64,
}

impl Row {
    fn numbers(&self) -> [f64; 8] {
        [self.t, self.alpha, self.sigma, self.log_snr, self.f, self.g, self.eta, self.epsilon]
    }
}

/// A level, and the diffusion there.
struct Known {
    t: f64,
    alpha: f64,
    sigma: f64,
    forward: Forward,
}

impl ScheduleTable {
    /// Prints the schedule.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let language = formula::language();
        let noise = match (&self.eta, &self.epsilon) {
            (_, Some(epsilon)) => of_time(&language, epsilon)?,
            (eta, None) => of_time(&language, eta.as_deref().unwrap_or("1"))?,
        };
        let row = |Known { t, alpha, sigma, forward: Forward { drift: f, noise: g } }| {
            let value = noise(t)?;
            if value.is_nan() || value < 0.0 {
                return Err(Failure::from(format!("the noise put back is {value} at t = {t}; it must not be negative")));
            }
            let (eta, epsilon) = if self.epsilon.is_some() { (value / g, value) } else { (value, value * g) };
            Ok(Row { t, alpha, sigma, log_snr: 2.0 * (alpha / sigma).ln(), f, g, eta, epsilon })
        };
        let levels = self.levels(&language)?.into_iter().map(row).collect::<Result<Vec<Row>, Failure>>()?;
        let rises = |pair: &&[Row]| pair[1].sigma * pair[0].alpha > pair[0].sigma * pair[1].alpha;
        if let Some(pair) = levels.windows(2).find(rises) {
            let (from, to) = (pair[0].t, pair[1].t);
            return Err(format!("sigma/alpha rises from t = {from} to t = {to}; time runs from noise at 0 to data at 1").into());
        }
        let finite = levels.iter().all(|row| row.numbers().iter().all(|x| x.is_finite()));
        let record = Record {
            command: "schedule",
            version: env!("CARGO_PKG_VERSION"),
            schedule: self.schedule.as_deref(),
            steps: self.steps,
            flags: if finite { vec![] } else { vec!["not_finite"] },
            wall_seconds: session.wall_seconds(),
            levels,
        };
        session.finish(&record, session.folder(None)?.as_ref(), &summary(&record))
    }

    /// The levels from noise to data.
    fn levels(&self, language: &Environment<'static>) -> Result<Vec<Known>, Failure> {
        let uniform: Vec<f64> = (0..=self.steps).map(|k| f64::from(k) / f64::from(self.steps)).collect();
        match (&self.schedule, &self.alpha, &self.sigma, &self.f, &self.g) {
            (None, Some(alpha), Some(sigma), ..) => {
                let (alpha, sigma) = (of_time(language, alpha)?, of_time(language, sigma)?);
                let level = |t: f64| Ok::<_, Failure>((alpha(t)?, sigma(t)?));
                let at = |t: f64| {
                    let (alpha, sigma) = level(t)?;
                    if !(alpha >= 0.0 && sigma >= 0.0 && (alpha + sigma).is_finite()) {
                        return Err(format!(
                            "alpha = {alpha} and sigma = {sigma} at t = {t}; both must be finite and not negative"
                        )
                        .into());
                    }
                    Ok(Known { t, alpha, sigma, forward: forward_of_levels(level, t)? })
                };
                uniform.into_iter().map(at).collect()
            }
            (None, _, _, Some(f), Some(g)) => {
                let (f, g) = (of_time(language, f)?, of_time(language, g)?);
                let forward = |s: f64| Ok::<_, Failure>(Forward { drift: f(1.0 - s)?, noise: g(1.0 - s)?.abs() });
                let levels = levels_of_forward(forward, &uniform)?;
                let known = |(t, (alpha, sigma))| Ok(Known { t, alpha, sigma, forward: forward(1.0 - t)? });
                uniform.into_iter().zip(levels).map(known).collect()
            }
            (name, ..) => {
                let schedule = Schedule::parse(name.as_deref().unwrap_or_default())?;
                let grid = Grid::spaced(&schedule, self.steps as usize, self.grid.unwrap_or(Spacing::Trailing))?;
                let known = |level: &Level| {
                    let Level { t, alpha, sigma, .. } = *level;
                    Known { t, alpha, sigma, forward: schedule.forward(t) }
                };
                Ok(grid.levels().iter().map(known).collect())
            }
        }
    }
}

/// A formula of the time t and s = 1 − t.
fn of_time<'l>(language: &'l Environment<'static>, text: &str) -> Result<impl Fn(f64) -> Result<f64, Failure> + 'l, Failure> {
    let formula = Formula::new(language, text, &["t", "s"]).map_err(flags::bad_usage)?;
    Ok(move |t: f64| formula.number(context! { t => t, s => 1.0 - t }))
}

fn summary(record: &Record<'_>) -> String {
    let heading = ["t", "alpha", "sigma", "lambda", "f", "g", "eta", "epsilon"];
    let mut lines = vec![heading.map(str::to_owned)];
    lines.extend(
        strided(&record.levels, 64).map(|(_, row)| row.numbers().map(|x| if x.is_finite() { number(x) } else { x.to_string() })),
    );
    let name = record.schedule.unwrap_or("of formulas");
    format!("schedule {name}, {} steps\n\n{}", count(record.steps as usize), columns(&lines, |_| true))
}
