//! The named sources: measures that need no file.

use std::f64::consts::FRAC_PI_4;

use thiserror::Error;

use crate::measure::digits::digits;
use crate::measure::{Measure, Mixture, Shape};
use crate::names::{edits, nearest};

/// Every name, in the order they are listed to the user; `normal` also takes its dimension, as in `normal:3`.
pub const NAMES: [&str; 12] = [
    "normal",
    "normal:D",
    "8gaussians",
    "tilted-a",
    "tilted-b",
    "moons",
    "checkerboard",
    "swissroll",
    "circles",
    "pinwheel",
    "scurve",
    "digits",
];

/// The largest dimension that `normal:D` takes.
pub const LARGEST_DIM: usize = 1 << 20;

/// Why a name stands for no measure.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Neither a named source nor, where files are allowed, a file.
    #[error(
        "there is no source \"{name}\"{}; give a file or one of {}",
        nearest.map(|n| format!(" (did you mean {n}?)")).unwrap_or_default(), NAMES.join(", ")
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// The known name that it resembles.
        nearest: Option<&'static str>,
    },
    /// A dimension that is not one.
    #[error("\"{name}\" gives no dimension: write normal:D with a whole number D from 1 to {LARGEST_DIM}, as in normal:3")]
    Dimension {
        /// The name asked for.
        name: String,
    },
}

/// The measure that `name` stands for.
///
/// `normal` is N(0, I) in dimension `dim` (2 where none is given), `normal:D` in dimension D. `8gaussians` is
/// [`Mixture::eight_gaussians`]; `tilted-a` and `tilted-b` are N(0, diag(1, 1/25)) and the same turned by 45°, two laws whose
/// covariances do not commute, so that flows between them are not optimal. All are laws in closed form. `digits` is the embedded data
/// set, the others are [`Shape`]s.
///
/// # Errors
/// [`NameError`] when the name is none of [`NAMES`], with the nearest one, or D is not a dimension.
pub fn named(name: &str, dim: Option<usize>) -> Result<Measure, NameError> {
    Ok(match name {
        "normal" => Measure::Law(Mixture::standard_normal(dim.unwrap_or(2))),
        "8gaussians" => Measure::Law(Mixture::eight_gaussians()),
        "tilted-a" => Measure::Law(Mixture::tilted(0.0)),
        "tilted-b" => Measure::Law(Mixture::tilted(FRAC_PI_4)),
        "moons" => Measure::Shape(Shape::Moons),
        "checkerboard" => Measure::Shape(Shape::Checkerboard),
        "swissroll" => Measure::Shape(Shape::SwissRoll),
        "circles" => Measure::Shape(Shape::Circles),
        "pinwheel" => Measure::Shape(Shape::Pinwheel),
        "scurve" => Measure::Shape(Shape::SCurve),
        "digits" => Measure::Finite(digits()),
        _ => match name.strip_prefix("normal:").map(str::parse) {
            Some(Ok(d)) if (1..=LARGEST_DIM).contains(&d) => Measure::Law(Mixture::standard_normal(d)),
            Some(_) => return Err(NameError::Dimension { name: name.into() }),
            None => return Err(NameError::Unknown { name: name.into(), nearest: resembled(name) }),
        },
    })
}

/// The nearest name, if it is fewer edits away than half its letters: `name` may be a file that is not there.
fn resembled(name: &str) -> Option<&'static str> {
    Some(nearest(name, NAMES)).filter(|known| 2 * edits(name, known) <= known.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn every_name_stands_for_a_measure_of_its_dimension() {
        for name in NAMES {
            let name = name.replace(":D", ":5");
            let expected = match name.as_str() {
                "normal:5" => 5,
                "digits" => 64,
                _ => 2,
            };
            let measure = named(&name, None).unwrap();
            assert_eq!(measure.dim(), expected, "{name}");
            assert_eq!(measure.sample(3, 0, Stream::Source, 0).points().len(), 3 * expected);
        }
    }

    #[test]
    fn normal_takes_the_callers_dimension_unless_it_has_its_own() {
        assert_eq!(named("normal", Some(64)).unwrap().dim(), 64);
        assert_eq!(named("normal:3", Some(64)).unwrap().dim(), 3);
        assert_eq!(named("moons", Some(64)).unwrap().dim(), 2);
    }

    #[test]
    fn eight_gaussians_have_mean_zero_and_total_variance_sixteen_and_a_half() {
        let measure = named("8gaussians", None).unwrap();
        let Measure::Law(law) = &measure else { panic!("8gaussians is a law") };
        for axis in 0..2 {
            let mean: f64 = law.components().iter().map(|c| c.weight * c.mean[axis]).sum();
            let square: f64 = law.components().iter().map(|c| c.weight * (c.mean[axis].powi(2) + c.covariance.value(axis))).sum();
            assert!(mean.abs() < 1e-15 && (square - 8.25).abs() < 1e-14); // eight roundings of numbers up to 4
        }
        let n = 100_000;
        let cloud = measure.sample(n, 0, Stream::Source, 0);
        // Var |x|² = 4·16·¼ + 2·2·(¼)² = 16.25 for |x|² = |4e + z/2|².
        let square = cloud.rows().map(|x| x[0] * x[0] + x[1] * x[1]).sum::<f64>() / n as f64;
        assert!((square - 16.5).abs() < 4.0 * (16.25 / n as f64).sqrt(), "{square}");
    }

    /// Σ = U diag(1, 1/25) Uᵀ with U a turn by 45° has (1 + 1/25)/2 on its diagonal and (1 − 1/25)/2 beside it.
    #[test]
    fn the_tilted_laws_have_their_covariances() {
        for (name, [diagonal, beside]) in [("tilted-a", [[1.0, 0.04], [0.0; 2]]), ("tilted-b", [[0.52; 2], [0.48; 2]])] {
            let Measure::Law(law) = named(name, None).unwrap() else { panic!("{name} is a law") };
            let of = &law.components()[0].covariance;
            let entry = |i, j| (0..2).map(|k| of.value(k) * of.vector(i, k, 2) * of.vector(j, k, 2)).sum::<f64>();
            for (found, wanted) in
                [(entry(0, 0), diagonal[0]), (entry(1, 1), diagonal[1]), (entry(0, 1), beside[0]), (entry(1, 0), beside[1])]
            {
                assert!((found - wanted).abs() < 1e-15, "{name}: {found}");
            }
        }
    }

    #[test]
    fn a_law_and_a_cloud_are_drawn_row_by_row_as_well() {
        for name in ["normal", "8gaussians", "digits"] {
            let measure = named(name, None).unwrap();
            let few = measure.sample(10, 1, Stream::Source, 0);
            assert_eq!(few.points(), &measure.sample(50, 1, Stream::Source, 0).points()[..few.points().len()]);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names_and_the_nearest() {
        let message = named("checkboard", None).unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no source \"checkboard\" (did you mean checkerboard?); give a file or one of normal, normal:D, \
             8gaussians, tilted-a, tilted-b, moons, checkerboard, swissroll, circles, pinwheel, scurve, digits"
        );
        for (typed, meant) in
            [("Moons", "moons"), ("swiss_roll", "swissroll"), ("8gaussian", "8gaussians"), ("gaussians", "8gaussians")]
        {
            assert_eq!(named(typed, None), Err(NameError::Unknown { name: typed.into(), nearest: Some(meant) }));
        }
        assert!(matches!(named("xyz", None), Err(NameError::Unknown { nearest: None, .. })));
    }

    #[test]
    fn a_normal_without_a_dimension_is_refused() {
        for name in ["normal:", "normal:0", "normal:-1", "normal:2.5", "normal:9999999999"] {
            assert!(named(name, None).unwrap_err().to_string().contains("as in normal:3"), "{name}");
        }
    }
}
