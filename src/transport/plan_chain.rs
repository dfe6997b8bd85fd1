//! Plans one after another, as between snapshots of a population: what is known of one end is carried through all of them.
//!
//! ```text
//! E[v | x] = K₁ K₂ ⋯ v        K the plan with its rows divided by their sums
//! ```
//!
//! A particle at a point of a snapshot goes on from there wherever it came from: the chain is Markov in the points, not in their labels.
//! So a table between the labels of the two ends is in general not the product of the tables in between; it is where each label has one
//! point.

use crate::backend::Device;
use crate::transport::{AnyPlan, TransportError};

/// Labels that are carried at a time, in as many columns of values.
const AT_ONCE: usize = 16;

/// Plans of which each begins at the points where the one before ends; one plan is a chain as well.
#[derive(Clone, Copy, Debug)]
pub struct PlanChain<'a> {
    plans: &'a [AnyPlan],
}

/// The mass that goes from each label of the source to each of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The labels of the source, rising: the K rows.
    pub source: Vec<u32>,
    /// Those of the target: the L columns.
    pub target: Vec<u32>,
    /// Σ P_ij over i of label k and j of label l, K × L row-major; all add up to the mass moved. Of a chain, the mass of the first plan
    /// as the later ones share it out.
    pub mass: Vec<f64>,
}

impl Transition {
    /// The rows divided by their sums: the law of the label of the target given that of the source. A row without mass is NaN.
    pub fn fates(&self) -> Vec<f64> {
        let fates = |row: &[f64]| {
            let sum: f64 = row.iter().sum();
            row.iter().map(move |mass| mass / sum).collect::<Vec<f64>>()
        };
        self.mass.chunks_exact(self.target.len()).flat_map(fates).collect()
    }
}

/// The likeliest label of each point, and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Transferred {
    /// Labels.
    pub label: Vec<u32>,
    /// Their probabilities under the plan.
    pub probability: Vec<f64>,
}

impl<'a> PlanChain<'a> {
    /// The chain of `plans`, in order.
    ///
    /// # Errors
    /// [`TransportError::Chain`] without a plan, or when one begins at another number of points than the one before ends at.
    pub fn new(plans: &'a [AnyPlan]) -> Result<Self, TransportError> {
        if plans.is_empty() {
            return Err(TransportError::Chain { at: 0, ends: 0, begins: 0 });
        }
        for (at, pair) in plans.windows(2).enumerate() {
            let (ends, begins) = (pair[0].lengths()[1], pair[1].lengths()[0]);
            if ends != begins {
                return Err(TransportError::Chain { at: at + 1, ends, begins });
            }
        }
        Ok(Self { plans })
    }

    /// What `values` of the last points, m × p, say of the first: E[v | x_i], n × p.
    ///
    /// # Errors
    /// As [`AnyPlan::given_source`].
    pub fn given_source(&self, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.plans.iter().rev().try_fold(values.to_vec(), |values, plan| plan.given_source(&values, p, device))
    }

    /// What `values` of the first points, n × p, say of the last: E[u | y_j], m × p.
    ///
    /// # Errors
    /// As [`AnyPlan::given_target`].
    pub fn given_target(&self, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.plans.iter().try_fold(values.to_vec(), |values, plan| plan.given_target(&values, p, device))
    }

    /// The table between the labels of the first points and of the last.
    ///
    /// # Errors
    /// [`TransportError::ClassCount`] when there is not one label a point, and as [`AnyPlan::given_source`].
    pub fn transition(&self, source: &[u32], target: &[u32], device: &Device) -> Result<Transition, TransportError> {
        let [n, m] = self.lengths();
        check_labels("source", source, n)?;
        check_labels("target", target, m)?;
        let mass = self.plans.first().map_or(Ok(Vec::new()), |plan| plan.row_mass(device))?;
        let (rows, columns) = (distinct(source), distinct(target));
        let mut table = vec![0.0; rows.len() * columns.len()];
        let place: Vec<usize> = source.iter().map(|label| rows.partition_point(|row| row < label)).collect();
        self.each_block(&columns, target, Self::given_source, device, |first, width, shares| {
            for ((&row, mass), shares) in place.iter().zip(&mass).zip(shares.chunks_exact(width)) {
                let sums = table[row * columns.len() + first..][..width].iter_mut();
                // A point without mass has a law, and no mass to share out.
                sums.zip(shares).filter(|_| *mass > 0.0).for_each(|(sum, share)| *sum += mass * share);
            }
        })?;
        Ok(Transition { source: rows, target: columns, mass: table })
    }

    /// The likeliest label of each of the last points, from those of the first; of equally likely ones the smallest.
    ///
    /// # Errors
    /// As [`PlanChain::transition`].
    pub fn labels_of_target(&self, source: &[u32], device: &Device) -> Result<Transferred, TransportError> {
        let [n, m] = self.lengths();
        check_labels("source", source, n)?;
        self.transferred(source, m, Self::given_target, device)
    }

    /// The likeliest label of each of the first points, from those of the last.
    ///
    /// # Errors
    /// As [`PlanChain::transition`].
    pub fn labels_of_source(&self, target: &[u32], device: &Device) -> Result<Transferred, TransportError> {
        let [n, m] = self.lengths();
        check_labels("target", target, m)?;
        self.transferred(target, n, Self::given_source, device)
    }

    /// The first and the last number of points.
    fn lengths(&self) -> [usize; 2] {
        let of = |plan: Option<&AnyPlan>| plan.map_or([0, 0], AnyPlan::lengths);
        [of(self.plans.first())[0], of(self.plans.last())[1]]
    }

    fn transferred(&self, labels: &[u32], to: usize, carry: Carry<'a>, device: &Device) -> Result<Transferred, TransportError> {
        let distinct = distinct(labels);
        let mut found = Transferred { label: vec![0; to], probability: vec![f64::NEG_INFINITY; to] };
        self.each_block(&distinct, labels, carry, device, |first, width, shares| {
            let best = found.label.iter_mut().zip(&mut found.probability);
            for ((label, probability), shares) in best.zip(shares.chunks_exact(width)) {
                for (k, &share) in shares.iter().enumerate() {
                    if share > *probability {
                        (*label, *probability) = (distinct[first + k], share);
                    }
                }
            }
        })?;
        Ok(found)
    }

    /// Carries `labels` as one column for each of the `distinct` ones, some at a time: `to` has the number of the first, how many they
    /// are, and what the points have of them.
    fn each_block(
        &self,
        distinct: &[u32],
        labels: &[u32],
        carry: Carry<'a>,
        device: &Device,
        mut to: impl FnMut(usize, usize, &[f64]),
    ) -> Result<(), TransportError> {
        for (block, chosen) in distinct.chunks(AT_ONCE).enumerate() {
            let columns = labels.iter().flat_map(|label| chosen.iter().map(move |one| if one == label { 1.0 } else { 0.0 }));
            to(block * AT_ONCE, chosen.len(), &carry(self, &columns.collect::<Vec<f64>>(), chosen.len(), device)?);
        }
        Ok(())
    }
}

/// One of the two directions of a chain.
type Carry<'a> = fn(&PlanChain<'a>, &[f64], usize, &Device) -> Result<Vec<f64>, TransportError>;

/// The labels that there are, rising.
fn distinct(labels: &[u32]) -> Vec<u32> {
    let mut distinct = labels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

fn check_labels(end: &'static str, labels: &[u32], points: usize) -> Result<(), TransportError> {
    let count = labels.len();
    if count == points { Ok(()) } else { Err(TransportError::ClassCount { end, labels: count, points }) }
}
