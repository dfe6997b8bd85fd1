//! The kind `langevin`: annealed Langevin and Energy Matching's samplers.

use std::cell::Cell;

use brenier::path::{Form, Grid, Level};
use brenier::sampler::{AnnealedLangevin, EnergyMatching, HalfStep, Method};

use crate::case::{Case, Produced, Trouble, failed, skip};
use crate::grids;

pub fn run(case: &Case) -> Result<Produced, Trouble> {
    if case.method() == "annealed_langevin" { annealed(case) } else { energy_matching(case) }
}

fn annealed(case: &Case) -> Result<Produced, Trouble> {
    let (n, max, min) = (case.count("num_levels")?, case.number("sigma_max")?, case.number("sigma_min")?);
    let mut q = grids::between_ends(case.params(), case.word("sigma_grid")?, max, min, n)?;
    case.check("sigmas", &q)?;
    // x += d a s + √(v a) z is Langevin with the step 2da when v = 2d; the defect is half of the step that NCSNv2 means.
    let (drift, variance) = (case.number("drift_factor")?, case.number("noise_variance_factor")?);
    if variance != 2.0 * drift {
        return skip("a temperature other than one");
    }
    let scale = case.number("step_scale")?;
    case.check("step_sizes", &q.iter().map(|q| scale * (q / min).powi(2)).collect::<Vec<f64>>())?;
    if case.flag("final_denoise") {
        q.push(0.0);
    }
    let grid: Grid = grids::grid(&q, Form::Exploding)?;
    let half_step = case.compat("half_step_langevin");
    let step = Some(2.0 * drift * scale * if half_step { 2.0 } else { 1.0 });
    let method = AnnealedLangevin { updates: case.count("steps_per_level")?, step };
    case.run(&if half_step { HalfStep(method).program(&grid) } else { method.program(&grid) })
}

fn energy_matching(case: &Case) -> Result<Produced, Trouble> {
    if case.word("potential")? != "minus_scale_log_density" || case.word("temperature")? != "ramp" {
        return skip("another potential or temperature");
    }
    let (alpha, sigma) = (case.number("potential_alpha")?, case.number("potential_sigma")?);
    let level = Level { t: 1.0, alpha, sigma, alpha_dot: 0.0, sigma_dot: 0.0 };
    let (field, device, scale) = (case.field()?, Case::device(), case.number("potential_scale")?);
    let h = case.number("dt")?;
    let sampler = EnergyMatching { tau_star: case.number("tau_star")?, epsilon_max: case.number("epsilon_max")?, step: h };
    let (mut x, noise) = (case.start()?, case.noise()?);
    let (len, dim) = (x.len(), field.dim());
    let (nfe, draws) = (Cell::new(0), Cell::new(0));
    let force = |x: &[f64]| -> Result<Vec<f64>, Trouble> {
        nfe.set(nfe.get() + 1);
        let score = field.score(level, x, &device).map_err(failed)?;
        Ok(score.into_iter().map(|s| scale * s).collect())
    };
    let mut normals = || -> Result<Vec<f64>, Trouble> {
        let call = draws.replace(draws.get() + 1);
        noise.get(call * len..(call + 1) * len).map(<[f64]>::to_vec).ok_or_else(|| failed("no noise left"))
    };
    let (mut states, mut t, mut times, mut length) = (vec![x.clone()], 0.0, vec![0.0], 0.0);
    let fraction = case.word("clock")? == "fraction_of_steps";
    let steps = if case.word("stop")? == "steps" { case.count("steps")? } else { usize::MAX };
    let t_start = if fraction { case.array(&case.params()["t_start"])? } else { Vec::new() };
    for k in 0..steps {
        let before = x.clone();
        match case.method() {
            "energy_matching_heun" => sampler.heun_step(&mut x, t, &force, &mut normals)?,
            "energy_matching_gibbs" | "energy_matching_langevin" => {
                let share = (k + 1) as f64 / steps as f64;
                let clock = |i: usize| if fraction { t_start[i] + (1.0 - t_start[i]) * share } else { t };
                sampler.langevin_step(&mut x, &clock, dim, &force, &mut normals)?;
            }
            other => return skip(format!("no method {other:?}")),
        }
        t += h;
        times.push(t);
        states.push(x.clone());
        length += x.iter().zip(&before).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let done = match case.word("stop")? {
            "time" => t >= case.number("t_end")? - 1e-9 * h,
            "path_length" => length >= case.number("max_length")?,
            _ => false,
        };
        if done {
            break;
        }
    }
    case.check("times", &times)?;
    Ok(Produced { states, times: Vec::new(), mean: None, nfe: nfe.get() })
}
