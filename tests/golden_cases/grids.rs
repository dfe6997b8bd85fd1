//! The grids of an entry, made by the library and checked against those recorded.

use brenier::path::{Form, Grid, Schedule, Spacing, sigmas, table};
use serde_json::Value;

use crate::case::{Case, Trouble, failed, number, skip, word};

/// A discrete variance-preserving schedule, and its number of entries.
pub fn discrete(of: &Value) -> Result<(Schedule, usize), Trouble> {
    let size = number(of, "num_train_timesteps")? as usize;
    let (first, last) = (number(of, "beta_start")?, number(of, "beta_end")?);
    let betas = match word(of, "beta_schedule")? {
        "linear" => table::linear_betas(size, first, last),
        "scaled_linear" => table::scaled_linear_betas(size, first, last),
        "squaredcos_cap_v2" => table::cosine_betas(size, number(of, "cosine_offset")?, number(of, "max_beta")?),
        other => return skip(format!("no table of betas {other:?}")),
    };
    let schedule = Schedule::table(&betas).map_err(failed)?;
    let rescaled = of["rescale_betas_zero_snr"] == true;
    Ok((if rescaled { schedule.with_zero_terminal_snr() } else { schedule }, size))
}

/// The entries of a table that a run steps through.
pub fn timesteps(of: &Value) -> Result<Vec<f64>, Trouble> {
    let spacing = match word(of, "timestep_spacing")? {
        "leading" => Spacing::Leading,
        "trailing" => Spacing::Trailing,
        "linspace" => Spacing::Linspace,
        other => return skip(format!("no spacing {other:?}")),
    };
    let steps = number(of, "num_inference_steps")? as usize;
    let points = of["linspace_points"].as_u64().map_or(steps, |points| points as usize);
    let offset = of["steps_offset"].as_u64().unwrap_or(0) as usize;
    let size = number(of, "num_train_timesteps")? as usize;
    table::entries(size, spacing, points, steps, offset, word(of, "round_timesteps")? == "half_to_even").map_err(failed)
}

/// A continuous schedule by its type.
pub fn continuous(of: &Value) -> Result<Schedule, Trouble> {
    Ok(match word(of, "type")? {
        "condot" => Schedule::CondOt,
        "cosine" => Schedule::Trigonometric,
        "linear_vp" => Schedule::LinearAlpha,
        "polynomial" => Schedule::Polynomial(number(of, "n")?),
        "vp" => Schedule::linear_vp(number(of, "beta_min")?, number(of, "beta_max")?).map_err(failed)?,
        other => return skip(format!("no schedule {other:?}")),
    })
}

/// Noise levels between two ends by the name of their rule.
pub fn between_ends(of: &Value, rule: &str, max: f64, min: f64, n: usize) -> Result<Vec<f64>, Trouble> {
    Ok(match rule {
        "karras" => sigmas::karras(max, min, n, number(of, "rho")?),
        "exponential" | "lu" | "geometric_descending" => sigmas::polyexponential(max, min, n, 1.0),
        "polyexponential" => sigmas::polyexponential(max, min, n, number(of, "rho")?),
        "beta" => sigmas::beta(max, min, n, number(of, "beta_a")?, number(of, "beta_b")?),
        other => return skip(format!("no grid of noise levels {other:?}")),
    })
}

/// The noise levels of a run on a table, its last included.
pub fn on_table(case: &Case) -> Result<Vec<f64>, Trouble> {
    let of = case.params();
    let (schedule, size) = discrete(of)?;
    let ratio = |entry: f64| schedule.interpolated_ratio(entry, size);
    let entries = timesteps(of)?;
    let mut q: Vec<f64> = entries.iter().map(|&entry| ratio(entry)).collect();
    match case.word("sigma_grid")? {
        "timesteps" => case.check("timesteps", &entries)?,
        rule => {
            let (max, min) = match case.word("sigma_grid_range")? {
                "table" => (ratio(size as f64 - 1.0), ratio(0.0)),
                _ => (q[0], q[q.len() - 1]),
            };
            q = between_ends(of, rule, max, min, q.len())?;
        }
    }
    q.push(if case.word("final_sigmas_type")? == "zero" { 0.0 } else { ratio(0.0) });
    case.check("sigmas", &q)?;
    Ok(q)
}

/// The noise levels of a flow, the data included.
pub fn of_flow(case: &Case) -> Result<Vec<f64>, Trouble> {
    let (n, size) = (case.count("num_inference_steps")?, case.count("num_train_timesteps")?);
    if case.flag("invert_sigmas") {
        return skip("inverted flow levels");
    }
    let mut q = if case.word("sigma_grid")? == "flow" {
        let linear = |i: usize| (n - i) as f64 / n as f64 * (1.0 - 1.0 / size as f64);
        (0..n).map(|i| Ok(sigmas::shift(linear(i), case.number("flow_shift")?))).collect::<Result<Vec<_>, Trouble>>()?
    } else if case.flag("use_dynamic_shifting") {
        let (mu, power) = (case.number("mu")?, case.number("time_shift_power")?);
        let factor = if case.word("time_shift_type")? == "exponential" { mu.exp() } else { mu };
        if power != 1.0 {
            return skip("a time shift with a power");
        }
        sigmas::shifted(n, size, 1.0, false).into_iter().map(|q| sigmas::shift(q, factor)).collect()
    } else {
        sigmas::shifted(n, size, case.number("shift")?, case.compat("double_shift"))
    };
    if case.flag("use_shift_terminal") {
        sigmas::stretch(&mut q, case.number("shift_terminal")?);
    }
    let rule = case.word("sigma_grid")?;
    if !matches!(rule, "timesteps" | "flow") {
        q = between_ends(case.params(), rule, q[0], q[n - 1], n)?;
    }
    q.push(0.0);
    case.check("sigmas", &q)?;
    Ok(q)
}

pub fn grid(q: &[f64], form: Form) -> Result<Grid, Trouble> {
    Grid::of_sigmas(q, form).map_err(failed)
}
