//! What knowing the targets costs and buys: how much of the gain is kept, and whether x0 is free of what is known.

use std::collections::BTreeMap;

use brenier::transport::{ClassProblem, Outcome};

use super::batch::End;
use super::condition::Known;
use super::record::OfClass;
use super::straightness::plan_cost;

/// What the first plan is worth, beside one that ignores what is known.
pub struct Worth {
    /// (independent − cost)/(independent − blind cost), of E|x1 − x0|².
    pub gain_kept: f64,
    /// w E|c0 − c1|², in the coordinates beyond the points' own.
    apart: f64,
    /// w 2 Var c.
    independent: f64,
}

impl Worth {
    /// That of the plans of the first batch, of which `blind` knows nothing of the targets.
    pub fn of(problems: &[ClassProblem], outcomes: &[Outcome], blind: &Outcome) -> Self {
        let (x, y) = (blind.problem.source(), blind.problem.target());
        let d = x.dim();
        let of_class = |(class, outcome): (&ClassProblem, &Outcome)| class.share * plan_cost(outcome, 0..d);
        let cost: f64 = problems.iter().zip(outcomes).map(of_class).sum();
        let means: f64 = x.mean().iter().zip(y.mean()).map(|(x, y)| (x - y).powi(2)).sum();
        let independent = means + x.variance() + y.variance();
        let gain_kept = (independent - cost) / (independent - plan_cost(blind, 0..d));
        let [first, ..] = outcomes else { return Self { gain_kept, apart: 0.0, independent: 0.0 } };
        let (wide, beyond) = (&first.problem, d..first.problem.target().dim());
        let spread = wide.target().variance() - y.variance() + wide.source().variance() - x.variance();
        Self { gain_kept, apart: plan_cost(first, beyond), independent: spread }
    }

    /// E|c0 − c1|² over that of independent conditions, where there are any.
    pub fn mismatch(&self, known: &Known) -> Option<f64> {
        (known.width() > 0 && self.independent > 0.0).then(|| self.apart / self.independent)
    }
}

/// The source points of the pairs of each class.
#[derive(Default)]
pub struct ClassSums(BTreeMap<u32, (u64, Vec<f64>)>);

impl ClassSums {
    /// Takes in the source point of a pair.
    pub fn add(&mut self, class: Option<u32>, x0: &[f64]) {
        let Some(class) = class else { return };
        let (count, sum) = self.0.entry(class).or_insert_with(|| (0, vec![0.0; x0.len()]));
        *count += 1;
        sum.iter_mut().zip(x0).for_each(|(sum, x)| *sum += x);
    }

    /// What is printed of each class, where there are any.
    pub fn record(&self, known: &Known, source: &End) -> Option<Vec<OfClass>> {
        let Known::Classes(labels) = known else { return None };
        let of_class = |(label, (pairs, sum)): (&u32, &(u64, Vec<f64>))| {
            let own = labels.source.as_ref().zip(source.file()).and_then(|(labels, cloud)| {
                let rows: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] == *label).collect();
                cloud.select(&rows).ok()
            });
            let moments = source.moments();
            let (mean, variance) = match &own {
                Some(cloud) => (cloud.mean(), cloud.variance()),
                None => (moments.mean().to_vec(), moments.variance()),
            };
            let count = *pairs as f64;
            let shift: f64 = sum.iter().zip(&mean).map(|(sum, mean)| (sum / count - mean).powi(2)).sum();
            let (source_mean_shift, shift_by_chance) = (shift.sqrt(), (variance / count).sqrt());
            OfClass { label: *label, pairs: *pairs, source_mean_shift, shift_by_chance }
        };
        Some(self.0.iter().map(of_class).collect())
    }
}
