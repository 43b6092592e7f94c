//! Which site a page that posts belongs to: ours, one that is allowed, or a foreign one.
//!
//! This stands in for Django's CSRF token, which a page that is not Django's cannot know: a
//! browser says where a request comes from in `Sec-Fetch-Site` and `Origin`, and no page can
//! change that.

use hyper::{HeaderMap, header, header::HeaderValue};

/// The origin of the page that sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Our own site, or no browser at all.
    Ours,
    /// Another site, listed in `allowed_origin`.
    Allowed(HeaderValue),
    /// Any other site.
    Foreign,
}

/// Reads the origin. `host` is the authority that the browser asked for.
pub fn of(headers: &HeaderMap, host: Option<&str>, allowed: &[String]) -> Origin {
    let origin = headers.get(header::ORIGIN);
    let text = origin.and_then(|value| value.to_str().ok());
    if let (Some(value), Some(text)) = (origin, text)
        && allowed.iter().any(|entry| entry == text)
    {
        return Origin::Allowed(value.clone());
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => Origin::Ours,
        Some(_) => Origin::Foreign,
        // A browser from before Sec-Fetch-Site sends Origin with every POST across sites.
        None if origin.is_none() => Origin::Ours,
        None => match (text.and_then(authority), host) {
            (Some(page), Some(host)) if page.eq_ignore_ascii_case(host) => Origin::Ours,
            _ => Origin::Foreign,
        },
    }
}

/// `host[:port]` of `http(s)://host[:port]`. The scheme is not compared: behind a proxy we do not
/// know ours.
fn authority(origin: &str) -> Option<&str> {
    origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(origin: Option<&str>, site: Option<&str>, expected: &str) {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        if let Some(site) = site {
            headers.insert("sec-fetch-site", site.parse().unwrap());
        }
        let allowed = ["https://shop.example".to_owned()];
        let found = match of(&headers, Some("good.com"), &allowed) {
            Origin::Ours => "ours",
            Origin::Allowed(_) => "allowed",
            Origin::Foreign => "foreign",
        };
        assert_eq!(found, expected, "{origin:?} {site:?}");
    }

    #[test]
    fn only_our_own_and_listed_origins_pass() {
        check(None, None, "ours");
        check(Some("https://good.com"), None, "ours");
        check(Some("http://GOOD.com"), None, "ours");
        check(Some("https://good.com"), Some("same-origin"), "ours");
        check(None, Some("none"), "ours");
        check(Some("https://shop.example"), Some("cross-site"), "allowed");
        check(Some("https://shop.example"), None, "allowed");
        check(Some("https://other.good.com"), Some("same-site"), "foreign");
        check(Some("https://evil.com"), Some("cross-site"), "foreign");
        check(None, Some("cross-site"), "foreign");
        check(Some("https://evil.com"), None, "foreign");
        check(Some("null"), None, "foreign");
        check(Some("https://good.com.evil"), None, "foreign");
        check(Some("https://good.com:8443"), None, "foreign");
        check(Some("https://shop.example.evil"), None, "foreign");
        check(Some("http://shop.example"), None, "foreign");
        check(Some("ftp://good.com"), None, "foreign");
    }
}
