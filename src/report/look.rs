//! How methods look and how numbers are written, the same in every figure and table.

use super::plot::Mark;
use crate::experiment::{Family, Flag};

/// Colour class and mark of a method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// Class of `figure.css`.
    pub class: &'static str,
    /// Shape of its marks.
    pub mark: Mark,
}

/// Cool colours for diffusion, warm ones for flow; within a family every method has its own mark.
const LOOKS: [Look; 10] = [
    Look { class: "ddpm", mark: Mark::Disc },
    Look { class: "ddim", mark: Mark::Square },
    Look { class: "pf-euler", mark: Mark::Up },
    Look { class: "pf-heun", mark: Mark::Diamond },
    Look { class: "annealed-langevin", mark: Mark::Down },
    Look { class: "fm-euler", mark: Mark::Up },
    Look { class: "fm-heun", mark: Mark::Diamond },
    Look { class: "ot-euler", mark: Mark::Down },
    Look { class: "ot-heun", mark: Mark::Square },
    Look { class: "displacement", mark: Mark::Disc },
];

/// The look of `method`; a variant such as `displacement-0.05` looks like its kin, and a stranger is drawn in the colour of text.
pub(super) fn look(method: &str) -> Look {
    let kin = LOOKS.into_iter().find(|look| method.starts_with(look.class));
    kin.unwrap_or(Look { class: "other", mark: Mark::Disc })
}

/// Name of a family, as in `run.json`.
pub(super) fn family(family: Family) -> &'static str {
    match family {
        Family::Diffusion => "diffusion",
        Family::Flow => "flow",
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
            "the distance is under half the noise floor. Two independent clouds of the target do not come that close, so this is a \
             warning (shrinkage or copied points), not a success.",
        ),
        Flag::Collapsed => ("collapsed", "the total variance is under 0.9 of the held-out points': the cloud has shrunk."),
        Flag::Inflated => ("inflated", "the total variance is over 1.1 of the held-out points': the cloud has spread."),
        Flag::Memorised => (
            "memorised",
            "the median distance from a sample to its nearest training point is under half that of held-out points: the samples are \
             copies of the training data.",
        ),
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

    /// Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2).
    fn luminance(hex: &str) -> f64 {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        let bytes: Vec<u32> = if digits.len() == 3 { digits.iter().map(|d| d * 17).collect() } else { pairs(&digits) };
        let linear = |c: &u32| {
            let c = f64::from(*c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        bytes.iter().map(linear).zip([0.2126, 0.7152, 0.0722]).map(|(c, w)| c * w).sum()
    }

    fn pairs(digits: &[u32]) -> Vec<u32> {
        digits.chunks(2).map(|d| 16 * d[0] + d[1]).collect()
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
            for class in LOOKS.iter().map(|l| l.class).chain(["w2", "gap", "bends", "soft"]) {
                let ink = luminance(colour(theme, class, "color"));
                let contrast = (ink.max(paper) + 0.05) / (ink.min(paper) + 0.05);
                assert!(contrast >= 3.0, "{class}: contrast {contrast:.2}, and graphics need 3 (WCAG 2.2, 1.4.11)");
            }
        }
    }

    #[test]
    fn flags_have_the_names_that_run_json_gives_them() {
        for f in [Flag::BelowFloor, Flag::Collapsed, Flag::Inflated, Flag::Memorised, Flag::NotFinite] {
            assert_eq!(serde_json::to_value(f).unwrap(), flag(f).0);
        }
    }

    #[test]
    fn missing_and_infinite_numbers_are_a_dash() {
        assert_eq!([number(None), number(f64::NAN), number(f64::NEG_INFINITY)], ["–", "–", "–"]);
        assert_eq!([number(0.012345), number(-1234.5), number(1.5e-7), number(0.0)], ["0.0123", "−1234", "1.50e−7", "0"]);
    }
}
