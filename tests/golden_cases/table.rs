//! The kind `table`: schedules and grids, without particles.

use brenier::path::sigmas;
use brenier::sampler::EnergyMatching;
use serde_json::Value;

use crate::case::{Case, Trouble, failed, number, skip, word};
use crate::{compare, grids};

pub fn check(case: &Case) -> Result<f64, Trouble> {
    let worst = match case.method() {
        "vp_tables" => compare::outputs(case, discrete),
        "sigma_grids" => compare::outputs(case, noise_levels),
        "flow_schedule" => {
            let t = case.array(&case.params()["t"])?;
            compare::outputs(case, |output| continuous(output, &t))
        }
        "energy_matching_schedules" => {
            let t = case.array(&case.params()["t"])?;
            let own = EnergyMatching { tau_star: case.number("tau_star")?, epsilon_max: case.number("epsilon_max")?, step: 0.0 };
            compare::outputs(case, |output| match word(output, "quantity")? {
                "temperature" => Ok(t.iter().map(|&t| own.temperature(t)).collect()),
                "flow_weight" => Ok(t.iter().map(|&t| own.flow_weight(t)).collect()),
                other => skip(format!("no quantity {other:?}")),
            })
        }
        other => skip(format!("no table {other:?}")),
    }?;
    compare::nfe(case, 0)?;
    Ok(worst)
}

fn discrete(output: &Value) -> Result<Vec<f64>, Trouble> {
    match word(output, "quantity")? {
        "alphas_cumprod" => {
            let (schedule, size) = grids::discrete(output)?;
            Ok((0..size).map(|i| schedule.entry(i as f64, size).alpha.powi(2)).collect())
        }
        "timesteps" => grids::timesteps(output),
        other => skip(format!("no quantity {other:?}")),
    }
}

fn noise_levels(output: &Value) -> Result<Vec<f64>, Trouble> {
    let n = number(output, "num_steps")? as usize;
    let mut q = match word(output, "quantity")? {
        "vp" => sigmas::vp(number(output, "beta_d")?, number(output, "beta_min")?, number(output, "eps_s")?, n),
        rule => grids::between_ends(output, rule, number(output, "sigma_max")?, number(output, "sigma_min")?, n)?,
    };
    q.push(number(output, "final_sigma")?);
    Ok(q)
}

fn continuous(output: &Value, t: &[f64]) -> Result<Vec<f64>, Trouble> {
    let schedule = grids::continuous(&output["schedule"])?;
    let levels = t.iter().map(|&t| schedule.level(t));
    Ok(match word(output, "quantity")? {
        "alpha" => levels.map(|level| level.alpha).collect(),
        "sigma" => levels.map(|level| level.sigma).collect(),
        "dalpha" => levels.map(|level| level.alpha_dot).collect(),
        "dsigma" => levels.map(|level| level.sigma_dot).collect(),
        "snr_inverse_of_snr" => levels.map(|level| schedule.time(level.ratio())).collect::<Result<_, _>>().map_err(failed)?,
        other => return skip(format!("no quantity {other:?}")),
    })
}
