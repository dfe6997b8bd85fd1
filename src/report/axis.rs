//! Axes: linear, logarithmic or of names, with round ticks.

/// How numbers are laid along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// An axis: its label with the unit, and its range.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub label: String,
    pub scale: Scale,
    pub min: f64,
    pub max: f64,
    /// Names instead of numbers: name i at i + ½.
    pub names: Vec<String>,
}

impl Axis {
    /// The axis that shows every value of `values` it can (finite, and positive on a log axis) with a margin of 4 %; none when there is
    /// no such value.
    pub fn around(label: &str, scale: Scale, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let shown = values.into_iter().filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0));
        let ends = |ends: Option<(f64, f64)>, v: f64| Some(ends.map_or((v, v), |(lo, hi)| (v.min(lo), v.max(hi))));
        let (min, max) = shown.fold(None, ends)?;
        let (min, max) = match scale {
            Scale::Log => {
                let margin = (max / min).max(2.0).powf(0.04);
                (min / margin, max * margin)
            }
            Scale::Linear => {
                let margin = 0.04 * if max > min { max - min } else { 1.0 + max.abs() };
                (min - margin, max + margin)
            }
        };
        Some(Self { label: label.into(), scale, min, max, names: Vec::new() })
    }

    /// The axis from `min` to `max`.
    pub fn between(label: &str, min: f64, max: f64) -> Self {
        Self { label: label.into(), scale: Scale::Linear, min, max, names: Vec::new() }
    }

    /// Position of `value` along the axis: 0 at the low end, 1 at the high end.
    pub fn position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log => (value / self.min).ln() / (self.max / self.min).ln(),
        }
    }

    /// Whether `value` lies on the axis.
    pub fn holds(&self, value: f64) -> bool {
        value >= self.min && value <= self.max
    }

    /// Round values in range with their labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if !self.names.is_empty() {
            return self.names.iter().enumerate().map(|(i, name)| (i as f64 + 0.5, name.clone())).collect();
        }
        let (low, high) = (self.min.log10(), self.max.log10());
        if self.scale == Scale::Log && high - low > 3.0 {
            let stride = ((high - low) / 7.0).ceil() as i32;
            let decades = (low.ceil() as i32..=high.floor() as i32).filter(|k| k.rem_euclid(stride) == 0);
            let plain = low > -0.5 && high < 4.5;
            let label = |k: i32| if plain { 10i32.pow(k as u32).to_string() } else { format!("10{}", superscript(k)) };
            return decades.map(|k| (10f64.powi(k), label(k))).collect();
        }
        if self.scale == Scale::Log && high - low > 0.7 {
            let decades = low.floor() as i32..=high.ceil() as i32;
            let values = decades.flat_map(|k| [1, 2, 5].map(|m| (k, f64::from(m) * 10f64.powi(k))));
            return values.filter(|(_, v)| self.holds(*v)).map(|(k, v)| (v, decimal(v, -k))).collect();
        }
        let rough = (self.max - self.min) / 5.0;
        let power = 10f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let places = -(step.log10() + 1e-9).floor() as i32;
        let count = |v: f64| v / step;
        let (first, last) = (count(self.min).ceil() as i64, count(self.max).floor() as i64);
        (first..=last).map(|i| (i as f64 * step, decimal(i as f64 * step, places))).collect()
    }
}

/// `value` with `places` decimals where that is short, and in powers of ten where it is not.
fn decimal(value: f64, places: i32) -> String {
    let text = if value == 0.0 {
        "0".into()
    } else if value.abs() >= 1e5 || places > 4 {
        let k = value.abs().log10().floor() as i32;
        format!("{}×10{}", (value / 10f64.powi(k) * 100.0).round() / 100.0, superscript(k))
    } else {
        format!("{value:.*}", places.max(0) as usize)
    };
    text.replace('-', "−")
}

/// `power` in raised digits.
fn superscript(power: i32) -> String {
    let raised = |c: char| c.to_digit(10).and_then(|d| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(d as usize)).unwrap_or('⁻');
    power.to_string().chars().map(raised).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ticks_are_few_increasing_and_in_range(low in -12.0..12.0f64, span in 0.01..20.0f64, log: bool) {
            let scale = if log { Scale::Log } else { Scale::Linear };
            let ends = if log { [10f64.powf(low), 10f64.powf(low + span)] } else { [low, low + span] };
            let axis = Axis::around("x", scale, ends).unwrap();
            let ticks = axis.ticks();
            prop_assert!((2..=12).contains(&ticks.len()), "{ticks:?} on {axis:?}");
            prop_assert!(ticks.iter().all(|(v, _)| axis.holds(*v)), "{ticks:?} on {axis:?}");
            prop_assert!(ticks.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1), "{ticks:?} on {axis:?}");
        }
    }

    #[test]
    fn an_axis_leaves_out_what_it_cannot_show() {
        let axis = Axis::around("x", Scale::Log, [f64::NAN, -1.0, 0.0, 2.0, 8.0, f64::INFINITY]).unwrap();
        assert!(axis.holds(2.0) && axis.holds(8.0) && axis.min > 1.0 && axis.max < 10.0);
        assert!(Axis::around("x", Scale::Log, [f64::NAN, -1.0]).is_none());
    }
}
