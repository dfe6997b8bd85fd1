//! What a run reads: its field, its times, its starts and its noise.

use std::path::Path;

use brenier::field::{Classes, Field};
use brenier::io::{read_array, read_text};
use brenier::measure::Measure;
use brenier::path::check_times;

use super::Sample;
use crate::condition::{Under, by_class, without_conditions};
use crate::model::is_model;
use crate::output::count;
use crate::session::Session;
use crate::{Failure, flags, input};

/// Draws that stand for a law where points are needed.
const LAW_DRAWS: u32 = 4096;

impl Sample {
    /// The field of the law or of the data, or the model, under conditions or none.
    pub(super) fn read_field(&self, session: &Session) -> Result<Under, Failure> {
        let (path, name) = (Path::new(self.name()), self.name().to_owned());
        let labels = self.condition.labels()?;
        let refuse_labels = || match labels {
            Some(_) => Err(flags::bad_usage(format!(
                "--labels are the classes of the points in a file of data, and {name} is not one; leave --labels out"
            ))),
            None => Ok(()),
        };
        if self.model.command().is_some() {
            refuse_labels()?;
        }
        if let Some(under) = self.model.serve(self.schedule.as_deref(), session)? {
            return Ok(under);
        }
        if is_model(path)? {
            refuse_labels()?;
            return self.model.open(path, self.schedule.as_deref(), session);
        }
        self.model.refuse(path)?;
        match input::measure(session, &name, None, None)? {
            Measure::Law(law) => {
                refuse_labels()?;
                Ok(by_class(Field::Mixture(law.clone()), name, move |given| Classes::of_mixture(&law, given)))
            }
            Measure::Finite(cloud) => match labels {
                Some(labels) => {
                    Ok(by_class(Field::DataSet(cloud.clone()), name, move |given| Classes::of_data(&cloud, &labels, given)))
                }
                None => {
                    let why = "has no classes to condition on; give those of its points with --labels FILE";
                    Ok(without_conditions(Field::DataSet(cloud), name, why))
                }
            },
            shape @ Measure::Shape(_) => {
                refuse_labels()?;
                let drawn = input::cloud(shape, LAW_DRAWS, session.shared.seed, 1)?;
                let draws = count(drawn.len());
                session.note(&format!("{name} has no field in closed form: this is the field of {draws} draws of it"));
                Ok(without_conditions(Field::DataSet(drawn), name, "has no classes to condition on; leave --condition out"))
            }
        }
    }

    /// The start points of the whole run, n × d.
    pub(super) fn read_start(&self, session: &Session, path: &Path, d: usize) -> Result<Vec<f64>, Failure> {
        let name = path.display();
        let points = match input::measure(session, &path.to_string_lossy(), None, Some(d))? {
            Measure::Finite(cloud) if cloud.dim() == d => cloud,
            Measure::Finite(cloud) => {
                let found = cloud.dim();
                return Err(
                    format!("{name}: its points have dimension {found}; start points are n x {d}, one row a particle").into()
                );
            }
            _ => return Err(format!("{name} is a law; give a file of start points, n x {d}, one row a particle").into()),
        };
        let rows = points.len();
        match self.n {
            Some(n) if n as usize != rows => {
                Err(format!("{name}: {rows} start points for --n {n} particles; leave --n out, or give as many").into())
            }
            _ => Ok(points.points().to_vec()),
        }
    }
}

/// The times of a grid: an array, or a text of one number a line.
pub fn read_times(path: &Path) -> Result<Vec<f64>, Failure> {
    let name = path.display();
    let times = if path.extension().is_some_and(|ending| ending == "npy") {
        read_array(path, "times")?.values
    } else {
        let number = |(line, text): (usize, &str)| {
            let why = || {
                format!("{name}: line {line} holds {text:?}, which is not a number; a file of times has one a line, from 0 to 1")
            };
            text.parse::<f64>().map_err(|_| Failure::from(why()))
        };
        let text = read_text(path)?;
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        lines.filter(|(_, line)| !line.is_empty()).map(number).collect::<Result<_, _>>()?
    };
    check_times(&times).map_err(|error| format!("{name}: {error}"))?;
    Ok(times)
}

/// The noise of the whole run, draws × n × d.
pub fn read_noise(path: &Path, n: usize, d: usize) -> Result<Vec<f64>, Failure> {
    let array = read_array(path, "noise")?;
    match array.shape[..] {
        [_, rows, ref point @ ..] if rows == n && point.iter().product::<usize>() == d => Ok(array.values),
        _ => Err(format!("{}: the array has shape {:?}; noise is draws x {n} x {d}", path.display(), array.shape).into()),
    }
}
