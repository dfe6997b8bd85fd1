//! The loop: pairs, levels, loss, step; and the network that it ends with.

use crate::backend::Real;
use crate::backend::cpu::Simd;
use crate::backend::cpu::tape::Tape;
use crate::checkpoint::Part;
use crate::field::Network;
use crate::field::network::{Output, Time};
use crate::measure::Measure;
use crate::path::Schedule;
use crate::program::Activation;
use crate::train::adam::{Adam, Rate};
use crate::train::energy::Pairs;
use crate::train::pairs::{is_one_point, times};
use crate::train::{Objective, PairSource, Perceptron, TrainError, Widths};
use crate::watch::{Progress, Watch};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainer {
    /// Outputs of each hidden layer.
    pub hidden: Vec<usize>,
    /// Between the layers.
    pub activation: Activation,
    /// How it is told the time.
    pub time: Time,
    /// What it learns.
    pub objective: Objective,
    /// On which schedule.
    pub schedule: Schedule,
    /// Steps.
    pub steps: usize,
    /// Pairs a step.
    pub batch: usize,
    /// The rate of Adam, at first.
    pub rate: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
    /// Largest decay of the running mean of the weights.
    pub decay: f64,
    /// Of the initial weights and the times.
    pub seed: u32,
}

/// A trained network.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The network with the running mean of the weights.
    pub network: Network,
    /// The loss at every step, in units of the prediction squared.
    pub losses: Vec<f64>,
}

/// Steps between two looks at whether to go on.
const LOOK: usize = 10;
/// Steps over which the loss that is told is the mean.
const TOLD: usize = 100;
const LOSSES: &str = "losses";

impl Trainer {
    /// Trains on `pairs`, in the precision `T`. What `watch` kept of an earlier run is not done again, and the outcome is the same to
    /// the bit.
    ///
    /// # Errors
    /// [`TrainError`]; of a loss that is not finite, with the network of the last finite step.
    pub fn run<T: Simd>(
        &self,
        pairs: &PairSource<'_>,
        mut watch: Watch<'_>,
    ) -> Result<Trained, (TrainError, Option<Box<Trained>>)> {
        let d = self.check(pairs).map_err(|error| (error, None))?;
        let perceptron = self.perceptron(d);
        let rate = Rate { rate: self.rate, steps: self.steps, clip: self.clip, decay: self.decay };
        let mut adam = watch.kept().and_then(Adam::kept).unwrap_or_else(|| Adam::new(perceptron.widths.initial::<T>(self.seed)));
        let mut tape = Tape::new(&perceptron.widths.0, perceptron.activation);
        let mut losses = watch.array(LOSSES).unwrap_or_default().to_vec();
        let keep = |adam: &Adam<T>, losses: &[f64], part: &mut Part<'_>| {
            adam.keep(part);
            part.keep_array(LOSSES, losses.to_vec());
        };
        while adam.steps < self.steps {
            if adam.steps.is_multiple_of(LOOK) {
                let told = losses.len().min(TOLD);
                let mean = losses[losses.len() - told..].iter().sum::<f64>() / told.max(1) as f64;
                let go_on = watch.tell(Progress { value: (told > 0).then_some(mean), ..Progress::of_steps(adam.steps) });
                if !watch.pass(go_on, |part| keep(&adam, &losses, part)) {
                    return Err((TrainError::Stopped { steps: adam.steps }, None));
                }
            }
            let loss = self.loss(&mut tape, &adam, pairs, d).map_err(|error| (error, None))?;
            if !(loss.is_finite() && adam.step(&tape.gradient, &rate).is_finite()) {
                let why = TrainError::NotFinite { step: adam.steps + 1 };
                return Err((why, self.trained(&perceptron, &adam, losses).ok().map(Box::new)));
            }
            losses.push(loss);
        }
        // What follows may be interrupted, and the steps need not be made again.
        watch.close(|part| keep(&adam, &losses, part));
        self.trained(&perceptron, &adam, losses).map_err(|error| (error, None))
    }

    /// The dimension, if the pairs can be learnt from.
    fn check(&self, pairs: &PairSource<'_>) -> Result<usize, TrainError> {
        let (source_dim, target_dim) = (pairs.source.dim(), pairs.target.dim());
        if source_dim != target_dim {
            return Err(TrainError::Dimensions { source_dim, target_dim });
        }
        match pairs.target {
            Measure::Finite(cloud) if is_one_point(cloud) => Err(TrainError::OnePoint),
            _ => Ok(target_dim),
        }
    }

    /// The loss of a step, with its gradient on `tape`.
    fn loss<T: Simd>(&self, tape: &mut Tape<T>, adam: &Adam<T>, pairs: &PairSource<'_>, d: usize) -> Result<f64, TrainError> {
        let step = adam.steps as u32;
        let ends = pairs.pairs(self.batch, step)?;
        let times = times(self.batch, self.seed, step);
        if let Objective::Energy(energy) = self.objective {
            let contrasted = adam.steps + energy.contrast_steps >= self.steps;
            let ends = [&ends[0][..], &ends[1]];
            return Ok(energy.loss(tape, &adam.weights, Pairs { ends, times: &times, at: (self.seed, step) }, contrasted));
        }
        let (inputs, wanted) = self.inputs(&ends, &times, d, step)?;
        Ok(tape.regress(&adam.weights, &inputs, &wanted))
    }

    fn perceptron(&self, d: usize) -> Perceptron {
        let (features, outputs) =
            if self.objective.output() == Output::Energy { (0, 1) } else { (self.time.features.count(), d) };
        let widths = Widths([&[d + features], &self.hidden[..], &[outputs]].concat());
        Perceptron { widths, activation: self.activation }
    }

    /// What the network is given at a step, and what it is to predict.
    fn inputs<T: Real>(
        &self,
        [x0, x1]: &[Vec<f64>; 2],
        times: &[f64],
        d: usize,
        step: u32,
    ) -> Result<(Vec<T>, Vec<T>), TrainError> {
        let (mut inputs, mut wanted) = (Vec::new(), Vec::with_capacity(self.batch * d));
        for (k, ((z, data), t)) in x0.chunks_exact(d).zip(x1.chunks_exact(d)).zip(times).enumerate() {
            let level = self.objective.level(&self.schedule, *t, k as u32, (self.seed, step));
            let (scale, (p, q)) = self.objective.output().regression(level);
            inputs.extend(z.iter().zip(data).map(|(z, x)| T::from_f64(scale * (level.alpha * x + level.sigma * z))));
            let features = self.time.features(level).map_err(TrainError::Level)?;
            inputs.extend(features.into_iter().map(T::from_f64));
            wanted.extend(z.iter().zip(data).map(|(z, x)| T::from_f64(p * x + q * z)));
        }
        Ok((inputs, wanted))
    }

    /// The network that training begins with, for points of dimension `d`.
    ///
    /// # Errors
    /// [`TrainError::Network`] where a layer has no outputs.
    pub fn initial(&self, d: usize) -> Result<Network, TrainError> {
        let perceptron = self.perceptron(d);
        let adam = Adam::new(perceptron.widths.initial::<f64>(self.seed));
        Ok(self.trained(&perceptron, &adam, Vec::new())?.network)
    }

    fn trained<T: Real>(&self, perceptron: &Perceptron, adam: &Adam<T>, losses: Vec<f64>) -> Result<Trained, TrainError> {
        let layers = perceptron.widths.named(&adam.mean);
        let output = self.objective.output();
        let time = (output != Output::Energy).then(|| self.time.clone());
        let network = Network::new(layers, self.activation, time, output, self.schedule.clone())?;
        Ok(Trained { network, losses })
    }
}
