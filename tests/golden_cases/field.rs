//! The kind `field`: a mixture's exact field at given levels.

use brenier::path::Level;
use serde_json::Value;

use crate::case::{Case, Trouble, number, skip, word};
use crate::compare;

pub fn check(case: &Case) -> Result<f64, Trouble> {
    let mixture = case.mixture()?;
    let (x, d) = (case.array(&case.params()["x"])?, mixture.dim());
    let own = |output: &Value| -> Result<Vec<f64>, Trouble> {
        let (alpha, sigma) = (number(output, "alpha")?, number(output, "sigma")?);
        let level = Level { t: 0.0, alpha, sigma, alpha_dot: 0.0, sigma_dot: 0.0 };
        let points = x.chunks_exact(d);
        let combination = |p, q| points.clone().flat_map(|x| mixture.evaluate(level, p, q, x)).collect();
        Ok(match word(output, "quantity")? {
            "log_density" => points.map(|x| mixture.log_density(level, x)).collect(),
            "score" => points.flat_map(|x| mixture.score(level, x)).collect(),
            "laplacian" => points.map(|x| mixture.laplacian(level, x)).collect(),
            "x0" => combination(1.0, 0.0),
            "eps" => combination(0.0, 1.0),
            "v" => combination(-sigma, alpha),
            "x0_minus_eps" => combination(1.0, -1.0),
            other => return skip(format!("no quantity {other:?}")),
        })
    };
    let worst = compare::outputs(case, own)?;
    let levels =
        case.params()["outputs"].as_array().map_or(0, |all| all.iter().filter(|o| o["quantity"] == "log_density").count());
    compare::nfe(case, levels)?;
    Ok(worst)
}
