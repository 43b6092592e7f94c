//! The head of a request, as the server's own code judges it: where it comes from.
#![expect(clippy::needless_pass_by_value, reason = "PyO3 makes owned values of Python's")]

use std::net::{IpAddr, Ipv4Addr};

use djaffar::activity::{Client, Clock, Micros};
use djaffar::config::Network;
use djaffar::http::{client, origin};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::posted;

/// The head of a request.
#[derive(Debug)]
#[pyclass(frozen, module = "djaffar._djaffar")]
pub(crate) struct Request {
    client: Client,
    headers: HeaderMap,
    now: Micros,
}

#[pymethods]
impl Request {
    /// `headers`: name and value of those that count; as bytes, for a header has no encoding. `peer`: the other end of the connection; a
    /// blank one is a Unix socket, which only a program of this machine can have opened.
    /// `trusted_proxy`: networks whose X-Forwarded-For is believed.
    /// `now`: our clock when it came in, in microseconds since 1970.
    #[new]
    fn new(
        headers: Vec<(String, Vec<u8>)>,
        peer: &str,
        trusted_proxy: Vec<String>,
        now: Micros,
    ) -> PyResult<Request> {
        let peer = if peer.is_empty() || peer.starts_with("unix:") {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            // What is no address is nobody whom we trust.
            peer.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        };
        let mut map = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            // What cannot be in a header is not there.
            if let Ok(name) = HeaderName::try_from(name)
                && let Ok(value) = HeaderValue::try_from(value)
            {
                map.append(name, value);
            }
        }
        let client = client::of(&map, peer, &networks(&trusted_proxy)?);
        Ok(Request { client, headers: map, now })
    }

    /// The address of whoever sent it.
    #[getter]
    fn address(&self) -> String {
        self.client.address.to_string()
    }

    /// What it says of the page.
    #[getter]
    fn referer(&self) -> &str {
        &self.client.referer
    }

    /// What it says of the browser.
    #[getter]
    fn user_agent(&self) -> &str {
        &self.client.user_agent
    }

    /// What a body holds: one activity, or a list of them for a batch; each may be invalid by
    /// itself. `time_zone`: of dates without an offset.
    fn read(
        &self,
        py: Python<'_>,
        content_type: Option<&str>,
        body: &[u8],
        time_zone: &str,
    ) -> PyResult<Py<PyAny>> {
        let unknown = |_| PyValueError::new_err(format!("no time zone is called {time_zone:?}"));
        let zone = jiff::tz::TimeZone::get(time_zone).map_err(unknown)?;
        let clock = Clock { now: self.now, zone: &zone };
        posted::read(py, content_type, body, &self.client, &clock)
    }

    /// Whose page sent it: "ours", "allowed" (listed in `allowed_origin`) or "foreign".
    fn origin(&self, host: Option<&str>, allowed_origin: Vec<String>) -> &'static str {
        match origin::of(&self.headers, host, &allowed_origin) {
            origin::Origin::Ours => "ours",
            origin::Origin::Allowed(_) => "allowed",
            origin::Origin::Foreign => "foreign",
        }
    }
}

fn networks(texts: &[String]) -> PyResult<Vec<IpNet>> {
    let parse = |text: &String| {
        let wrong = |why| PyValueError::new_err(format!("trusted_proxy: {why}"));
        text.parse::<Network>().map(|network| network.0).map_err(wrong)
    };
    texts.iter().map(parse).collect()
}
