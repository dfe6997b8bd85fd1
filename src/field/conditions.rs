//! What the particles of a run are conditioned on: a class, or a vector, for each of them.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::field::HostField;
use crate::measure::CloudError;

/// A condition for each particle: c numbers, of which a class is one.
///
/// Particle i has the i-th of n, and beyond them the (i mod n)-th: one condition is that of all particles, and a pilot run of more
/// particles than the run itself has the same shares of each.
///
/// ```
/// use brenier::field::Conditions;
///
/// let classes = Conditions::new(vec![3.0, 1.0, 4.0], 1)?;
/// assert_eq!((classes.len(), classes.of(1), classes.of(3)), (3, &[1.0][..], &[3.0][..]));
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    values: Arc<[f64]>,
    width: usize,
}

/// A model that may be asked about each particle under its condition.
pub trait Conditional: HostField + Clone + 'static {
    /// Numbers of a condition, where it takes one.
    fn condition_width(&self) -> Option<usize>;

    /// The model asked about each particle under its condition.
    ///
    /// # Errors
    /// [`ConditionError`] when it takes none, others, or integers.
    fn under(&self, conditions: Conditions) -> Result<Self, ConditionError>;
}

/// Why conditions cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ConditionError {
    /// No conditions, or ones of unequal length.
    #[error("{len} numbers do not make conditions of {width} each; give at least one, all of the same length")]
    Shape {
        /// Numbers found.
        len: usize,
        /// Numbers of a condition.
        width: usize,
    },
    /// A number that is not finite.
    #[error("condition {particle} is {value}; every number of a condition must be finite")]
    NotFinite {
        /// Whose condition it is.
        particle: usize,
        /// The value found.
        value: f64,
    },
    /// Conditions for what takes none.
    #[error("it takes no condition; leave the conditions out")]
    NotTaken,
    /// Conditions of another length.
    #[error("conditions of {found} numbers are given, and each particle takes {needed}; give n x {needed} of them")]
    Width {
        /// Numbers of a condition.
        found: usize,
        /// Numbers taken.
        needed: usize,
    },
    /// A number that is not an integer where one is needed.
    #[error("condition {particle} is {value}, and integers are taken; give the classes as whole numbers")]
    NotInteger {
        /// Whose condition it is.
        particle: usize,
        /// The value found.
        value: f64,
    },
    /// A class that there is not.
    #[error("condition {particle} is the class {value}; the classes are {}", listed(.classes))]
    NoClass {
        /// Whose condition it is.
        particle: usize,
        /// The class.
        value: f64,
        /// The classes that there are.
        classes: Vec<u32>,
    },
    /// Classes for another number of points.
    #[error("{labels} classes for {points} points; give each point of the data its class")]
    Labels {
        /// Classes given.
        labels: usize,
        /// Points.
        points: usize,
    },
    /// Fields of different dimensions.
    #[error("the field of one class has dimension {dim} and that of another {found}; all classes live in the same space")]
    Dimension {
        /// Dimension of the first.
        dim: usize,
        /// Dimension of another.
        found: usize,
    },
    /// A class without mass.
    #[error("the points of class {class} make no cloud: {cause}")]
    Cloud {
        /// The class.
        class: u32,
        /// Why they make none.
        cause: CloudError,
    },
}

/// Classes in words, the first twenty of them.
fn listed(classes: &[u32]) -> String {
    let shown: Vec<String> = classes.iter().take(20).map(u32::to_string).collect();
    shown.join(", ") + if classes.len() > 20 { ", …" } else { "" }
}

impl Conditions {
    /// Conditions from row-major `values`, n × `width`.
    ///
    /// # Errors
    /// [`ConditionError`] when there is none, the rows are ragged, or a number is not finite.
    pub fn new(values: Vec<f64>, width: usize) -> Result<Self, ConditionError> {
        if values.is_empty() || width == 0 || !values.len().is_multiple_of(width) {
            return Err(ConditionError::Shape { len: values.len(), width });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(ConditionError::NotFinite { particle: at / width, value: values[at] });
        }
        Ok(Self { values: values.into(), width })
    }

    /// Their number n.
    #[allow(clippy::len_without_is_empty)] // there is at least one
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Numbers of each.
    pub fn width(&self) -> usize {
        self.width
    }

    /// That of a particle.
    pub fn of(&self, particle: usize) -> &[f64] {
        let at = particle % self.len() * self.width;
        &self.values[at..at + self.width]
    }

    /// Those of some particles of the run, as a run of their own.
    ///
    /// # Errors
    /// [`ConditionError::Shape`] for an empty range.
    pub fn of_particles(&self, particles: Range<usize>) -> Result<Self, ConditionError> {
        Self::new(particles.flat_map(|i| self.of(i)).copied().collect(), self.width)
    }

    /// Refuses numbers that are not integers.
    ///
    /// # Errors
    /// [`ConditionError::NotInteger`].
    pub fn check_integers(&self) -> Result<(), ConditionError> {
        match self.values.iter().position(|value| value.fract() != 0.0) {
            Some(at) => Err(ConditionError::NotInteger { particle: at / self.width, value: self.values[at] }),
            None => Ok(()),
        }
    }
}
