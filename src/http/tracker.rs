//! The tracker's files, as pages load them: with an ETag, and compressed once at the start.
//!
//! What they do, docs/tracker.md tells; here they are bytes.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use sha2::{Digest, Sha256};

use super::error::{Answer, unless_read};

const SCRIPT: &[u8] = include_bytes!("../../assets/tracker/djaffar.min.js");
const MORE: &[u8] = include_bytes!("../../assets/tracker/more.min.js");

/// The name under which the script looks for its second file.
pub const MORE_NAME: &str = "more.js";
/// Their type.
pub const MEDIA_TYPE: &str = "text/javascript; charset=utf-8";
/// A page may use a copy for an hour, and for a day while it asks for a newer one.
pub const CACHE: &str = "public, max-age=3600, stale-while-revalidate=86400";

/// A file, plain and compressed.
#[derive(Debug)]
pub struct File {
    /// As it is.
    pub plain: Bytes,
    /// By gzip.
    pub gzip: Bytes,
    /// What its ETags begin with: the start of its hash.
    tag: String,
}

impl File {
    fn new(bytes: &'static [u8]) -> File {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail; an empty twin would never be chosen.
        let gzip = encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default();
        let hash = Sha256::digest(bytes);
        let tag = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        File { plain: Bytes::from_static(bytes), gzip: Bytes::from(gzip), tag }
    }

    /// The bytes for a client with this Accept-Encoding, their ETag, and whether they are compressed.
    pub fn choose(&self, accept_encoding: Option<&str>) -> (&Bytes, String, bool) {
        let gzip = accepts_gzip(accept_encoding) && !self.gzip.is_empty();
        let (bytes, suffix) = if gzip { (&self.gzip, "-gzip") } else { (&self.plain, "") };
        (bytes, format!("\"{}{suffix}\"", self.tag), gzip)
    }
}

/// Both files.
#[derive(Debug)]
pub struct Tracker {
    /// What the script tag names.
    pub script: File,
    /// What it loads where it must.
    pub more: File,
}

impl Default for Tracker {
    fn default() -> Tracker {
        Tracker { script: File::new(SCRIPT), more: File::new(MORE) }
    }
}

impl Tracker {
    /// The file of that name; `name`: what the script is called here.
    pub fn file(&self, asked: &str, name: &str) -> Option<&File> {
        match asked {
            MORE_NAME => Some(&self.more),
            asked if asked == name => Some(&self.script),
            _ => None,
        }
    }
}

/// Answers a request for a file.
pub fn answer(file: &File, method: &Method, headers: &HeaderMap) -> Answer {
    if let Some(refusal) = unless_read(method) {
        return refusal;
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (bytes, etag, gzip) = file.choose(text(header::ACCEPT_ENCODING));
    let mut answer = if matches(text(header::IF_NONE_MATCH), &etag) {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        let mut answer = Response::new(Full::new(bytes.clone()));
        let kind = HeaderValue::from_static(MEDIA_TYPE);
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        if gzip {
            let gzip = HeaderValue::from_static("gzip");
            answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        }
        answer
    };
    let headers = answer.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, CACHE),
        (header::VARY, "Accept-Encoding"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Pages of other sites may load it, also as a module and where they isolate themselves.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Whether the client has this version: If-None-Match compares weakly (RFC 9110, 13.1.2).
fn matches(if_none_match: Option<&str>, etag: &str) -> bool {
    let mut listed = if_none_match.unwrap_or_default().split(',').map(str::trim);
    listed.any(|entry| entry == "*" || entry.strip_prefix("W/").unwrap_or(entry) == etag)
}

/// Whether Accept-Encoding takes gzip: by its name or by `*`, but not with a weight of 0.
fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    let weight = |wanted: &str| {
        accept_encoding.unwrap_or_default().split(',').find_map(|entry| {
            let (coding, rest) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = rest.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
            coding.trim().eq_ignore_ascii_case(wanted).then(|| weight.unwrap_or(0.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small() {
        let tracker = Tracker::default();
        assert!(tracker.script.gzip.len() <= 2_048, "{} bytes", tracker.script.gzip.len());
        assert!(tracker.more.gzip.len() <= 2_048, "{} bytes", tracker.more.gzip.len());
    }

    #[test]
    fn gzip_where_it_is_taken() {
        let table = [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("gzip, deflate, br, zstd"), true),
            (Some("br;q=1.0, GZIP;q=0.8"), true),
            (Some("gzip;q=0"), false),
            (Some("*"), true),
            (Some("*, gzip;q=0"), false),
            (Some("gzip; q=0.000"), false),
            (Some("gzip;q=much"), false),
            (Some("br"), false),
            (Some("xgzip"), false),
        ];
        for (header, expected) in table {
            assert_eq!(accepts_gzip(header), expected, "{header:?}");
        }
    }

    #[test]
    fn a_client_that_has_it() {
        let table = [
            (None, false),
            (Some("\"a\""), true),
            (Some("W/\"a\""), true),
            (Some("\"b\", \"a\""), true),
            (Some("*"), true),
            (Some("\"b\""), false),
            (Some("a"), false),
        ];
        for (header, expected) in table {
            assert_eq!(matches(header, "\"a\""), expected, "{header:?}");
        }
    }
}
