//! The kind `sampler`: a grid of noise levels and a method on it.

use brenier::path::{Form, Grid, Level, NoiseClock, sigmas, table};
use brenier::program::{Program, Step};
use brenier::sampler::{
    Churn, ChurnAfterModel, Ddim, Ddpm, Dpm2, DpmPlusPlus, DpmPlusPlus2S, DpmPlusPlusSde, DpmSolver, Edm, Euler, HalfCurvature,
    Heun, Lms, Method, NoisyDdpm, Renoise, SecondOrder, Variance,
};

use crate::case::{Case, Trouble, failed, skip};
use crate::grids;

pub fn program(case: &Case) -> Result<Program, Trouble> {
    match case.method() {
        "ddim" | "ddpm" => chain(case),
        name if name.starts_with("edm_") => edm(case),
        name if name.starts_with("k_") => on_sigmas(case),
        name if name.starts_with("fm_") => flow(case),
        _ => diffusers(case),
    }
}

/// DDIM and DDPM on a table.
fn chain(case: &Case) -> Result<Program, Trouble> {
    let of = case.params();
    let (schedule, size) = grids::discrete(of)?;
    let entries = grids::timesteps(of)?;
    case.check("timesteps", &entries)?;
    let to_data = case.flag("set_alpha_to_one");
    let steps: Vec<(Level, Level)> = match case.word("previous_timestep")? {
        "minus_stride" => table::strided_steps(&schedule, size, &entries, to_data),
        "next_in_grid" => {
            let last = if to_data { -1.0 } else { 0.0 };
            let next = entries.iter().skip(1).copied().chain([last]);
            entries.iter().zip(next).map(|(&from, to)| (schedule.entry(from, size), schedule.entry(to, size))).collect()
        }
        other => return skip(format!("no rule of the previous timestep {other:?}")),
    };
    let levels = |part: fn(&Level) -> f64| steps.iter().map(|step| part(&step.0)).collect::<Vec<f64>>();
    case.check("alphas", &levels(|level| level.alpha))?;
    case.check("sigmas", &levels(|level| level.sigma))?;
    if case.flag("thresholding") || case.flag("use_clipped_model_output") {
        return skip("dynamic thresholding, or noise recomputed from a clipped point");
    }
    let clip = case.flag("clip_sample").then(|| case.number("clip_sample_range")).transpose()?;
    if case.method() == "ddim" {
        let ddim = Ddim { eta: case.number("eta")? };
        let step =
            |&(from, to): &(Level, Level)| clip.map_or_else(|| ddim.step(from, to), |range| ddim.clipped_step(from, to, range));
        return Ok(steps.iter().map(step).collect());
    }
    let variance = match case.word("variance_type")? {
        "fixed_small" => Variance::Posterior,
        "fixed_large" => Variance::Forward,
        other => return skip(format!("no variance {other:?}")),
    };
    if clip.is_some() {
        return skip("clipped DDPM");
    }
    let (ddpm, floor) = (Ddpm { variance }, case.number("variance_floor")?);
    let step = |&(from, to): &(Level, Level)| -> Step {
        if to.sigma == 0.0 && case.compat("ddpm_noise_at_last_step") {
            NoisyDdpm(ddpm).last_step(from, to, floor)
        } else {
            ddpm.step(from, to)
        }
    };
    Ok(steps.iter().map(step).collect())
}

fn second_order(case: &Case) -> Result<SecondOrder, Trouble> {
    Ok(match case.word("solver_type")? {
        "midpoint" => SecondOrder::Midpoint,
        "heun" => SecondOrder::Heun,
        other => return skip(format!("no rule of second order {other:?}")),
    })
}

fn churn(case: &Case, amount: &str, rest: [&str; 3]) -> Result<Churn, Trouble> {
    let [min, max, noise] = rest;
    Ok(Churn { amount: case.number(amount)?, min: case.number(min)?, max: case.number(max)?, noise: case.number(noise)? })
}

const CHURN: [&str; 3] = ["s_tmin", "s_tmax", "s_noise"];

/// diffusers' solvers in σ/α, and its multistep solvers.
fn diffusers(case: &Case) -> Result<Program, Trouble> {
    let (form, q) = match case.word("levels")? {
        "flow" => (Form::Straight, grids::of_flow(case)?),
        "variance_exploding" => (Form::Exploding, grids::on_table(case)?),
        "variance_preserving" => (Form::Preserving, grids::on_table(case)?),
        other => return skip(format!("no levels {other:?}")),
    };
    let grid = grids::grid(&q, form)?;
    let lower_below = |case: &Case| -> Result<usize, Trouble> {
        if case.flag("euler_at_final") {
            return skip("an Euler step at the end of a long run");
        }
        if case.flag("lower_order_final") { case.count("lower_order_below") } else { Ok(0) }
    };
    Ok(match case.method() {
        "euler" => {
            let edm = Edm { second_order: false, churn: churn(case, "s_churn", CHURN)? };
            if case.compat("churn_after_model") { ChurnAfterModel(edm).program(&grid) } else { edm.program(&grid) }
        }
        "euler_ancestral" => Ddim { eta: 1.0 }.program(&grid),
        "heun" => Heun { euler_last: true }.program(&grid),
        "dpmpp_1" | "dpmpp_2m" | "dpmpp_3m" | "sde_dpmpp_2m" => HalfCurvature(DpmPlusPlus {
            order: case.count("solver_order")?,
            second: second_order(case)?,
            eta: if case.method() == "sde_dpmpp_2m" { 1.0 } else { 0.0 },
            noise: 1.0,
            lower_below: lower_below(case)?,
        })
        .program(&grid),
        "dpm_2m" if second_order(case)? == SecondOrder::Midpoint => DpmSolver { lower_below: lower_below(case)? }.program(&grid),
        other => return skip(format!("no method {other:?}")),
    })
}

fn flow(case: &Case) -> Result<Program, Trouble> {
    let grid = grids::grid(&grids::of_flow(case)?, Form::Straight)?;
    Ok(match case.method() {
        "fm_euler" if case.flag("stochastic_sampling") => Renoise.program(&grid),
        "fm_euler" => Euler.program(&grid),
        "fm_heun" => Heun { euler_last: true }.program(&grid),
        other => return skip(format!("no method {other:?}")),
    })
}

/// EDM's sampler and its ablations.
fn edm(case: &Case) -> Result<Program, Trouble> {
    let of = case.params();
    let (n, min, max) = (case.count("num_steps")?, case.number("sigma_min")?, case.number("sigma_max")?);
    let churn = churn(case, "S_churn", ["S_min", "S_max", "S_noise"])?;
    if case.method() == "edm_heun" {
        let mut q = grids::between_ends(of, "karras", max, min, n)?;
        q.push(0.0);
        return Ok(Edm { second_order: true, churn }.program(&grids::grid(&q, Form::Exploding)?));
    }
    let vp = NoiseClock::Vp { beta_d: case.number("vp_beta_d")?, beta_min: case.number("vp_beta_min")? };
    let mut q = match case.word("discretization")? {
        "vp" => sigmas::vp(case.number("vp_beta_d")?, case.number("vp_beta_min")?, case.number("epsilon_s")?, n),
        "ve" => grids::between_ends(of, "exponential", max, min, n)?,
        "iddpm" => sigmas::iddpm(
            max,
            min,
            n,
            case.count("M")?,
            [case.number("C_1")?, case.number("C_2")?],
            case.compat("iddpm_grid_float32"),
        ),
        "linear" | "edm" => grids::between_ends(of, "karras", max, min, n)?,
        other => return skip(format!("no discretization {other:?}")),
    };
    let theirs: Vec<f64> = of["sigma_steps"].as_array().into_iter().flatten().filter_map(|q| q.as_f64()).collect();
    // The sines of two libraries in single precision differ in their last digit, which is 1.3e-7 of the levels at most.
    let allowed = if case.compat("iddpm_grid_float32") { 2e-7 } else { case.number("sigma_steps_tolerance")? };
    if q.len() != theirs.len() || q.iter().zip(&theirs).any(|(a, b)| a.is_nan() || (a - b).abs() > allowed * b.max(1.0)) {
        return Err(failed(format!("the levels are {q:?} and should be {theirs:?}")));
    }
    if case.compat("iddpm_grid_float32") {
        q = theirs;
    }
    q.push(0.0);
    let clock = match case.word("schedule")? {
        "vp" => vp,
        "ve" => NoiseClock::Ve,
        "linear" => NoiseClock::Linear,
        other => return skip(format!("no schedule {other:?}")),
    };
    if churn.amount != 0.0 || case.number("alpha")? != 1.0 {
        return skip("churn, or a second stage inside the step, on a scaled path");
    }
    let grid = Grid::in_time_of(clock, case.word("scaling")? == "vp", &q).map_err(failed)?;
    Ok(match case.method() {
        "edm_ablation_euler" => Euler.program(&grid),
        _ => Heun { euler_last: true }.program(&grid),
    })
}

/// k-diffusion's solvers.
fn on_sigmas(case: &Case) -> Result<Program, Trouble> {
    let (max, min) = (case.number("sigma_max")?, case.number("sigma_min")?);
    let mut q = grids::between_ends(case.params(), case.word("sigma_grid")?, max, min, case.count("num_steps")?)?;
    q.push(case.number("final_sigma")?);
    case.check("sigmas", &q)?;
    let grid = grids::grid(&q, Form::Exploding)?;
    let noisy = || Ok::<_, Trouble>((case.number("eta")?, case.number("s_noise")?));
    let multistep =
        |order, second, (eta, noise)| HalfCurvature(DpmPlusPlus { order, second, eta, noise, lower_below: 0 }).program(&grid);
    Ok(match case.method() {
        "k_euler" | "k_heun" => {
            let second_order = case.method() == "k_heun";
            Edm { second_order, churn: churn(case, "s_churn", CHURN)? }.program(&grid)
        }
        "k_dpm_2" if case.number("s_churn")? == 0.0 => Dpm2 { eta: 0.0, noise: 1.0 }.program(&grid),
        "k_lms" => Lms { order: case.count("order")? }.program(&grid),
        "k_dpmpp_2m" => multistep(2, SecondOrder::Midpoint, (0.0, 1.0)),
        "k_dpmpp_2m_sde" => multistep(2, second_order(case)?, noisy()?),
        "k_dpmpp_3m_sde" => multistep(3, SecondOrder::Heun, noisy()?),
        "k_euler_ancestral" if case.number("s_noise")? == 1.0 => Ddim { eta: case.number("eta")? }.program(&grid),
        "k_dpm_2_ancestral" => {
            let (eta, noise) = noisy()?;
            Dpm2 { eta, noise }.program(&grid)
        }
        "k_dpmpp_2s_ancestral" => {
            let (eta, noise) = noisy()?;
            DpmPlusPlus2S { eta, noise }.program(&grid)
        }
        "k_dpmpp_sde" => {
            let (eta, noise) = noisy()?;
            DpmPlusPlusSde { eta, noise, r: case.number("r")? }.program(&grid)
        }
        other => return skip(format!("no method {other:?} with these options")),
    })
}
