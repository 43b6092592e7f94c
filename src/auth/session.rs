//! Session data as Django 1.8 to 6.1 keeps it, and the hash that ties a login to the user's
//! password.
//!
//! Pure: rows, files and cookies come and go elsewhere. What a [`Place`] holds is said by
//! django/contrib/sessions/backends/base.py, file.py, cache.py and signed_cookies.py.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::key::SessionKey;
use super::pickle;
use super::signing::{self, Hash, Hashing, Keys, Signer, hex};
use crate::activity::Micros;

/// Where the session engine keeps its data; that decides about the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `db` and `cached_db`: a signed text in `django_session`. Up to Django 3.0 it is base64 of
    /// `hexdigest:data` (`SessionBase._legacy_encode`), later `signing.dumps`.
    Table,
    /// `file`: the same text.
    File,
    /// `cache`: the bare data, not signed.
    Cache,
    /// `signed_cookies`: `signing.dumps` in the browser.
    Cookie,
}

/// What turns a session's dictionary into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serializer {
    /// Django's default since 1.6, except in caches.
    Json,
    /// `PickleSerializer` (up to Django 4.2), and what caches use.
    Pickle,
}

/// What the data of a site's sessions looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Where it is.
    pub place: Place,
    /// How it is written.
    pub serializer: Serializer,
}

impl Form {
    /// Django's default: JSON in the table.
    pub const TABLE: Form = Form { place: Place::Table, serializer: Serializer::Json };
}

const SIGNED_SALT: &str = "django.contrib.sessions.SessionStore";
/// Without the dot: the old code joined the two so.
const LEGACY_SALT: &str = "django.contrib.sessionsSessionStore";
const COOKIE_SALT: &str = "django.contrib.sessions.backends.signed_cookies";
const AUTH_HASH_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

/// What counts of the data of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data {
    /// Who logged in, if someone did.
    pub login: Option<Login>,
    /// `djaffar_visitor`: the first session key of this visitor.
    pub visitor: Option<SessionKey>,
    /// `_session_expiry`, where it is set.
    pub expiry: Option<Expiry>,
}

/// What `set_expiry` left in a session; only the `file` engine looks it up there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// A number of seconds, which the `file` engine never counts down.
    Seconds,
    /// A moment.
    At(Micros),
    /// The past, or nothing that can be read.
    Over,
}

impl Expiry {
    /// When a session with this in it ends.
    pub fn moment(self) -> Micros {
        match self {
            Expiry::Seconds => Micros::MAX,
            Expiry::At(at) => at,
            Expiry::Over => Micros::MIN,
        }
    }
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
        keys.hashing().believes(hash)
            && keys.any(|key| {
                let digest = signing::salted_hmac(hash, AUTH_HASH_SALT, password.as_bytes(), key);
                signing::equal(self.hash.as_bytes(), hex(&digest).as_bytes())
            })
    }
}

/// The data of a session; `None` where Django would make an empty session of it
/// (`SessionBase.decode`): a wrong signature, or nothing that can be read.
pub fn decode(data: &[u8], form: Form, keys: &Keys) -> Option<Data> {
    if form.place == Place::Cache {
        return parse(data, form.serializer);
    }
    let text = str::from_utf8(data).ok()?;
    // Base64 has no colon, a signed value always has; Django up to 3.0 knows the former only.
    let data = if text.contains(':') {
        if keys.hashing() == Hashing::Sha1 {
            return None;
        }
        signing::loads(text, &Signer::new(keys, SIGNED_SALT)).ok()?
    } else {
        decode_legacy(text, keys)?
    };
    parse(&data, form.serializer)
}

fn decode_legacy(text: &str, keys: &Keys) -> Option<Vec<u8>> {
    if !keys.hashing().believes(Hash::Sha1) {
        return None;
    }
    let decoded = STANDARD.decode(text).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (digest, json) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    let fits = keys.any(|key| {
        let expected = signing::salted_hmac(Hash::Sha1, LEGACY_SALT, json, key);
        signing::equal(digest, hex(&expected).as_bytes())
    });
    fits.then(|| json.to_vec())
}

/// The data of a session that lives in its cookie, if that was signed at most `age` seconds ago.
pub fn decode_cookie(
    cookie: &str,
    serializer: Serializer,
    keys: &Keys,
    (age, now): (u32, Micros),
) -> Option<Data> {
    let stamped = Signer::new(keys, COOKIE_SALT).unsign(cookie).ok()?;
    let until = stamped.signed_at.checked_add(i64::from(age))?.checked_mul(1_000_000)?;
    if now > until {
        return None;
    }
    parse(&signing::unpack(stamped).ok()?, serializer)
}

/// The data of a session that we minted, signed at `at`: Django adds to it what it likes, and
/// `login()` takes it along to the next key.
pub fn encode(visitor: &str, form: Form, keys: &Keys, at: Micros) -> String {
    let data = match form.serializer {
        Serializer::Json => serde_json::json!({ "djaffar_visitor": visitor }).to_string(),
        Serializer::Pickle => pickle::write("djaffar_visitor", visitor),
    };
    let dumps = |salt| signing::dumps(&data, &Signer::new(keys, salt), at.div_euclid(1_000_000));
    match form.place {
        Place::Cache => data,
        Place::Cookie => dumps(COOKIE_SALT),
        Place::Table | Place::File if keys.hashing() == Hashing::Sha1 => {
            let key = keys.current();
            let digest = signing::salted_hmac(Hash::Sha1, LEGACY_SALT, data.as_bytes(), key);
            STANDARD.encode(format!("{}:{data}", hex(&digest)))
        }
        Place::Table | Place::File => dumps(SIGNED_SALT),
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
    #[serde(rename = "_session_expiry")]
    expiry: Option<Value>,
}

fn parse(data: &[u8], serializer: Serializer) -> Option<Data> {
    match serializer {
        Serializer::Json => parse_json(data),
        Serializer::Pickle => parse_pickle(data),
    }
}

fn parse_json(json: &[u8]) -> Option<Data> {
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
    let expiry = raw.expiry.and_then(|expiry| match expiry {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) => seconds(number.as_f64().unwrap_or_default()),
        Value::String(text) => moment(&text),
        _ => Some(Expiry::Over),
    });
    let login = login(text(raw.user), text(raw.backend), text(raw.hash));
    Some(Data { login, visitor: visitor(text(raw.djaffar_visitor)), expiry })
}

fn parse_pickle(data: &[u8]) -> Option<Data> {
    let dict = pickle::read(data)?;
    let text = |key| match dict.get(key)? {
        pickle::Value::Text(text) => Some(text.to_owned()),
        pickle::Value::Integer(number) => Some(number.to_string()),
        pickle::Value::Opaque => None,
    };
    let expiry = dict.get("_session_expiry").and_then(|expiry| match expiry {
        pickle::Value::Integer(number) => seconds(number as f64),
        pickle::Value::Text(text) => moment(text),
        pickle::Value::Opaque => Some(Expiry::Over),
    });
    let login = login(text("_auth_user_id"), text("_auth_user_backend"), text("_auth_user_hash"));
    Some(Data { login, visitor: visitor(text("djaffar_visitor")), expiry })
}

fn login(user: Option<String>, backend: Option<String>, hash: Option<String>) -> Option<Login> {
    Some(Login { user: user?, backend: backend?, hash: hash? })
}

fn visitor(text: Option<String>) -> Option<SessionKey> {
    text.and_then(|key| SessionKey::parse(&key))
}

/// Python takes 0 for "not set".
fn seconds(number: f64) -> Option<Expiry> {
    match number {
        0.0 => None,
        over if over < 0.0 => Some(Expiry::Over),
        _ => Some(Expiry::Seconds),
    }
}

/// `datetime.isoformat()` with an offset. Django counts whole seconds, so the last one is over.
fn moment(text: &str) -> Option<Expiry> {
    let whole = |at: jiff::Timestamp| Expiry::At(at.as_microsecond() - 999_999);
    (!text.is_empty()).then(|| text.parse().map_or(Expiry::Over, whole))
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

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
