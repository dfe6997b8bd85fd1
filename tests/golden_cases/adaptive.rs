//! The kind `adaptive`: error-controlled Runge–Kutta and DPM-Solver.

use brenier::path::Level;
use brenier::sampler::adaptive::Slope;
use brenier::sampler::{Adaptive, DpmAdaptive, Overshooting, Pair, Solution, stale_slope};

use crate::case::{Case, Produced, Trouble, fail, failed, number, skip, word};
use crate::{grids, ode};

/// The method of an entry or of a run within one.
pub fn method(case: &Case, of: &serde_json::Value, name: &str) -> Result<Adaptive, Trouble> {
    let pair = match name {
        "dopri5" => Pair::DOPRI_5,
        "bosh3" => Pair::BOSH_3,
        "dopri8" => Pair::DOPRI_8,
        "adaptive_heun" => Pair::ADAPTIVE_HEUN,
        other => return skip(format!("no pair {other:?}")),
    };
    let usual = [("safety", 0.9), ("factor_max", 10.0), ("factor_min", 0.2), ("first_step_floor", 1e-6)];
    for (key, value) in usual {
        if number(of, key)? != value {
            return skip(format!("{key} other than {value}"));
        }
    }
    if word(of, "first_step")? != "hairer" || word(of, "output")? != "quartic_interpolation" {
        return skip("another first step or output");
    }
    let pair = if case.compat("stale_slope") { stale_slope(pair) } else { pair };
    Ok(Adaptive { pair, rtol: number(of, "rtol")?, atol: number(of, "atol")? })
}

/// The whole state as one system, its steps passing the end where the case has it so.
pub fn integrate(
    case: &Case,
    method: Adaptive,
    slope: Slope<'_>,
    times: &[f64],
    start: &[f64],
    parts: &[usize],
) -> Result<Solution, Trouble> {
    let overshoots = case.compat("overshoot_and_interpolate");
    if overshoots {
        Overshooting(method).integrate(slope, times, start, parts)
    } else {
        method.integrate(slope, times, start, parts)
    }
    .map_err(failed)
}

pub fn run(case: &Case) -> Result<Produced, Trouble> {
    if case.method() == "k_dpm_adaptive" {
        return dpm(case);
    }
    let (mixture, schedule) = (case.mixture()?, grids::continuous(&case.params()["schedule"])?);
    if case.flag("transformed") {
        return skip("an adaptive run on a transformed schedule");
    }
    let (d, start, times) = (mixture.dim(), case.start()?, ode::requested(case)?);
    let velocity = |t: f64, x: &[f64]| -> Vec<f64> {
        let level = schedule.level(t);
        x.chunks_exact(d).flat_map(|x| mixture.evaluate(level, level.alpha_dot, level.sigma_dot, x)).collect()
    };
    let method = method(case, case.params(), case.method())?;
    let solution = if case.compat("batch_error_norm") {
        integrate(case, method, &mut |t, x| velocity(t, x), &times, &start, &[start.len()])?
    } else if case.compat("overshoot_and_interpolate") {
        Overshooting(method).particles(velocity, &times, &start, d).map_err(failed)?
    } else {
        method.particles(velocity, &times, &start, d).map_err(failed)?
    };
    case.check("eval_times", &solution.evaluated)?;
    Ok(Produced { states: solution.states, times, mean: None, nfe: solution.evaluated.len() })
}

fn dpm(case: &Case) -> Result<Produced, Trouble> {
    let usual = [("order", 3.0), ("eta", 0.0), ("end_margin", 1e-5), ("error_floor", 1e-8)];
    for (key, value) in usual {
        if case.number(key)? != value {
            return skip(format!("{key} other than {value}"));
        }
    }
    let solver = DpmAdaptive {
        rtol: case.number("rtol")?,
        atol: case.number("atol")?,
        first_step: case.number("h_init")?,
        gains: [case.number("pcoeff")?, case.number("icoeff")?, case.number("dcoeff")?],
        accept: case.number("accept_safety")?,
        stages: [case.number("r1")?, case.number("r2")?],
    };
    if !case.compat("batch_error_norm") {
        return skip("no such case is known");
    }
    let (mixture, start) = (case.mixture()?, case.start()?);
    let mut noise = |q: f64, y: &[f64]| -> Vec<f64> {
        let level = Level { t: 0.0, alpha: 1.0, sigma: q, alpha_dot: 0.0, sigma_dot: 0.0 };
        y.chunks_exact(mixture.dim()).flat_map(|y| mixture.noise(level, y)).collect()
    };
    let run = solver.run(&mut noise, &start, case.number("sigma_max")?, case.number("sigma_min")?);
    let counts = (case.count("expected_accepted")?, case.count("expected_rejected")?);
    if (run.accepted, run.rejected) != counts {
        return fail(format!("steps accepted and rejected are {:?}, not {counts:?}", (run.accepted, run.rejected)));
    }
    Ok(Produced { states: vec![start, run.state], nfe: run.nfe, ..Produced::default() })
}
