//! What was posted, as Python sees it.

use djaffar::activity::body::{self, BodyError, Posted};
use djaffar::activity::{Activity as Valid, Client, Clock, Identity, Invalid as Wrong};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

create_exception!(
    djaffar._djaffar,
    UnsupportedMediaType,
    PyException,
    "The body is of a type that is not read (415)."
);
create_exception!(
    djaffar._djaffar,
    Malformed,
    PyException,
    "The body is not what its type says, or over a limit (400)."
);

/// An activity that may be stored.
#[derive(Debug)]
#[pyclass(frozen, get_all, module = "djaffar._djaffar")]
pub(crate) struct Activity {
    /// When the user did it: microseconds since 1970-01-01T00:00:00Z.
    date: i64,
    path: String,
    referer: String,
    /// At most 1,000 characters.
    user_agent: String,
    /// A UUID.
    event_id: Option<String>,
    name: String,
    /// A JSON object as compact text.
    properties: Option<String>,
}

impl From<Valid> for Activity {
    fn from(valid: Valid) -> Self {
        Activity {
            date: valid.date,
            path: valid.path,
            referer: valid.referer,
            user_agent: valid.user_agent,
            event_id: valid.event_id.map(|id| id.to_string()),
            name: valid.name,
            properties: valid.properties,
        }
    }
}

/// What was posted, and is no activity.
#[derive(Debug)]
#[pyclass(frozen, get_all, module = "djaffar._djaffar")]
pub(crate) struct Invalid {
    /// Messages by field, in Django REST framework's words.
    errors: Py<PyDict>,
}

impl Invalid {
    fn new(py: Python<'_>, wrong: Wrong) -> PyResult<Invalid> {
        let errors = PyDict::new(py);
        for (field, messages) in wrong.0 {
            errors.set_item(field, messages)?;
        }
        Ok(Invalid { errors: errors.unbind() })
    }
}

/// Reads a body: an `Activity` or `Invalid`, or a list of them for a batch.
pub(crate) fn read(
    py: Python<'_>,
    content_type: Option<&str>,
    body: &[u8],
    client: &Client,
    clock: &Clock<'_>,
) -> PyResult<Py<PyAny>> {
    let made = |input| Valid::new(input, client, Identity::default(), clock);
    match body::read(content_type, body) {
        Ok(Posted::One(input)) => object(py, made(input)),
        Ok(Posted::Batch(inputs)) => {
            let all = inputs.into_iter().map(|input| object(py, input.and_then(made)));
            Ok(all.collect::<PyResult<Vec<_>>>()?.into_pyobject(py)?.unbind())
        }
        Err(BodyError::Invalid(wrong)) => object(py, Err(wrong)),
        Err(error @ BodyError::UnsupportedMediaType(_)) => {
            Err(UnsupportedMediaType::new_err(error.to_string()))
        }
        Err(error @ BodyError::Malformed(_)) => Err(Malformed::new_err(error.to_string())),
    }
}

fn object(py: Python<'_>, made: Result<Valid, Wrong>) -> PyResult<Py<PyAny>> {
    match made {
        Ok(valid) => Ok(Py::new(py, Activity::from(valid))?.into_any()),
        Err(wrong) => Ok(Py::new(py, Invalid::new(py, wrong)?)?.into_any()),
    }
}
