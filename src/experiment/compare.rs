//! Both principles from the same ends: every method at every number of steps, measured with one ruler.

use std::time::Instant;

use crate::backend::{Cost, Device};
use crate::error::Error;
use crate::experiment::entrants::{EPS_TRANSPORT, Entrant, On};
use crate::experiment::families::family_of;
use crate::experiment::ledger::Ends;
use crate::experiment::record::{CompareRecord, Comparison};
use crate::experiment::workbench::Workbench;
use crate::field::{Field, Network};
use crate::measure::{Cloud, Component, Measure, Mixture};
use crate::metric::{Judge, Law, Ruler};
use crate::path::Spacing;
use crate::random::{Philox, Stream};
use crate::transport::GroundCost;
use crate::watch::{Progress, Watch};

/// A comparison: sizes and seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// Draws of a law that make each of A and B.
    pub n: usize,
    /// Numbers of steps tried.
    pub steps: Vec<usize>,
    /// Where the levels of a row lie on the schedule; on any but [`Spacing::Trailing`] the solver errors on that one are found
    /// too.
    pub grid: Spacing,
    /// Of so many steps the best times are searched for too, for each method that draws no noise.
    pub find_steps: Option<usize>,
    /// A network of straight paths that was trained on A, the half that this seed gives.
    pub trained: Option<Network>,
    /// Seed.
    pub seed: u32,
}

impl Default for Compare {
    fn default() -> Self {
        Self { n: 4096, steps: vec![1, 2, 5, 10, 20, 50, 100], grid: Spacing::Trailing, find_steps: None, trained: None, seed: 0 }
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

/// Most particles moved.
const MOST_PARTICLES: usize = 4096;

impl Compare {
    /// Runs the comparison, without the rows that `watch` kept; it is told of each row. The diffusion rows need a source that is
    /// a standard normal; those of independent pairs one that is any Gaussian, to a target that is a law.
    ///
    /// # Errors
    /// [`Error`] when the measures cannot be compared, a device fails, or the watch says stop ([`crate::sampler::RunError::Stopped`]).
    pub fn run(&self, target: Named<'_>, source: Named<'_>, device: &Device, watch: Watch<'_>) -> Result<Comparison, Error> {
        let law = match target.measure {
            Measure::Law(mixture) => Some(mixture),
            _ => None,
        };
        let gaussian = gaussian(source.measure);
        let noisy = matches!(source.measure, Measure::Law(law) if law.is_standard_normal());
        let between = match (gaussian, law) {
            (Some(noise), Some(data)) if !noisy => Some(Field::between(noise, data)?),
            _ => None,
        };
        let fields = match (noisy, &between) {
            (true, _) if self.trained.is_some() => &[On::Diffusion, On::Independent, On::Trained, On::Optimal][..],
            (true, _) => &[On::Diffusion, On::Independent, On::Optimal],
            (false, Some(_)) => &[On::Independent, On::Optimal],
            (false, None) => &[On::Optimal],
        };
        let all = self.rows(Entrant::on_any(fields));
        self.judge((target, source), device, watch, all, |bench, record| {
            record.law = law.is_some();
            let left_out = if let Some(field) = between {
                bench.flow_matching(&field, Ends { data: target.measure, noise: source.measure })?;
                "the diffusion rows, whose exact field needs noise from N(0, I), are left out."
            } else if noisy {
                let data = if record.law { target.measure.clone() } else { Measure::Finite(bench.train.clone()) };
                let field = law.map_or_else(|| Field::DataSet(bench.train.clone()), |law| Field::Mixture(law.clone()));
                let ends = Ends { data: &data, noise: source.measure };
                record.free_energy = bench.diffusion(&field, ends)?;
                bench.flow_matching(&field, ends)?;
                ""
            } else {
                "the diffusion and fm-* rows, whose exact fields need Gaussian noise, are left out."
            };
            if !noisy {
                record.notes.push(format!("The source \"{}\" is not a standard normal: {left_out}", source.name));
            }
            let scale = GroundCost::Known(Cost::HalfSquaredEuclidean).scale(bench.start, bench.train, self.seed);
            let eps = EPS_TRANSPORT * scale.value;
            record.eps_transport = Some(eps);
            bench.optimal_transport(eps, &mut record.notes)?;
            if let (true, Some(network)) = (noisy, &self.trained) {
                bench.trained(&Field::Network(network.clone()))?;
                record.notes.push("The network-* rows are of a network trained on A, which does not end on its points.".into());
            }
            if !record.law {
                record.notes.push(
                    "The exact field of a data set memorises by construction: its flow ends on points of A. A flagged row is never called best."
                        .into(),
                );
            }
            Ok(())
        })
    }

    /// Runs the methods of the network's schedule over it, from a standard normal, judged against `target`.
    ///
    /// # Errors
    /// [`Error`] as for [`Compare::run`], or where the network does not determine a step.
    pub fn run_model(
        &self,
        name: &str,
        model: &Field,
        target: Named<'_>,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Comparison, Error> {
        let normal = Measure::Law(Mixture::standard_normal(model.dim()));
        let source = Named { name: "normal", measure: &normal };
        let all = self.rows(Entrant::on_network(family_of(model)));
        self.judge((target, source), device, watch, all, |bench, record| {
            record.model = Some(name.into());
            record.model_limit = Some(bench.model(model)?);
            if let Measure::Finite(_) = target.measure {
                record.notes.push(format!(
                    "{name} is judged by B, the half of {} that A leaves. If it was trained on B too, \"memorised\" cannot tell: give points it has not seen.",
                    target.name
                ));
            }
            Ok(())
        })
    }

    /// The rows of entrants, and the searches for their best steps.
    fn rows(&self, entrants: impl Iterator<Item = &'static Entrant>) -> usize {
        let searches = |entrant: &Entrant| usize::from(self.find_steps.is_some() && entrant.is_searched());
        entrants.map(|entrant| entrant.rows(self.steps.len()) + searches(entrant)).sum()
    }

    /// Splits the target in A and B, has `make` fill the bench and the record, and closes both.
    fn judge(
        &self,
        (target, source): (Named<'_>, Named<'_>),
        device: &Device,
        mut watch: Watch<'_>,
        all: usize,
        make: impl FnOnce(&mut Workbench<'_>, &mut CompareRecord) -> Result<(), Error>,
    ) -> Result<Comparison, Error> {
        let begun = Instant::now();
        let (train, heldout) = match target.measure {
            Measure::Finite(cloud) => cloud.halves(self.seed)?,
            law => (law.sample(self.n, self.seed, Stream::Source, 1), law.sample(self.n, self.seed, Stream::Source, 2)),
        };
        let start = start_points(source.measure, train.len().min(MOST_PARTICLES), self.seed)?;
        let ruler = Ruler::new(&heldout, self.seed, device)?;
        let origin = match target.measure {
            Measure::Finite(cloud) => Law::Points(cloud.clone()),
            law => Law::Draws(law.clone()),
        };
        // The bar counts rows, of which the floor's own iterations are none.
        let told = watch.not_keeping();
        let before_rows = |_: Progress<'_>| told.tell(Progress { of: Some(all), ..Progress::default() });
        let floor = ruler.noise_floor(&origin, &start, device, watch.part_telling("noise floor", &before_rows))?;
        let mut judge = Judge::new(&ruler, floor, &origin, &start).with_training(&train, &heldout, device)?;
        if let Measure::Finite(_) = target.measure {
            judge = judge.with_clusters(&train, &heldout);
        }
        let mut bench = Workbench {
            seed: self.seed,
            steps: &self.steps,
            grid: self.grid,
            source: source.measure,
            judge: &judge,
            ruler: &ruler,
            train: &train,
            start: &start,
            device,
            watch,
            rows: Vec::new(),
            find_steps: self.find_steps,
            found: Vec::new(),
            all,
            samples: Vec::new(),
            trailing: Vec::new(),
            ledger: Vec::new(),
            trajectories: Vec::new(),
        };
        let mut record = CompareRecord {
            command: "compare".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: None,
            target: target.name.into(),
            source: source.name.into(),
            n: start.len(),
            m: heldout.len(),
            d: heldout.dim(),
            seed: self.seed,
            device: device.name().into(),
            precision: device.precision().name().into(),
            law: false,
            eps_metric: ruler.eps(),
            eps_transport: None,
            noise_floor: floor.mean,
            model_limit: None,
            rows: Vec::new(),
            classes: Vec::new(),
            grid: self.grid.name().into(),
            reclocking: Vec::new(),
            found: Vec::new(),
            ledger: Vec::new(),
            free_energy: Vec::new(),
            notes: Vec::new(),
            flags: Vec::new(),
            wall_seconds: 0.0,
        };
        make(&mut bench, &mut record)?;
        let Workbench { rows, samples, trailing, found, ledger, trajectories, .. } = bench;
        let reclocking = trailing.into_iter().map(|before| before.beside(&rows)).collect();
        let record = CompareRecord { rows, reclocking, found, ledger, wall_seconds: begun.elapsed().as_secs_f64(), ..record };
        Ok(Comparison { record, samples, train, heldout, trajectories })
    }
}

/// The particles every row starts from: draws of a law, or distinct points of a finite set while there are enough.
fn start_points(source: &Measure, n: usize, seed: u32) -> Result<Cloud, Error> {
    match source {
        Measure::Finite(cloud) if cloud.weights().is_none() && cloud.len() >= n => {
            let order = Philox::new(seed, Stream::Source).permutation(cloud.len(), n, 0);
            Ok(cloud.select(&order)?)
        }
        measure => Ok(measure.sample(n, seed, Stream::Source, 0)),
    }
}

/// The Gaussian that `measure` is.
fn gaussian(measure: &Measure) -> Option<&Component> {
    match measure {
        Measure::Law(mixture) => match mixture.components() {
            [only] => Some(only),
            _ => None,
        },
        _ => None,
    }
}
