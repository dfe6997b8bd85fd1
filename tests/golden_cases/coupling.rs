//! The kind `coupling`: transport and distances between two sets of points.

use brenier::measure::Cloud;
use brenier::metric::{Estimator, energy_distance, frechet_distance, mmd_squared};
use brenier::transport::assignment::w1;
use brenier::transport::{Problem, Sinkhorn, assign};
use serde_json::Value;

use crate::case::{Case, Trouble, failed, number, skip, word};
use crate::compare;

pub fn check(case: &Case) -> Result<f64, Trouble> {
    let d = case.mixture()?.dim();
    let cloud = |key: &str| Cloud::new(case.array(&case.params()[key])?, d).map_err(failed);
    let (x, y) = (cloud("x0")?, cloud("x1")?);
    let device = Case::device();
    let estimator = |biased| if biased { Estimator::Biased } else { Estimator::Unbiased };
    let own = |output: &Value| -> Result<Vec<f64>, Trouble> {
        Ok(match word(output, "quantity")? {
            "ot_permutation" => assign(&x, &y).map_err(failed)?.partner.iter().map(|&j| j as f64).collect(),
            "wasserstein" if number(output, "order")? == 1.0 => vec![w1(&x, &y).map_err(failed)?],
            "wasserstein" if number(output, "order")? == 2.0 => vec![assign(&x, &y).map_err(failed)?.w2_squared.sqrt()],
            "entropic_plan" => plan(&x, &y, number(output, "eps_of_half_cost")?)?,
            "frechet" if word(output, "covariance")? == "unbiased" => vec![frechet_distance(&x, &y).map_err(failed)?],
            "energy_distance" => {
                vec![energy_distance(&x, &y, estimator(word(output, "estimator")? == "biased"), &device).map_err(failed)?]
            }
            "mmd2" => {
                vec![
                    mmd_squared(&x, &y, number(output, "bandwidth")?, estimator(output["unbiased"] != true), &device)
                        .map_err(failed)?,
                ]
            }
            other => return skip(format!("no quantity {other:?} with these options")),
        })
    };
    let worst = compare::outputs(case, own)?;
    compare::nfe(case, 0)?;
    Ok(worst)
}

fn plan(x: &Cloud, y: &Cloud, eps: f64) -> Result<Vec<f64>, Trouble> {
    let problem = Problem::new(x, y, eps).map_err(failed)?;
    let solver = Sinkhorn { tol: 1e-12, max_iter: 100_000, plain: false };
    let potentials = solver.solve(&problem, &Case::device()).map_err(failed)?.potentials;
    let entry = |i: usize, j: usize| {
        let half: f64 = 0.5 * x.row(i).iter().zip(y.row(j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        x.weight(i) * y.weight(j) * ((potentials.f[i] + potentials.g[j] - half) / eps).exp()
    };
    Ok((0..x.len()).flat_map(|i| (0..y.len()).map(move |j| entry(i, j)).collect::<Vec<f64>>()).collect())
}
