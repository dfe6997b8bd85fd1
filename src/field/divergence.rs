//! The divergence of a field at one point, in f64 on the processor: of a law in closed form, of a network of ours by forward mode, of
//! a combination from its parts, of other fields by central differences.
//!
//! ```text
//! div F = tr J = E vᵀ J v     v of random signs (Hutchinson 1990)       vᵀ J v ≈ v · (F(x + hv) − F(x − hv))/2h
//! ```
//!
//! with h the cube root of the field's rounding error times the size of x, where the errors of truncation and of rounding meet: 5e-11
//! of F in double precision and 3e-5 in single.

use crate::field::{Field, FieldError};
use crate::path::Level;
use crate::vector::dot;

impl Field {
    /// div(p x̂₀ + q ε̂) at `level` and the point `x` of `particle`, with `of` = (p, q).
    ///
    /// # Errors
    /// As [`Field::at`].
    pub fn divergence(&self, level: Level, of: (f64, f64), particle: usize, x: &[f64]) -> Result<f64, FieldError> {
        match self {
            Self::Mixture(law) => Ok(law.divergence(level, of.0, of.1, x)),
            Self::Classes(classes) => classes.of(particle).divergence(level, of, particle, x),
            Self::Guided(guided) => {
                guided.acting(level).map(|(weight, part)| Ok(weight * part.divergence(level, of, particle, x)?)).sum()
            }
            _ => {
                let d = x.len();
                let axes: Vec<f64> = (0..d * d).map(|i| f64::from(u8::from(i.is_multiple_of(d + 1)))).collect();
                Ok(self.jacobian_forms(level, of, particle, x, &axes)?.iter().sum())
            }
        }
    }

    /// vᵀ J v for each v of `directions`, k × d, with J the Jacobian of p x̂₀ + q ε̂ at `level` and the point `x` of `particle`.
    ///
    /// # Errors
    /// As [`Field::at`].
    pub fn jacobian_forms(
        &self,
        level: Level,
        of: (f64, f64),
        particle: usize,
        x: &[f64],
        directions: &[f64],
    ) -> Result<Vec<f64>, FieldError> {
        let all = directions.chunks_exact(x.len());
        match self {
            Self::Mixture(law) => Ok(all.map(|v| law.jacobian_form(level, of.0, of.1, x, v)).collect()),
            Self::Network(network) => {
                let (_, products) = network.pass(level, of, x, directions)?;
                Ok(all.zip(products.chunks_exact(x.len())).map(|(v, product)| dot(v, product)).collect())
            }
            Self::Classes(classes) => classes.of(particle).jacobian_forms(level, of, particle, x, directions),
            Self::Guided(guided) => {
                let mut sum = vec![0.0; directions.len() / x.len()];
                for (weight, part) in guided.acting(level) {
                    let forms = part.jacobian_forms(level, of, particle, x, directions)?;
                    sum.iter_mut().zip(forms).for_each(|(sum, form)| *sum += weight * form);
                }
                Ok(sum)
            }
            _ => {
                let h = self.rounding().cbrt() * x.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
                let form = |v: &[f64]| {
                    let moved = |h: f64| -> Vec<f64> { x.iter().zip(v).map(|(x, v)| x + h * v).collect() };
                    let [ahead, behind] = [h, -h].map(|h| self.at(level, of, particle, &moved(h)));
                    Ok((dot(v, &ahead?) - dot(v, &behind?)) / (2.0 * h))
                };
                all.map(form).collect()
            }
        }
    }

    /// Whether [`Field::divergence`] takes no differences: of laws, of networks of ours, and of what is made of these.
    pub fn has_exact_divergence(&self) -> bool {
        match self {
            Self::Mixture(_) | Self::Network(_) => true,
            Self::Classes(classes) => classes.fields().iter().all(Self::has_exact_divergence),
            Self::Guided(guided) => guided.parts().iter().all(|(_, part)| part.has_exact_divergence()),
            Self::DataSet(_) | Self::Transport { .. } | Self::Given(_) => false,
        }
    }

    /// The relative error of its numbers by rounding.
    pub fn rounding(&self) -> f64 {
        match self {
            Self::Given(field) => field.rounding(),
            Self::Classes(classes) => classes.fields().iter().map(Self::rounding).fold(f64::EPSILON, f64::max),
            Self::Guided(guided) => guided.parts().iter().map(|(_, part)| part.rounding()).fold(f64::EPSILON, f64::max),
            _ => f64::EPSILON,
        }
    }
}
