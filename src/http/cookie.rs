//! The session cookie, as Django reads and sets it.
//!
//! Knows nothing of what the key means: that is `auth`'s.

use hyper::{HeaderMap, header, header::HeaderValue};
use jiff::Timestamp;

use crate::{activity::Micros, config::SessionCookie};

/// The longest Cookie header, in bytes, and the most cookies in it.
pub const MAX_BYTES: usize = 8 * 1024;
/// See [`MAX_BYTES`].
pub const MAX_COOKIES: usize = 50;

/// Why the Cookie header is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The value of the cookie `name`; of several, the last, as Django takes it
/// (`django/http/cookie.py:parse_cookie`).
pub fn read<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, TooLarge> {
    let (mut found, mut bytes, mut cookies) = (None, 0, 0);
    for value in headers.get_all(header::COOKIE) {
        bytes += value.len();
        if bytes > MAX_BYTES {
            return Err(TooLarge);
        }
        for chunk in value.as_bytes().split(|byte| *byte == b';') {
            cookies += 1;
            if cookies > MAX_COOKIES {
                return Err(TooLarge);
            }
            let Some(rest) = chunk.trim_ascii().strip_prefix(name.as_bytes()) else { continue };
            if let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") {
                let value = value.trim_ascii();
                let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                // A value that is no text names no session: like any unknown key.
                found = Some(std::str::from_utf8(bare.unwrap_or(value)).unwrap_or("?"));
            }
        }
    }
    Ok(found)
}

/// The `Set-Cookie` of a new session, its attributes in Django's order
/// (`django/contrib/sessions/middleware.py:process_response` and Python's
/// `http/cookies.py:Morsel.OutputString`, which sorts them).
pub fn set(cookie: &SessionCookie, key: &str, now: Micros) -> Option<HeaderValue> {
    let mut text = format!("{}={key}", cookie.name);
    if let Some(domain) = &cookie.domain {
        text += &format!("; Domain={domain}");
    }
    if !cookie.expire_at_browser_close {
        let seconds = now.div_euclid(1_000_000).saturating_add_unsigned(cookie.age.into());
        let expires = Timestamp::from_second(seconds).ok()?;
        text += &expires.strftime("; expires=%a, %d %b %Y %H:%M:%S GMT").to_string();
    }
    if cookie.httponly {
        text += "; HttpOnly";
    }
    if !cookie.expire_at_browser_close {
        text += &format!("; Max-Age={}", cookie.age);
    }
    text += &format!("; Path={}", cookie.path);
    if let Some(samesite) = cookie.samesite.attribute() {
        text += &format!("; SameSite={samesite}");
    }
    if cookie.secure {
        text += "; Secure";
    }
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SameSite;

    #[track_caller]
    fn check(cookies: &[&str], expected: &Result<Option<&str>, TooLarge>) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append("cookie", cookie.parse().unwrap());
        }
        assert_eq!(&read(&headers, "sessionid"), expected, "{cookies:?}");
    }

    #[test]
    fn the_cookie_that_django_would_take() {
        check(&[], &Ok(None));
        check(&["csrftoken=a; sessionid=b"], &Ok(Some("b")));
        check(&["sessionid=a; sessionid=b"], &Ok(Some("b")));
        check(&["sessionid=a", "sessionid=b; x=y"], &Ok(Some("b")));
        check(&["sessionid=\"a\""], &Ok(Some("a")));
        check(&["sessionid2=a; xsessionid=b; sessionid"], &Ok(None));
        check(&["sessionid=' OR 1=1 --"], &Ok(Some("' OR 1=1 --")));
        check(&[&"a=b;".repeat(49)], &Ok(None));
        check(&[&"a=b;".repeat(51)], &Err(TooLarge));
        check(&[&"a".repeat(MAX_BYTES + 1)], &Err(TooLarge));
    }

    #[test]
    fn the_attributes_that_django_sets() {
        let mut cookie = SessionCookie::default();
        let now = 1_480_000_000_000_000;
        let text = set(&cookie, "k", now).unwrap();
        assert_eq!(
            text,
            "sessionid=k; expires=Thu, 08 Dec 2016 15:06:40 GMT; HttpOnly; Max-Age=1209600; \
             Path=/; SameSite=Lax"
        );
        cookie = SessionCookie {
            name: "s".into(),
            domain: Some("example.com".into()),
            path: "/app/".into(),
            secure: true,
            httponly: false,
            samesite: SameSite::None,
            expire_at_browser_close: true,
            ..cookie
        };
        let text = set(&cookie, "k", now).unwrap();
        assert_eq!(text, "s=k; Domain=example.com; Path=/app/; SameSite=None; Secure");
        cookie.samesite = SameSite::Off;
        assert_eq!(set(&cookie, "k", now).unwrap(), "s=k; Domain=example.com; Path=/app/; Secure");
    }
}
