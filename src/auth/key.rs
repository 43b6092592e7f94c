//! The key of a session: the only text of a cookie that ever reaches a look-up.

use std::fmt;

/// The shortest key that Django looks up (`SessionBase._validate_session_key`).
const SHORTEST: usize = 8;
/// The length of the column `django_session.session_key`.
const LONGEST: usize = 40;

/// A session key: 8 to 40 characters of `[a-z0-9]`, kept inline (zeros follow a shorter one).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; LONGEST]);

impl SessionKey {
    /// `None` where `text` cannot be a key: nobody's session, not worth a look-up.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !plain || text.len() < SHORTEST {
            return None;
        }
        let mut key = [0; LONGEST];
        key.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(SessionKey(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|&byte| byte == 0).next().unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for SessionKey {
    /// A session key is a credential: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_django_makes_is_a_key() {
        fn check(text: &str, is_key: bool) {
            let parsed = SessionKey::parse(text);
            assert_eq!(parsed.as_ref().map(SessionKey::as_str), is_key.then_some(text), "{text:?}");
        }
        check("1wmaocs14a6y8lh4ekvifr4fayh7x6e9", true);
        check("abcdefg8", true);
        check(&"a".repeat(40), true);
        check("", false);
        check("a", false);
        check("abcdefg", false);
        check(&"a".repeat(41), false);
        check(&"a".repeat(5_000), false);
        check("ABCDEFGH12345678", false);
        check("' OR 1=1 -- ", false);
        check("abcdefgh\0", false);
        check("abcdefg\u{661}", false);
        check("abcdefgh ijklmnop", false);
    }
}
