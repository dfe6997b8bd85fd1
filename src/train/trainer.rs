//! The loop: pairs, levels, loss, step; and the network that it ends with.

use rayon::prelude::*;

use crate::backend::Real;
use crate::backend::cpu::Simd;
use crate::backend::cpu::tape::Tape;
use crate::checkpoint::Part;
use crate::field::network::{Condition, Layer, Output, Time};
use crate::field::{Field, Network};
use crate::path::Schedule;
use crate::program::Activation;
use crate::random::{Philox, Stream};
use crate::train::adam::{Adam, Rate};
use crate::train::energy::Batch;
use crate::train::pairs::{DROPPED, times};
use crate::train::{Coupling, Drawn, Objective, PairSource, Pairs, Told, TrainError, Widths};
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
    /// The network with the running mean of the weights, at the step at which its look was best, if it was looked at.
    pub network: Network,
    /// The loss at every step, in units of the prediction squared.
    pub losses: Vec<f64>,
    /// Steps and values of the looks.
    pub looks: Vec<(usize, f64)>,
}

/// Looks at the network while it is trained.
#[derive(Clone, Copy)]
pub struct Looks<'a> {
    /// Steps from one to the next.
    pub every: usize,
    /// Looks without a new least value after which training ends.
    pub patience: usize,
    /// What is to fall.
    pub value: &'a dyn Fn(&Network) -> Result<f64, TrainError>,
}

/// Steps between two looks at whether to go on.
const LOOK: usize = 10;
/// Steps over which the loss that is told is the mean.
const TOLD: usize = 100;
const LOSSES: &str = "losses";
const LOOKS: &str = "looks";
const BEST: &str = "best weights";
/// Draws that the loss of the best field is the mean over.
const FLOOR_DRAWS: usize = 4096;

impl Trainer {
    /// Trains on `pairs`, in the precision `T`. What `watch` kept of an earlier run is not done again, and the outcome is the same to
    /// the bit.
    ///
    /// # Errors
    /// [`TrainError`]; of a loss that is not finite, with the network of the last finite step.
    pub fn run<T: Simd>(
        &self,
        pairs: &PairSource<'_>,
        looks: Option<Looks<'_>>,
        mut watch: Watch<'_>,
    ) -> Result<Trained, (TrainError, Option<Box<Trained>>)> {
        let plain = |error| (error, None);
        pairs.check(self.batch).map_err(plain)?;
        let [d, _] = pairs.dims();
        let condition = pairs.told().map(|told| &told.condition);
        self.check(condition).map_err(plain)?;
        let widths = self.widths(d, condition);
        let initial = self.weights::<T>(&widths).map_err(plain)?;
        let rate = Rate { rate: self.rate, steps: self.steps, clip: self.clip, decay: self.decay };
        let mut adam = watch.kept().and_then(Adam::kept).unwrap_or_else(|| Adam::new(initial));
        let mut tape = Tape::new(&widths.0, self.activation);
        let mut drawing = pairs.drawing();
        let mut losses = watch.array(LOSSES).unwrap_or_default().to_vec();
        let mut looked = Looked::kept(&watch);
        let keep = |adam: &Adam<T>, losses: &[f64], looked: &Looked, part: &mut Part<'_>| {
            adam.keep(part);
            part.keep_array(LOSSES, losses.to_vec());
            looked.keep(part);
        };
        while adam.steps < self.steps && looks.is_none_or(|looks| looked.since_best() < looks.patience) {
            if adam.steps.is_multiple_of(LOOK) {
                let told = losses.len().min(TOLD);
                let mean = losses[losses.len() - told..].iter().sum::<f64>() / told.max(1) as f64;
                let go_on = watch.tell(Progress { value: (told > 0).then_some(mean), ..Progress::of_steps(adam.steps) });
                if !watch.pass(go_on, |part| keep(&adam, &losses, &looked, part)) {
                    return Err((TrainError::Stopped { steps: adam.steps }, None));
                }
            }
            let step = adam.steps as u32;
            let drawn = drawing.batch(self.batch, step).map_err(plain)?;
            let loss = self.loss(&mut tape, &adam, (&drawn, pairs.told())).map_err(plain)?;
            if !(loss.is_finite() && adam.step(&tape.gradient, &rate).is_finite()) {
                let why = TrainError::NotFinite { step: adam.steps + 1 };
                let network = self.network(&widths, &adam.mean, condition).ok();
                return Err((why, network.map(|network| Box::new(Trained { network, losses, looks: looked.values }))));
            }
            losses.push(loss);
            if let Some(looks) = looks.filter(|looks| adam.steps.is_multiple_of(looks.every)) {
                let network = self.network(&widths, &adam.mean, condition).map_err(plain)?;
                looked.add(adam.steps, (looks.value)(&network).map_err(plain)?, &adam.mean);
            }
        }
        // What follows may be interrupted, and the steps need not be made again.
        watch.close(|part| keep(&adam, &losses, &looked, part));
        let network = match looked.best.is_empty() {
            true => self.network(&widths, &adam.mean, condition),
            false => self.network(&widths, &looked.best, condition),
        };
        Ok(Trained { network: network.map_err(plain)?, losses, looks: looked.values })
    }

    /// The least loss that any network can have on independent pairs of a standard normal and the law of `field`, whose prediction is
    /// the best there is:
    ///
    /// ```text
    /// ∫ E|y − E[y | x_t]|² dt
    /// ```
    ///
    /// from 4,096 pairs. Of points it is the loss of a network that has learnt them by heart. None of other pairs or objectives, and under
    /// conditions.
    ///
    /// # Errors
    /// [`TrainError::Field`].
    pub fn loss_floor(&self, field: &Field, pairs: &PairSource<'_>) -> Result<Option<f64>, TrainError> {
        let PairSource::Drawn(Drawn { coupling: Coupling::Independent, told: None, .. }) = pairs else { return Ok(None) };
        let Objective::Prediction(prediction) = self.objective else { return Ok(None) };
        let (drawn, d) = (pairs.drawing().batch(FLOOR_DRAWS, u32::MAX)?, field.dim());
        let ends: Vec<(&[f64], &[f64])> = drawn.x0.chunks_exact(d).zip(drawn.x1.chunks_exact(d)).collect();
        let square = |((z, data), t): (&(&[f64], &[f64]), f64)| -> Result<f64, TrainError> {
            let level = self.schedule.level(t);
            let (p, q) = prediction.coefficients(level);
            let of = |a: f64, b: f64| z.iter().zip(*data).map(|(z, x)| a * x + b * z).collect::<Vec<f64>>();
            let best = field.at(level, (p, q), 0, &of(level.alpha, level.sigma))?;
            Ok(best.iter().zip(of(p, q)).map(|(best, y)| (best - y).powi(2)).sum())
        };
        let squares: Result<Vec<f64>, TrainError> =
            ends.par_iter().zip(times(FLOOR_DRAWS, self.seed, u32::MAX)).map(square).collect();
        Ok(Some(squares?.iter().sum::<f64>() / FLOOR_DRAWS as f64))
    }

    /// Whether what is learnt can be under `condition`.
    fn check(&self, condition: Option<&Condition>) -> Result<(), TrainError> {
        let is_energy = matches!(self.objective, Objective::Energy(_));
        let refused = is_energy && (condition.is_some() || self.activation == Activation::Relu);
        if refused { Err(TrainError::Energy) } else { Ok(()) }
    }

    /// The widths of the network for points of dimension `d` under `condition`.
    pub fn widths(&self, d: usize, condition: Option<&Condition>) -> Widths {
        let told = condition.map_or(0, Condition::width);
        let (features, outputs) = match self.objective {
            Objective::Energy(_) => (0, 1),
            Objective::Prediction(_) | Objective::Preconditioned { .. } => (self.time.features.count(), d),
        };
        Widths([&[d + features + told], &self.hidden[..], &[outputs]].concat())
    }

    /// The loss of a step, with its gradient on `tape`.
    fn loss<T: Simd>(
        &self,
        tape: &mut Tape<T>,
        adam: &Adam<T>,
        (pairs, told): (&Pairs, Option<&Told>),
    ) -> Result<f64, TrainError> {
        let (weights, step, times) = (&adam.weights, adam.steps as u32, times(self.batch, self.seed, adam.steps as u32));
        if let Objective::Energy(energy) = self.objective {
            let contrasted = adam.steps + energy.contrast_steps >= self.steps;
            let batch = Batch { x0: &pairs.x0, x1: &pairs.x1, times: &times, at: (self.seed, step) };
            return Ok(energy.loss(tape, weights, batch, contrasted));
        }
        let (inputs, wanted) = self.inputs(pairs, told, &times, step)?;
        Ok(tape.regress(weights, &inputs, &wanted))
    }

    /// The initial weights.
    fn weights<T: Real>(&self, widths: &Widths) -> Result<Vec<T>, TrainError> {
        let Some(start) = &self.start else { return Ok(widths.initial(self.seed)) };
        let found: Vec<usize> =
            start.layers().first().map(Layer::inputs).into_iter().chain(start.layers().iter().map(Layer::outputs)).collect();
        if found != widths.0 {
            return Err(TrainError::Start { found, needed: widths.0.clone() });
        }
        Ok(start.layers().iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias)).map(|w| T::from_f64(*w)).collect())
    }

    /// What the network is given at a step, and what it is to predict.
    fn inputs<T: Real>(
        &self,
        pairs: &Pairs,
        told: Option<&Told>,
        times: &[f64],
        step: u32,
    ) -> Result<(Vec<T>, Vec<T>), TrainError> {
        let d = pairs.x0.len() / times.len().max(1);
        let (mut inputs, mut wanted) = (Vec::new(), Vec::with_capacity(self.batch * d));
        let (philox, ends) = (Philox::new(self.seed, Stream::Training), pairs.x0.chunks_exact(d).zip(pairs.x1.chunks_exact(d)));
        for (k, ((z, data), t)) in ends.zip(times).enumerate() {
            let level = self.objective.level(&self.schedule, *t, k as u32, (self.seed, step));
            let (scale, (p, q)) = self.objective.output().regression(level);
            inputs.extend(z.iter().zip(data).map(|(z, x)| T::from_f64(scale * (level.alpha * x + level.sigma * z))));
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
    /// [`TrainError::Network`] where a layer has no outputs, [`TrainError::Energy`] of a potential under conditions.
    pub fn initial(&self, d: usize, condition: Option<&Condition>) -> Result<Network, TrainError> {
        self.check(condition)?;
        let widths = self.widths(d, condition);
        self.network(&widths, &self.weights::<f64>(&widths)?, condition)
    }

    fn network<T: Real>(&self, widths: &Widths, weights: &[T], condition: Option<&Condition>) -> Result<Network, TrainError> {
        let (layers, condition) = (widths.named(weights), condition.cloned());
        let output = self.objective.output();
        let time = (output != Output::Energy).then(|| self.time.clone());
        Ok(Network::conditional(layers, self.activation, time, output, self.schedule.clone(), condition)?)
    }
}

/// What the looks at the network have found.
#[derive(Clone, Debug, Default)]
struct Looked {
    values: Vec<(usize, f64)>,
    /// The weights at the least of them.
    best: Vec<f64>,
}

impl Looked {
    fn add<T: Real>(&mut self, step: usize, value: f64, weights: &[T]) {
        if self.values.iter().all(|(_, before)| value < *before) {
            self.best = weights.iter().map(|weight| weight.to_f64()).collect();
        }
        self.values.push((step, value));
    }

    /// Looks since the least value.
    fn since_best(&self) -> usize {
        let least = self.values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
        self.values.iter().position(|(_, value)| *value == least).map_or(0, |best| self.values.len() - 1 - best)
    }

    fn keep(&self, part: &mut Part<'_>) {
        part.keep_array(LOOKS, self.values.iter().flat_map(|(step, value)| [*step as f64, *value]).collect());
        part.keep_array(BEST, self.best.clone());
    }

    fn kept(watch: &Watch<'_>) -> Self {
        let array = |name| watch.array(name).unwrap_or_default();
        let values = array(LOOKS).chunks_exact(2).map(|look| (look[0] as usize, look[1])).collect();
        Self { values, best: array(BEST).to_vec() }
    }
}
