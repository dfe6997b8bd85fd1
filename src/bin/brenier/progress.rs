//! Progress on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::session::Session;

const BAR: &str = "{spinner:.cyan} {msg:32} {bar:32.cyan/black.bright} {pos}/{len}, {eta} left";
const SPINNER: &str = "{spinner:.cyan} {msg}";

/// A bar over `steps` steps.
pub fn bar(session: &Session, what: &str, steps: usize) -> ProgressBar {
    shown(session, ProgressBar::new(steps as u64), BAR, what)
}

/// A spinner with a message that changes.
pub fn spinner(session: &Session, what: &str) -> ProgressBar {
    shown(session, ProgressBar::new_spinner(), SPINNER, what)
}

fn shown(session: &Session, bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    if !session.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bar.with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
