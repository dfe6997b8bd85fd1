//! The threads that work.

use std::io;
use std::num::NonZero;
use std::sync::Mutex;
use std::thread::{self, Builder};

use rayon::ThreadPoolBuilder;

use crate::Failure;
use crate::machine::{self, Limit};

/// Address space that a thread is reckoned to need: twice its stack.
const SPACE: u64 = 4 << 20;

/// Makes the threads that work: `asked` of them, or one for each processor, or as many as the system allows. No result depends on
/// their number.
pub fn make(asked: Option<NonZero<u16>>) -> Result<(), Failure> {
    machine::share_arena();
    let named = || std::env::var("RAYON_NUM_THREADS").ok()?.parse::<usize>().ok().filter(|n| *n > 0);
    let processors = || thread::available_parallelism().map_or(1, NonZero::get);
    let wanted = asked.map(|n| n.get().into()).or_else(named).unwrap_or_else(processors);
    // Half of what is left is for the points. A thread that cannot have its stack for signals would end the process.
    let room = machine::left(Limit::AddressSpace).map_or(wanted, |left| (left / 2 / SPACE) as usize);
    let (made, refused) = possible(wanted.min(room));
    if made < wanted {
        let why = refused.map_or_else(|| "its limit on memory leaves no room for more".into(), |cause| cause.to_string());
        tracing::warn!(
            "the system allows {} of {wanted} threads ({why}); it takes longer, and no result depends on it",
            made.max(1)
        );
    }
    let pool = ThreadPoolBuilder::new().num_threads(made.max(1));
    Ok(if made == 0 { pool.use_current_thread() } else { pool }.build_global()?)
}

/// How many of `wanted` threads the system makes, and why not more: all are made, and end when the last one is. A pool that fails
/// cannot be made again.
fn possible(wanted: usize) -> (usize, Option<io::Error>) {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let mut made = 0;
        while made < wanted {
            if let Err(cause) = Builder::new().spawn_scoped(scope, || drop(gate.lock())) {
                return (made, Some(cause));
            }
            made += 1;
        }
        drop(closed);
        (made, None)
    })
}
