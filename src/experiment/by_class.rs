//! A comparison judged class by class: the particles asked under a class against the held-out points of that class.
//!
//! A field may give all of the data as it should and each class the wrong part of them, which the whole clouds cannot tell.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::backend::Device;
use crate::error::Error;
use crate::experiment::record::{Comparison, NoiseFloor};
use crate::field::ConditionError;
use crate::measure::Cloud;
use crate::metric::{Law, MetricError, Ruler};
use crate::sampler::RunError;
use crate::watch::{Progress, Watch};

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRecord {
    /// The class.
    pub class: u32,
    /// Particles that were asked under it.
    pub n: usize,
    /// Held-out points of it.
    pub m: usize,
    /// What independent clouds of its points score at (n, m).
    pub noise_floor: NoiseFloor,
    /// One for each row of the comparison, in the same order.
    pub rows: Vec<ClassRow>,
}

/// What the particles of a class score in one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRow {
    /// Name of the method.
    pub method: String,
    /// Steps made.
    pub steps: usize,
    /// 2 S_ε to the held-out points of the class, in units of |x−y|², at an ε of their own.
    pub divergence: f64,
    /// Exact W₂² to them on subsamples, in units of |x−y|².
    pub w2_squared_exact: f64,
    /// Total variance over theirs.
    pub variance_ratio: f64,
}

/// The classes of the points of both halves.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Those of A, under which the particles were asked, one after the other.
    pub train: &'a [u32],
    /// Those of B.
    pub heldout: &'a [u32],
}

/// Particles and held-out points that a class must have each to be judged.
const FEWEST: usize = 8;

impl Comparison {
    /// Judges each class by itself, and puts that in the record; classes that cannot be judged are named in its notes.
    ///
    /// # Errors
    /// [`Error`] when points have no labels, a distance cannot be taken or the watch says stop.
    pub fn judge_classes(&mut self, labels: Labels<'_>, seed: u32, device: &Device, watch: Watch<'_>) -> Result<(), Error> {
        for (labels, half) in [(labels.train, &self.train), (labels.heldout, &self.heldout)] {
            if labels.len() != half.len() {
                return Err(ConditionError::Labels { labels: labels.len(), points: half.len() }.into());
            }
        }
        let classes: BTreeSet<u32> = labels.train.iter().chain(labels.heldout).copied().collect();
        let of = |labels: &[u32], class: u32, n: usize| (0..n).filter(|&i| labels[i] == class).collect::<Vec<usize>>();
        let mut left_out = Vec::new();
        for (done, &class) in classes.iter().enumerate() {
            let told = Progress { stage: "classes", done, of: Some(classes.len()), ..Progress::default() };
            if !watch.tell(told) {
                return Err(RunError::Stopped { steps: done }.into());
            }
            let (particles, train) = (of(labels.train, class, self.record.n), of(labels.train, class, self.train.len()));
            let heldout = of(labels.heldout, class, self.heldout.len());
            if particles.len().min(heldout.len()) < FEWEST {
                left_out.push(class.to_string());
                continue;
            }
            let (train, heldout) = (self.train.select(&train)?, self.heldout.select(&heldout)?);
            let ruler = match Ruler::new(&heldout, seed, device) {
                Err(MetricError::NoSpread) => {
                    left_out.push(class.to_string());
                    continue;
                }
                ruler => ruler?,
            };
            let all = Cloud::new([train.points(), heldout.points()].concat(), heldout.dim())?;
            let like = self.samples.first().map(|samples| samples.select(&particles)).transpose()?.unwrap_or(train);
            let floor = ruler.noise_floor(&Law::Points(all), &like, device, Watch::default())?;
            let rows = self.record.rows.iter().zip(&self.samples).map(|(row, samples)| {
                let reading = ruler.measure(&samples.select(&particles)?, device)?;
                Ok(ClassRow {
                    method: row.label.clone(),
                    steps: row.steps,
                    divergence: reading.divergence,
                    w2_squared_exact: reading.w2_squared_exact,
                    variance_ratio: reading.variance_ratio,
                })
            });
            let rows = rows.collect::<Result<_, Error>>()?;
            let (n, m) = (particles.len(), heldout.len());
            self.record.classes.push(ClassRecord { class, n, m, noise_floor: floor.mean, rows });
        }
        if !left_out.is_empty() {
            self.record.notes.push(format!(
                "Not judged by themselves, with fewer than {FEWEST} particles or held-out points, or held-out points all in one place: classes {}.",
                left_out.join(", ")
            ));
        }
        Ok(())
    }
}
