//! One pass over the layers in f64: what the network gives at a point, and its derivative along directions by forward mode.

use crate::field::Network;
use crate::field::network::{Layer, LevelError};
use crate::path::Level;

/// Columns that pass together, the point and directions at it: independent sums, which hide each other's latency.
const COLUMNS: usize = 4;
/// Outputs that pass together.
const OUTPUTS: usize = 4;

/// Some columns of a state: feature, column.
type Group = Vec<[f64; COLUMNS]>;

impl Network {
    /// F = p x̂₀ + q ε̂ at the point `x` with `of` = (p, q), and J v for each v of `directions`, k × d, with J the Jacobian of F.
    ///
    /// # Errors
    /// [`LevelError`] where the network does not determine it.
    pub(in crate::field) fn pass(
        &self,
        level: Level,
        of: (f64, f64),
        x: &[f64],
        directions: &[f64],
    ) -> Result<(Vec<f64>, Vec<f64>), LevelError> {
        let reading = self.read(level, of.0, of.1)?;
        let columns: Vec<&[f64]> = std::iter::once(x).chain(directions.chunks_exact(x.len())).collect();
        let feature =
            |columns: &[&[f64]], k: usize| std::array::from_fn(|c| columns.get(c).map_or(0.0, |x| reading.scale * x[k]));
        let mut state: Vec<Group> =
            columns.chunks(COLUMNS).map(|columns| (0..x.len()).map(|k| feature(columns, k)).collect()).collect();
        for (k, layer) in self.layers.iter().enumerate() {
            if k > 0 {
                self.activate(&mut state, !directions.is_empty());
            }
            state = state.iter().map(|group| product(layer, group)).collect();
            let bias = if k == 0 { &reading.bias } else { &layer.bias };
            state[0].iter_mut().zip(bias).for_each(|(feature, b)| feature[0] += b);
        }
        let mut out = columns.iter().enumerate().map(|(i, x)| {
            let outputs = state[i / COLUMNS].iter().map(|feature| feature[i % COLUMNS]);
            x.iter().zip(outputs).map(|(x, f)| reading.of_x * x + reading.of_output * f).collect::<Vec<f64>>()
        });
        Ok((out.next().unwrap_or_default(), out.flatten().collect()))
    }

    /// The activation of the first column and, where there are others, its derivative along them.
    fn activate(&self, state: &mut [Group], derived: bool) {
        let point: Vec<f64> = state[0].iter().map(|feature| feature[0]).collect();
        let slopes: Vec<f64> = if derived { point.iter().map(|&x| self.activation.slope(x)).collect() } else { Vec::new() };
        for group in state.iter_mut() {
            group.iter_mut().zip(&slopes).for_each(|(feature, slope)| feature.iter_mut().for_each(|v| *v *= slope));
        }
        state[0].iter_mut().zip(point).for_each(|(feature, x)| feature[0] = self.activation.value(x));
    }
}

/// W `group`; of the first layer the columns of x alone, since those of time are in the bias.
fn product(layer: &Layer, group: &[[f64; COLUMNS]]) -> Group {
    let inputs = layer.inputs();
    let blocks = layer.weight.chunks_exact(OUTPUTS * inputs);
    let rest = blocks.remainder().chunks_exact(inputs);
    blocks
        .flat_map(|rows| rows_of::<OUTPUTS>(rows, inputs, group))
        .chain(rest.flat_map(|row| rows_of::<1>(row, inputs, group)))
        .collect()
}

/// R rows of it.
fn rows_of<const R: usize>(rows: &[f64], inputs: usize, group: &[[f64; COLUMNS]]) -> [[f64; COLUMNS]; R] {
    let rows: [&[f64]; R] = std::array::from_fn(|r| &rows[r * inputs..][..group.len()]);
    let mut sums = [[0.0; COLUMNS]; R];
    for (k, feature) in group.iter().enumerate() {
        for r in 0..R {
            for c in 0..COLUMNS {
                sums[r][c] += rows[r][k] * feature[c];
            }
        }
    }
    sums
}
