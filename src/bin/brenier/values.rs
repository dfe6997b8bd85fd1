//! How the values of flags are written.

use std::ops::Range;

use brenier::gradient_flow::{self, SCHEMES};
use brenier::path::{PREDICTIONS, SCHEDULES, Spacing};
use brenier::sampler::{COMPATS, Choice, Compat, METHODS};
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::jko::AUTO;
use crate::model::ENERGY;

/// The names of the methods.
pub fn methods() -> PossibleValuesParser {
    METHODS.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about)).collect::<Vec<_>>().into()
}

/// The names of predictions.
pub fn predictions() -> PossibleValuesParser {
    let energy = PossibleValue::new(ENERGY).help("V and its gradient at the data, from a program");
    PREDICTIONS.map(|(name, _)| PossibleValue::new(name)).into_iter().chain([energy]).collect::<Vec<_>>().into()
}

/// The help of a flag that only some methods take: `about`, and those.
pub fn taken(choice: Choice, about: &str) -> String {
    format!("{about}; for {}", choice.methods().collect::<Vec<_>>().join(", "))
}

/// The names of the schemes of the gradient flow.
pub fn schemes() -> PossibleValuesParser {
    let auto = PossibleValue::new(AUTO).help("sinkhorn-flow for points, langevin for a law");
    let all = SCHEMES.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about));
    std::iter::once(auto).chain(all).collect::<Vec<_>>().into()
}

/// The help of a flag that only some schemes take: `about`, and those.
pub fn taken_by_scheme(choice: gradient_flow::Choice, about: &str) -> String {
    format!("{about}; for {}", choice.schemes())
}

/// The help of a schedule's name.
pub fn schedule_names() -> String {
    format!("{}; linear-vp:BETA_MIN,BETA_MAX and ve:SIGMA_MIN,SIGMA_MAX set their ends", SCHEDULES.join(", "))
}

/// The help of --schedule.
pub fn schedules() -> String {
    format!("Noise schedule: {} [default: the method's own]", schedule_names())
}

/// The long help of --compat.
pub fn compats() -> String {
    let line = |c: &Compat| format!("- {} ({}; {}): {}", c.name, c.methods().collect::<Vec<_>>().join(", "), c.peer, c.about);
    let lines: Vec<String> = COMPATS.iter().map(line).collect();
    format!("Reproduce a known defect of the published codes; may be repeated:\n{}", lines.join("\n"))
}

/// A grid that every schedule of a comparison has.
pub fn grid_of_all(text: &str) -> Result<Spacing, String> {
    let all = [Spacing::Trailing, Spacing::Balanced, Spacing::ArcLength];
    all.into_iter()
        .find(|grid| grid.name() == text)
        .ok_or_else(|| "a comparison's grid is trailing, balanced or arc-length".into())
}

/// η, from 0 to 1.
pub fn eta(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(eta) if (0.0..=1.0).contains(&eta) => Ok(eta),
        _ => Err("eta is a number from 0 to 1".into()),
    }
}

/// A renormalised entropy, between a map and independent pairs.
pub fn entropy(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(entropy) if 0.0 < entropy && entropy < 1.0 => Ok(entropy),
        _ => Err("a renormalised entropy is a number above 0, that of a map, and below 1, that of independent pairs".into()),
    }
}

/// The decay of a running mean.
pub fn decay(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(decay) if (0.0..1.0).contains(&decay) => Ok(decay),
        _ => Err("the decay of a mean is a number of at least 0 and below 1".into()),
    }
}

/// A share that leaves some.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("a share withheld is a number of at least 0 and below 1".into()),
    }
}

/// The signal-to-noise ratio of a corrector, from which on its steps do not settle.
pub fn snr(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(snr) if 0.0 < snr && snr < 1.0 => Ok(snr),
        _ => Err("the signal-to-noise ratio is a number above 0 and below 1: the corrector's steps of 2 (snr sigma)^2 settle below 2 sigma^2".into()),
    }
}

/// A..B, not empty.
pub fn range(text: &str) -> Result<Range<u32>, String> {
    let ends = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    ends.filter(|range| !range.is_empty())
        .ok_or_else(|| "a range is two whole numbers, as in 0..500000, the second larger".into())
}

/// MIN..MAX, noise levels that are not negative and do not fall.
pub fn levels(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    ends.filter(|(min, max)| 0.0 <= *min && min <= max)
        .ok_or_else(|| "a range of levels is two numbers from 0 up, as in 0.05..50, the second not smaller".into())
}

/// A tolerance: finite, not negative.
pub fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(tol) if tol >= 0.0 && tol.is_finite() => Ok(tol),
        _ => Err("the tolerance is a finite number, 0 or more".into()),
    }
}

/// LO..HI, times of a schedule.
pub fn times(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    ends.filter(|(low, high)| 0.0 <= *low && low < high && *high <= 1.0)
        .ok_or_else(|| "an interval of times is two numbers from 0 to 1, as in 0.2..0.8, the second larger".into())
}

/// A finite number.
pub fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err("a finite number is needed".into()),
    }
}

/// A finite number above zero.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("a finite number above zero is needed".into()),
    }
}

/// A finite number, 0 or more.
pub fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 && x.is_finite() => Ok(x),
        _ => Err("a finite number, 0 or more, is needed".into()),
    }
}

/// HxW.
pub fn image(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    sides.ok_or_else(|| "an image's shape is height x width, as in 28x28".into())
}
