//! What the system may send: Ctrl-C, and a file-size limit.

use std::io::{Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks the work to stop, a second one ends the process at once, and a file-size limit is a write error.
pub fn install() -> Result<(), Failure> {
    // SAFETY: ignoring a signal installs no handler, so no code of ours runs in a signal's context.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let handled = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        // Stop even if stderr is closed.
        let _ = writeln!(stderr(), "stopping after this step; Ctrl-C again to leave at once");
    });
    match handled {
        // Without a thread that waits for it, Ctrl-C ends the process at once, as it does any other.
        #[cfg(unix)]
        Err(ctrlc::Error::System(_)) => {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                // SAFETY: the default action runs none of our code.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails when Ctrl-C was pressed: called between pieces of work that cannot be stopped inside.
pub fn check() -> Result<(), Failure> {
    if interrupted() { Err("interrupted".into()) } else { Ok(()) }
}
