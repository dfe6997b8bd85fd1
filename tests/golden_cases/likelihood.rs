//! The kind `likelihood`: the change of variables along the flow.

use brenier::field::Field;
use brenier::path::Level;
use brenier::sampler::ChangeOfVariables;
use serde_json::Value;

use crate::case::{Case, Trouble, failed, number, skip, word};
use crate::{adaptive, compare, grids, ode};

/// Name, end state and evaluations of one run.
struct Done {
    name: String,
    end: Vec<f64>,
    nfe: usize,
}

pub fn check(case: &Case) -> Result<f64, Trouble> {
    let (mixture, schedule) = (case.mixture()?, grids::continuous(&case.params()["schedule"])?);
    let (d, x1) = (mixture.dim(), case.array(&case.params()["x1"])?);
    if case.word("source")? != "standard_normal" {
        return skip("another source");
    }
    let runs = case.params()["runs"].as_array().ok_or_else(|| failed("no runs"))?;
    let field = Field::from(mixture.clone());
    let exact = ChangeOfVariables { field: &field, schedule: &schedule, particle: 0, probes: &[] };
    let done = runs.iter().map(|run| solve(case, run, &exact, &x1)).collect::<Result<Vec<Done>, Trouble>>()?;
    let find = |output: &Value| {
        let name = word(output, "run")?;
        done.iter().find(|run| run.name == name).ok_or_else(|| failed(format!("no run {name:?}")))
    };
    let data = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
    let worst = compare::outputs(case, |output| {
        Ok(match word(output, "quantity")? {
            "data_log_density" => x1.chunks_exact(d).map(|x| mixture.log_density(data, x)).collect(),
            "source_point" => find(output)?.end[..x1.len()].to_vec(),
            "log_likelihood" => each(d, &find(output)?.end, |_, state| exact.log_likelihood(state)),
            other => return skip(format!("no quantity {other:?}")),
        })
    })?;
    compare::nfe(case, done.iter().map(|run| run.nfe).sum())?;
    Ok(worst)
}

/// What `of` makes of each particle's (x, l), from all x and then all l.
fn each(d: usize, state: &[f64], of: impl Fn(usize, &[f64]) -> Vec<f64>) -> Vec<f64> {
    let (x, l) = state.split_at(state.len() / (d + 1) * d);
    x.chunks_exact(d).zip(l).enumerate().flat_map(|(i, (x, l))| of(i, &[x, &[*l]].concat())).collect()
}

fn solve(case: &Case, run: &Value, exact: &ChangeOfVariables<'_>, x1: &[f64]) -> Result<Done, Trouble> {
    let row = run["probe_row"].as_u64().unwrap_or(0) as usize;
    let probe: Option<Vec<f64>> = match word(run, "divergence")? {
        "exact" => None,
        "hutchinson" if word(run, "probe_rule")? == "plus_where_negative" => {
            let noise = case.noise()?;
            let row = noise.get(row * x1.len()..(row + 1) * x1.len()).ok_or_else(|| failed("no noise left"))?;
            Some(row.iter().map(|z| if *z < 0.0 { 1.0 } else { -1.0 }).collect())
        }
        other => return skip(format!("no divergence {other:?}")),
    };
    let d = exact.field.dim();
    let system = |i: usize| ChangeOfVariables { probes: probe.as_deref().map_or(&[], |all| &all[i * d..][..d]), ..*exact };
    let start: Vec<f64> = x1.iter().copied().chain(vec![0.0; x1.len() / d]).collect();
    let times = ode::requested(case)?;
    let mut nfe = 0;
    let mut slope = |t: f64, state: &[f64]| {
        nfe += 1;
        let slopes = each(d, state, |i, state| system(i).slope(t, state).expect("a law is known everywhere"));
        let of_x = slopes.chunks_exact(d + 1).flat_map(|slope| &slope[..d]);
        of_x.chain(slopes.chunks_exact(d + 1).map(|slope| &slope[d])).copied().collect()
    };
    let solver = word(run, "solver")?;
    let end = if run["step_size"].is_null() {
        if word(run, "error_norm")? != "max_of_rms_of_parts" {
            return skip("another norm");
        }
        let method = adaptive::method(case, run, solver)?;
        let solution = adaptive::integrate(case, method, &mut slope, &times, &start, &[x1.len(), start.len() - x1.len()])?;
        solution.states[solution.states.len() - 1].clone()
    } else {
        let steps = ode::times(times[0], times[times.len() - 1], number(run, "step_size")?);
        ode::tableau(solver)?.integrate(&mut slope, &steps, &start)
    };
    if run["nfe"].as_u64().is_some_and(|theirs| theirs as usize != nfe) {
        return Err(failed(format!("nfe of {} is {nfe}, not {}", word(run, "name")?, run["nfe"])));
    }
    Ok(Done { name: word(run, "name")?.to_owned(), end, nfe })
}
