//! The points of one plan: all of a file, the next of a shuffled pass over it, or fresh draws of a law.

use brenier::measure::{Cloud, Measure, Moments};
use brenier::random::{Philox, Stream};
use brenier::transport::Projection;

use super::project::Project;
use crate::{Failure, memory};

/// One end of the pairs.
pub struct End {
    measure: Measure,
    /// Of the whole file, or of what was drawn of the law so far.
    moments: Moments,
    /// Points of a plan.
    len: usize,
    /// 0 for the source, 1 for the target: what tells their random numbers apart.
    side: u32,
}

/// Points of one plan, and what they are called in the files.
pub struct Batch {
    pub cloud: Cloud,
    rows: Rows,
}

#[derive(Clone)]
enum Rows {
    /// Point i is number first + i.
    From(u32),
    /// Point i is row i of these.
    Chosen(Vec<u32>),
}

impl Batch {
    /// The same points as `projection` takes them to.
    pub fn projected(&self, projection: &Projection) -> Result<Self, Failure> {
        Ok(Self { cloud: projection.apply(&self.cloud)?, rows: self.rows.clone() })
    }

    /// The number of point `i` in the file or among all draws of the law.
    pub fn index(&self, i: usize) -> u32 {
        match &self.rows {
            Rows::From(first) => first.wrapping_add(i as u32),
            Rows::Chosen(rows) => rows[i],
        }
    }
}

impl End {
    pub fn new(measure: Measure, batch: Option<u32>, n: u32, side: u32) -> Self {
        let len = match (&measure, batch) {
            (Measure::Finite(cloud), Some(batch)) => cloud.len().min(batch as usize),
            (Measure::Finite(cloud), None) => cloud.len(),
            (_, batch) => batch.unwrap_or(n) as usize,
        };
        let mut moments = Moments::none(measure.dim());
        if let Measure::Finite(cloud) = &measure {
            moments.add(cloud);
        }
        Self { measure, moments, len, side }
    }

    /// Mean and total variance of the whole file, or of all that was drawn of the law.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The file, where it is one.
    pub fn file(&self) -> Option<&Cloud> {
        if let Measure::Finite(cloud) = &self.measure { Some(cloud) } else { None }
    }

    /// The principal components of the whole file, or of draws of the law.
    pub fn components(&self, project: Project, seed: u32) -> Result<Projection, Failure> {
        let drawn;
        let cloud = match &self.measure {
            Measure::Finite(cloud) => cloud,
            law => {
                drawn = law.sample(self.len, seed, Stream::Metric, 2);
                &drawn
            }
        };
        Ok(project.of(cloud, seed)?)
    }

    /// `count` independent draws, by weight from a file and fresh from a law, n × d.
    pub fn independent(&self, count: usize, seed: u32) -> Vec<f64> {
        self.measure.sample(count, seed, Stream::Metric, 1).points().to_vec()
    }

    pub fn dim(&self) -> usize {
        self.measure.dim()
    }

    /// Points of one plan.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Points of the file; 0 for a law.
    pub fn points(&self) -> usize {
        self.file().map_or(0, Cloud::len)
    }

    /// Whether every plan has the same points.
    pub fn is_whole(&self) -> bool {
        self.points() == self.len
    }

    /// The points of plan `number`.
    pub fn batch(&mut self, number: u32, seed: u32) -> Result<Batch, Failure> {
        let Measure::Finite(cloud) = &self.measure else {
            memory::require("drawing that many points", 2 * (self.len * self.dim()) as u64)?;
            let cloud = self.measure.sample(self.len, seed, Stream::Source, 2 * number + self.side);
            self.moments.add(&cloud);
            return Ok(Batch { cloud, rows: Rows::From(number.wrapping_mul(self.len as u32)) });
        };
        if self.is_whole() {
            return Ok(Batch { cloud: cloud.clone(), rows: Rows::From(0) });
        }
        let philox = Philox::new(seed, Stream::Split);
        let rows: Vec<u32> = if cloud.weights().is_some() {
            let quantiles = cloud.inverse_cdf();
            (0..self.len as u32).map(|i| quantiles.index(philox.uniform(i, number, 2 + self.side)) as u32).collect()
        } else {
            // One shuffled pass over the file after the other.
            let n = cloud.len() as u64;
            let place = |i: u64| {
                let at = u64::from(number) * self.len as u64 + i;
                philox.shuffled(at % n, n, 2 * (at / n) as u32 + self.side) as u32
            };
            (0..self.len as u64).map(place).collect()
        };
        let points = rows.iter().flat_map(|&row| cloud.row(row as usize)).copied().collect();
        Ok(Batch { cloud: Cloud::new(points, cloud.dim())?, rows: Rows::Chosen(rows) })
    }
}
