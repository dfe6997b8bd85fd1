//! Reading what the command line names.

use std::path::Path;

use brenier::measure::{Cloud, Measure};
use brenier::random::Stream;

use crate::{Failure, machine};

/// Name of the source whose dimension is that of the other end.
const NORMAL: &str = "normal";

/// The measure `spec` with its `weights`; `dim` is the dimension of a plain `normal`.
pub fn measure(spec: &str, weights: Option<&Path>, dim: Option<usize>) -> Result<Measure, Failure> {
    let measure = brenier::io::read_measure(spec, weights, dim)?;
    tracing::info!(spec, dim = measure.dim(), "read");
    Ok(measure)
}

/// Two ends in the same space: a plain `normal` takes the dimension of the other end.
pub fn ends(source: (&str, Option<&Path>), target: (&str, Option<&Path>)) -> Result<(Measure, Measure), Failure> {
    let (x, y) = if target.0 == NORMAL {
        let x = measure(source.0, source.1, None)?;
        let y = measure(target.0, target.1, Some(x.dim()))?;
        (x, y)
    } else {
        let y = measure(target.0, target.1, None)?;
        (measure(source.0, source.1, Some(y.dim()))?, y)
    };
    if x.dim() != y.dim() {
        let why = "both must live in the same space";
        return Err(format!("{} has dimension {} and {} has {}; {why}", source.0, x.dim(), target.0, y.dim()).into());
    }
    Ok((x, y))
}

/// The points of a finite measure, or `n` draws of a law; `step` tells the ends of one run apart.
pub fn cloud(measure: Measure, n: u32, seed: u32, step: u32) -> Result<Cloud, Failure> {
    match measure {
        Measure::Finite(cloud) => Ok(cloud),
        law => {
            machine::require("drawing that many points", 2 * u64::from(n) * law.dim() as u64)?;
            Ok(law.sample(n as usize, seed, Stream::Source, step))
        }
    }
}
