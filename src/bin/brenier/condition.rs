//! Conditions of the particles, and guidance by them.

use std::path::{Path, PathBuf};

use brenier::field::{Classes, ConditionError, Conditions, Field, Guided};
use brenier::io::read_array;
use clap::Args;

use crate::transport::labels::labels;
use crate::{Failure, values};

/// A field under conditions, or under none.
pub type Under = Box<dyn Fn(Option<&Conditions>) -> Result<Field, Failure>>;

/// What the particles are conditioned on.
#[derive(Args)]
#[command(next_help_heading = "Conditions and guidance")]
pub struct ConditionFlags {
    /// File of a condition for each particle of the whole run: n classes, or n x c numbers. A model takes what it was trained with; of a
    /// mixture the classes are its components 0, 1, …; of data those of --labels
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// File of the class 0, 1, … of each point of the data, for --condition
    #[arg(long, value_name = "FILE", requires = "condition")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    guidance: GuidanceFlags,
}

/// How strongly the particles are guided by their conditions.
#[derive(Args)]
#[command(next_help_heading = "Conditions and guidance")]
pub struct GuidanceFlags {
    /// Classifier-free guidance: the field is W x that under the condition + (1 - W) x that under none, which --unconditional tells of a
    /// model [default: 1, none]
    #[arg(long, value_name = "W", requires = "condition", allow_negative_numbers = true, value_parser = values::finite)]
    guidance: Option<f64>,
    /// The schedule's times between which guidance acts, from 0 at the noise to 1 at the data [default: 0..1]
    #[arg(long, value_name = "LO..HI", requires = "guidance", value_parser = values::times)]
    guidance_interval: Option<(f64, f64)>,
}

impl ConditionFlags {
    /// The conditions of the whole run.
    pub fn read(&self) -> Result<Option<Conditions>, Failure> {
        self.condition.as_deref().map(read).transpose()
    }

    /// The classes of the points of data.
    pub fn labels(&self) -> Result<Option<Vec<u32>>, Failure> {
        self.labels.as_deref().map(labels).transpose()
    }

    /// Particles of the whole run, of which `given` are asked for: as many as there are conditions.
    pub fn particles(&self, conditions: Option<&Conditions>, given: Option<u32>) -> Result<Option<u32>, Failure> {
        let (Some(path), Some(conditions)) = (&self.condition, conditions) else { return Ok(given) };
        match given {
            Some(n) if n as usize != conditions.len() => Err(format!(
                "{}: {} conditions for {n} particles; give one for each particle of the whole run",
                path.display(),
                conditions.len()
            )
            .into()),
            _ => Ok(Some(conditions.len() as u32)),
        }
    }

    /// Whether the field is guided.
    pub fn is_guided(&self) -> bool {
        self.guidance.is_guided()
    }

    /// The field under `conditions`, guided where that is asked for.
    pub fn field(&self, conditions: Option<&Conditions>, under: &Under) -> Result<Field, Failure> {
        self.guidance.field(conditions, under)
    }
}

/// The conditions in the file at `path`.
pub fn read(path: &Path) -> Result<Conditions, Failure> {
    let array = read_array(path, "condition")?;
    let width = array.shape.iter().skip(1).product();
    Ok(Conditions::new(array.values, width).map_err(|error| format!("{}: {error}", path.display()))?)
}

impl GuidanceFlags {
    /// Whether the field is guided.
    pub fn is_guided(&self) -> bool {
        self.guidance.is_some_and(|w| w != 1.0)
    }

    /// The field under `conditions`, guided where that is asked for.
    pub fn field(&self, conditions: Option<&Conditions>, under: &Under) -> Result<Field, Failure> {
        let field = under(conditions)?;
        match self.guidance {
            Some(w) if self.is_guided() => {
                let guided = Guided::new(vec![(w, field), (1.0 - w, under(None)?)])?;
                let (low, high) = self.guidance_interval.unwrap_or((0.0, 1.0));
                Ok(Field::Guided(guided.between(low, high)?))
            }
            _ => Ok(field),
        }
    }
}

/// The field called `name`, whose classes are those of `classes`; `all` is that of all of them.
pub fn by_class(all: Field, name: String, classes: impl Fn(&Conditions) -> Result<Classes, ConditionError> + 'static) -> Under {
    Box::new(move |conditions| match conditions {
        None => Ok(all.clone()),
        Some(given) => Ok(Field::Classes(classes(given).map_err(|error| format!("{name}: {error}"))?)),
    })
}

/// The `field` called `name`, which takes no conditions: `why` says so.
pub fn without_conditions(field: Field, name: String, why: &'static str) -> Under {
    Box::new(move |conditions| match conditions {
        None => Ok(field.clone()),
        Some(_) => Err(format!("{name} {why}").into()),
    })
}
