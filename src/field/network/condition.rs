//! How a network is told a condition: inputs behind the features of time.

use crate::field::{ConditionError, Conditions, Network};

/// What the last inputs of the first layer mean; zeros stand for no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A 1 in the place of the class among these, and zeros.
    Classes(Vec<u32>),
    /// A 1, and as many numbers as they are.
    Numbers(usize),
}

impl Condition {
    /// Inputs that it takes.
    pub fn width(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Numbers(numbers) => 1 + numbers,
        }
    }

    /// The inputs for all of `conditions`, n × width.
    ///
    /// # Errors
    /// [`ConditionError`] for a class that there is not, or conditions of another length.
    pub fn inputs(&self, conditions: &Conditions) -> Result<Vec<f64>, ConditionError> {
        let (found, mut inputs) = (conditions.width(), Vec::with_capacity(conditions.len() * self.width()));
        for particle in 0..conditions.len() {
            match (self, conditions.of(particle)) {
                (Self::Classes(classes), &[value]) => {
                    let Some(place) = classes.iter().position(|class| f64::from(*class) == value) else {
                        return Err(ConditionError::NoClass { particle, value, classes: classes.clone() });
                    };
                    inputs.extend((0..classes.len()).map(|at| f64::from(u8::from(at == place))));
                }
                (Self::Classes(_), _) => return Err(ConditionError::Width { found, needed: 1 }),
                (Self::Numbers(needed), _) if found != *needed => {
                    return Err(ConditionError::Width { found, needed: *needed });
                }
                (Self::Numbers(_), numbers) => inputs.extend(std::iter::once(1.0).chain(numbers.iter().copied())),
            }
        }
        Ok(inputs)
    }
}

impl Network {
    /// The network of each particle under its own of `conditions`.
    ///
    /// # Errors
    /// [`ConditionError`] when it takes none, or others.
    pub fn under(&self, conditions: &Conditions) -> Result<Self, ConditionError> {
        let condition = self.condition.as_ref().ok_or(ConditionError::NotTaken)?;
        Ok(Self { under: condition.inputs(conditions)?.into(), ..self.clone() })
    }

    /// The inputs for the condition of a particle; none where it is asked under none.
    pub(super) fn told(&self, particle: usize) -> &[f64] {
        let width = self.condition.as_ref().map_or(0, Condition::width);
        match self.under.len() {
            0 => &[],
            numbers => &self.under[particle * width % numbers..][..width],
        }
    }
}
