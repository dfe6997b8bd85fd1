//! What each call of the model weighs in the samples.

use std::collections::BTreeMap;

use brenier::path::{PREDICTIONS, Prediction};
use brenier::program::{Program, Weights};
use serde::Serialize;

use crate::output::{columns, count, maybe, number, strided};

/// Lines of the table on the terminal; all of them are in the record.
const LINES: usize = 48;

/// The outputs that a model may have, by their names: all but the score, which is one of ε̂ over −σ.
fn outputs() -> impl Iterator<Item = (&'static str, Prediction)> {
    PREDICTIONS.into_iter().filter(|(_, output)| *output != Prediction::Score)
}

/// The end point as a sum: of the start, the model's outputs and the draws.
#[derive(Serialize)]
pub struct Explained {
    calls: Vec<Call>,
    /// The weight of the start.
    start: OfOutput,
    /// The standard deviation of the draws' part.
    noise: OfOutput,
}

/// One call of the model.
#[derive(Serialize)]
struct Call {
    step: usize,
    t: f64,
    alpha: f64,
    sigma: f64,
    #[serde(flatten)]
    weight: OfOutput,
}

/// A number for each of [`outputs`]; none where the output does not determine the samples.
type OfOutput = BTreeMap<&'static str, Option<f64>>;

impl Explained {
    /// The weights of `program`.
    pub fn new(program: &Program) -> Self {
        let weights: Vec<(&str, Option<Weights>)> = outputs().map(|(name, output)| (name, program.weights(output))).collect();
        let of = |part: &dyn Fn(&Weights) -> f64| -> OfOutput {
            weights.iter().map(|(name, weights)| (*name, weights.as_ref().map(part))).collect()
        };
        let calls = program.calls().enumerate().map(|(k, (step, level))| {
            let weight = of(&|weights| weights.calls[k]);
            Call { step, t: level.t, alpha: level.alpha, sigma: level.sigma, weight }
        });
        Self { calls: calls.collect(), start: of(&|weights| weights.start), noise: of(&|weights| weights.noise) }
    }

    /// The table that a person reads.
    pub fn text(&self) -> String {
        let line = |first: Vec<String>, weights: &OfOutput| -> Vec<String> {
            first.into_iter().chain(outputs().map(|(name, _)| maybe(weights[name]))).collect()
        };
        let named = |name: &str| vec![name.into(), String::new(), String::new(), String::new()];
        let heading = ["call", "t", "alpha", "sigma"].into_iter().chain(outputs().map(|(name, _)| name));
        let mut lines = vec![heading.map(str::to_owned).collect(), line(named("start"), &self.start)];
        lines.extend(strided(&self.calls, LINES).map(|(k, call)| {
            let place = [count(k + 1), number(call.t), number(call.alpha), number(call.sigma)];
            line(place.to_vec(), &call.weight)
        }));
        lines.push(line(named("noise"), &self.noise));
        format!(
            "the end point is the start and each call's output under these weights, and noise of this standard deviation:\n\n{}",
            columns(&lines, |_| true)
        )
    }
}
