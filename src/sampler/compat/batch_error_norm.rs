//! One error and one step for all particles (`compat batch_error_norm`): a particle's path then depends on the others.

use std::cell::Cell;

use crate::path::Level;
use crate::sampler::adaptive::March;
use crate::sampler::loops::adaptive_flow::{AdaptiveDpm, AdaptiveFlow, Asked, EVALUATIONS, from_level, to_level};
use crate::sampler::loops::{Ensemble, Loop, Looped, Pauses};
use crate::sampler::{AdaptiveRun, RunError};

/// An adaptive method with all particles as one system.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchErrorNorm<L>(pub L);

impl Loop for BatchErrorNorm<AdaptiveFlow> {
    fn start(&self) -> Level {
        self.0.start()
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let AdaptiveFlow { method, bound, ticks, .. } = self.0;
        let (start, asked, end) = (ensemble.start, Asked::new(ensemble.field), self.0.end(ensemble.field));
        let bound = if end == 1.0 { bound } else { end };
        let (nfe, parts) = (Cell::new(pauses.part.record(EVALUATIONS).unwrap_or(0)), [start.len()]);
        let mut slope = |t: f64, x: &[f64]| {
            nfe.set(nfe.get() + self.0.evaluations(&asked, t));
            self.0.velocity(&asked, 0, t, x)
        };
        let mut march = March::kept(&pauses.part).unwrap_or_else(|| method.begin(&mut slope, [0.0, bound], start, &parts));
        while !march.has_passed(end) {
            pauses.pass((march.time() * ticks as f64) as usize, |part| {
                part.keep_record(EVALUATIONS, &nfe.get());
                march.keep(part);
            })?;
            let step = method.step(&mut march, &mut slope, &parts);
            asked.checked(step.map_err(RunError::from))?;
        }
        let points = self.0.finish(&asked, end, 0, march.at(end));
        let tries = vec![march.tries(); start.len() / ensemble.field.dim()];
        asked.checked(Ok(Looped { nfe: nfe.get() + self.0.evaluations_after(&asked, end), points, tries, log_p: Vec::new() }))
    }
}

impl Loop for BatchErrorNorm<AdaptiveDpm> {
    fn start(&self) -> Level {
        self.0.start()
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let ([first, last], asked, solver) = (self.0.ends()?, Asked::new(ensemble.field), self.0.solver);
        let mut nfe = pauses.part.record(EVALUATIONS).unwrap_or(0);
        let begin = || solver.begin(&from_level(ensemble.start, first), first.ratio());
        let mut run = AdaptiveRun::kept(&pauses.part).unwrap_or_else(begin);
        loop {
            pauses.pass(run.accepted.min(self.0.ticks), |part| {
                part.keep_record(EVALUATIONS, &nfe);
                run.keep(part);
            })?;
            if !solver.step(&mut |q, y| self.0.noise(&asked, 0, (q, y), &mut nfe), &mut run, last.ratio()) {
                let run = asked.checked(run.arrived_at(last.ratio()).map_err(RunError::from))?;
                let tries = vec![run.tries(); ensemble.start.len() / ensemble.field.dim()];
                return Ok(Looped { points: to_level(&run.state, last), nfe, tries, log_p: Vec::new() });
            }
        }
    }
}
