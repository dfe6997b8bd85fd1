//! Networks as `.safetensors`: the tensors of the layers, and metadata that say what they are, as `docs/networks.md` lists them.

use std::collections::HashMap;

use ::safetensors::SafeTensors;

use crate::field::Network;
use crate::field::network::{Clock, Condition, Features, Layer, Order, Output, Time};
use crate::io::{Array, Fault, safetensors};
use crate::names::nearest;
use crate::path::{PREDICTIONS, Prediction, Schedule};
use crate::program::Activation;

const VERSION: &str = "version";
const FEATURES: &str = "time_features";
const PERIOD: &str = "time_period";
const SHIFT: &str = "time_shift";
const ORDER: &str = "time_order";
const CONDITION: &str = "condition";
const CLASSES: &str = "classes";
const WIDTH: &str = "condition_width";
const KEYS: [&str; 18] = [
    "brenier",
    VERSION,
    "layers",
    "activation",
    "prediction",
    "schedule",
    "time",
    FEATURES,
    PERIOD,
    SHIFT,
    ORDER,
    "clock",
    "clock_scale",
    "clock_offset",
    "sigma_data",
    CONDITION,
    CLASSES,
    WIDTH,
];
const ACTIVATIONS: [(&str, Activation); 6] = [
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("gelu", Activation::Gelu),
    ("gelu-tanh", Activation::GeluTanh),
    ("softplus", Activation::Softplus),
];
const CLOCKS: [(&str, Clock); 4] =
    [("t", Clock::Time), ("1-t", Clock::Remaining), ("sigma", Clock::Ratio), ("log-sigma", Clock::LogRatio)];
const ORDERS: [(&str, Order); 3] =
    [("sin-cos", Order::SinesFirst), ("cos-sin", Order::CosinesFirst), ("alternating", Order::Alternating)];
const FREQUENCIES: &str = "frequencies";
/// P where none is given.
const TEN_THOUSAND: f64 = 1e4;
/// More features of time than any network has.
const MOST_FEATURES: usize = 1 << 16;
/// Relative RMS by which the check may be off: what half precision loses, and far below what a wrong key does.
const CHECK: f64 = 0.01;

/// The network of a whole `.safetensors` file.
pub(super) fn read(bytes: &[u8]) -> Result<Network, Fault> {
    let tensors = safetensors::open(bytes)?;
    let metadata = Metadata(safetensors::metadata(bytes)?);
    metadata.check_keys()?;
    let (mut layers, mut used) = (Vec::new(), Vec::new());
    for name in metadata.text("layers")?.split(',').map(str::trim) {
        let mut tensor = |part: &str| {
            used.push(format!("{name}.{part}"));
            safetensors::array(&tensors, &used[used.len() - 1])
        };
        let (weight, bias) = (tensor("weight")?, tensor("bias")?);
        layers.push(layer(name, weight, bias)?);
    }
    let time = match metadata.features(&tensors, &mut used)? {
        None => None,
        Some(features) => Some(Time {
            clock: metadata.one_of("clock", &CLOCKS)?,
            scale: metadata.number("clock_scale")?.unwrap_or(1.0),
            offset: metadata.number("clock_offset")?.unwrap_or(0.0),
            features,
        }),
    };
    let prediction = metadata.one_of("prediction", &PREDICTIONS)?;
    let output = match metadata.number("sigma_data")? {
        None => Output::Prediction(prediction),
        Some(sigma_data) if prediction == Prediction::Denoised => Output::Preconditioned { sigma_data },
        Some(_) => return Err(metadata.wrong("prediction", "x0 where there is \"sigma_data\"")),
    };
    let schedule = Schedule::parse(metadata.text("schedule")?)?;
    let (activation, condition) = (metadata.one_of("activation", &ACTIVATIONS)?, metadata.condition()?);
    let network = Network::conditional(layers, activation, time, output, schedule, condition)?;
    if let Some(unused) = tensors.names().into_iter().find(|name| !used.iter().any(|u| u == name) && !name.starts_with("check."))
    {
        return Err(Fault::Unused { tensor: unused.to_owned() });
    }
    if tensors.names().iter().any(|name| name.starts_with("check.")) {
        check(&network, &tensors)?;
    }
    Ok(network)
}

/// Whether the file says that it is a network, or looks like one whose metadata are missing.
pub(super) fn is_network(bytes: &[u8]) -> Result<bool, Fault> {
    let tensors = safetensors::open(bytes)?;
    let names = tensors.names();
    let weights = names.iter().any(|name| name.ends_with(".weight")) && !names.contains(&"points");
    Ok(weights || safetensors::metadata(bytes)?.contains_key(KEYS[0]))
}

/// The metadata of `network`, trained on the schedule that `schedule` names; from these and its tensors [`read`] makes it again.
pub(super) fn metadata(network: &Network, schedule: &str) -> HashMap<String, String> {
    let names: Vec<&str> = network.layers().iter().map(|layer| layer.name.as_str()).collect();
    let (prediction, sigma_data) = match network.output() {
        Output::Prediction(prediction) => (prediction, None),
        Output::Preconditioned { sigma_data } => (Prediction::Denoised, Some(sigma_data)),
    };
    let mut pairs = vec![
        (KEYS[0], "mlp".to_owned()),
        (VERSION, "1".to_owned()),
        ("layers", names.join(",")),
        ("activation", name_of(&ACTIVATIONS, network.activation())),
        ("prediction", name_of(&PREDICTIONS, prediction)),
        ("schedule", schedule.to_owned()),
    ];
    pairs.extend(sigma_data.map(|sigma_data| ("sigma_data", sigma_data.to_string())));
    match network.time() {
        None => pairs.push(("time", "none".to_owned())),
        Some(Time { clock, scale, offset, features }) => {
            pairs.push(("clock", name_of(&CLOCKS, *clock)));
            pairs.push(("clock_scale", scale.to_string()));
            pairs.push(("clock_offset", offset.to_string()));
            match features {
                Features::Clock => pairs.push(("time", "append".to_owned())),
                Features::Waves { order, .. } => {
                    pairs.push(("time", "sinusoidal".to_owned()));
                    pairs.push((ORDER, name_of(&ORDERS, *order)));
                }
            }
        }
    }
    match network.condition() {
        None => {}
        Some(Condition::Classes(classes)) => {
            let classes: Vec<String> = classes.iter().map(u32::to_string).collect();
            pairs.extend([(CONDITION, "class".to_owned()), (CLASSES, classes.join(","))]);
        }
        Some(Condition::Numbers(width)) => pairs.extend([(CONDITION, "numbers".to_owned()), (WIDTH, width.to_string())]),
    }
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The tensors of `network` with their names and shapes.
pub(super) fn tensors(network: &Network) -> Vec<(String, Vec<usize>, &[f64])> {
    let layers = network.layers().iter().flat_map(|layer| {
        let weight = (format!("{}.weight", layer.name), vec![layer.outputs(), layer.inputs()], &layer.weight[..]);
        [weight, (format!("{}.bias", layer.name), vec![layer.outputs()], &layer.bias[..])]
    });
    let waves = network.time().and_then(|time| match &time.features {
        Features::Waves { omega, .. } => Some((FREQUENCIES.to_owned(), vec![omega.len()], &omega[..])),
        Features::Clock => None,
    });
    layers.chain(waves).collect()
}

/// What `value` is called.
fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> String {
    names.iter().find(|(_, known)| *known == value).map_or(String::new(), |(name, _)| (*name).to_owned())
}

struct Metadata(HashMap<String, String>);

impl Metadata {
    /// Every key must be known; `format` is what safetensors' own savers add.
    fn check_keys(&self) -> Result<(), Fault> {
        if self.0.get(VERSION).is_some_and(|version| version != "1") {
            return Err(self.wrong(VERSION, "1; a newer brenier may know that version"));
        }
        match self.0.keys().find(|key| !KEYS.contains(&key.as_str()) && *key != "format") {
            Some(key) => Err(Fault::UnknownKey { key: key.clone(), nearest: nearest(key, KEYS) }),
            None => self.one_of("brenier", &[("mlp", ())]),
        }
    }

    /// The features of time, none where the network is not told it; `used` takes the tensor they need.
    fn features(&self, tensors: &SafeTensors<'_>, used: &mut Vec<String>) -> Result<Option<Features>, Fault> {
        let kind = self.one_of("time", &["none", "append", "sinusoidal", "fourier"].map(|kind| (kind, kind)))?;
        let waves = matches!(kind, "sinusoidal" | "fourier");
        let by_formula = kind == "sinusoidal" && self.0.contains_key(FEATURES);
        let [of_formula, of_waves] = ["sinusoidal with \"time_features\"", "sinusoidal or fourier"];
        let meaning = [
            (FEATURES, by_formula, of_formula),
            (PERIOD, by_formula, of_formula),
            (SHIFT, by_formula, of_formula),
            (ORDER, waves, of_waves),
        ];
        if let Some((key, _, of)) = meaning.into_iter().find(|(key, means, _)| !means && self.0.contains_key(*key)) {
            return Err(self.wrong(key, &format!("left out, unless \"time\" is {of}")));
        }
        let order = if self.0.contains_key(ORDER) { self.one_of(ORDER, &ORDERS)? } else { Order::SinesFirst };
        Ok(match kind {
            "none" => None,
            "append" => Some(Features::Clock),
            _ if by_formula => Some(self.sinusoidal(order)?),
            _ => {
                used.push(FREQUENCIES.into());
                let frequencies = vector(FREQUENCIES, safetensors::array(tensors, FREQUENCIES)?, None)?;
                Some(match kind {
                    "fourier" => Features::fourier(&frequencies, order),
                    _ => Features::Waves { omega: frequencies, order },
                })
            }
        })
    }

    /// The features whose frequencies a formula gives.
    fn sinusoidal(&self, order: Order) -> Result<Features, Fault> {
        let features =
            self.text(FEATURES)?.parse().ok().filter(|n: &usize| (1..=MOST_FEATURES).contains(n) && n.is_multiple_of(2));
        let pairs = features.ok_or_else(|| self.wrong(FEATURES, "an even number, of sines and cosines"))? / 2;
        let (period, shift) = (self.number(PERIOD)?.unwrap_or(TEN_THOUSAND), self.number(SHIFT)?.unwrap_or(0.0));
        if period <= 0.0 {
            return Err(self.wrong(PERIOD, "above zero"));
        }
        if shift >= pairs as f64 {
            return Err(self.wrong(SHIFT, "below half of \"time_features\""));
        }
        Ok(Features::sinusoidal(pairs, period, shift, order))
    }

    /// What the network is told beside the point and the time.
    fn condition(&self) -> Result<Option<Condition>, Fault> {
        let kind = match self.0.contains_key(CONDITION) {
            true => self.one_of(CONDITION, &["class", "numbers"].map(|kind| (kind, kind)))?,
            false => "none",
        };
        let meaning = [(CLASSES, "class"), (WIDTH, "numbers")];
        if let Some((key, of)) = meaning.into_iter().find(|(key, of)| *of != kind && self.0.contains_key(*key)) {
            return Err(self.wrong(key, &format!("left out, unless \"condition\" is {of}")));
        }
        match kind {
            "class" => {
                let classes: Option<Vec<u32>> = self.text(CLASSES)?.split(',').map(|class| class.trim().parse().ok()).collect();
                let is_new = |(at, class): (usize, &u32), all: &[u32]| !all[..at].contains(class);
                match classes {
                    Some(all) if all.iter().enumerate().all(|class| is_new(class, &all)) => Ok(Some(Condition::Classes(all))),
                    _ => Err(self.wrong(CLASSES, "whole numbers with commas between them, each once")),
                }
            }
            "numbers" => match self.text(WIDTH)?.parse() {
                Ok(width @ 1..=MOST_FEATURES) => Ok(Some(Condition::Numbers(width))),
                _ => Err(self.wrong(WIDTH, "the number of inputs of the condition, at least 1")),
            },
            _ => Ok(None),
        }
    }

    fn text(&self, key: &'static str) -> Result<&str, Fault> {
        self.0.get(key).map(String::as_str).ok_or(Fault::NoKey { key })
    }

    fn one_of<T: Clone>(&self, key: &'static str, values: &[(&'static str, T)]) -> Result<T, Fault> {
        let text = self.text(key)?;
        let found = values.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| value.clone()).ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            self.wrong(key, &names.join(", "))
        })
    }

    fn number(&self, key: &'static str) -> Result<Option<f64>, Fault> {
        let Some(text) = self.0.get(key) else { return Ok(None) };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.wrong(key, "a finite number")),
        }
    }

    fn wrong(&self, key: &'static str, wanted: &str) -> Fault {
        Fault::Metadata { key, found: self.0.get(key).cloned().unwrap_or_default(), wanted: wanted.into() }
    }
}

fn layer(name: &str, weight: Array, bias: Array) -> Result<Layer, Fault> {
    let [outputs, inputs] = weight.shape[..] else {
        let wanted = "[outputs, inputs]".into();
        return Err(Fault::Tensor { tensor: format!("{name}.weight"), shape: weight.shape, wanted });
    };
    if outputs == 0 || inputs == 0 {
        let wanted = "[outputs, inputs], neither of them 0".into();
        return Err(Fault::Tensor { tensor: format!("{name}.weight"), shape: weight.shape, wanted });
    }
    Ok(Layer { name: name.into(), weight: weight.values, bias: vector(&format!("{name}.bias"), bias, Some(outputs))? })
}

/// The numbers of a tensor of one axis, of the given length and not empty.
fn vector(name: &str, array: Array, length: Option<usize>) -> Result<Vec<f64>, Fault> {
    match array.shape[..] {
        [n] if n > 0 && length.is_none_or(|length| n == length) => Ok(array.values),
        _ => {
            let wanted = length.map_or("[k]".into(), |length| format!("[{length}]"));
            Err(Fault::Tensor { tensor: name.into(), shape: array.shape, wanted })
        }
    }
}

/// Refuses a network that does not give its own check.
fn check(network: &Network, tensors: &SafeTensors<'_>) -> Result<(), Fault> {
    let d = network.dim();
    let times = vector("check.t", safetensors::array(tensors, "check.t")?, None)?;
    let rows = |name: &str| {
        let array = safetensors::array(tensors, name)?;
        if array.shape != [times.len(), d] {
            let wanted = format!("[{}, {d}]", times.len());
            return Err(Fault::Tensor { tensor: name.into(), shape: array.shape, wanted });
        }
        Ok(array.values)
    };
    let (x, y) = (rows("check.x")?, rows("check.y")?);
    let (mut error, mut size) = (0.0, 0.0);
    for ((&t, x), y) in times.iter().zip(x.chunks_exact(d)).zip(y.chunks_exact(d)) {
        let prediction = network.predict(network.schedule().level(t), x).map_err(Fault::Level)?;
        error += prediction.iter().zip(y).map(|(p, y)| (p - y).powi(2)).sum::<f64>();
        size += y.iter().map(|y| y * y).sum::<f64>();
    }
    let share = (error / size).sqrt();
    if share <= CHECK { Ok(()) } else { Err(Fault::Check { share }) }
}
