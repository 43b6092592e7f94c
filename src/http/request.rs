//! What every request must be, whatever it asks for (RFC 9112 sections 3.2 and 6).

use hyper::{Method, StatusCode, Version, header, http::request::Parts};

use super::error::Error;

/// The longest request target, in bytes.
const TARGET: usize = 8 * 1024;

/// Refuses what could be read in two ways, and hosts that are not ours.
///
/// # Errors
/// 414 for a long target, 400 for a missing, double, unlisted or contradicted Host.
pub fn check(request: &Parts, allowed_host: &[String]) -> Result<(), Error> {
    let bad = |detail: &str| Err(Error::http(StatusCode::BAD_REQUEST, detail));
    let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET {
        let detail = format!("The address may have at most {TARGET} bytes.");
        return Err(Error::http(StatusCode::URI_TOO_LONG, detail));
    }
    // hyper takes any list that ends in chunked, and does not undo the rest of it.
    let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).iter();
    let (coding, second) = (codings.next(), codings.next());
    if coding.is_some_and(|it| !it.as_bytes().eq_ignore_ascii_case(b"chunked")) || second.is_some()
    {
        return bad("Send one Transfer-Encoding: chunked.");
    }
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() || (host.is_none() && request.version == Version::HTTP_11) {
        return bad("Send one Host.");
    }
    let host = host.map(|value| value.to_str().unwrap_or("?"));
    let absolute = request.uri.authority().map(|authority| authority.as_str());
    if let (Some(absolute), Some(host)) = (absolute, host)
        && !absolute.eq_ignore_ascii_case(host)
    {
        return bad("The address and Host name different hosts.");
    }
    let listed =
        |host: &str| allowed_host.iter().any(|allowed| is_host(without_port(host), allowed));
    if !allowed_host.is_empty() && !host.is_some_and(listed) {
        return bad("This host is not served here.");
    }
    Ok(())
}

/// Whether the connection must close after this request: a chunked body, whose end two servers
/// may see in two places, and a body where none is read.
pub fn must_close(request: &Parts) -> bool {
    let headers = &request.headers;
    headers.contains_key(header::TRANSFER_ENCODING)
        || (request.method != Method::POST
            && headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0"))
}

/// Whether a host is the one of a pattern of Django's ALLOWED_HOSTS: `*` is any, and `.example.com`
/// is `example.com` and all below it.
fn is_host(name: &str, pattern: &str) -> bool {
    // One dot at the end says that the name is whole.
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(domain) = pattern.strip_prefix('.') else {
        return pattern == "*" || pattern.eq_ignore_ascii_case(name);
    };
    let below = name.len().checked_sub(pattern.len()).and_then(|at| name.get(at..));
    domain.eq_ignore_ascii_case(name) || below.is_some_and(|it| it.eq_ignore_ascii_case(pattern))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[track_caller]
    fn check_one(uri: &str, hosts: &[&str], expected: Option<StatusCode>) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let allowed = ["www.example.com".to_owned(), "[::1]".to_owned()];
        let found = match check(&request.body(()).unwrap().into_parts().0, &allowed) {
            Ok(()) => None,
            Err(Error::Http(status, _)) => Some(status),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{uri} {hosts:?}");
    }

    #[test]
    fn hosts_as_django_has_them_in_its_settings() {
        for (name, pattern, expected) in [
            ("example.com", "example.com", true),
            ("EXAMPLE.com.", "example.com", true),
            ("www.example.com", "example.com", false),
            ("www.example.com", ".example.com", true),
            ("a.b.Example.com", ".example.com", true),
            ("example.com", ".example.com", true),
            ("badexample.com", ".example.com", false),
            ("com", ".example.com", false),
            ("é.example.com", ".éexample.com", false),
            ("anything", "*", true),
            ("[::1]", "[::1]", true),
        ] {
            assert_eq!(is_host(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn one_host_that_is_ours() {
        let bad = Some(StatusCode::BAD_REQUEST);
        check_one("/", &["www.example.com"], None);
        check_one("/", &["WWW.example.com:8000"], None);
        check_one("/", &["[::1]:8000"], None);
        check_one("/", &["[::1]"], None);
        check_one("http://www.example.com/", &["www.example.com"], None);
        check_one("http://evil.com/", &["www.example.com"], bad);
        check_one("/", &[], bad);
        check_one("/", &["www.example.com", "www.example.com"], bad);
        check_one("/", &["evil.com"], bad);
        check_one("/", &["www.example.com.evil.com"], bad);
        let long = format!("/{}", "a".repeat(TARGET));
        check_one(&long, &["www.example.com"], Some(StatusCode::URI_TOO_LONG));
    }
}
