//! The loop: pairs, levels, loss, step; and the network that it ends with.

use crate::backend::Real;
use crate::backend::cpu::gemm::Gemm;
use crate::checkpoint::Part;
use crate::field::Network;
use crate::field::network::{Condition, Layer, Output, Time};
use crate::path::{Prediction, Schedule};
use crate::program::Activation;
use crate::random::{Philox, Stream};
use crate::train::adam::{Adam, Rate};
use crate::train::pairs::{DROPPED, Pairs, times};
use crate::train::{PairSource, Perceptron, Told, TrainError, Widths};
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
    /// What it learns to predict.
    pub prediction: Prediction,
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
    /// Share of the pairs whose condition is withheld, so that the network also learns the field of all of them (Ho, Salimans 2022).
    pub withheld: f64,
    /// A network of these widths whose weights are the initial ones.
    pub start: Option<Network>,
    /// Of the initial weights, the times, and the conditions withheld.
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
    pub fn run<T: Real + Gemm>(
        &self,
        pairs: &PairSource<'_>,
        mut watch: Watch<'_>,
    ) -> Result<Trained, (TrainError, Option<Box<Trained>>)> {
        let plain = |error| (error, None);
        pairs.check(self.batch).map_err(plain)?;
        let [d, _] = pairs.dims();
        let condition = pairs.told().map(|told| &told.condition);
        let perceptron = self.perceptron(d, condition);
        let initial = self.weights::<T>(&perceptron).map_err(plain)?;
        let rate = Rate { rate: self.rate, steps: self.steps, clip: self.clip, decay: self.decay };
        let mut adam = watch.kept().and_then(Adam::kept).unwrap_or_else(|| Adam::new(initial));
        let mut drawing = pairs.drawing();
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
            let step = adam.steps as u32;
            let drawn = drawing.batch(self.batch, step).map_err(plain)?;
            let (inputs, wanted) = self.inputs::<T>(&drawn, pairs.told(), d, step).map_err(plain)?;
            let (loss, gradient) = perceptron.loss(&adam.weights, &inputs, &wanted);
            if !(loss.is_finite() && adam.step(&gradient, &rate).is_finite()) {
                let why = TrainError::NotFinite { step: adam.steps + 1 };
                return Err((why, self.trained(&perceptron, &adam, condition, losses).ok().map(Box::new)));
            }
            losses.push(loss);
        }
        // What follows may be interrupted, and the steps need not be made again.
        watch.close(|part| keep(&adam, &losses, part));
        self.trained(&perceptron, &adam, condition, losses).map_err(plain)
    }

    /// The widths of the network for points of dimension `d` under `condition`.
    pub fn widths(&self, d: usize, condition: Option<&Condition>) -> Widths {
        let inputs = d + self.time.features.count() + condition.map_or(0, Condition::width);
        Widths([&[inputs], &self.hidden[..], &[d]].concat())
    }

    fn perceptron(&self, d: usize, condition: Option<&Condition>) -> Perceptron {
        Perceptron { widths: self.widths(d, condition), activation: self.activation }
    }

    /// The initial weights.
    fn weights<T: Real>(&self, perceptron: &Perceptron) -> Result<Vec<T>, TrainError> {
        let Some(start) = &self.start else { return Ok(perceptron.widths.initial(self.seed)) };
        let found: Vec<usize> =
            start.layers().first().map(Layer::inputs).into_iter().chain(start.layers().iter().map(Layer::outputs)).collect();
        if found != perceptron.widths.0 {
            return Err(TrainError::Start { found, needed: perceptron.widths.0.clone() });
        }
        Ok(start.layers().iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias)).map(|w| T::from_f64(*w)).collect())
    }

    /// What the network is given at a step, and what it is to predict.
    fn inputs<T: Real>(&self, pairs: &Pairs, told: Option<&Told>, d: usize, step: u32) -> Result<(Vec<T>, Vec<T>), TrainError> {
        let (mut inputs, mut wanted) = (Vec::new(), Vec::with_capacity(self.batch * d));
        let (philox, ends) = (Philox::new(self.seed, Stream::Training), pairs.x0.chunks_exact(d).zip(pairs.x1.chunks_exact(d)));
        for (k, ((z, data), t)) in ends.zip(times(self.batch, self.seed, step)).enumerate() {
            let level = self.schedule.level(t);
            let (p, q) = self.prediction.coefficients(level);
            inputs.extend(z.iter().zip(data).map(|(z, x)| T::from_f64(level.alpha * x + level.sigma * z)));
            let features = self.time.features(level).map_err(TrainError::Level)?;
            inputs.extend(features.into_iter().map(T::from_f64));
            if let Some(told) = told {
                let kept = if philox.uniform(k as u32, step, DROPPED) < self.withheld { 0.0 } else { 1.0 };
                inputs.extend(told.of(pairs.told[k]).iter().map(|input| T::from_f64(kept * input)));
            }
            wanted.extend(z.iter().zip(data).map(|(z, x)| T::from_f64(p * x + q * z)));
        }
        Ok((inputs, wanted))
    }

    /// The network that training begins with, for points of dimension `d` under `condition`.
    ///
    /// # Errors
    /// [`TrainError::Network`] where a layer has no outputs.
    pub fn initial(&self, d: usize, condition: Option<&Condition>) -> Result<Network, TrainError> {
        let perceptron = self.perceptron(d, condition);
        let adam = Adam::new(self.weights::<f64>(&perceptron)?);
        Ok(self.trained(&perceptron, &adam, condition, Vec::new())?.network)
    }

    fn trained<T: Real>(
        &self,
        perceptron: &Perceptron,
        adam: &Adam<T>,
        condition: Option<&Condition>,
        losses: Vec<f64>,
    ) -> Result<Trained, TrainError> {
        let layers = perceptron.widths.named(&adam.mean);
        let (time, output) = (Some(self.time.clone()), Output::Prediction(self.prediction));
        let (activation, schedule) = (self.activation, self.schedule.clone());
        let network = Network::conditional(layers, activation, time, output, schedule, condition.cloned())?;
        Ok(Trained { network, losses })
    }
}
