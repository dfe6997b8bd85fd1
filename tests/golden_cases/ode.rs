//! The kind `ode`: fixed steps of a Runge–Kutta method on the probability-flow ODE.

use brenier::backend::Noise;
use brenier::program::Op;
use brenier::sampler::{Observe, RungeKutta, Tableau};

use crate::case::{Case, Produced, Trouble, failed, skip};
use crate::grids;

/// The points t₀ + i h, the last moved to the end.
pub fn times(from: f64, to: f64, step: f64) -> Vec<f64> {
    let h = step.abs() * (to - from).signum();
    let count = ((to - from) / h + 1.0).ceil() as usize;
    (0..count).map(|i| if i + 1 == count { to } else { from + i as f64 * h }).collect()
}

pub fn tableau(name: &str) -> Result<Tableau, Trouble> {
    Ok(match name {
        "euler" => Tableau::EULER,
        "midpoint" => Tableau::MIDPOINT,
        "heun2" => Tableau::HEUN_2,
        "heun3" => Tableau::HEUN_3,
        "rk4_38" => Tableau::RK_4,
        other => return skip(format!("no method {other:?}")),
    })
}

/// The state at `t` on the line between the two steps around it.
pub fn at(times: &[f64], states: &[Vec<f64>], t: f64) -> Vec<f64> {
    let forward = times[0] <= times[times.len() - 1];
    let after = times.iter().position(|&s| if forward { s >= t } else { s <= t }).unwrap_or(times.len() - 1).max(1);
    let share = (t - times[after - 1]) / (times[after] - times[after - 1]);
    states[after - 1].iter().zip(&states[after]).map(|(a, b)| a + share * (b - a)).collect()
}

pub fn requested(case: &Case) -> Result<Vec<f64>, Trouble> {
    let list = case.params()["time_grid"].as_array().ok_or_else(|| failed("no time grid"))?;
    Ok(list.iter().filter_map(|t| t.as_f64()).collect())
}

pub fn run(case: &Case) -> Result<Produced, Trouble> {
    let of = case.params();
    let transformed = case.flag("transformed");
    let path = grids::continuous(if transformed { &of["transform_to"] } else { &of["schedule"] })?;
    let model = grids::continuous(&of["schedule"])?;
    let requested = requested(case)?;
    let (from, to) = (requested[0], requested[requested.len() - 1]);
    let times = times(from, to, case.number("step_size")?);
    let method = RungeKutta { tableau: tableau(case.method())?, schedule: path, euler_last: false };
    let program = method.along(&times);
    let evaluated = program.ops().filter_map(|op| match op {
        Op::Evaluate { level, .. } if transformed => Some(model.time(level.ratio())),
        Op::Evaluate { level, .. } => Some(Ok(level.t)),
        _ => None,
    });
    case.check("eval_times", &evaluated.collect::<Result<Vec<f64>, _>>().map_err(failed)?)?;
    let mut states = Vec::new();
    let mut keep = |_: usize, state: &[f64]| {
        states.push(state.to_vec());
        true
    };
    let (field, start) = (case.field()?, case.start()?);
    program.observed(&field, &start, Noise::NONE, &Case::device(), Observe::States(&mut keep)).map_err(failed)?;
    let states = requested.iter().map(|&t| at(&times, &states, t)).collect();
    Ok(Produced { states, times: requested, nfe: program.nfe(), mean: None })
}
