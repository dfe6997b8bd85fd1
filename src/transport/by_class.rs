//! Couplings that know the class of the target: each class is coupled with the whole source,
//!
//! ```text
//! P = Σ_k w_k P_k        P_k a plan between a and b( · | class k)        w_k the mass of class k in b
//! ```
//!
//! so that x₀ does not depend on the class. A conditional sampler starts every class from the same noise, which pairs of a plan that
//! ignores classes do not: class k then has only the part of the source next to it (Cheng, Schwing 2025). Where the source has
//! classes as well, each is coupled with its own. All K plans together have as many entries as the one without classes.

use std::collections::BTreeMap;

use crate::backend::Device;
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::plan::PlanEntropy;
use crate::transport::{Outcome, Pairing, Pairs, Problem, TransportError};
use crate::watch::Watch;

/// The classes of the points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassLabels {
    /// Those of the source, of length n, where it has any.
    pub source: Option<Vec<u32>>,
    /// Those of the target, of length m.
    pub target: Vec<u32>,
}

/// What is solved for one class, or for all points.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassProblem {
    /// The class; none for all points.
    pub class: Option<u32>,
    /// w_k.
    pub share: f64,
    /// The problem of its points.
    pub problem: Problem,
    /// The rows of its points in the source and in the target; none: all of them in order.
    rows: [Option<Vec<usize>>; 2],
}

impl ClassProblem {
    /// Whether its source is that of every class.
    pub fn has_whole_source(&self) -> bool {
        self.rows[0].is_none()
    }
}

impl From<Problem> for ClassProblem {
    fn from(problem: Problem) -> Self {
        Self { class: None, share: 1.0, problem, rows: [None, None] }
    }
}

impl ClassLabels {
    /// Refuses classes of another number of points than `n` and `m`, or that one end alone has.
    ///
    /// # Errors
    /// [`TransportError::ClassCount`] and [`TransportError::LackingClass`].
    pub fn check(&self, n: usize, m: usize) -> Result<(), TransportError> {
        let source = self.source.as_ref().map(|labels| ("source", labels, n));
        for (end, labels, points) in source.into_iter().chain([("target", &self.target, m)]) {
            if labels.len() != points {
                return Err(TransportError::ClassCount { end, labels: labels.len(), points });
            }
        }
        let Some(source) = &self.source else { return Ok(()) };
        let (of_source, of_target) = (rows(source), rows(&self.target));
        let alone =
            |has: &BTreeMap<u32, _>, lacks: &BTreeMap<u32, _>| has.keys().find(|class| !lacks.contains_key(class)).copied();
        match (alone(&of_target, &of_source), alone(&of_source, &of_target)) {
            (Some(class), _) => Err(TransportError::LackingClass { class, has: "target", lacks: "source" }),
            (None, Some(class)) => Err(TransportError::LackingClass { class, has: "source", lacks: "target" }),
            (None, None) => Ok(()),
        }
    }

    /// The classes of the points at these rows of each end.
    pub fn at(&self, source: impl Iterator<Item = usize>, target: impl Iterator<Item = usize>) -> Self {
        Self {
            source: self.source.as_ref().map(|labels| source.map(|i| labels[i]).collect()),
            target: target.map(|j| self.target[j]).collect(),
        }
    }

    /// The problem of each class at `eps`; classes without mass, or that one end lacks, have none.
    ///
    /// # Errors
    /// As [`Problem::new`], and [`TransportError::ClassCount`].
    pub fn problems(&self, source: &Cloud, target: &Cloud, eps: f64) -> Result<Vec<ClassProblem>, TransportError> {
        let count = |end, labels: usize, points| {
            if labels == points { Ok(()) } else { Err(TransportError::ClassCount { end, labels, points }) }
        };
        count("target", self.target.len(), target.len())?;
        if let Some(labels) = &self.source {
            count("source", labels.len(), source.len())?;
        }
        let of_source = self.source.as_deref().map(rows);
        let mut problems = Vec::new();
        for (class, columns) in rows(&self.target) {
            let rows = match &of_source {
                Some(of_source) => match of_source.get(&class) {
                    Some(rows) => Some(rows.clone()),
                    None => continue,
                },
                None => None,
            };
            let mass = |cloud: &Cloud, at: &[usize]| at.iter().map(|&i| cloud.weight(i)).sum::<f64>();
            let share = mass(target, &columns);
            if share <= 0.0 || rows.as_ref().is_some_and(|rows| mass(source, rows) <= 0.0) {
                continue;
            }
            let from = rows.as_ref().map_or_else(|| Ok(source.clone()), |rows| source.select(rows))?;
            let problem = Problem::new(&from, &target.select(&columns)?, eps)?;
            problems.push(ClassProblem { class: Some(class), share, problem, rows: [rows, Some(columns)] });
        }
        let all: f64 = problems.iter().map(|problem| problem.share).sum();
        problems.iter_mut().for_each(|problem| problem.share /= all);
        Ok(problems)
    }
}

/// The rows of each class.
fn rows(labels: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut rows: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    labels.iter().enumerate().for_each(|(i, class)| rows.entry(*class).or_default().push(i));
    rows
}

impl PlanEntropy {
    /// Those of Σ_k w_k P_k, from each w_k and the entropies of P_k; `shared` says that all P_k have the same source, and not parts
    /// of it.
    pub fn of_classes(classes: &[(f64, Self)], shared: bool) -> Self {
        // −Σ_j w p_j log(w p_j) = w (H(p) − log w): the targets of different classes are different points.
        let apart = |of: fn(&Self) -> f64| classes.iter().map(|(share, one)| share * (of(one) - share.ln())).sum::<f64>();
        let source = if shared { classes.first().map_or(0.0, |(_, one)| one.source) } else { apart(|one| one.source) };
        Self { joint: apart(|one| one.joint), source, target: apart(|one| one.target) }
    }
}

/// A stream of index pairs drawn from the plans of all classes, in random order.
#[derive(Clone, Debug)]
pub struct ClassPairing {
    classes: Vec<Stack>,
    /// How many of the pairs are of the classes before each, and of all.
    before: Vec<u64>,
    done: u64,
    seed: u32,
    step: u32,
}

/// Indices of the two ends of each pair, and its class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassPairs {
    /// The pairs.
    pub pairs: Pairs,
    /// The class of each; none of a plan without classes.
    pub classes: Vec<Option<u32>>,
}

/// The pairs of a class, drawn and not yet given.
#[derive(Clone, Debug)]
struct Stack {
    class: Option<u32>,
    rows: [Option<Vec<usize>>; 2],
    pairing: Pairing,
    drawn: Pairs,
    given: usize,
}

/// Pairs to give at a time.
const ROUND: u64 = 1 << 20;

impl ClassPairing {
    /// A stream of `total` pairs from the plans of `outcomes`, one of each of `problems`: ⌊total w_k⌋ or ⌈total w_k⌉ of class k.
    /// Streams of one seed are told apart by steps, of which this one takes as many as there are classes, from `step` on.
    ///
    /// # Errors
    /// As [`Pairing::new`].
    pub fn new(
        problems: &[ClassProblem],
        outcomes: &[Outcome],
        total: u64,
        without_replacement: bool,
        (seed, step): (u32, u32),
    ) -> Result<Self, TransportError> {
        let offset = Philox::new(seed, Stream::Split).uniform(1, step, u32::MAX);
        let (mut before, mut cumulative) = (vec![0], 0.0);
        let mut classes = Vec::with_capacity(problems.len());
        for (k, (of_class, outcome)) in problems.iter().zip(outcomes).enumerate() {
            cumulative += of_class.share;
            let upto = ((total as f64 * cumulative - offset).ceil().max(0.0) as u64).min(total);
            let upto = if k + 1 == problems.len() { total } else { upto };
            let streams = (seed, step.wrapping_add(k as u32));
            let own = upto - before[k];
            let pairing = Pairing::new(&of_class.problem, &outcome.potentials, own, without_replacement, streams)?;
            let (class, rows) = (of_class.class, of_class.rows.clone());
            classes.push(Stack { class, rows, pairing, drawn: Pairs::default(), given: 0 });
            before.push(upto);
        }
        Ok(Self { classes, before, done: 0, seed, step })
    }

    /// The next pairs and the class of each, in their random order; none when all are given.
    ///
    /// # Errors
    /// As [`Pairing::next_round`].
    pub fn next_round(&mut self, device: &Device, watch: &Watch<'_>) -> Result<Option<ClassPairs>, TransportError> {
        let total = self.before.last().copied().unwrap_or(0);
        let end = total.min(self.done + ROUND);
        if self.done == end {
            return Ok(None);
        }
        let order = Philox::new(self.seed, Stream::Split);
        let ClassPairs { mut pairs, mut classes } = ClassPairs::default();
        for slot in self.done..end {
            let place = order.shuffled(slot, total, self.step);
            let stack = &mut self.classes[self.before.partition_point(|first| *first <= place) - 1];
            if stack.given == stack.drawn.source.len() {
                stack.drawn = stack.pairing.next_round(device, watch.not_keeping())?.unwrap_or_default();
                stack.given = 0;
            }
            let [source, target] = [&stack.drawn.source, &stack.drawn.target].map(|drawn| drawn[stack.given] as usize);
            stack.given += 1;
            let [of_source, of_target] = &stack.rows;
            pairs.source.push(of_source.as_ref().map_or(source, |rows| rows[source]) as u32);
            pairs.target.push(of_target.as_ref().map_or(target, |rows| rows[target]) as u32);
            classes.push(stack.class);
        }
        self.done = end;
        Ok(Some(ClassPairs { pairs, classes }))
    }
}
