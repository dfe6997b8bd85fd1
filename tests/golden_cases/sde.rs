//! The kind `sde`: predictor–corrector, stochastic interpolants, SiT.

use brenier::backend::Noise;
use brenier::path::Grid;
use brenier::sampler::{
    BatchMeanNorms, Corrected, Corrector, Diffusion, LastStep, Method, Predictor, PredictorCorrector, ReverseSde, Sde, StageTime,
    StochasticInterpolant, UnusedDraws,
};

use crate::case::{Case, Produced, Trouble, failed, skip};
use crate::grids;

pub fn run(case: &Case) -> Result<Produced, Trouble> {
    match case.method() {
        "pc" => predictor_corrector(case),
        "si_em" | "si_heun" => {
            let n = case.count("num_steps")?;
            let (t0, t1) = (case.number("t0")?, case.number("t1")?);
            let times: Vec<f64> = (0..=n).map(|i| t0 + (t1 - t0) * i as f64 / n as f64).collect();
            let grid = Grid::at(&grids::continuous(&case.params()["schedule"])?, &times).map_err(failed)?;
            let heun = case.method() == "si_heun";
            let diffusion = Diffusion::Constant(case.number("eps")?);
            let sampler = StochasticInterpolant { diffusion, heun, last: LastStep::Same };
            case.run(&if case.compat("stage_time") { StageTime(sampler).program(&grid) } else { sampler.program(&grid) })
        }
        "sit_euler" | "sit_heun" => sit(case),
        other => skip(format!("no method {other:?}")),
    }
}

fn sit(case: &Case) -> Result<Produced, Trouble> {
    let (n, t0, t1) = (case.count("num_steps")?, case.number("t0")?, case.number("t1")?);
    let mut times: Vec<f64> = (0..n).map(|i| t0 + (t1 - t0) * i as f64 / (n - 1) as f64).collect();
    times.push((t1 + case.number("last_step_size")?).min(1.0));
    let grid = Grid::at(&grids::continuous(&case.params()["schedule"])?, &times).map_err(failed)?;
    let norm = case.number("diffusion_norm")?;
    let diffusion = match case.word("diffusion_form")? {
        "constant" => Diffusion::Constant(norm),
        "SBDM" => Diffusion::ScoreBased(norm),
        "sigma" => Diffusion::Sigma(norm),
        "linear" => Diffusion::Linear(norm),
        "decreasing" => Diffusion::Decreasing(norm),
        "increasing-decreasing" | "inccreasing-decreasing" => Diffusion::IncreasingDecreasing(norm),
        other => return skip(format!("no form of w(t) {other:?}")),
    };
    let last = match case.word("last_step")? {
        "mean" => LastStep::Mean,
        "euler" => LastStep::Euler,
        "tweedie" => LastStep::Tweedie,
        other => return skip(format!("no last step {other:?}")),
    };
    let heun = case.method() == "sit_heun";
    case.run(&StochasticInterpolant { diffusion, heun, last }.program(&grid))
}

fn predictor_corrector(case: &Case) -> Result<Produced, Trouble> {
    if case.number("T")? != 1.0 {
        return skip("a horizon other than 1");
    }
    let pair = |low, high| Ok::<_, Trouble>((case.number(low)?, case.number(high)?));
    let sde = match case.word("sde")? {
        "ve" => pair("sigma_min", "sigma_max").map(|(low, high)| Sde::Ve(low, high))?,
        "vp" => pair("beta_min", "beta_max").map(|(low, high)| Sde::Vp(low, high))?,
        "subvp" => pair("beta_min", "beta_max").map(|(low, high)| Sde::SubVp(low, high))?,
        other => return skip(format!("no SDE {other:?}")),
    };
    let predictor = match case.word("predictor")? {
        "reverse_diffusion" => Predictor::ReverseDiffusion,
        "ancestral_sampling" => Predictor::Ancestral,
        "euler_maruyama" => Predictor::EulerMaruyama,
        other => return skip(format!("no predictor {other:?}")),
    };
    let snr = case.number("snr")?;
    let corrector = match case.word("corrector")? {
        "none" => Corrector::None,
        "langevin" if case.compat("batch_mean_norms") => Corrector::Langevin(snr),
        "ald" => Corrector::Langevin(snr),
        other => return skip(format!("no corrector {other:?}")),
    };
    let sampler = PredictorCorrector {
        sde,
        levels: case.count("N")?,
        end: case.number("eps")?,
        predictor,
        corrector,
        corrections: case.count("n_steps")?,
        probability_flow: case.flag("probability_flow"),
    };
    let times = sampler.times();
    case.check("model_sigmas", &times.iter().map(|&t| sde.level(t).sigma).collect::<Vec<f64>>())?;
    case.check("discrete_sigmas", &(0..sampler.levels).map(|j| sde.table(Some(j), sampler.levels)).collect::<Vec<f64>>())?;
    case.check("discrete_index", &times.iter().map(|&t| sampler.index(t) as f64).collect::<Vec<f64>>())?;
    let (start, noise) = (case.start()?, case.noise()?);
    let mut states = vec![start.clone()];
    let theirs: Box<dyn ReverseSde> = match case.word("corrector")? {
        "langevin" => Box::new(BatchMeanNorms(sampler)),
        _ => Box::new(sampler),
    };
    let theirs: Box<dyn ReverseSde> = if case.compat("unused_draws") { Box::new(UnusedDraws(theirs)) } else { theirs };
    let (field, mut run) = (case.field()?.prepare(&Case::device()).map_err(failed)?, Corrected::from(&start));
    while run.made < sampler.levels {
        theirs.step(&field, &mut run, Noise::Given(&noise)).map_err(failed)?;
        states.push(run.state.clone());
    }
    if case.flag("denoise") {
        states.push(run.mean.clone());
    }
    Ok(Produced { states, times: Vec::new(), mean: Some(run.mean), nfe: run.nfe })
}
