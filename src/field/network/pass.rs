//! One pass over the layers in f64: what the network gives at a point, and its derivative along directions by forward mode.

use crate::field::Network;
use crate::field::network::{Layer, LevelError, Reading};
use crate::path::Level;

/// C columns of a state, the point or directions at it: feature, column.
type Columns<const C: usize> = Vec<[f64; C]>;

impl Network {
    /// F = p x̂₀ + q ε̂ at the point `x` of `particle` with `of` = (p, q), and J v for each v of `directions`, k × d, with J the Jacobian of F.
    ///
    /// # Errors
    /// [`LevelError`] where the network does not determine it.
    pub(in crate::field) fn pass(
        &self,
        level: Level,
        of: (f64, f64),
        (particle, x): (usize, &[f64]),
        directions: &[f64],
    ) -> Result<(Vec<f64>, Vec<f64>), LevelError> {
        let mut reading = self.read(level, of.0, of.1)?;
        let (first, told) = (&self.layers[0], self.told(particle));
        for (bias, row) in reading.bias.iter_mut().zip(first.weight.chunks_exact(first.inputs())) {
            *bias += row[row.len() - told.len()..].iter().zip(told).map(|(w, y)| w * y).sum::<f64>();
        }
        let columns: Vec<&[f64]> = std::iter::once(x).chain(directions.chunks_exact(x.len())).collect();
        let out = match columns.len() {
            1 => self.through::<1, 8>(&reading, &columns),
            _ => self.through::<4, 4>(&reading, &columns),
        };
        let mut out = out.into_iter();
        Ok((out.next().unwrap_or_default(), out.flatten().collect()))
    }

    /// F of the first of `columns` and its derivative along the others; C of them and R outputs pass together, sums that hide each
    /// other's latency.
    fn through<const C: usize, const R: usize>(&self, reading: &Reading, columns: &[&[f64]]) -> Vec<Vec<f64>> {
        let feature =
            |columns: &[&[f64]], k: usize| std::array::from_fn(|c| columns.get(c).map_or(0.0, |x| reading.scale * x[k]));
        let mut state: Vec<Columns<C>> =
            columns.chunks(C).map(|columns| (0..self.dim()).map(|k| feature(columns, k)).collect()).collect();
        for (k, layer) in self.layers.iter().enumerate() {
            if k > 0 {
                self.activate(&mut state, columns.len() > 1);
            }
            state = state.iter().map(|columns| product::<C, R>(layer, columns)).collect();
            let bias = if k == 0 { &reading.bias } else { &layer.bias };
            state[0].iter_mut().zip(bias).for_each(|(feature, b)| feature[0] += b);
        }
        let outputs = |i: usize| state[i / C].iter().map(move |feature| feature[i % C]);
        let of = |x: &[f64], i| x.iter().zip(outputs(i)).map(|(x, f)| reading.of_x * x + reading.of_output * f).collect();
        columns.iter().enumerate().map(|(i, x)| of(x, i)).collect()
    }

    /// The activation of the first column and, where there are others, its derivative along them.
    fn activate<const C: usize>(&self, state: &mut [Columns<C>], derived: bool) {
        let point: Vec<f64> = state[0].iter().map(|feature| feature[0]).collect();
        let slopes: Vec<f64> = if derived { point.iter().map(|&x| self.activation.slope(x)).collect() } else { Vec::new() };
        for columns in state.iter_mut() {
            columns.iter_mut().zip(&slopes).for_each(|(feature, slope)| feature.iter_mut().for_each(|v| *v *= slope));
        }
        state[0].iter_mut().zip(point).for_each(|(feature, x)| feature[0] = self.activation.value(x));
    }
}

/// W `columns`, R rows at a time; of the first layer's W what multiplies x, since what multiplies the time is in the bias.
fn product<const C: usize, const R: usize>(layer: &Layer, columns: &[[f64; C]]) -> Columns<C> {
    let inputs = layer.inputs();
    let blocks = layer.weight.chunks_exact(R * inputs);
    let rest = blocks.remainder().chunks_exact(inputs).flat_map(|row| rows::<C, 1>(row, inputs, columns));
    blocks.flat_map(|block| rows::<C, R>(block, inputs, columns)).chain(rest).collect()
}

/// R rows of it.
fn rows<const C: usize, const R: usize>(weight: &[f64], inputs: usize, columns: &[[f64; C]]) -> [[f64; C]; R] {
    let weight: [&[f64]; R] = std::array::from_fn(|r| &weight[r * inputs..][..columns.len()]);
    let mut sums = [[0.0; C]; R];
    for (k, feature) in columns.iter().enumerate() {
        for r in 0..R {
            for c in 0..C {
                sums[r][c] += weight[r][k] * feature[c];
            }
        }
    }
    sums
}
