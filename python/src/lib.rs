//! `djaffar._djaffar`: what the Django app takes from the crate, and the command line.
//!
//! The app reads, validates and judges a request by the same code as the server: [`activity`](djaffar::activity) for
//! bodies and fields, [`http`](djaffar::http) for addresses and origins, [`auth`](djaffar::auth)
//! for the keys of sessions that the server made. It stores through Django's ORM: nothing here but [`main`] opens a database, and that only in a process of its
//! own. This crate knows Python; it knows no Django.

mod posted;
mod request;
mod tracker;

use std::io::Write;

use djaffar::auth::{key::SessionKey, mint, signing::Keys};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use posted::{Activity, Invalid, Malformed, UnsupportedMediaType};
use request::Request;

/// The largest body, in bytes.
const BODY_BYTES: usize = djaffar::http::body::LIMIT;

/// The command line `djaffar …`; returns the exit code. Only in a process of its own.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<String>) -> PyResult<u8> {
    // Two SQLites in a process drop each other's locks on a file that both have opened
    // (sqlite.org/howtocorrupt.html, 2.2.1), and Python brings one.
    let loaded = py.import("sys")?.getattr("modules")?.contains("_sqlite3")?;
    if loaded {
        return Err(PyRuntimeError::new_err(
            "djaffar must not share a process with Python's sqlite3: run `python -m djaffar`",
        ));
    }
    Ok(py.detach(|| {
        let code = djaffar::cli::run(arguments);
        // Rust flushes at the end of a program of its own, and this one is Python's.
        drop(std::io::stdout().flush());
        code
    }))
}

/// What cannot work in these options, written as `djaffar.toml`; `None` where nothing is amiss.
#[pyfunction]
fn trouble(toml: &str) -> Option<String> {
    djaffar::config::Config::parse(toml).err().map(|error| error.to_string())
}

/// Whether `djaffar serve` made this session key, under one of these secrets, however long ago.
#[pyfunction]
fn is_minted(key: &str, secret_key: &str, fallbacks: Vec<String>) -> bool {
    let fallbacks = fallbacks.into_iter().map(|secret| secret.as_str().into()).collect();
    let keys = Keys::new(secret_key.into(), fallbacks);
    SessionKey::parse(key).is_some_and(|key| mint::is_ours(&key, &keys))
}

/// What the Django app takes from Rust.
#[pymodule(gil_used = false)]
fn _djaffar(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("BODY_BYTES", BODY_BYTES)?;
    module.add("UnsupportedMediaType", py.get_type::<UnsupportedMediaType>())?;
    module.add("Malformed", py.get_type::<Malformed>())?;
    module.add_class::<Activity>()?;
    module.add_class::<Invalid>()?;
    module.add_class::<Request>()?;
    module.add_class::<tracker::Tracker>()?;
    module.add_function(wrap_pyfunction!(is_minted, module)?)?;
    module.add_function(wrap_pyfunction!(trouble, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)
}
