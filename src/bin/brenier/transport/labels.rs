//! Classes of the points and what they cost each other.

use std::path::{Path, PathBuf};

use brenier::io::read_array;
use brenier::transport::LabelCost;
use clap::Args;

use crate::{Failure, flags};

/// The labels of the ends of a plan, and the costs of them.
#[derive(Args)]
pub struct Labels {
    /// File of the label 0, 1, … of each source point, for --class-costs and --transition; without labels of the target, each target
    /// point is given its likeliest: transferred.npz
    #[arg(long, value_name = "FILE")]
    pub source_labels: Option<PathBuf>,
    /// File of the label of each target point, the same way; with further snapshots once for each of them
    #[arg(long, value_name = "FILE", visible_alias = "labels")]
    pub target_labels: Vec<PathBuf>,
    /// File of a table W that adds what classes cost each other to the cost of the points: a row for each label of the source, a column
    /// for each of the target, in units of |x-y|²/2
    #[arg(long, value_name = "FILE", requires = "source_labels", requires = "target_labels")]
    class_costs: Option<PathBuf>,
}

impl Labels {
    /// Whether labels have a cost.
    pub fn have_costs(&self) -> bool {
        self.class_costs.is_some()
    }

    /// The cost that the classes add, where there is one.
    pub fn costs(&self) -> Result<Option<LabelCost>, Failure> {
        let (Some(source), [target], Some(table)) = (&self.source_labels, &self.target_labels[..], &self.class_costs) else {
            return match self.have_costs() {
                true => Err(flags::bad_usage("--class-costs are of two ends, each with one file of labels")),
                false => Ok(None),
            };
        };
        Ok(Some(class_costs(table, labels(source)?, labels(target)?)?))
    }
}

/// The cost of classes by the table in the file at `path`.
pub fn class_costs(path: &Path, source: Vec<u32>, target: Vec<u32>) -> Result<LabelCost, Failure> {
    let costs = read_array(path, "costs")?;
    let columns = costs.shape.last().copied().unwrap_or(0);
    Ok(LabelCost { source: source.into(), target: target.into(), table: costs.values.into(), columns })
}

/// The classes in the file at `path`.
pub fn labels(path: &Path) -> Result<Vec<u32>, Failure> {
    let values = read_array(path, "labels")?.values;
    match values.iter().position(|l| !(*l >= 0.0 && *l < 4e9 && l.fract() == 0.0)) {
        Some(at) => Err(format!("{}: label {} is {}; classes are 0, 1, …", path.display(), at, values[at]).into()),
        None => Ok(values.iter().map(|&l| l as u32).collect()),
    }
}
