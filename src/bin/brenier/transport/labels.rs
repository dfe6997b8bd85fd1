//! Classes of the points and what they cost each other.

use std::path::{Path, PathBuf};

use brenier::io::read_array;
use brenier::transport::LabelCost;
use clap::Args;

use crate::Failure;

/// The flags, all or none of them.
#[derive(Args)]
pub struct Labels {
    /// File of n classes 0, 1, … for the source, whose costs --class-costs adds to those of the points
    #[arg(long, value_name = "FILE", requires_all = ["target_labels", "class_costs"])]
    source_labels: Option<PathBuf>,
    /// File of m classes for the target
    #[arg(long, value_name = "FILE", requires = "source_labels")]
    target_labels: Option<PathBuf>,
    /// File of the table W: a row for each class of the source, a column for each of the target, in units of |x-y|²/2
    #[arg(long, value_name = "FILE", requires = "source_labels")]
    class_costs: Option<PathBuf>,
}

impl Labels {
    /// Whether the points have classes.
    pub fn are_given(&self) -> bool {
        self.class_costs.is_some()
    }

    /// The cost that the classes add, where they are given.
    pub fn read(&self) -> Result<Option<LabelCost>, Failure> {
        let (Some(source), Some(target), Some(table)) = (&self.source_labels, &self.target_labels, &self.class_costs) else {
            return Ok(None);
        };
        let costs = read_array(table, "costs")?;
        let columns = costs.shape.last().copied().unwrap_or(0);
        let (source, target) = (labels(source)?.into(), labels(target)?.into());
        Ok(Some(LabelCost { source, target, table: costs.values.into(), columns }))
    }
}

/// The classes in the file at `path`.
pub fn labels(path: &Path) -> Result<Vec<u32>, Failure> {
    let values = read_array(path, "labels")?.values;
    match values.iter().position(|l| !(*l >= 0.0 && *l < 4e9 && l.fract() == 0.0)) {
        Some(at) => Err(format!("{}: label {} is {}; classes are 0, 1, …", path.display(), at, values[at]).into()),
        None => Ok(values.iter().map(|&l| l as u32).collect()),
    }
}
