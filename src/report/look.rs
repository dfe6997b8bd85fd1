//! How methods look and how numbers are written, the same in every figure and table.

use crate::experiment::{Entrant, Family, Flag, Mark};

/// Colour class and mark of a method.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    /// Classes of `figure.css`.
    pub class: String,
    /// Shape of its marks.
    pub mark: Mark,
}

/// The look of the method or variant called `label`; a variant such as `displacement-0.05` is hollow, and a stranger is drawn in the
/// colour of text. Cool colours are for diffusion, warm ones for flow.
pub(super) fn look(label: &str) -> Look {
    match Entrant::of_label(label) {
        Some((entrant, false)) => Look { class: entrant.name.into(), mark: entrant.mark },
        Some((entrant, true)) => Look { class: format!("{} hollow", entrant.name), mark: entrant.mark },
        None => Look { class: "other".into(), mark: Mark::Disc },
    }
}

/// What a family is, for the head of a panel.
pub(super) fn family_title(family: Family) -> &'static str {
    match family {
        Family::Diffusion => "Diffusion: gradient flow of KL",
        Family::Flow => "Flow: velocity between fixed ends",
    }
}

/// Name of a flag, as in `run.json`, and what it says.
pub(super) fn flag(flag: Flag) -> (&'static str, &'static str) {
    match flag {
        Flag::BelowFloor => (
            "below_floor",
            "the distance is under half the noise floor and under the 1 % quantile of what two independent clouds of the \
             target score, so this is a warning (shrinkage or copied points), not a success.",
        ),
        Flag::Collapsed => {
            ("collapsed", "the total variance is less than 99 % of independent samples have: the cloud has shrunk.")
        }
        Flag::Inflated => ("inflated", "the total variance is more than 99 % of independent samples have: the cloud has spread."),
        Flag::Memorised => (
            "memorised",
            "more samples than chance explains lie as close to a training point as the closest 1 % of held-out points, or the \
             median distance is under half that of held-out points: some or all samples are copies of the training data.",
        ),
        Flag::ModeMissing => {
            ("mode_missing", "a mode of the target has lost a third of its mass or more, which chance does not explain.")
        }
        Flag::FewNeighbours => ("few_neighbours", "too few particles lie within a kernel's width for a density to be estimated."),
        Flag::ShortOfNoise => {
            ("short_of_noise", "the run began where the particles are not yet the prior's, and the samples keep that.")
        }
        Flag::NotFinite => ("not_finite", "a number came out infinite or undefined; it is shown as “–”."),
    }
}

/// `value` to three digits, or "–" when it is missing or not finite.
pub(super) fn number(value: impl Into<Option<f64>>) -> String {
    let text = match value.into().filter(|v| v.is_finite()) {
        None => "–".into(),
        Some(0.0) => "0".into(),
        Some(v) if (1e-3..1e5).contains(&v.abs()) => {
            let places = 2 - v.abs().log10().floor() as i32;
            format!("{v:.*}", places.max(0) as usize)
        }
        Some(v) => format!("{v:.2e}"),
    };
    text.replace('-', "−")
}

/// Lines of comma-separated values under `header`; a field is quoted where it must be.
pub(super) fn csv(header: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let quote = |field: String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    };
    let lines = rows.into_iter().map(|row| row.into_iter().map(quote).collect::<Vec<_>>().join(","));
    std::iter::once(header.to_owned()).chain(lines).map(|line| line + "\n").collect()
}

/// `value` in full for a CSV field, empty when it is missing or not finite.
pub(super) fn exact(value: impl Into<Option<f64>>) -> String {
    value.into().filter(|v| v.is_finite()).map(|v| v.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::plot::STYLE;
    use super::*;
    use crate::experiment::ENTRANTS;

    /// Linear sRGB of `#rgb` or `#rrggbb`.
    fn linear(hex: &str) -> [f64; 3] {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        let byte = |i| if digits.len() == 3 { 17 * digits[i] } else { 16 * digits[2 * i] + digits[2 * i + 1] };
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        [0, 1, 2].map(|i| linear(f64::from(byte(i)) / 255.0))
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(hex: &str) -> f64 {
        linear(hex).iter().zip([0.2126, 0.7152, 0.0722]).map(|(c, w)| c * w).sum()
    }

    fn colour<'a>(theme: &'a str, class: &str, property: &str) -> &'a str {
        let rule = theme.split(&format!(".plot .{class}{{{property}:")).nth(1).unwrap_or_else(|| panic!("no colour for {class}"));
        rule.split(['}', ';']).next().unwrap()
    }

    #[test]
    fn every_colour_stands_out_from_its_background_in_light_and_dark() {
        let themes = STYLE.split_once("@media").unwrap();
        for theme in [themes.0, themes.1] {
            let paper = luminance(colour(theme, "paper", "fill"));
            for class in ENTRANTS.iter().map(|entrant| entrant.name).chain(["w2", "gap", "bends", "clock", "soft"]) {
                let ink = luminance(colour(theme, class, "color"));
                let contrast = (ink.max(paper) + 0.05) / (ink.min(paper) + 0.05);
                assert!(contrast >= 3.0, "{class}: contrast {contrast:.2}, and graphics need 3 (WCAG 2.2, 1.4.11)");
            }
        }
    }

    /// CIE L*a*b* of a colour as seen with `vision`, a row-major matrix on linear sRGB.
    fn seen(hex: &str, vision: [[f64; 3]; 3]) -> [f64; 3] {
        let through = |m: [[f64; 3]; 3], v: [f64; 3]| m.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum::<f64>());
        let rgb = through(vision, linear(hex)).map(|c| c.clamp(0.0, 1.0));
        let xyz = through([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], rgb);
        let white = [0.9505, 1.0, 1.089];
        let root = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z] = [0, 1, 2].map(|i| root(xyz[i] / white[i]));
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn colours_drawn_together_differ_to_the_colour_blind() {
        // Machado, Oliveira, Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
        let visions = [
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
        ];
        let of_family = |family| ENTRANTS.iter().filter(|e| e.family == family).map(|e| e.name).collect::<Vec<_>>();
        let (diffusion, flow) = (of_family(Family::Diffusion), of_family(Family::Flow));
        let themes = STYLE.split_once("@media").unwrap();
        for (theme, vision) in [themes.0, themes.1].into_iter().flat_map(|t| visions.map(|v| (t, v))) {
            for group in [&diffusion[..], &flow[..], &["w2", "gap", "bends", "clock"]] {
                for (i, a) in group.iter().enumerate() {
                    for b in &group[..i] {
                        let [p, q] = [a, b].map(|class| seen(colour(theme, class, "color"), vision));
                        let difference = p.iter().zip(q).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
                        // Ten times what a trained eye just notices (2.3).
                        assert!(difference > 23.0, "{a} and {b} differ by {difference:.0}");
                    }
                }
            }
        }
    }

    #[test]
    fn flags_have_the_names_that_run_json_gives_them() {
        let judged = [Flag::BelowFloor, Flag::Collapsed, Flag::Inflated, Flag::Memorised, Flag::ModeMissing];
        for f in judged.into_iter().chain([Flag::FewNeighbours, Flag::ShortOfNoise, Flag::NotFinite]) {
            assert_eq!(serde_json::to_value(f).unwrap(), flag(f).0);
        }
    }

    #[test]
    fn missing_and_infinite_numbers_are_a_dash() {
        assert_eq!([number(None), number(f64::NAN), number(f64::NEG_INFINITY)], ["–", "–", "–"]);
        assert_eq!([number(0.012345), number(-1234.5), number(1.5e-7), number(0.0)], ["0.0123", "−1234", "1.50e−7", "0"]);
    }
}
