//! What `brenier transport` writes, in f64: potentials carry more digits than the particles they were computed from.

use brenier::io::{Float, NamedArray, Numbers};
use brenier::measure::Cloud;
use brenier::transport::{AnyPlan, Images, Partners, PlanEntry, Potentials, Solved};

use super::applied;
use crate::Failure;
use crate::output::Folder;

/// The file of likeliest partners.
pub const PARTNERS: &str = "partners.npz";
/// Every file that is written of a plan.
pub const FILES: [&str; 5] = ["f.npy", "g.npy", "map.npy", "plan.npz", PARTNERS];

/// Every file that the command may write.
pub fn all() -> Vec<&'static str> {
    [FILES, applied::FILES].concat()
}

/// Potentials, the entries of an exact plan, and the map.
pub fn write(folder: &Folder, x: &Cloud, y: &Cloud, solved: &Solved) -> Result<(), Failure> {
    if let Some(Potentials { f, g }) = &solved.potentials {
        folder.array("f.npy", f, &[x.len()], Float::F64)?;
        folder.array("g.npy", g, &[y.len()], Float::F64)?;
    }
    if let Some(AnyPlan::Sparse { entries, .. }) = &solved.plan {
        let index = |of: fn(&PlanEntry) -> usize| entries.iter().map(|entry| of(entry) as u32).collect::<Vec<u32>>();
        let (rows, columns) = (index(|entry| entry.source), index(|entry| entry.target));
        let mass: Vec<f64> = entries.iter().map(|entry| entry.mass).collect();
        let array = |name, numbers| NamedArray { name, numbers, shape: vec![mass.len()] };
        let (row, column) = (array("row", Numbers::Indices(&rows)), array("column", Numbers::Indices(&columns)));
        folder.arrays("plan.npz", &[row, column, array("mass", Numbers::Reals(&mass, Float::F64))])?;
    }
    let map = solved.map.as_ref().map_or(Vec::new(), Images::to_vec);
    folder.array("map.npy", &map, &[x.len(), y.dim()], Float::F64)
}

/// The likeliest partners of each source point.
pub fn write_partners(folder: &Folder, top: &Partners) -> Result<(), Failure> {
    let array = |name, numbers| NamedArray { name, numbers, shape: vec![top.index.len() / top.k, top.k] };
    let index = array("index", Numbers::Indices(&top.index));
    let probability = array("probability", Numbers::Reals(&top.probability, Float::F64));
    folder.arrays(PARTNERS, &[index, probability])
}
