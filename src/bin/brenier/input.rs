//! Reading what the command line names.

use std::path::{Path, PathBuf};

use brenier::io::{Reading, read_measure_as};
use brenier::measure::{Cloud, Measure};
use brenier::random::Stream;
use clap::Args;

use crate::session::Session;
use crate::{Failure, memory};

/// Name of the source whose dimension is that of the other end.
const NORMAL: &str = "normal";

/// What is moved and where to.
#[derive(Args)]
pub struct Ends {
    /// What is moved: a file of points (.npy, .npz, .csv, .parquet, .safetensors, .idx), a folder of pictures, a .json mixture, or a
    /// named source such as moons
    pub source: String,
    /// Where it is moved to
    pub target: String,
    /// File of n weights for the source, scaled to sum to one
    #[arg(long, value_name = "FILE")]
    source_weights: Option<PathBuf>,
    /// File of m weights for the target, scaled to sum to one
    #[arg(long, value_name = "FILE")]
    target_weights: Option<PathBuf>,
    /// Points to draw from an end that is a law or a shape
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,
}

impl Ends {
    /// Both ends as they are.
    pub fn measures(&self, session: &Session) -> Result<(Measure, Measure), Failure> {
        ends(session, (&self.source, self.source_weights.as_deref()), (&self.target, self.target_weights.as_deref()))
    }

    /// Points of both ends, which are drawn where they are laws.
    pub fn points(&self, (source, target): (Measure, Measure), seed: u32) -> Result<(Cloud, Cloud), Failure> {
        Ok((cloud(source, self.n, seed, 0)?, cloud(target, self.n, seed, 1)?))
    }
}

/// The measure `spec` with its `weights`; `dim` is the dimension of a plain `normal`.
pub fn measure(session: &Session, spec: &str, weights: Option<&Path>, dim: Option<usize>) -> Result<Measure, Failure> {
    let columns = Some(&session.shared.columns[..]).filter(|columns| !columns.is_empty());
    let measure = read_measure_as(spec, Reading { weights, dim, columns })?;
    tracing::info!(spec, dim = measure.dim(), "read");
    Ok(measure)
}

/// Two ends in the same space: a plain `normal` takes the dimension of the other end.
pub fn ends(
    session: &Session,
    source: (&str, Option<&Path>),
    target: (&str, Option<&Path>),
) -> Result<(Measure, Measure), Failure> {
    let measure = |spec, weights, dim| measure(session, spec, weights, dim);
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
            memory::require("drawing that many points", 2 * u64::from(n) * law.dim() as u64)?;
            Ok(law.sample(n as usize, seed, Stream::Source, step))
        }
    }
}
