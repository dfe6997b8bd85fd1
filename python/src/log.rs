//! What the library logs, to the logger "brenier" of Python's `logging`.

use std::fmt::{Debug, Write};
use std::sync::Once;

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::in_keywords;

/// From the first call on, warnings and information go to Python.
pub fn forward() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where somebody listens already, as the command line does, he goes on.
        let _ = tracing_subscriber::registry().with(Forward).try_init();
    });
}

struct Forward;

impl<S: Subscriber> Layer<S> for Forward {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            // Of each iteration.
            _ => return,
        };
        let mut words = Words::default();
        event.record(&mut words);
        Python::attach(|py| {
            let logger = py.import("logging").and_then(|logging| logging.call_method1("getLogger", ("brenier",)));
            if let Err(why) = logger.and_then(|logger| logger.call_method1(level, ("%s", in_keywords(&words.0)))) {
                why.write_unraisable(py, None);
            }
        });
    }
}

/// The message of an event, and its fields.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name} = {value:?}"),
        };
    }
}
