//! Where the particles start and end, as pairs to train on.

use brenier::field::Conditions;
use brenier::io::{Float, NamedArray, Numbers};

use crate::Failure;
use crate::output::Folder;

/// Pairs a file, fewer where a file would exceed 256 MiB.
const ROWS: usize = 65_536;
const NUMBERS: usize = 1 << 25;

/// Writes the `starts` and `ends` of particles, n × d, in files of their own, with the conditions of each.
pub fn write(
    (starts, ends): (&[f64], &[f64]),
    d: usize,
    conditions: Option<&Conditions>,
    folder: &Folder,
    float: Float,
) -> Result<(), Failure> {
    folder.clear_numbered("pairs-", &["npz", "safetensors"])?;
    let rows = ROWS.min(NUMBERS.div_ceil(d));
    for (file, (x0, x1)) in starts.chunks(rows * d).zip(ends.chunks(rows * d)).enumerate() {
        let n = x0.len() / d;
        let points = |name, x| NamedArray { name, numbers: Numbers::Reals(x, float), shape: vec![n, d] };
        let mut arrays = vec![points("x0", x0), points("x1", x1)];
        let told: Vec<f64> = match conditions {
            Some(all) => (file * rows..file * rows + n).flat_map(|particle| all.of(particle)).copied().collect(),
            None => Vec::new(),
        };
        let is_class = |value: &f64| (0.0..4e9).contains(value) && value.fract() == 0.0;
        let classes: Vec<u32>;
        match conditions.map(Conditions::width) {
            Some(1) if told.iter().all(is_class) => {
                classes = told.iter().map(|class| *class as u32).collect();
                arrays.push(NamedArray { name: "label", numbers: Numbers::Indices(&classes), shape: vec![n] });
            }
            Some(width) => {
                let numbers = Numbers::Reals(&told, float);
                arrays.push(NamedArray { name: "condition", numbers, shape: vec![n, width] });
            }
            None => {}
        }
        folder.arrays(&format!("pairs-{file:05}.npz"), &arrays)?;
    }
    Ok(())
}
