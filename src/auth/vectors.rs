//! Values that Django made, of each kind that this module reads or writes.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::SessionKey;
use super::session::{self, Form, Login, Serializer};
use super::signing::{self, Error, Hashing, Keys, Secret, Signer};

macro_rules! fixtures {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../tests/fixtures/auth/", $name, ".json")))),+]
    };
}

const FORMATS: [(&str, &str); 5] = fixtures!(
    "formats-django-1.8.19",
    "formats-django-2.2.28",
    "formats-django-3.2.25",
    "formats-django-5.2.19",
    "formats-django-6.1.3",
);
const SESSIONS: [(&str, &str); 3] =
    fixtures!("sessions-django-2.2", "sessions-django-3.2", "sessions-django-5.2");
const MINTED: [(&str, &str); 3] =
    fixtures!("minted-django-2.2.28", "minted-django-5.2.19", "minted-django-6.1.3");

#[derive(Deserialize)]
struct Formats {
    secret: String,
    fallbacks: Vec<String>,
    time: i64,
    session_data: Vec<Encoded>,
    #[serde(default)]
    session_data_legacy: Vec<Encoded>,
    signed_cookies_session: Vec<Encoded>,
    dumps_default: String,
    signed_cookie: SignedCookie,
    fallback_session: Option<String>,
    password: String,
    auth_hash_sha1: String,
    auth_hash_sha256: Option<String>,
    auth_hash_sha256_fallback: Option<String>,
}

#[derive(Deserialize)]
struct Encoded {
    dict: Map<String, Value>,
    #[serde(alias = "cookie")]
    encoded: String,
}

#[derive(Deserialize)]
struct SignedCookie {
    name: String,
    value: String,
    signed: Option<String>,
    legacy: String,
}

#[derive(Deserialize)]
struct Minted {
    secret: String,
    time: i64,
    minted: Vec<MintedRow>,
}

#[derive(Deserialize)]
struct MintedRow {
    visitor: String,
    encoded: String,
}

/// A file of `sessions-django-*`.
#[derive(Deserialize)]
pub(super) struct Sessions {
    pub(super) secret: String,
    pub(super) user: User,
    pub(super) cases: Vec<Case>,
    signing: Vec<Dumped>,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) password: String,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    backend: String,
    /// Of the `db` backend: the row; of `signed_cookies`: the cookie.
    #[serde(alias = "cookie")]
    pub(super) session_data: String,
    data: Map<String, Value>,
}

impl Case {
    pub(super) fn is_row(&self) -> bool {
        self.backend == "db"
    }
}

#[derive(Deserialize)]
struct Dumped {
    value: Value,
    salt: String,
    dumps: String,
}

fn each<'a, T: Deserialize<'a>>(files: &[(&'a str, &'a str)]) -> Vec<(&'a str, T)> {
    files.iter().map(|&(name, text)| (name, serde_json::from_str(text).unwrap())).collect()
}

/// The rows that each Django stored.
pub(super) fn sessions() -> Vec<(&'static str, Sessions)> {
    each(&SESSIONS)
}

fn keys(secret: &str) -> Keys {
    Keys::new(secret.into(), Vec::new())
}

fn text(dict: &Map<String, Value>, key: &str) -> Option<String> {
    dict.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Session data is read, and holds the login that Django says it holds.
fn check_session(name: &str, encoded: &str, dict: &Map<String, Value>, keys: &Keys) {
    let data = session::decode(encoded.as_bytes(), Form::TABLE, keys)
        .unwrap_or_else(|| panic!("{name}: {dict:?}"));
    let hash = text(dict, "_auth_user_hash");
    let expected = hash.map(|hash| Login {
        user: text(dict, "_auth_user_id").unwrap(),
        backend: text(dict, "_auth_user_backend").unwrap(),
        hash,
    });
    assert_eq!(data.login, expected, "{name}");
    assert_eq!(
        session::decode(encoded.as_bytes(), Form::TABLE, &self::keys("another")),
        None,
        "{name}"
    );
}

/// A value is loaded under its salt, and under no other.
fn check_loads(name: &str, dumped: &str, salt: &str, expected: &Value, keys: &Keys) {
    let loaded = signing::loads(dumped, &Signer::new(keys, salt)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&loaded).unwrap(), *expected, "{name}");
    let other = Signer::new(keys, "another");
    assert_eq!(signing::loads(dumped, &other), Err(Error::Signature), "{name}");
}

#[test]
fn session_data_of_every_django() {
    let mut count = 0;
    for (name, formats) in each::<Formats>(&FORMATS) {
        let keys = keys(&formats.secret);
        for case in formats.session_data.iter().chain(&formats.session_data_legacy) {
            check_session(name, &case.encoded, &case.dict, &keys);
            count += 1;
        }
    }
    for (name, sessions) in sessions() {
        let keys = keys(&sessions.secret);
        for case in sessions.cases.iter().filter(|case| case.is_row()) {
            check_session(name, &case.session_data, &case.data, &keys);
            count += 1;
        }
    }
    assert_eq!(count, 4 * 6 + 5 * 3);
}

#[test]
fn a_session_signed_with_an_older_key() {
    let mut count = 0;
    for (name, formats) in each::<Formats>(&FORMATS) {
        let Some(encoded) = formats.fallback_session else { continue };
        assert_eq!(
            session::decode(encoded.as_bytes(), Form::TABLE, &keys(&formats.secret)),
            None,
            "{name}"
        );
        let fallbacks: Vec<Secret> = formats.fallbacks.iter().map(|f| f.as_str().into()).collect();
        let keys = Keys::new(formats.secret.as_str().into(), fallbacks);
        assert!(session::decode(encoded.as_bytes(), Form::TABLE, &keys).is_some(), "{name}");
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn the_hash_of_a_login() {
    let mut count = 0;
    for (name, formats) in each::<Formats>(&FORMATS) {
        let current = keys(&formats.secret);
        let older = formats.fallbacks.first().map(|key| keys(key));
        let mut check = |hash: &str, keys: &Keys| {
            let login = |hash: &str| Login {
                user: "1".to_owned(),
                backend: "b".to_owned(),
                hash: hash.to_owned(),
            };
            assert!(login(hash).fits(&formats.password, keys), "{name}");
            assert!(!login(hash).fits("another", keys), "{name}");
            assert!(!login(hash).fits(&formats.password, &self::keys("another")), "{name}");
            assert!(!login(&hash[1..]).fits(&formats.password, keys), "{name}");
            assert!(!login("").fits(&formats.password, keys), "{name}");
            count += 1;
        };
        check(&formats.auth_hash_sha1, &current);
        if let Some(hash) = &formats.auth_hash_sha256 {
            check(hash, &current);
        }
        if let (Some(hash), Some(older)) = (&formats.auth_hash_sha256_fallback, &older) {
            check(hash, older);
            let rotated = Keys::new("new".into(), vec![formats.fallbacks[0].as_str().into()]);
            check(hash, &rotated);
        }
    }
    assert_eq!(count, 5 + 3 + 2 * 2);
}

#[test]
fn signed_values_of_every_django() {
    const COOKIES: &str = "django.contrib.sessions.backends.signed_cookies";
    for (name, formats) in each::<Formats>(&FORMATS) {
        let keys = keys(&formats.secret);
        check_loads(name, &formats.dumps_default, "django.core.signing", &"hello".into(), &keys);
        for case in formats.signed_cookies_session {
            let at = (1, formats.time * 1_000_000);
            let data = session::decode_cookie(&case.encoded, Serializer::Json, &keys, at);
            let user = data.unwrap().login.map(|login| login.user);
            let expected = text(&case.dict, "_auth_user_hash");
            let expected = expected.and_then(|_| text(&case.dict, "_auth_user_id"));
            assert_eq!(user, expected, "{name}");
            check_loads(name, &case.encoded, COOKIES, &Value::Object(case.dict), &keys);
        }
    }
    for (name, sessions) in sessions() {
        let keys = keys(&sessions.secret);
        for case in sessions.signing {
            check_loads(name, &case.dumps, &case.salt, &case.value, &keys);
        }
        for case in sessions.cases.into_iter().filter(|case| !case.is_row()) {
            check_loads(name, &case.session_data, COOKIES, &Value::Object(case.data), &keys);
        }
    }
}

#[test]
fn a_signed_cookie_and_its_time() {
    for (name, formats) in each::<Formats>(&FORMATS) {
        let keys = keys(&format!("django.http.cookies{}", formats.secret));
        let SignedCookie { name: cookie, value, signed, legacy } = formats.signed_cookie;
        let check = |signed: &str, salt: &str| {
            let stamped = Signer::new(&keys, salt).unsign(signed).unwrap();
            assert_eq!((stamped.value, stamped.signed_at), (&*value, formats.time), "{name}");
        };
        check(&legacy, &cookie);
        if let Some(signed) = signed {
            check(&signed, &format!("django.http.cookies.v2:0:{cookie}"));
        }
    }
}

#[test]
fn we_write_what_django_writes() {
    for (name, file) in each::<Minted>(&MINTED) {
        let hashing = if name.contains("2.2") { Hashing::Sha1 } else { Hashing::Sha256 };
        let keys = keys(&file.secret).with(hashing);
        for MintedRow { visitor, encoded } in file.minted {
            let ours =
                session::encode(&visitor, Form::TABLE, &keys, file.time * 1_000_000 + 999_999);
            // Where that makes it shorter Django compresses; we never do, and Django reads both.
            assert!(ours == encoded || encoded.starts_with('.'), "{name}: {ours}");
            for text in [&ours, &encoded] {
                let data = session::decode(text.as_bytes(), Form::TABLE, &keys).unwrap();
                assert_eq!(data.visitor, SessionKey::parse(&visitor), "{name}");
            }
        }
    }
}
