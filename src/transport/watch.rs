//! A solve that is watched: told of, stopped, and kept in a checkpoint while it goes on.

use crate::checkpoint::Part;
use crate::transport::outcome::Residual;
use crate::transport::sinkhorn::Progress;

/// Who is told of a solve, and where its state is kept.
#[derive(Default)]
pub struct Watch<'a> {
    /// Told of each iteration.
    pub progress: Option<Progress<'a>>,
    /// Where the state is kept; none: nowhere.
    pub kept: Option<Part<'a>>,
}

impl Watch<'_> {
    /// The same watch, for another attempt.
    pub fn again(&mut self) -> Watch<'_> {
        Watch { progress: self.progress, kept: self.kept.as_mut().map(Part::again) }
    }

    /// Tells of the error before an iteration; false where progress says stop.
    pub fn tell(&self, Residual { iteration, eps, error }: Residual) -> bool {
        self.progress.is_none_or(|progress| progress(iteration, eps, error))
    }

    /// Whether the state has to be kept, be it that the solve does not go on.
    pub fn keeps(&self, go_on: bool) -> bool {
        self.kept.as_ref().is_some_and(|part| !go_on || part.is_due())
    }

    /// Has `keep` keep the state where it has to be.
    pub fn keep(&mut self, go_on: bool, keep: impl FnOnce(&mut Part<'_>)) {
        if let Some(part) = &mut self.kept {
            part.pass(go_on, keep);
        }
    }

    /// Keeps the end of the iteration in place of its state.
    pub fn close(&mut self, keep: impl FnOnce(&mut Part<'_>)) {
        if let Some(part) = &mut self.kept {
            part.close(keep);
        }
    }
}

impl Residual {
    /// Keeps the errors so far.
    pub fn keep(history: &[Self], part: &mut Part<'_>) {
        let numbers = history.iter().flat_map(|r| [r.iteration as f64, r.eps, r.error]);
        part.keep_array("history", numbers.collect());
    }

    /// The errors that were kept.
    pub fn kept(part: &Part<'_>) -> Option<Vec<Self>> {
        let rows = part.array("history")?.as_chunks().0;
        Some(rows.iter().map(|&[iteration, eps, error]| Self { iteration: iteration as usize, eps, error }).collect())
    }
}
