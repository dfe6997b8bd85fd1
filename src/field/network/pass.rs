//! One pass over the layers in f64: what the network gives at a point, and its derivative along directions by forward mode.

use crate::field::Network;
use crate::field::network::LevelError;
use crate::path::Level;

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
        let scaled = |numbers: &[f64]| -> Vec<f64> { numbers.iter().map(|x| reading.scale * x).collect() };
        let (mut state, mut tangents) = (scaled(x), scaled(directions));
        for (k, layer) in self.layers.iter().enumerate() {
            if k > 0 {
                for tangent in tangents.chunks_exact_mut(state.len()) {
                    tangent.iter_mut().zip(&state).for_each(|(v, x)| *v *= self.activation.slope(*x));
                }
                state.iter_mut().for_each(|x| *x = self.activation.value(*x));
            }
            // Of the first layer the columns of x alone; those of time are in the bias.
            let rows = || layer.weight.chunks_exact(layer.inputs());
            let product = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            tangents = tangents.chunks_exact(state.len()).flat_map(|v| rows().map(|row| product(row, v))).collect();
            let bias = if k == 0 { &reading.bias } else { &layer.bias };
            state = rows().zip(bias).map(|(row, b)| product(row, &state) + b).collect();
        }
        let out = |x: &[f64], f: &[f64]| -> Vec<f64> {
            x.iter().zip(f).map(|(x, f)| reading.of_x * x + reading.of_output * f).collect()
        };
        Ok((out(x, &state), out(directions, &tangents)))
    }
}
