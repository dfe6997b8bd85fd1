//! Plans applied: values, labels and the mass between labels, carried from one end of a plan or of a chain of plans to the other.

use std::path::{Path, PathBuf};

use brenier::backend::Device;
use brenier::io::{Array, Float, NamedArray, Numbers, read_array};
use brenier::measure::Cloud;
use brenier::transport::{AnyPlan, PlanChain, Transferred, Transition};
use clap::Args;
use serde::Serialize;

use super::labels::{Labels, labels};
use crate::output::{Folder, Summary, count, number};
use crate::{Failure, flags, memory};

/// Every file that is written here.
pub const FILES: [&str; 5] = ["pushed.npy", "pulled.npy", "transition.csv", "fates.csv", "transferred.npz"];
/// Numbers a point that carrying labels takes.
const CARRIED: usize = 40;
/// Labels whose fates a person is told.
const TOLD: usize = 12;

/// What is carried.
#[derive(Args)]
#[command(next_help_heading = "Plans applied")]
pub struct Applied {
    /// File of values of the source points, n or n x c numbers: pushed.npy has what they are expected to be given each target point,
    /// (P'v)_j / (P'1)_j
    #[arg(long, value_name = "FILE")]
    push: Option<PathBuf>,
    /// File of values of the target points, m or m x c: pulled.npy has what each source point is to expect, (Pv)_i / (P1)_i
    #[arg(long, value_name = "FILE")]
    pull: Option<PathBuf>,
    /// The mass that goes from each label of the source to each of the target: transition.csv, and fates.csv with each row divided by
    /// its sum
    #[arg(long, requires = "source_labels", requires = "target_labels")]
    transition: bool,
}

/// What is carried, as read; it fits the ends.
pub struct Cargo {
    push: Option<Array>,
    pull: Option<Array>,
    source: Option<Vec<u32>>,
    target: Option<Vec<u32>>,
    transition: bool,
}

/// What is printed of it.
#[derive(Default, Serialize)]
pub struct Carried {
    #[serde(skip_serializing_if = "Option::is_none")]
    transition: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transferred: Option<Shares>,
}

/// The table between labels.
#[derive(Serialize)]
struct Table {
    source_labels: Vec<u32>,
    target_labels: Vec<u32>,
    /// The mass of each label in its cloud; where a marginal is free the row or column of the table adds up to another.
    source_weights: Vec<f64>,
    target_weights: Vec<f64>,
    mass: Vec<Vec<f64>>,
    fates: Vec<Vec<f64>>,
}

/// The points that each label was given to.
#[derive(Serialize)]
struct Shares {
    labels: Vec<u32>,
    points: Vec<usize>,
    /// Of the label given, over all points.
    mean_probability: f64,
}

impl Applied {
    /// Whether a file is asked for, which goes into a folder.
    pub fn asks_for_files(&self, known: &Labels) -> bool {
        self.push.is_some() || self.pull.is_some() || self.transfers(known)
    }

    /// Whether the labels of one end are carried to the other.
    fn transfers(&self, known: &Labels) -> bool {
        known.source_labels.is_some() != known.target_labels.last().is_some()
    }

    /// The files, which fit the first and the last of the `clouds`.
    pub fn read(&self, known: &Labels, clouds: &[Cloud]) -> Result<Cargo, Failure> {
        let (steps, files) = (clouds.len() - 1, known.target_labels.len());
        if files > 1 && files != steps {
            return Err(flags::bad_usage(format!("{files} files of labels for {steps} further snapshots; give each its own")));
        }
        let used = self.transition || known.have_costs() || self.transfers(known);
        if known.source_labels.is_some() && !used {
            return Err(flags::bad_usage("both ends have labels; say what for: --transition, or --class-costs"));
        }
        let [n, m] = [clouds.first(), clouds.last()].map(|cloud| cloud.map_or(0, Cloud::len));
        let values = |path: &Option<PathBuf>, end, points| path.as_deref().map(|path| values(path, end, points)).transpose();
        let of = |path: Option<&PathBuf>| path.map(|path| labels(path)).transpose();
        let (source, target) = (of(known.source_labels.as_ref())?, of(known.target_labels.last())?);
        for (labels, path, points) in [(&source, known.source_labels.as_ref(), n), (&target, known.target_labels.last(), m)] {
            if let (Some(labels), Some(path)) = (labels, path)
                && labels.len() != points
            {
                return Err(format!("{}: {} labels for {points} points; give each its own", path.display(), labels.len()).into());
            }
        }
        if used {
            memory::require("carrying labels", ((n + m) * CARRIED) as u64)?;
        }
        let (push, pull) = (values(&self.push, "source", n)?, values(&self.pull, "target", m)?);
        Ok(Cargo { push, pull, source, target, transition: self.transition })
    }
}

/// The values in the file at `path`, a row for each of the `points` of the `end`.
fn values(path: &Path, end: &str, points: usize) -> Result<Array, Failure> {
    let array = read_array(path, "values")?;
    match array.shape.first() {
        Some(rows) if *rows == points && !array.values.is_empty() => Ok(array),
        _ => {
            let (rows, path) = (array.shape.first().copied().unwrap_or(1), path.display());
            Err(format!("{path}: {rows} values for the {points} points of the {end}; give each point its own").into())
        }
    }
}

impl Cargo {
    /// Carries it through `plans` between the first and the last of the `clouds`, into the folder.
    pub fn carry(
        &self,
        plans: &[AnyPlan],
        clouds: &[Cloud],
        folder: Option<&Folder>,
        device: &Device,
    ) -> Result<Carried, Failure> {
        let chain = PlanChain::new(plans)?;
        let (first, last) = (&clouds[0], &clouds[clouds.len() - 1]);
        if let (Some(Array { values, shape }), Some(folder)) = (&self.push, folder) {
            let carried = chain.given_target(values, values.len() / first.len(), device)?;
            folder.array("pushed.npy", &carried, &[&[last.len()], &shape[1..]].concat(), Float::F64)?;
        }
        if let (Some(Array { values, shape }), Some(folder)) = (&self.pull, folder) {
            let carried = chain.given_source(values, values.len() / last.len(), device)?;
            folder.array("pulled.npy", &carried, &[&[first.len()], &shape[1..]].concat(), Float::F64)?;
        }
        Ok(match (&self.source, &self.target) {
            (Some(source), Some(target)) if self.transition => {
                let table = Table::new(chain.transition(source, target, device)?, (source, first), (target, last));
                if let Some(folder) = folder {
                    folder.text("transition.csv", &table.csv(&table.mass))?;
                    folder.text("fates.csv", &table.csv(&table.fates))?;
                }
                Carried { transition: Some(table), transferred: None }
            }
            (Some(source), None) => Carried::transferred(&chain.labels_of_target(source, device)?, folder)?,
            (None, Some(target)) => Carried::transferred(&chain.labels_of_source(target, device)?, folder)?,
            _ => Carried::default(),
        })
    }
}

impl Table {
    fn new(transition: Transition, source: (&[u32], &Cloud), target: (&[u32], &Cloud)) -> Self {
        let weights = |distinct: &[u32], (labels, cloud): (&[u32], &Cloud)| {
            let mut weights = vec![0.0; distinct.len()];
            for (i, label) in labels.iter().enumerate() {
                weights[distinct.partition_point(|one| one < label)] += cloud.weight(i);
            }
            weights
        };
        let rows = |values: &[f64]| values.chunks_exact(transition.target.len()).map(<[f64]>::to_vec).collect();
        Self {
            source_weights: weights(&transition.source, source),
            target_weights: weights(&transition.target, target),
            mass: rows(&transition.mass),
            fates: rows(&transition.fates()),
            source_labels: transition.source,
            target_labels: transition.target,
        }
    }

    /// A line for each label of the source, a column for each of the target; what is not a number stays empty.
    fn csv(&self, rows: &[Vec<f64>]) -> String {
        let line = |name: &str, cells: Vec<String>| format!("{name},{}\n", cells.join(","));
        let cell = |x: &f64| if x.is_finite() { x.to_string() } else { String::new() };
        let head = line("source", self.target_labels.iter().map(u32::to_string).collect());
        let body = self.source_labels.iter().zip(rows);
        body.fold(head, |text, (label, row)| text + &line(&label.to_string(), row.iter().map(cell).collect()))
    }
}

impl Carried {
    fn transferred(found: &Transferred, folder: Option<&Folder>) -> Result<Self, Failure> {
        if let Some(folder) = folder {
            let array = |name, numbers| NamedArray { name, numbers, shape: vec![found.label.len()] };
            let label = array("label", Numbers::Indices(&found.label));
            let probability = array("probability", Numbers::Reals(&found.probability, Float::F64));
            folder.arrays("transferred.npz", &[label, probability])?;
        }
        let mut labels = found.label.clone();
        labels.sort_unstable();
        let points = labels.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        labels.dedup();
        let mean_probability = found.probability.iter().sum::<f64>() / found.probability.len() as f64;
        Ok(Self { transition: None, transferred: Some(Shares { labels, points, mean_probability }) })
    }

    /// What a person reads of it.
    pub fn tell(&self, summary: &mut Summary) {
        if let Some(table) = &self.transition {
            for ((label, weight), fates) in table.source_labels.iter().zip(&table.source_weights).zip(&table.fates).take(TOLD) {
                let likeliest = fates.iter().zip(&table.target_labels).filter(|(share, _)| **share > 0.0);
                let Some((share, to)) = likeliest.max_by(|a, b| a.0.total_cmp(b.0)) else { continue };
                let remark = format!("of its mass of {} goes to label {to}, more than to any other", number(*weight));
                summary.line(&format!("label {label}"), format!("{:.1} %", 100.0 * share), remark);
            }
        }
        if let Some(Shares { labels, points, mean_probability }) = &self.transferred {
            let points = count(points.iter().sum());
            let remark = format!("for {points} points, the mean probability of the one given {}", number(*mean_probability));
            summary.line("labels transferred", count(labels.len()), remark);
        }
    }
}
