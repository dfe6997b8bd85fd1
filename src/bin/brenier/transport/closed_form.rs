//! Gaussian laws at both ends: what is known of them without a draw.

use std::time::Instant;

use brenier::measure::Measure;
use brenier::random::Stream;
use brenier::transport::{ClosedForm, CostScale, Gaussian, Solved};

use super::Answer;
use super::entropic::Entropic;
use crate::solver::HALF_SQUARED;
use crate::{Failure, memory};

/// The largest dimension in which the closed form is given unasked: its eigenvalues take d³ operations.
const UNASKED_DIM: usize = 128;

/// Draws of each law by which the default ε is chosen: as many as `--n` has by default.
const DRAWS: usize = 4096;

/// Both ends as Gaussian laws, if they are; an error where they must be and are not.
pub fn laws((source, target): &(Measure, Measure), asked: bool) -> Result<Option<[Gaussian; 2]>, Failure> {
    let (Measure::Law(x), Measure::Law(y)) = (source, target) else { return refuse(asked) };
    if x.dim() > UNASKED_DIM && !asked {
        return Ok(None);
    }
    memory::require("covariances of that dimension", 16 * (x.dim() * x.dim()) as u64)?;
    match (Gaussian::of_mixture(x), Gaussian::of_mixture(y)) {
        (Some(x), Some(y)) => Ok(Some([x, y])),
        _ => refuse(asked),
    }
}

fn refuse(asked: bool) -> Result<Option<[Gaussian; 2]>, Failure> {
    match asked {
        true => Err("--closed-form is for Gaussian laws at both ends: normal, or a .json mixture with one component".into()),
        false => Ok(None),
    }
}

/// The values to compare with a solve at `eps`, which is 0 for an exact plan and one of low rank.
pub fn values([x, y]: &[Gaussian; 2], eps: f64, entropic: &Entropic) -> Result<ClosedForm, Failure> {
    Ok(ClosedForm::new(x, y, (eps > 0.0).then_some(eps), entropic.plan.rho(eps)?)?)
}

/// The values of the problem that draws would be solved for: on a line the exact one unless a flag asks for the entropic one.
pub fn solve(
    laws: &[Gaussian; 2],
    (source, target): &(Measure, Measure),
    entropic: &Entropic,
    seed: u32,
) -> Result<Answer, Failure> {
    let begun = Instant::now();
    // By draws of both laws, as ε of draws is.
    let scale = || {
        let [x, y] = [(source, 0), (target, 1)].map(|(law, step)| law.sample(DRAWS, seed, Stream::Source, step));
        HALF_SQUARED.scale(&x, &y, seed)
    };
    let exact = laws[0].dim() == 1 && !entropic.is_asked_for();
    let chosen = if exact { None } else { Some(entropic.plan.choose(CostScale::PLAN, scale)?) };
    let eps = chosen.as_ref().map(|chosen| chosen.eps);
    let rho = entropic.plan.rho(eps.unwrap_or(0.0))?;
    if rho[0] != rho[1] {
        return Err(
            "there is a closed form only where both ends have the same reach; leave --closed-form out, or give --reach or --tau"
                .into(),
        );
    }
    let closed = ClosedForm::new(&laws[0], &laws[1], eps, rho)?;
    Ok(Answer {
        solved: Solved::closed_form(&closed, eps),
        points: None,
        d: laws[0].dim(),
        eps_origin: chosen.map(|chosen| chosen.origin),
        sliced: None,
        closed_form: Some(closed),
        seconds: begun.elapsed().as_secs_f64(),
    })
}
