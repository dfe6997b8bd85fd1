//! `brenier jko`: a gradient flow from a source to a target, step by step.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::experiment::{Descend, DescentRecord, SchemeName};
use brenier::gradient_flow::Account;
use brenier::io::Float;
use brenier::measure::Measure;
use brenier::watch::{Progress, Watch};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::output::{self, columns, count, maybe, number, seconds};
use crate::session::{Session, Stamped};
use crate::{Failure, flags, input, memory, progress, signal, values};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/jko";

/// Free-energy descent from a source to a target, step by step
///
/// Each step prints the free energy F_k, the W2² of the step and the energy inequality in the scheme's own metric, which is not
/// negative for a step of the flow (for langevin: beyond the bias of its explicit step, of order tau²). Where the density of the
/// particles cannot be told from the particles, numbers are null and the flag few_neighbours is raised. A finite target is split
/// in halves: one is flowed to, the other judges. The points of a file start in their order, under their weights. The folder
/// (brenier-out/jko unless --out is given) gets particles.npy, run.json and, where the particles have weights, weights.npy.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier jko normal --target digits --steps 20",
    "brenier jko normal --target 8gaussians --scheme langevin --anneal 4 --steps 400",
    "brenier jko normal --target moons --scheme semi-unbalanced --tau 0.2 --eps 0.02",
    "brenier jko normal --target mixture.json --scheme blob --anneal 4 --steps 400 --n 1024",
]))]
pub struct Jko {
    /// Where the particles start: a file of points, a .json mixture, or a named source such as normal
    source: String,
    /// Where they flow to
    #[arg(long, value_name = "T")]
    target: String,
    /// How a step is made
    #[arg(long, value_enum, default_value = "auto")]
    scheme: Scheme,
    /// Length of a step: time of the flow, or a share of the way for sinkhorn-flow [default: follows scheme and target]
    #[arg(long, value_name = "TAU", allow_negative_numbers = true)]
    tau: Option<f64>,
    /// Regularisation in units of |x-y|²/2; for blob the squared width of the kernel [default: follows scheme and target]
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    eps: Option<f64>,
    /// For langevin and blob: noise that joins the modes at first and falls to none over the first half of the steps; without it
    /// mass stays in the basins it starts in
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true, value_parser = values::positive)]
    anneal: Option<f64>,
    /// Steps
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Particles, and draws of a target that is a law [default: 4096, but no more particles than a file has points]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    n: Option<u32>,
}

/// A scheme by its name.
#[derive(Clone, Copy, ValueEnum)]
enum Scheme {
    /// sinkhorn-flow for points, langevin for a law
    Auto,
    /// Flow of the Sinkhorn divergence, debiased
    SinkhornFlow,
    /// Entropic JKO step of KL on the target's points
    SemiUnbalanced,
    /// Unadjusted Langevin, towards a law
    Langevin,
    /// Kernel particles, towards a law in at most 5 dimensions
    Blob,
}

#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    #[serde(flatten)]
    record: &'a DescentRecord,
}

impl Jko {
    /// Runs the descent.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("jko", Some(FOLDER), &device, |checkpoint| self.descend(session, &device, checkpoint))
    }

    fn descend(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let (source, target) = input::ends((&self.source, None), (&self.target, None))?;
        let fixed = if let Measure::Finite(cloud) = &source { cloud.len() as u64 } else { 0 };
        let most = fixed.max(self.n.map_or(4096, u64::from));
        memory::require("this many particles", 24 * most * (target.dim() as u64 + 1))?;
        let folder = session.folder(Some(FOLDER))?;
        let scheme = match self.scheme {
            Scheme::Auto => None,
            Scheme::SinkhornFlow => Some(SchemeName::SinkhornFlow),
            Scheme::SemiUnbalanced => Some(SchemeName::SemiUnbalanced),
            Scheme::Langevin => Some(SchemeName::Langevin),
            Scheme::Blob => Some(SchemeName::Blob),
        };
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
        let descend = Descend { scheme, tau: self.tau, eps: self.eps, anneal: self.anneal, steps, n, seed };
        let (found, state) = descend.run(&source, &target, device, Watch::telling(&tell).keeping(checkpoint.whole()))?;
        let taken = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();
        signal::check()?;

        if let Some(folder) = &folder {
            folder.clear(&["particles.npy", "weights.npy"])?;
            folder.array("particles.npy", state.points(), &[state.len(), state.dim()], session.float())?;
            if let Some(weights) = state.weights() {
                folder.array("weights.npy", weights, &[weights.len()], Float::F64)?;
            }
        }
        let record = Record { source: &self.source, target: &self.target, record: &found };
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
        let name = serde_json::to_value(found.scheme).unwrap_or_default();
        let mut text = format!(
            "jko {} to {} by {}: {} particles in dimension {}, tau {}{}\n\n",
            self.source,
            self.target,
            name.as_str().unwrap_or_default(),
            count(found.n),
            found.d,
            number(found.tau),
            found.eps.map_or(String::new(), |eps| format!(", eps {}", number(eps))),
        );
        let heading = ["step", "free energy", "W2² of the step", "energy inequality", "dissipation", "neighbours"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        // A screen's worth; all of them are in run.json.
        let stride = found.steps.len().div_ceil(24);
        let shown = |k: usize| k.is_multiple_of(stride) || k + 1 == found.steps.len();
        lines.extend(found.steps.iter().filter(|account| shown(account.k)).map(row));
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
        text + &format!("\ntime {}, {} in {}", seconds(record.seconds), record.device, record.precision)
    }
}

fn row(account: &Account) -> Vec<String> {
    let Account { free_energy, w2_squared_step, energy_inequality, dissipation, effective_neighbours, .. } = *account;
    let numbers = [free_energy, w2_squared_step, energy_inequality, dissipation, effective_neighbours];
    [count(account.k)].into_iter().chain(numbers.map(maybe)).collect()
}
