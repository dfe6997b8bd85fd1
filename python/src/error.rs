//! Errors of the library as exceptions: the same sentence, with keywords where the command line has flags.

use brenier::Error;
use brenier::backend::BackendError;
use brenier::transport::TransportError;
use pyo3::PyErr;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};

/// Something that is not the caller's fault.
pub fn raised(why: &str) -> PyErr {
    PyRuntimeError::new_err(why.to_owned())
}

/// The exception of an error.
pub fn exception(error: impl Into<Error>) -> PyErr {
    let error = error.into();
    let sentence = in_keywords(&error.to_string());
    match error {
        Error::Backend(BackendError::OutOfMemory { .. })
        | Error::Transport(TransportError::Backend(BackendError::OutOfMemory { .. })) => PyMemoryError::new_err(sentence),
        _ => PyValueError::new_err(sentence),
    }
}

/// `sentence` with each flag, as `--max-iter`, in the form of a keyword, `max_iter`.
pub fn in_keywords(sentence: &str) -> String {
    let mut words = sentence.split("--");
    let mut said = words.next().unwrap_or_default().to_owned();
    for word in words {
        let end = word.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(word.len());
        said.push_str(&word[..end].replace('-', "_"));
        said.push_str(&word[end..]);
    }
    said
}
