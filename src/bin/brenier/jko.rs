//! `brenier jko`: a gradient flow from a source to a target, step by step.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::experiment::{Descend, DescentRecord};
use brenier::gradient_flow::{self, Account, Certificate, Choice, Options};
use brenier::io::Float;
use brenier::measure::Measure;
use brenier::path::Schedule;
use brenier::report;
use brenier::watch::{Progress, Watch};
use clap::Args;
use serde::Serialize;

use crate::output::{self, columns, count, counted, maybe, number, seconds, strided};
use crate::session::{Session, Stamped};
use crate::{Failure, flags, input, memory, progress, signal, values};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/jko";

/// Free-energy descent from a source to a target, step by step
///
/// Each step prints the free energy F_k of the functional that it moves along, the energy inequality in the scheme's own metric, which
/// is not negative for a step of the flow (for langevin: beyond the bias of its explicit step, of order tau²), and the JKO residual: how
/// far the step is from the minimiser of F + W2²/2tau, in units of x per unit time; --explain says what of it is exact. Samplers
/// (ddim, ddpm, explicit-score) run the flow of F backwards, so there F rises. Where the density of the particles cannot be told from the
/// particles, numbers are null and the flag few_neighbours is raised. A finite target is split: one half is the target, the other is held
/// out for evaluation. The points of a file start in their order, under their weights. The folder (brenier-out/jko unless --out is given)
/// gets particles.npy, run.json, report.html, steps.csv, figures and, where the particles have weights, weights.npy.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier jko normal --target digits --steps 20",
    "brenier jko normal --target 8gaussians --scheme langevin --anneal 4 --steps 400",
    "brenier jko normal --target moons --scheme semi-unbalanced --tau 0.2 --eps 0.02",
    "brenier jko normal --target mixture.json --scheme blob --anneal 4 --steps 400 --n 1024",
    "brenier jko 8gaussians --target normal --scheme forward --steps 40",
    "brenier jko normal --target 8gaussians --scheme ddim --steps 40 --explain",
]))]
pub struct Jko {
    /// Where the particles start: a file of points, a .json mixture, or a named source such as normal
    source: String,
    /// Where they flow to
    #[arg(long, value_name = "T")]
    target: String,
    /// How a step is made
    #[arg(long, value_name = "S", default_value = AUTO, value_parser = values::schemes())]
    scheme: String,
    #[arg(long, value_name = "TAU", allow_negative_numbers = true, help = values::taken_by_scheme(Choice::Tau,
        "Length of a step: time of the flow, or a share of the way for sinkhorn-flow [default: follows scheme and target]"))]
    tau: Option<f64>,
    #[arg(long, value_name = "E", allow_negative_numbers = true, help = values::taken_by_scheme(Choice::Eps,
        "Regularisation in units of |x-y|²/2; for blob and implicit the squared width of the kernel [default: follows scheme and target]"))]
    eps: Option<f64>,
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true, value_parser = values::positive,
        help = values::taken_by_scheme(Choice::Anneal, "Noise that joins the modes at first and falls to none over the first half of the \
            steps; without it mass stays in the basins it starts in"))]
    anneal: Option<f64>,
    #[arg(long, value_name = "S", help = values::taken_by_scheme(Choice::Schedule, "Noise schedule, variance preserving or ve, whose trailing \
        levels are stepped through [default: equal steps tau of the flow's own time]"))]
    schedule: Option<String>,
    /// Steps
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Particles, and draws of a target that is a law [default: 4096, but no more particles than a file has points]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    n: Option<u32>,
    /// Say what of the certificate is exact, and what is approximate
    #[arg(long)]
    explain: bool,
}

/// The scheme that follows the target: sinkhorn-flow for points, langevin for a law.
pub const AUTO: &str = "auto";

#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    #[serde(flatten)]
    record: &'a DescentRecord,
    /// With --explain.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
}

impl Jko {
    /// Runs the descent.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("jko", Some(FOLDER), &device, |checkpoint| self.descend(session, &device, checkpoint))
    }

    fn descend(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let (source, target) = input::ends(session, (&self.source, None), (&self.target, None))?;
        let fixed = if let Measure::Finite(cloud) = &source { cloud.len() as u64 } else { 0 };
        let most = fixed.max(self.n.map_or(4096, u64::from));
        memory::require("this many particles", 24 * most * (target.dim() as u64 + 1))?;
        let folder = session.folder(Some(FOLDER))?.map(|folder| folder.with(&["figures"])).transpose()?;
        let scheme = if self.scheme == AUTO { None } else { Some(gradient_flow::named(&self.scheme)?) };
        let schedule = self.schedule.as_deref().map(Schedule::parse).transpose()?;
        let options = Options { tau: self.tau, eps: self.eps, anneal: self.anneal, schedule };
        let (steps, n, seed) = (self.steps as usize, self.n.map(|n| n as usize), session.shared.seed);
        let bar = progress::bar(session, "jko", steps);
        let tell = |now: Progress<'_>| {
            tracing::debug!(made = now.done, free_energy = now.value);
            bar.set_position(now.done as u64);
            let inside =
                now.residual.map_or(String::new(), |now| format!("   iteration {} error {:.0e}", now.iteration, now.error));
            bar.set_message(format!("free energy {}{inside}", maybe(now.value)));
            !signal::interrupted()
        };
        let begun = Instant::now();
        let descend = Descend { scheme, options, steps, n, seed };
        let (found, state) = descend.run(&source, &target, device, Watch::telling(&tell).keeping(checkpoint.whole()))?;
        let taken = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();
        signal::check()?;

        if let Some(folder) = &folder {
            folder.clear(&["particles.npy", "weights.npy", "steps.csv", "report.html"])?;
            let report = report::draw_descent(&found, [&self.source, &self.target])?;
            folder.report(&report)?;
            folder.text("steps.csv", &report.rows_csv)?;
            folder.array("particles.npy", state.points(), &[state.len(), state.dim()], session.float())?;
            if let Some(weights) = state.weights() {
                folder.array("weights.npy", weights, &[weights.len()], Float::F64)?;
            }
        }
        let certificate = self.explain.then_some(found.certificate);
        let record = Record { source: &self.source, target: &self.target, record: &found, certificate };
        let record = session.stamped("jko", record, device, taken);
        let code = session.finish(&record, folder.as_ref(), &self.summary(&record))?;
        match &found.halted {
            Some(failure) => {
                output::error(failure);
                Ok(ExitCode::FAILURE)
            }
            None => Ok(code),
        }
    }

    fn summary(&self, record: &Stamped<'_, Record>) -> String {
        let found = record.own.record;
        let mut text = format!(
            "jko {} to {} by {}: {} particles in dimension {}{}{}\n\n",
            self.source,
            self.target,
            found.scheme,
            count(found.n),
            found.d,
            found.tau.map_or(String::new(), |tau| format!(", tau {}", number(tau))),
            found.eps.map_or(String::new(), |eps| format!(", eps {}", number(eps))),
        );
        let heading = ["step", "free energy", "W2² of the step", "energy inequality", "dissipation", "JKO residual", "its floor"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        lines.extend(strided(&found.steps, 24).map(|(_, account)| row(account)));
        text += &columns(&lines, |_| true);
        text += &format!(
            "\n\ndivergence to held-out points {}, noise floor {}; variance {:.3} of theirs",
            number(found.heldout_divergence),
            number(found.noise_floor.divergence),
            found.variance_ratio
        );
        if !found.flags.is_empty() {
            text += &format!("\nflags {}", output::in_words(&found.flags));
        }
        if let Some(bias) = found.predicted_bias {
            text += &format!("\npredicted bias of the narrowest variance {:+.2} %", 100.0 * bias);
        }
        if let Some(weights) = &found.mode_weights {
            let shares: Vec<String> = weights.iter().map(|w| format!("{w:.3}")).collect();
            text += &format!("\nmode weights {}", shares.join(" "));
        }
        let mut reasons: Vec<&str> = found.steps.iter().filter_map(|account| account.reason.as_deref()).collect();
        reasons.sort_unstable();
        for same in reasons.chunk_by(|a, b| a == b) {
            text += &format!("\n{} without a JKO residual: {}", counted(same.len(), "step"), same[0]);
        }
        if self.explain {
            let Certificate { exact, approximate } = found.certificate;
            text += &format!("\nexact        {exact}\napproximate  {approximate}");
        }
        text + &format!("\ntime {}, {} in {}", seconds(record.seconds), record.device, record.precision)
    }
}

fn row(account: &Account) -> Vec<String> {
    let Account { free_energy, w2_squared_step, energy_inequality, dissipation, jko_residual, jko_residual_floor, .. } = *account;
    let numbers = [free_energy, w2_squared_step, energy_inequality, dissipation, jko_residual, jko_residual_floor];
    [count(account.k)].into_iter().chain(numbers.map(maybe)).collect()
}
