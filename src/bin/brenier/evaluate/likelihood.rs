//! `brenier evaluate MODEL --log-likelihood DATA`: how likely data are under a model.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::field::{Classes, Conditions, Field};
use brenier::measure::{Cloud, Measure};
use brenier::path::Schedule;
use brenier::sampler::likelihood::usual_probes;
use brenier::sampler::tableau::Pair;
use brenier::sampler::{Adaptive, Likelihood};
use brenier::watch::{Progress, Watch};
use clap::Args;
use serde::Serialize;

use crate::condition::{self, Under, by_class};
use crate::flags::bad_usage;
use crate::model::{ModelFlags, is_model};
use crate::output::{Summary, count, number};
use crate::session::Session;
use crate::{Failure, input, memory, progress, signal, values};

/// The flag that asks for it, and the part of a checkpoint that it is kept in.
pub const LOG_LIKELIHOOD: &str = "log_likelihood";
/// Where the field computes in double precision, and where it does not.
const TOLERANCES: [f64; 2] = [1e-6, 1e-4];

/// A likelihood.
#[derive(Args)]
#[command(next_help_heading = "Log likelihood")]
pub struct LikelihoodFlags {
    /// Points whose log likelihood under the model or law A is measured, along the probability flow from the data to the noise
    #[arg(long, value_name = "DATA")]
    log_likelihood: Option<String>,
    /// Schedule of the flow [default: the model's own, condot of a law]
    #[arg(long, value_name = "S")]
    schedule: Option<String>,
    /// Tolerance of log p and of the particles' paths [default: 1e-6, and 1e-4 of each step for models in single precision]
    #[arg(long, value_name = "TOL", allow_negative_numbers = true, value_parser = values::tolerance)]
    tol: Option<f64>,
    /// File of a condition for each point of DATA, as sample takes them: then it is log p(point | condition)
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// Hutchinson's probes of each point, for an estimate of the divergence with its error; 0: exact [default: 0 for laws and up to 64
    /// dimensions, else 8]
    #[arg(long, value_name = "K")]
    probes: Option<u16>,
    #[command(flatten)]
    model: ModelFlags,
}

#[derive(Serialize)]
struct Record<'a> {
    model: &'a str,
    data: &'a str,
    n: usize,
    d: usize,
    /// Mean of log p over the data, in nats, and its standard error over the points.
    log_likelihood: f64,
    standard_error: f64,
    bits_per_dimension: f64,
    divergence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<usize>,
    /// Standard error of the mean by the probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_error: Option<f64>,
    schedule: &'a str,
    tolerance: f64,
    nfe: usize,
}

impl LikelihoodFlags {
    /// The data, where a likelihood is asked for.
    pub fn data(&self) -> Option<&str> {
        self.log_likelihood.as_deref()
    }

    /// The program that serves the model, if one does.
    pub fn command(&self) -> Option<&str> {
        self.model.command()
    }

    /// Refuses the other flags where no likelihood is asked for: clap does not, because B excludes it.
    pub fn refuse(&self, name: &str) -> Result<(), Failure> {
        let given = [self.schedule.is_some(), self.tol.is_some(), self.probes.is_some(), self.condition.is_some()];
        if given.contains(&true) || self.command().is_some() {
            return Err(bad_usage(
                "--schedule, --tol, --probes, --condition and --field-command belong to --log-likelihood DATA, which stands in place of B; leave them out",
            ));
        }
        self.model.refuse(Path::new(name))
    }

    /// Measures the likelihood of `data`, or of `n` draws of it, under the field called `name`.
    pub fn measure(
        &self,
        name: &str,
        (data, n): (&str, u32),
        session: &Session,
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let conditions = self.condition.as_deref().map(condition::read).transpose()?;
        let field = self.field(name, session)?(conditions.as_ref())?;
        let d = field.dim();
        let points = self.points(data, n, d, session)?;
        self.check(conditions.as_ref(), &points)?;
        let own = field.schedule().cloned();
        let schedule = match &self.schedule {
            Some(schedule) => Schedule::parse(schedule)?,
            None => own.clone().unwrap_or(Schedule::CondOt),
        };
        let of_schedule = self.schedule.as_deref().unwrap_or(if own.is_some() { "own" } else { "condot" });
        let single = field.rounding() > f64::EPSILON;
        let tolerance = self.tol.unwrap_or(TOLERANCES[usize::from(single)]);
        let probes = self.probes.map_or_else(|| usual_probes(&field), usize::from);
        memory::require("this many points", 2 * (points.len() * (d + 2)) as u64)?;
        let folder = session.folder(None)?;
        let bar = progress::bar(session, "log likelihood", points.len());
        let begun = Instant::now();
        let tell = |now: Progress<'_>| {
            bar.set_position(now.done as u64);
            !signal::interrupted()
        };
        let solver = Likelihood { method: Adaptive::new(Pair::DOPRI_5, tolerance), schedule, probes, seed: session.shared.seed };
        let watch = Watch::telling(&tell).keeping(checkpoint.part(LOG_LIKELIHOOD));
        let found = solver.of(&points, &field, watch)?;
        let taken = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();

        if let Some(folder) = &folder {
            folder.clear(&["log_p.npy", "log_p_error.npy"])?;
            folder.array("log_p.npy", &found.values, &[points.len()], session.float())?;
            if probes > 0 {
                folder.array("log_p_error.npy", &found.errors, &[points.len()], session.float())?;
            }
        }
        let weighted = |values: &[f64], power: i32| -> f64 {
            values.iter().enumerate().map(|(i, value)| points.weight(i).powi(power) * value).sum()
        };
        let mean = weighted(&found.values, 1);
        let squares: Vec<f64> = found.values.iter().map(|value| (value - mean).powi(2)).collect();
        let probe_squares: Vec<f64> = found.errors.iter().map(|error| error * error).collect();
        let record = Record {
            model: name,
            data,
            n: points.len(),
            d,
            log_likelihood: mean,
            standard_error: weighted(&squares, 2).sqrt(),
            bits_per_dimension: -mean / (d as f64 * std::f64::consts::LN_2),
            divergence: match probes {
                0 if field.has_exact_derivative() => "exact",
                0 => "differences",
                _ => "hutchinson",
            },
            probes: (probes > 0).then_some(probes),
            probe_error: (probes > 1).then(|| weighted(&probe_squares, 2).sqrt()),
            schedule: of_schedule,
            tolerance,
            nfe: found.nfe,
        };
        let record = session.stamped("evaluate", record, device, taken);
        let own = &record.own;
        let mut summary = Summary::new(format!("log likelihood of {data} under {name}"));
        summary.line("points", count(own.n), format!("in dimension {d}"));
        let error = format!("± {} nats, over the points", number(own.standard_error));
        summary.line("log likelihood", number(mean), error);
        summary.line("bits a dimension", number(own.bits_per_dimension), "in units of the data as they are given");
        let by_probes = own.probe_error.map_or(String::new(), |error| format!(", ± {} of the mean", number(error)));
        let how = match own.divergence {
            "hutchinson" => format!("by {probes} probes per point{by_probes}"),
            "differences" => "by central differences".into(),
            exact => exact.into(),
        };
        summary.line("divergence", "", how);
        summary.line("evaluations", count(found.nfe), format!("a point, to a tolerance of {}", number(tolerance)));
        record.time(&mut summary);
        session.finish(&record, folder.as_ref(), &summary.text())
    }

    /// Refuses conditions that are not one for each point.
    fn check(&self, conditions: Option<&Conditions>, points: &Cloud) -> Result<(), Failure> {
        match (&self.condition, conditions) {
            (Some(path), Some(all)) if all.len() != points.len() => {
                let (path, found, points) = (path.display(), all.len(), points.len());
                Err(format!("{path}: {found} conditions for {points} points; give each point of the data its own").into())
            }
            _ => Ok(()),
        }
    }

    /// The field of the model or of the law `name`, under conditions or none.
    fn field(&self, name: &str, session: &Session) -> Result<Under, Failure> {
        if let Some(under) = self.model.serve(self.schedule.as_deref(), session)? {
            return Ok(under);
        }
        let path = Path::new(name);
        if is_model(path)? {
            return self.model.open(path, self.schedule.as_deref(), session);
        }
        self.model.refuse(path)?;
        match input::measure(session, name, None, None)? {
            Measure::Law(law) => {
                let all = Field::Mixture(law.clone());
                Ok(by_class(all, name.into(), move |given| Classes::of_mixture(&law, given)))
            }
            _ => Err(format!(
                "{name} has no density: a log likelihood is that of a model or a law, such as 8gaussians or a .json mixture"
            )
            .into()),
        }
    }

    /// The points of `data`, or `n` draws where it is a law, in dimension `d`.
    fn points(&self, data: &str, n: u32, d: usize, session: &Session) -> Result<Cloud, Failure> {
        let points = input::cloud(input::measure(session, data, None, Some(d))?, n, session.shared.seed, 1)?;
        if points.dim() == d {
            return Ok(points);
        }
        Err(format!("{data} has dimension {} and the model {d}; give data of the model's space", points.dim()).into())
    }
}
