//! Mixtures as `.json`: `weights`, `means`, and `covariances` (d × d each) or `variances` (one isotropic scalar each). `name`,
//! `dim` and `components` may stand beside them and say nothing new.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::io::Fault;
use crate::measure::{Covariance, Mixture, MixtureError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    weights: Vec<f64>,
    means: Vec<Vec<f64>>,
    covariances: Option<Vec<Vec<Vec<f64>>>>,
    variances: Option<Vec<f64>>,
    /// Remarks that some writers add; the arrays say the same.
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
    #[serde(rename = "dim")]
    _dim: Option<IgnoredAny>,
    #[serde(rename = "components")]
    _components: Option<IgnoredAny>,
}

/// The mixture of a whole `.json` file.
pub(super) fn read(bytes: &[u8]) -> Result<Mixture, Fault> {
    let Written { weights, means, covariances, variances, .. } = serde_json::from_slice(bytes)?;
    let dim = means.first().ok_or(MixtureError::Empty)?.len();
    let covariances = match (covariances, variances) {
        (None, Some(variances)) => variances.into_iter().map(Covariance::Isotropic).collect(),
        (Some(full), None) => full.iter().enumerate().map(|(k, rows)| covariance(k, rows, dim)).collect::<Result<_, _>>()?,
        (None, None) => return Err(Fault::Covariances { found: "neither" }),
        (Some(_), Some(_)) => return Err(Fault::Covariances { found: "both" }),
    };
    Ok(Mixture::new(weights, means, covariances)?)
}

/// The covariance of component `k`, given by its `rows`.
fn covariance(k: usize, rows: &[Vec<f64>], dim: usize) -> Result<Covariance, MixtureError> {
    let lengths = std::iter::once(rows.len()).chain(rows.iter().map(Vec::len));
    if let Some(found) = lengths.into_iter().find(|&length| length != dim || dim == 0) {
        return Err(MixtureError::Dimension { component: k, found, expected: dim.max(1) });
    }
    Covariance::from_matrix(&rows.concat(), dim).map_err(|smallest| MixtureError::Covariance { component: k, smallest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn variances_are_isotropic_covariances() {
        let mixture = read(br#"{"weights": [1, 3], "means": [[0, 0], [4, 0]], "variances": [0.25, 1]}"#).unwrap();
        assert!(mixture.is_isotropic());
        assert_eq!(mixture.components()[1].weight, 0.75);
        assert_eq!(mixture.components()[0].covariance, Covariance::Isotropic(0.25));
    }

    #[test]
    fn covariances_are_read_row_by_row() {
        let mixture = read(br#"{"weights": [1], "means": [[0, 1]], "covariances": [[[2, 1], [1, 2]]]}"#).unwrap();
        let covariance = &mixture.components()[0].covariance;
        let mut values = [covariance.value(0), covariance.value(1)];
        values.sort_by(f64::total_cmp);
        assert!((values[0] - 1.0).abs() < 1e-14 && (values[1] - 3.0).abs() < 1e-14); // eigenvalues 2 ∓ 1, to rounding
    }

    #[test]
    fn what_is_no_mixture_is_refused() {
        for (text, named) in [
            (r#"{"weights": [1], "means": [[0]]}"#, "it has neither of"),
            (r#"{"weights": [1], "means": [[0]], "variances": [1], "covariances": [[[1]]]}"#, "it has both of"),
            (r#"{"weights": [1], "means": [[0]], "variance": [1]}"#, "unknown field `variance`"),
            (r#"{"weights": [1], "variances": [1]}"#, "missing field `means`"),
            (r#"{"weights": [1], "means": [[NaN]], "variances": [1]}"#, "line 1 column 29"),
            (r#"{"weights": [], "means": [], "variances": []}"#, "no components"),
            (r#"{"weights": [1], "means": [[0], [1]], "variances": [1, 1]}"#, "1 weights, 2 means and 2 covariances"),
            (r#"{"weights": [1, -1], "means": [[0], [1]], "variances": [1, 1]}"#, "weight 1 is -1"),
            (r#"{"weights": [1], "means": [[0]], "variances": [0]}"#, "covariance of component 0"),
            (r#"{"weights": [1], "means": [[0, 0]], "covariances": [[[1, 2], [2, 1]]]}"#, "smallest eigenvalue -1e0"),
            (r#"{"weights": [1], "means": [[0, 0]], "covariances": [[[1, 0.5], [0, 1]]]}"#, "component 0 is not symmetric"),
            (r#"{"weights": [1], "means": [[0, 0]], "covariances": [[[1, 0], [0]]]}"#, "component 0 has 1 numbers where 2"),
            (r#"{"weights": [1], "means": [[]], "covariances": [[]]}"#, "component 0 has 0 numbers where 1"),
        ] {
            assert!(message(text).contains(named), "{text}: {}", message(text));
        }
    }
}
