//! What each call of the model weighs in the samples.

use brenier::path::Prediction;
use brenier::program::Program;
use serde::Serialize;

use crate::output::{columns, count, maybe, number};

/// The outputs that a model may have, by their names in records.
const OUTPUTS: [Prediction; 4] = [Prediction::Denoised, Prediction::Noise, Prediction::V, Prediction::Velocity];
/// Lines of the table on the terminal; all of them are in the record.
const LINES: usize = 48;

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

/// A number for each output of a model; none where the output does not determine the samples.
#[derive(Serialize)]
struct OfOutput {
    x0: Option<f64>,
    eps: Option<f64>,
    v: Option<f64>,
    velocity: Option<f64>,
}

impl OfOutput {
    fn new([x0, eps, v, velocity]: [Option<f64>; 4]) -> Self {
        Self { x0, eps, v, velocity }
    }

    fn cells(&self) -> [String; 4] {
        [self.x0, self.eps, self.v, self.velocity].map(maybe)
    }
}

impl Explained {
    /// The weights of `program`.
    pub fn new(program: &Program) -> Self {
        let weights = OUTPUTS.map(|output| program.weights(output));
        let of =
            |part: &dyn Fn(&brenier::program::Weights) -> f64| OfOutput::new(weights.each_ref().map(|w| w.as_ref().map(part)));
        let calls = program.calls().enumerate().map(|(k, (step, level))| {
            let weight = of(&|weights| weights.calls[k]);
            Call { step, t: level.t, alpha: level.alpha, sigma: level.sigma, weight }
        });
        Self { calls: calls.collect(), start: of(&|weights| weights.start), noise: of(&|weights| weights.noise) }
    }

    /// The table that a person reads.
    pub fn text(&self) -> String {
        let heading = ["call", "t", "alpha", "sigma", "x0", "eps", "v", "velocity"].map(str::to_owned);
        let (stride, last) = (self.calls.len().div_ceil(LINES).max(1), self.calls.len().saturating_sub(1));
        let shown = self.calls.iter().enumerate().filter(|(k, _)| k.is_multiple_of(stride) || *k == last);
        let line = |name: String, at: [String; 3], weights: &OfOutput| {
            let [x0, eps, v, velocity] = weights.cells();
            let [t, alpha, sigma] = at;
            [name, t, alpha, sigma, x0, eps, v, velocity]
        };
        let mut lines = vec![heading, line("start".into(), Default::default(), &self.start)];
        lines.extend(shown.map(|(k, call)| line(count(k + 1), [call.t, call.alpha, call.sigma].map(number), &call.weight)));
        lines.push(line("noise".into(), Default::default(), &self.noise));
        format!(
            "the end point is the start and each call's output under these weights, and noise of this standard deviation:\n\n{}",
            columns(&lines, |_| true)
        )
    }
}
