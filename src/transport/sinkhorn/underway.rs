//! A solve under way: what it takes to go on with the iteration, bit for bit.

use crate::backend::Backend;
use crate::checkpoint::Part;
use crate::transport::sinkhorn::Run;
use crate::transport::sinkhorn::alternation::Saved;
use crate::watch::Residual;

/// The iteration at one ε, on the host.
pub struct Iteration {
    pub saved: Saved,
    /// The least error, and when.
    pub least: (f64, usize),
    /// The number at which it ends at the latest.
    pub last: usize,
    /// Iterations whose errors were not looked at yet, and these.
    pub ahead: Vec<(usize, f64)>,
}

/// The record of where a solve is: level, iterations made, and of the level the last one and that of the least error.
const AT: &str = "at";
/// The error of the plan of a solve that is done.
const DONE: &str = "error at the end";
/// The arrays of the acceleration.
const MEMORY: [&str; 4] = ["steps", "changes", "points", "state"];

impl<B: Backend> Run<'_, B> {
    /// Keeps the state between two iterations.
    pub fn keep(&self, at: Iteration, part: &mut Part<'_>) {
        self.keep_potentials(part);
        part.keep_record(AT, &(self.level, self.iterations, at.last, at.least.1));
        part.keep_array("least error", vec![at.least.0]);
        part.keep_array("ahead", at.ahead.iter().flat_map(|(iteration, error)| [*iteration as f64, *error]).collect());
        part.keep_array("log ratio", at.saved.log_ratio);
        part.keep_array("change", at.saved.change);
        for (k, (eps, phi)) in self.before.iter().enumerate() {
            part.keep_array(&format!("level before {k}"), [&[*eps], &phi[..]].concat());
        }
        for (name, values) in MEMORY.into_iter().zip(at.saved.memory.into_iter().flatten()) {
            part.keep_array(name, values);
        }
    }

    /// Keeps the potentials with which the iteration ended, and their `error`.
    pub fn keep_end(&self, error: f64, part: &mut Part<'_>) {
        self.keep_potentials(part);
        part.keep_record(AT, &(0, self.iterations, self.iterations, self.iterations));
        part.keep_array(DONE, vec![error]);
    }

    fn keep_potentials(&self, part: &mut Part<'_>) {
        part.keep_array("phi", self.phi.clone());
        part.keep_array("psi", self.psi.clone());
        Residual::keep(&self.history, part);
    }

    /// Takes the state that `part` has: the iteration to go on with, or the error where it was done.
    pub fn recall(&mut self, part: &Part<'_>) -> Option<Result<Iteration, f64>> {
        let (level, iterations, last, least): (u32, usize, usize, usize) = part.record(AT)?;
        let array = |name: &str| part.array(name).map(<[f64]>::to_vec);
        let before = (0..).map_while(|k| part.array(&format!("level before {k}"))?.split_first());
        (self.phi, self.psi, self.history) = (array("phi")?, array("psi")?, Residual::kept(part)?);
        (self.level, self.iterations) = (level, iterations);
        self.before = before.map(|(eps, phi)| (*eps, phi.to_vec())).collect();
        if let Some(&[error]) = part.array(DONE) {
            return Some(Err(error));
        }
        let memory = MEMORY.map(array);
        let memory = if let [Some(a), Some(b), Some(c), Some(d)] = memory { Some([a, b, c, d]) } else { None };
        let ahead = part.array("ahead")?.as_chunks().0.iter().map(|&[iteration, error]| (iteration as usize, error)).collect();
        let saved = Saved { log_ratio: array("log ratio")?, change: array("change")?, memory };
        Some(Ok(Iteration { saved, least: (*part.array("least error")?.first()?, least), last, ahead }))
    }
}
