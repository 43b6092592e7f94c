//! The session cookie and what a session's signature covers. The input is a Cookie header's value,
//! and at the same time the data of a session.

use djaffar::auth::session::{Form, decode};
use djaffar::auth::signing::{Keys, Secret};
use djaffar::http::cookie::{MAX_BYTES, MAX_COOKIES, read};
use hyper::{HeaderMap, header::HeaderValue};

/// The key of the vectors that real Djangos made.
const KEY: &str = "djaffar-golden-secret-key-0123456789-\u{e9}";

/// A cookie that is found stands in the header, and the limits hold. Session data that one key
/// opens, no other key opens, and no changed byte of its signature does.
///
/// # Panics
/// When that does not hold.
pub fn check(data: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let headers = HeaderMap::from_iter([(hyper::header::COOKIE, value)]);
        let cookies = data.split(|byte| *byte == b';').count();
        match read(&headers, "sessionid") {
            Ok(found) => {
                assert!(data.len() <= MAX_BYTES && cookies <= MAX_COOKIES);
                let is_there = |text: &str| {
                    data.windows(text.len().max(1)).any(|part| part == text.as_bytes())
                };
                assert!(found.is_none_or(|text| matches!(text, "" | "?") || is_there(text)));
            }
            Err(_) => assert!(data.len() > MAX_BYTES || cookies > MAX_COOKIES),
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let keys = |key: &str| Keys::new(Secret::from(key), Vec::new());
    if decode(text.as_bytes(), Form::TABLE, &keys(KEY)).is_some() {
        assert!(
            decode(text.as_bytes(), Form::TABLE, &keys("another key")).is_none(),
            "{text:?} fits two keys"
        );
        if let Some((signed, signature)) = text.rsplit_once(':') {
            let other = if signature.starts_with('A') { "B" } else { "A" };
            let forged = format!("{signed}:{other}{}", signature.get(1..).unwrap_or_default());
            assert!(
                decode(forged.as_bytes(), Form::TABLE, &keys(KEY)).is_none(),
                "{forged:?} is taken"
            );
        }
    }
}
