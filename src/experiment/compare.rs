//! Both principles from the same ends: every method at every number of steps, measured with one ruler.

use std::time::Instant;

use crate::Error;
use crate::backend::Device;
use crate::experiment::bench::{Bench, Parts};
use crate::experiment::families::EPS_TRANSPORT;
use crate::experiment::record::{CompareRecord, Comparison};
use crate::field::Field;
use crate::io::Checkpoint;
use crate::measure::{Cloud, Covariance, Measure};
use crate::metric::{Law, Ruler, median_distance};
use crate::random::{Philox, Stream};
use crate::transport::problem::mean_cost;

/// A comparison: sizes and seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// Draws of a law that make each of A and B.
    pub n: usize,
    /// Numbers of steps tried.
    pub steps: Vec<usize>,
    /// Seed.
    pub seed: u32,
}

impl Default for Compare {
    fn default() -> Self {
        Self { n: 4096, steps: vec![1, 2, 5, 10, 20, 50, 100], seed: 0 }
    }
}

/// A measure and what the user calls it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// The measure.
    pub measure: &'a Measure,
}

/// Told what is being done and how many parts of the whole are finished; `false` stops the comparison.
pub type Progress<'a> = &'a (dyn Fn(&str, usize, usize) -> bool + Sync);

/// Most particles moved.
const MOST_PARTICLES: usize = 4096;

impl Compare {
    /// Runs the comparison, the rows in `checkpoint` not again. With a source that is not a standard normal only the rows that need no Gaussian noise remain.
    ///
    /// # Errors
    /// [`Error`] when the measures cannot be compared, a device fails, or `progress` says stop ([`crate::sampler::RunError::Stopped`]).
    pub fn run(
        &self,
        target: Named<'_>,
        source: Named<'_>,
        device: &Device,
        checkpoint: &mut Checkpoint,
        progress: Progress<'_>,
    ) -> Result<Comparison, Error> {
        let begun = Instant::now();
        let (train, heldout) = match target.measure {
            Measure::Finite(cloud) => cloud.halves(self.seed)?,
            law => (law.sample(self.n, self.seed, Stream::Source, 1), law.sample(self.n, self.seed, Stream::Source, 2)),
        };
        let start = start_points(source.measure, train.len().min(MOST_PARTICLES), self.seed)?;
        let law = match target.measure {
            Measure::Law(mixture) => Some(Field::Mixture(mixture.clone())),
            _ => None,
        };
        let ruler = Ruler::new(&heldout, self.seed, device)?;
        let origin = match target.measure {
            Measure::Finite(_) => Law::Halves(&train, &heldout),
            law => Law::Draws(law),
        };
        let floor = match checkpoint.record("noise floor") {
            Some(floor) => floor,
            None => ruler.noise_floor(origin, start.len(), device)?,
        };
        checkpoint.keep_record("noise floor", &floor);
        let noisy = is_standard_normal(source.measure);
        let mut bench = Bench {
            compare: self,
            floor,
            nn_heldout: median_distance(&heldout, &train, device)?,
            ruler: &ruler,
            train: &train,
            start: &start,
            device,
            progress,
            checkpoint,
            parts: Parts::new(if noisy { 9 } else { 2 } * self.steps.len() + if noisy { 8 } else { 4 }),
            rows: Vec::new(),
            samples: Vec::new(),
            ledger: Vec::new(),
            trajectories: Vec::new(),
        };
        let mut notes = Vec::new();
        let mut free_energy = Vec::new();
        if noisy {
            let data = if law.is_some() { target.measure.clone() } else { Measure::Finite(train.clone()) };
            let field = law.clone().unwrap_or_else(|| Field::DataSet(train.clone()));
            free_energy = bench.diffusion(&field, &data)?;
            bench.flow_matching(&field, &data)?;
        } else {
            notes.push(format!(
                "The source \"{}\" is not a standard normal: the diffusion and fm-* rows, whose exact fields need Gaussian noise, are left out.",
                source.name
            ));
        }
        let eps = EPS_TRANSPORT * mean_cost(&start, &train, self.seed);
        bench.optimal_transport(eps, &mut notes)?;
        if law.is_none() {
            notes.push(
                "The exact field of a data set memorises by construction: its flow ends on points of A. A flagged row is never called best."
                    .into(),
            );
        }
        let Bench { rows, samples, ledger, trajectories, floor, .. } = bench;
        let record = CompareRecord {
            command: "compare".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            target: target.name.into(),
            source: source.name.into(),
            n: start.len(),
            m: heldout.len(),
            d: heldout.dim(),
            seed: self.seed,
            device: device.name().into(),
            precision: device.precision().name().into(),
            law: law.is_some(),
            eps_metric: ruler.eps(),
            eps_transport: eps,
            noise_floor: floor,
            rows,
            ledger,
            free_energy,
            notes,
            flags: Vec::new(),
            wall_seconds: begun.elapsed().as_secs_f64(),
        };
        Ok(Comparison { record, samples, train, heldout, trajectories })
    }
}

/// The particles every row starts from: draws of a law, or distinct points of a finite set while there are enough.
pub(super) fn start_points(source: &Measure, n: usize, seed: u32) -> Result<Cloud, Error> {
    match source {
        Measure::Finite(cloud) if cloud.weights().is_none() && cloud.len() >= n => {
            let order = Philox::new(seed, Stream::Source).permutation(cloud.len(), n, 0);
            Ok(cloud.select(&order)?)
        }
        measure => Ok(measure.sample(n, seed, Stream::Source, 0)),
    }
}

fn is_standard_normal(measure: &Measure) -> bool {
    match measure {
        Measure::Law(mixture) => match mixture.components() {
            [only] => only.covariance == Covariance::Isotropic(1.0) && only.mean.iter().all(|m| *m == 0.0),
            _ => false,
        },
        _ => false,
    }
}
