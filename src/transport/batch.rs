//! Many problems at once, of any sizes, each stopping by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::ThreadPoolBuilder;

use crate::backend::Device;
use crate::transport::{Outcome, Problem, Sinkhorn, TransportError};
use crate::watch::Watch;

/// Pairs of points from which on a problem keeps all threads busy by itself.
const LARGE: usize = 1 << 20;

impl Sinkhorn {
    /// Solves `problems` on `device`; each outcome is bit for bit what [`Sinkhorn::solve`] gives of that problem alone.
    ///
    /// On the processor small problems are shared out among the threads, one a thread at a time, and large ones take all threads one
    /// after the other. No problem is padded to the size of another, and none waits for another to converge. `watch` is told from
    /// several threads, and keeps nothing.
    ///
    /// ```
    /// use brenier::backend::{Device, Precision};
    /// use brenier::measure::Cloud;
    /// use brenier::transport::{Problem, Sinkhorn};
    /// use brenier::watch::Watch;
    ///
    /// let (x, y, device) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![2.0, 3.0], 1)?, Device::cpu(Precision::F64));
    /// let problems = [Problem::new(&x, &y, 0.1)?, Problem::new(&y, &x, 0.2)?];
    /// let outcomes = Sinkhorn::default().solve_batch(&problems, &device, Watch::default());
    /// assert!(outcomes.iter().all(|outcome| outcome.is_ok()));
    /// # Ok::<(), brenier::Error>(())
    /// ```
    ///
    /// # Errors
    /// Of each problem by itself, as for [`Sinkhorn::solve`].
    pub fn solve_batch(&self, problems: &[Problem], device: &Device, watch: Watch<'_>) -> Vec<Result<Outcome, TransportError>> {
        let is_small = |problem: &&Problem| problem.source().len() * problem.target().len() < LARGE;
        let threads = rayon::current_num_threads().min(problems.iter().filter(is_small).count());
        let solve = |k: usize| self.solve_watched(&problems[k], None, device, watch.not_keeping());
        let mut outcomes: Vec<Option<Result<Outcome, TransportError>>> = vec![None; problems.len()];
        if threads > 1 && matches!(device, Device::Cpu32(_) | Device::Cpu64(_)) {
            let small: Vec<usize> = (0..problems.len()).filter(|&k| is_small(&&problems[k])).collect();
            let (next, done) = (AtomicUsize::new(0), Mutex::new(&mut outcomes));
            let share = || {
                while let Some(&k) = small.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = solve(k);
                    done.lock().unwrap_or_else(PoisonError::into_inner)[k] = Some(outcome);
                }
            };
            thread::scope(|scope| {
                for _ in 0..threads {
                    // In a pool of one thread the loops within a problem stay on it; where none can be had, all share the pool there is.
                    let worker = || match ThreadPoolBuilder::new().num_threads(1).build() {
                        Ok(pool) => pool.install(share),
                        Err(_) => share(),
                    };
                    if thread::Builder::new().spawn_scoped(scope, worker).is_err() {
                        break; // what nobody has solved is solved below
                    }
                }
            });
        }
        outcomes.into_iter().enumerate().map(|(k, outcome)| outcome.unwrap_or_else(|| solve(k))).collect()
    }
}
