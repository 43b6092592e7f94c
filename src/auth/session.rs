//! Session data, as the `db` engine of Django 1.8 to 6.1 keeps it in `django_session`, and the
//! hash that ties a login to the user's password.
//!
//! Two formats (django/contrib/sessions/backends/base.py): see [`Format`]. Pure: rows come and go
//! elsewhere. Only the JSON serializer is read; a pickle counts as data that cannot be read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::key::SessionKey;
use super::signing::{self, Hash, Keys, Signer};
use crate::activity::Micros;

/// How session data is written. Both are always read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Django 3.1 and later: `signing.dumps` (`SessionBase.encode`).
    Signed,
    /// Up to Django 3.0, and later ones with `DEFAULT_HASHING_ALGORITHM = "sha1"`: base64 of
    /// `hexdigest:json` (`SessionBase._legacy_encode`).
    Legacy,
}

const SIGNED_SALT: &str = "django.contrib.sessions.SessionStore";
/// Without the dot: the old code joined the two so.
const LEGACY_SALT: &str = "django.contrib.sessionsSessionStore";
const AUTH_HASH_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

/// What counts of the data of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data {
    /// Who logged in, if someone did.
    pub login: Option<Login>,
    /// `djaffar_visitor`: the first session key of this visitor.
    pub visitor: Option<SessionKey>,
}

/// What django.contrib.auth:login leaves in a session. Without its hash it counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `_auth_user_id`: the primary key as text.
    pub user: String,
    /// `_auth_user_backend`: the dotted path of the class that let the user in.
    pub backend: String,
    /// `_auth_user_hash`: hex, see [`Login::fits`].
    pub hash: String,
}

impl Login {
    /// Whether the login was made with the password (as it is stored) that the user still has:
    /// `get_session_auth_hash` of django/contrib/auth/base_user.py under one of the keys.
    pub fn fits(&self, password: &str, keys: &Keys) -> bool {
        let hash = match self.hash.len() {
            40 => Hash::Sha1,
            64 => Hash::Sha256,
            _ => return false,
        };
        keys.any(|key| {
            let digest = signing::salted_hmac(hash, AUTH_HASH_SALT, password.as_bytes(), key);
            signing::equal(self.hash.as_bytes(), hex(&digest).as_bytes())
        })
    }
}

/// The data of a session; `None` where Django would make an empty session of it
/// (`SessionBase.decode`): a wrong signature, or nothing that can be read.
pub fn decode(text: &str, keys: &Keys) -> Option<Data> {
    // Base64 has no colon, a signed value always has.
    let json = if text.contains(':') {
        signing::loads(text, &Signer::new(keys, SIGNED_SALT)).ok()?
    } else {
        decode_legacy(text, keys)?
    };
    parse(&json)
}

fn decode_legacy(text: &str, keys: &Keys) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(text).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (digest, json) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    let fits = keys.any(|key| {
        let expected = signing::salted_hmac(Hash::Sha1, LEGACY_SALT, json, key);
        signing::equal(digest, hex(&expected).as_bytes())
    });
    fits.then(|| json.to_vec())
}

/// The data of a session that we minted, signed at `at`: Django adds to it what it likes, and
/// `login()` takes it along to the next key.
pub fn encode(visitor: &str, format: Format, keys: &Keys, at: Micros) -> String {
    let json = serde_json::json!({ "djaffar_visitor": visitor }).to_string();
    match format {
        Format::Signed => {
            let signer = Signer::new(keys, SIGNED_SALT);
            signing::dumps(&json, &signer, at.div_euclid(1_000_000))
        }
        Format::Legacy => {
            let key = keys.current();
            let digest = signing::salted_hmac(Hash::Sha1, LEGACY_SALT, json.as_bytes(), key);
            STANDARD.encode(format!("{}:{json}", hex(&digest)))
        }
    }
}

/// The keys that count. Of any type, so that a stranger's value spoils no other.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "_auth_user_id")]
    user: Option<Value>,
    #[serde(rename = "_auth_user_backend")]
    backend: Option<Value>,
    #[serde(rename = "_auth_user_hash")]
    hash: Option<Value>,
    djaffar_visitor: Option<Value>,
}

fn parse(json: &[u8]) -> Option<Data> {
    // Django's JSONSerializer reads and writes latin-1 (of which it uses the ASCII half).
    let text: String = json.iter().copied().map(char::from).collect();
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let raw: Raw = serde_json::from_str(&text)
        .or_else(|_| serde_json::from_str(&without_python_floats(&text)))
        .ok()?;
    let text = |value: Option<Value>| match value? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (user, backend, hash) = (text(raw.user), text(raw.backend), text(raw.hash));
    let login = match (user, backend, hash) {
        (Some(user), Some(backend), Some(hash)) => Some(Login { user, backend, hash }),
        _ => None,
    };
    Some(Data { login, visitor: text(raw.djaffar_visitor).and_then(|key| SessionKey::parse(&key)) })
}

/// Python writes and reads `NaN`, `Infinity` and `-Infinity`, which are no JSON: `null` stands in
/// for them, as none of them is in a value that counts.
fn without_python_floats(json: &str) -> String {
    let mut cleaned = String::with_capacity(json.len());
    let mut outside = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if in_string {
            cleaned.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character == '"' {
            cleaned.push_str(&nulls(&outside));
            cleaned.push(character);
            outside.clear();
            in_string = true;
        } else {
            outside.push(character);
        }
    }
    cleaned.push_str(&nulls(&outside));
    cleaned
}

fn nulls(outside: &str) -> String {
    outside.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("secret".into(), Vec::new())
    }

    fn signed(json: &str) -> String {
        signing::dumps(json, &Signer::new(&keys(), SIGNED_SALT), 1_790_000_000)
    }

    #[test]
    fn json_as_python_writes_it() {
        const KEY: &str = "1wmaocs14a6y8lh4ekvifr4fayh7x6e9";
        fn check(json: &str, expected: Option<Option<&str>>) {
            let data = decode(&signed(json), &keys());
            let visitor = data.as_ref().map(|d| d.visitor.as_ref().map(SessionKey::as_str));
            assert_eq!(visitor, expected, "{json}");
        }
        let visitor = |rest: &str| format!(r#"{{"djaffar_visitor":"{KEY}"{rest}}}"#);
        check(&visitor(""), Some(Some(KEY)));
        check(&visitor(r#","a":[NaN,-Infinity,Infinity]"#), Some(Some(KEY)));
        check(&visitor(r#","NaN\\\"":NaN,"b":"\"NaN""#), Some(Some(KEY)));
        check(&visitor(r#","lone":"\ud83d""#), Some(Some(KEY)));
        check(
            &visitor(r#","large":1e999,"larger":123456789012345678901234567890"#),
            Some(Some(KEY)),
        );
        check(
            &visitor(&format!(r#","deep":{}{}"#, "[".repeat(500), "]".repeat(500))),
            Some(Some(KEY)),
        );
        check(r#"{"djaffar_visitor":7}"#, Some(None));
        check(r#"{"djaffar_visitor":"' OR 1=1 --"}"#, Some(None));
        check("{}", Some(None));
        check("[]", None);
        check("", None);
        check("{}{}", None);
    }

    #[test]
    fn a_login_is_whole_or_nothing() {
        fn check(json: &str, user: Option<&str>) {
            let login = decode(&signed(json), &keys()).unwrap().login;
            assert_eq!(login.map(|login| login.user).as_deref(), user, "{json}");
        }
        let whole = r#"{"_auth_user_id":"7","_auth_user_backend":"b","_auth_user_hash":"h"}"#;
        check(whole, Some("7"));
        check(&whole.replace(r#""7""#, "7"), Some("7"));
        check(&whole.replace(r#""7""#, "null"), None);
        check(&whole.replace("_auth_user_id", "id"), None);
        check(&whole.replace("_auth_user_backend", "backend"), None);
        check(&whole.replace("_auth_user_hash", "hash"), None);
    }

    #[test]
    fn what_we_write_we_read() {
        for format in [Format::Signed, Format::Legacy] {
            let text = encode("abcdefgh12345678", format, &keys(), 1_790_000_000_999_999);
            let data = decode(&text, &keys()).unwrap();
            assert_eq!(data.visitor, SessionKey::parse("abcdefgh12345678"));
            assert_eq!(decode(&text, &Keys::new("other".into(), Vec::new())), None);
            let rotated = Keys::new("other".into(), vec!["secret".into()]);
            assert!(decode(&text, &rotated).is_some());
        }
    }

    #[test]
    fn no_byte_of_a_session_can_be_changed() {
        for format in [Format::Signed, Format::Legacy] {
            let text = encode("abcdefgh12345678", format, &keys(), 1_790_000_000_000_000);
            for at in 0..text.len() {
                for byte in *b"aB0_-+/=:.\0" {
                    let mut changed = text.clone().into_bytes();
                    if std::mem::replace(&mut changed[at], byte) != byte {
                        let changed = String::from_utf8(changed).unwrap();
                        assert_eq!(decode(&changed, &keys()), None, "{at} {changed:?}");
                    }
                }
                assert_eq!(decode(&text[..at], &keys()), None);
            }
        }
    }
}
