//! `brenier compare`: both principles from the same ends, measured with one ruler.

use std::path::Path;
use std::process::ExitCode;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::experiment::{self, CompareRecord, Family, Ledger, Named, NoiseFloor, Row};
use brenier::field::Network;
use brenier::io::{is_network, read_network};
use brenier::report;
use brenier::watch::{Progress, Watch};
use clap::Args;

use crate::output::{columns, count, in_words, maybe, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal, values};

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/compare";

/// Compare diffusion and transport between the same ends
///
/// With --target the first argument is a network: its own samplers at every number of steps, so how many it needs.
///
/// Moves the same particles from the source to the target by every method and number of steps, and measures each row against
/// held-out points. A flag is raised on an independent sample of the target with a chance of about 1 %; a flagged row is never
/// called best. The folder (brenier-out/compare unless --out is given) gets report.html, run.json, rows.csv, figures and the
/// samples of every row.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier compare 8gaussians",
    "brenier compare digits",
    "brenier compare data.npy --image 28x28 --steps 5,10,20 --out result",
    "brenier compare model.safetensors --target data.npy       how many steps a network needs",
    "brenier compare 8gaussians --source moons        diffusion needs Gaussian noise and is left out",
]))]
pub struct Compare {
    /// Data (split in halves: one makes the fields, one judges), a .json mixture, or a named source; or, with --target, a network
    /// (.safetensors)
    target: String,
    /// What the network is judged against, as TARGET otherwise; "data" in a file for run
    #[arg(long = "target", value_name = "DATA")]
    data: Option<String>,
    /// Where the particles start
    #[arg(long, value_name = "S", default_value = "normal")]
    source: String,
    /// Draws of a target that is a law, for each of the two halves
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,
    /// Numbers of steps to try
    #[arg(long, value_name = "K,K,…", value_delimiter = ',', default_value = "1,2,5,10,20,50,100",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: Vec<u32>,
    /// Height and width of points that are grey images [default: 8x8 for digits]
    #[arg(long, value_name = "HxW", value_parser = values::image)]
    image: Option<(usize, usize)>,
}

impl Compare {
    /// Compares.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("compare", Some(FOLDER), &device, |checkpoint| self.compare(session, &device, checkpoint))
    }

    fn compare(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let model = self.model()?;
        let name = self.data.as_ref().unwrap_or(&self.target);
        let (source, target) = input::ends((&self.source, None), (name, None))?;
        let d = target.dim();
        if let Some(network) = model.as_ref().filter(|network| network.dim() != d) {
            let (model, dim) = (&self.target, network.dim());
            let why = "give data like those that the network was trained on";
            return Err(format!("{model} moves points of dimension {dim} and {name} has dimension {d}; {why}").into());
        }
        let image = self.image.or((name == "digits").then_some((8, 8)));
        if let Some((height, width)) = image.filter(|(h, w)| h * w != d) {
            return Err(format!("points of dimension {d} are not images of {height}x{width}; leave --image out").into());
        }
        memory::require("a comparison of that many points", 12 * u64::from(self.n) * d as u64)?;
        let folder = session.folder(Some(FOLDER))?.map(|folder| folder.with(&["figures", "samples"])).transpose()?;

        let bar = progress::bar(session, "noise floor", 1);
        let tell = |Progress { stage: what, done, of, .. }: Progress<'_>| {
            let all = of.unwrap_or(done);
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            if !what.is_empty() {
                tracing::info!(what, done, all);
                bar.set_message(what.to_owned());
            }
            !signal::interrupted()
        };
        let steps = self.steps.iter().map(|&steps| steps as usize).collect();
        let compare = experiment::Compare { n: self.n as usize, steps, seed: session.shared.seed };
        let (target, source) = (Named { name, measure: &target }, Named { name: &self.source, measure: &source });
        let watch = Watch::telling(&tell).keeping(checkpoint.whole());
        let mut comparison = match &model {
            Some(network) => compare.run_model(&self.target, network, target, device, watch)?,
            None => compare.run(target, source, device, watch)?,
        };
        comparison.record.wall_seconds = session.wall_seconds();
        bar.finish_and_clear();

        if let Some(folder) = &folder {
            let report = report::draw(&comparison, image)?;
            folder.clear(&["rows.csv", "report.html"])?;
            folder.text("report.html", &report.html)?;
            folder.text("rows.csv", &report.rows_csv)?;
            for figure in &report.figures {
                folder.text(&format!("figures/{}.svg", figure.name), &figure.svg)?;
                folder.text(&format!("figures/{}.csv", figure.name), &figure.csv)?;
            }
            for (row, samples) in comparison.record.rows.iter().zip(&comparison.samples) {
                let shape = [samples.len(), samples.dim()];
                folder.array(&format!("samples/{}-{}.npy", row.label, row.steps), samples.points(), &shape, session.float())?;
            }
        }
        let code = session.finish(&comparison.record, folder.as_ref(), &summary(&comparison.record))?;
        if let Some(folder) = &folder {
            session.note(&format!("open {} for the pictures", folder.path().join("report.html").display()));
        }
        Ok(code)
    }

    /// The network, where there is one.
    fn model(&self) -> Result<Option<Network>, Failure> {
        let path = Path::new(&self.target);
        match (&self.data, is_network(path)?) {
            (None, false) => Ok(None),
            (None, true) => {
                Err(format!("{} is a network; say with --target DATA what to judge it against", path.display()).into())
            }
            (Some(_), _) if self.source != "normal" => {
                Err("a network starts from a normal, so it is compared with no other --source; leave --source out".into())
            }
            (Some(_), _) => Ok(Some(read_network(path)?)),
        }
    }
}

fn summary(record: &CompareRecord) -> String {
    let CompareRecord { model, target, source, n, m, d, noise_floor, .. } = record;
    let source = model.as_ref().unwrap_or(source);
    let mut text =
        format!("compare {target} from {source}: {} particles against {} held out, in dimension {d}\n\n", count(*n), count(*m));
    let heading = ["family", "method", "steps", "nfe", "time", "solver error", "divergence", "W2² exact", "variance", "flags"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    lines.extend(record.rows.iter().map(row));
    let mut level = |name: &str, level: &NoiseFloor| {
        let mut line = vec![String::new(); heading.len()];
        line[1] = name.into();
        line[6] = number(level.divergence);
        line[7] = number(level.w2_squared_exact);
        lines.push(line);
    };
    if let Some(limit) = &record.model_limit {
        level("its 1,024", limit);
    }
    level("noise floor", noise_floor);
    text += &columns(&lines, |column| (2..9).contains(&column));
    if !record.ledger.is_empty() {
        text += "\n\n";
        let heading = ["path", "action", "= W2²", "+ coupling gap", "+ straightness", "residual", ""];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        lines.extend(record.ledger.iter().map(account));
        text += &columns(&lines, |column| (1..6).contains(&column));
    }
    if model.is_some() {
        let enough = [Family::Diffusion, Family::Flow].into_iter().find_map(|family| record.enough(family));
        text += &match enough {
            Some(row) => format!(
                "\n\nEnough: {} with {} steps ({} evaluations) comes within 1.2 × of what the network, or a cloud of this size, can reach.",
                row.method, row.steps, row.nfe
            ),
            None => "\n\nNo row is within 1.2 × of what the network or a cloud of this size can reach; try more --steps.".into(),
        };
    }
    if !record.notes.is_empty() {
        text += &format!("\n\n{}", record.notes.join("\n"));
    }
    text + &format!("\n\ntime {}, {} in {}", seconds(record.wall_seconds), record.device, record.precision)
}

fn row(row: &Row) -> Vec<String> {
    let family = match row.family {
        Family::Diffusion => "diffusion",
        Family::Flow => "flow",
    };
    vec![
        family.into(),
        row.label.clone(),
        count(row.steps),
        count(row.nfe),
        seconds(row.seconds),
        maybe(row.solver_error),
        maybe(row.divergence),
        maybe(row.w2_squared_exact),
        row.variance_ratio.map_or("–".into(), |ratio| format!("{ratio:.3}")),
        in_words(&row.flags),
    ]
}

fn account(ledger: &Ledger) -> Vec<String> {
    vec![
        ledger.path.clone(),
        number(ledger.action),
        number(ledger.w2_squared),
        number(ledger.coupling_gap),
        number(ledger.straightness),
        format!("{:.1e}", ledger.residual),
        if ledger.closes { "closes" } else { "does not close" }.into(),
    ]
}
