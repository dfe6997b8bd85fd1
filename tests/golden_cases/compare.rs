//! Compares what was produced with every row the entry names.

use serde_json::Value;

use crate::case::{Case, Produced, Trouble, fail, failed};

pub fn tolerance(case: &Case) -> f64 {
    case.entry()["tolerance"]["f64"].as_f64().unwrap_or(1e-9)
}

/// The largest absolute difference, refused above `tolerance` and where a number is not one.
pub fn close(what: &str, own: &[f64], theirs: &[f64], tolerance: f64) -> Result<f64, Trouble> {
    if own.len() != theirs.len() {
        return fail(format!("{what} has {} numbers, not {}", own.len(), theirs.len()));
    }
    let worst = own.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let nan = own.iter().chain(theirs).any(|x| x.is_nan());
    if nan || worst > tolerance {
        return fail(format!("{what} is off by {worst:.2e}, more than {tolerance:e}{}", if nan { "; it has NaN" } else { "" }));
    }
    Ok(worst)
}

pub fn trajectory(case: &Case, produced: &Produced) -> Result<f64, Trouble> {
    let compare = &case.entry()["compare"];
    let theirs = case.array(&serde_json::json!({ "array": compare["array"] }))?;
    let last = produced.states.last().ok_or_else(|| failed("no states"))?;
    let mut worst = 0.0_f64;
    if compare["rows"] == "final" {
        worst = close("the final state", last, &theirs, tolerance(case))?;
    } else {
        let rows = compare["rows"].as_array().ok_or_else(|| failed("no rows"))?;
        for (k, row) in rows.iter().enumerate() {
            let row = row.as_u64().unwrap_or(0) as usize;
            let own = if produced.times.is_empty() {
                compare["steps"][k].as_u64().and_then(|step| produced.states.get(step as usize))
            } else {
                let at = compare["times"][k].as_f64().unwrap_or(f64::NAN);
                produced.times.iter().position(|&t| t == at).map(|i| &produced.states[i])
            };
            let own = own.ok_or_else(|| failed(format!("row {row} was not produced")))?;
            let width = own.len();
            let theirs = theirs.get(row * width..(row + 1) * width).ok_or_else(|| failed("a row is missing"))?;
            worst = worst.max(close(&format!("row {row}"), own, theirs, tolerance(case))?);
        }
    }
    for also in compare["also"].as_array().unwrap_or(&Vec::new()) {
        let mean = produced.mean.as_ref().ok_or_else(|| failed("no mean was kept"))?;
        worst = worst.max(close("the last mean", mean, &case.array(also)?, tolerance(case))?);
    }
    nfe(case, produced.nfe)?;
    Ok(worst)
}

pub fn nfe(case: &Case, own: usize) -> Result<(), Trouble> {
    match case.entry()["nfe"].as_u64() {
        Some(theirs) if theirs as usize != own => fail(format!("nfe is {own}, not {theirs}")),
        _ => Ok(()),
    }
}

/// Checks each of `params.outputs` with what `own` makes of it.
pub fn outputs(case: &Case, own: impl Fn(&Value) -> Result<Vec<f64>, Trouble>) -> Result<f64, Trouble> {
    let list = case.params()["outputs"].as_array().ok_or_else(|| failed("no outputs"))?;
    let mut worst = 0.0_f64;
    for output in list {
        let theirs = case.array(&serde_json::json!({ "array": output["array"] }))?;
        let allowed = match (output["exact"] == true, output["float32"] == true) {
            (true, _) => 0.0,
            (_, true) => case.entry()["tolerance"]["f32"].as_f64().unwrap_or(0.0),
            _ => tolerance(case),
        };
        let error = close(output["array"].as_str().unwrap_or("?"), &own(output)?, &theirs, allowed)?;
        worst = worst.max(if output["float32"] == true { 0.0 } else { error });
    }
    Ok(worst)
}
