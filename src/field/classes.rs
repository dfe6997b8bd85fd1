//! Fields of classes: each particle moves by the field of its own class,
//!
//! ```text
//! x̂₀(x_i) = E[data | x_i, class c_i]
//! ```
//!
//! A mixture has its components for classes, data the labels of their points: both exact. Beside the field of all classes, which is
//! the unconditional one, they are what guidance combines ([`Guided`](crate::field::Guided)).

use std::sync::Arc;

use crate::backend::{Backend, Reals};
use crate::field::conditions::{ConditionError, Conditions};
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::{Field, FieldError};
use crate::measure::{Cloud, Mixture};

/// A field for each class, and the class of each particle. Made by [`Classes::new`].
#[derive(Clone, Debug)]
pub struct Classes {
    fields: Vec<Field>,
    /// Positions in `fields`; particle i has the (i mod n)-th.
    of: Arc<[usize]>,
}

impl Classes {
    /// The fields of `classes`, each a number and a field that takes no conditions itself, for particles whose classes are
    /// `conditions`.
    ///
    /// # Errors
    /// [`ConditionError`] for a condition that is not one of the classes, or fields of different dimensions.
    pub fn new(classes: Vec<(u32, Field)>, conditions: &Conditions) -> Result<Self, ConditionError> {
        let of_class = |particle| {
            let [value] = *conditions.of(particle) else {
                return Err(ConditionError::Width { found: conditions.width(), needed: 1 });
            };
            classes.iter().position(|(class, _)| f64::from(*class) == value).ok_or_else(|| {
                let known = classes.iter().map(|(class, _)| *class).collect();
                ConditionError::NoClass { particle, value, classes: known }
            })
        };
        let of = (0..conditions.len()).map(of_class).collect::<Result<_, _>>()?;
        let fields: Vec<Field> = classes.into_iter().map(|(_, field)| field).collect();
        let dim = fields[0].dim();
        match fields.iter().map(Field::dim).find(|found| *found != dim) {
            Some(found) => Err(ConditionError::Dimension { dim, found }),
            None => Ok(Self { fields, of }),
        }
    }

    /// The components of `law`, classes 0, 1, ….
    ///
    /// # Errors
    /// As [`Classes::new`].
    pub fn of_mixture(law: &Mixture, conditions: &Conditions) -> Result<Self, ConditionError> {
        Self::new((0..).zip(law.laws().map(Field::Mixture)).collect(), conditions)
    }

    /// The points of `data` by their `labels`, one a point.
    ///
    /// # Errors
    /// As [`Classes::new`], and where labels and points differ in number.
    pub fn of_data(data: &Cloud, labels: &[u32], conditions: &Conditions) -> Result<Self, ConditionError> {
        if labels.len() != data.len() {
            return Err(ConditionError::Labels { labels: labels.len(), points: data.len() });
        }
        let mut known = labels.to_vec();
        known.sort_unstable();
        known.dedup();
        let of_class = |class: u32| {
            let rows: Vec<usize> = (0..labels.len()).filter(|row| labels[*row] == class).collect();
            let cloud = data.select(&rows).map_err(|cause| ConditionError::Cloud { class, cause })?;
            Ok((class, Field::DataSet(cloud)))
        };
        Self::new(known.into_iter().map(of_class).collect::<Result<_, ConditionError>>()?, conditions)
    }

    /// The fields of the classes.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of a particle.
    pub fn of(&self, particle: usize) -> &Field {
        &self.fields[self.of[particle % self.of.len()]]
    }
}

/// The fields of the classes on a device.
pub(super) struct ByClass<B: Backend> {
    fields: Vec<Box<dyn Evaluate<B>>>,
    of: Arc<[usize]>,
    dim: usize,
}

impl<B: Backend> ByClass<B> {
    pub fn new(backend: &B, classes: &Classes) -> Result<Self, FieldError> {
        let fields = classes.fields.iter().map(|field| field.on(backend)).collect::<Result<_, _>>()?;
        Ok(Self { fields, of: classes.of.clone(), dim: classes.fields[0].dim() })
    }
}

impl<B: Backend> Evaluate<B> for ByClass<B> {
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError> {
        let Evaluation { n, src, dst, .. } = evaluation;
        let (d, points) = (self.dim, backend.download_reals(&registers[src])?);
        let mut answers = vec![0.0; points.len()];
        for (class, field) in self.fields.iter_mut().enumerate() {
            let rows: Vec<usize> = (0..n).filter(|i| self.of[i % self.of.len()] == class).collect();
            if rows.is_empty() {
                continue;
            }
            let own = rows.iter().flat_map(|i| &points[i * d..(i + 1) * d]);
            let mut own = [backend.upload_reals(own)?, backend.zeros(rows.len() * d)?];
            field.evaluate(backend, Evaluation { n: rows.len(), src: 0, dst: 0, ..evaluation }, &mut own)?;
            let own = backend.download_reals(&own[0])?;
            rows.iter().zip(own.chunks_exact(d)).for_each(|(i, x)| answers[i * d..(i + 1) * d].copy_from_slice(x));
        }
        registers[dst] = backend.upload_reals(&answers)?;
        Ok(())
    }
}
