//! The tracker's files: the very bytes that the server sends.

use djaffar::http::tracker::{self, CACHE, MEDIA_TYPE, MORE_NAME};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A file, its ETag, and whether it is compressed.
type Chosen<'py> = (Bound<'py, PyBytes>, String, bool);

/// Both files of the tracker.
#[derive(Debug)]
#[pyclass(frozen, module = "djaffar._djaffar")]
pub(crate) struct Tracker(tracker::Tracker);

#[pymethods]
impl Tracker {
    /// The name of the second file.
    #[classattr]
    const MORE_NAME: &'static str = MORE_NAME;
    /// The type of both.
    #[classattr]
    const MEDIA_TYPE: &'static str = MEDIA_TYPE;
    /// How long a page may use a copy.
    #[classattr]
    const CACHE: &'static str = CACHE;

    #[new]
    fn new() -> Tracker {
        Tracker(tracker::Tracker::default())
    }

    /// The script, or the file that it loads where it must, for this Accept-Encoding.
    fn file<'py>(&self, py: Python<'py>, more: bool, accept_encoding: Option<&str>) -> Chosen<'py> {
        let file = if more { &self.0.more } else { &self.0.script };
        let (bytes, etag, gzip) = file.choose(accept_encoding);
        (PyBytes::new(py, bytes), etag, gzip)
    }
}
