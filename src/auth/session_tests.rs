//! Session data as Python writes it, as we write it, and as nobody should.

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
        let data = decode(signed(json).as_bytes(), Form::TABLE, &keys());
        let visitor = data.as_ref().map(|d| d.visitor.as_ref().map(SessionKey::as_str));
        assert_eq!(visitor, expected, "{json}");
    }
    let visitor = |rest: &str| format!(r#"{{"djaffar_visitor":"{KEY}"{rest}}}"#);
    check(&visitor(""), Some(Some(KEY)));
    check(&visitor(r#","a":[NaN,-Infinity,Infinity]"#), Some(Some(KEY)));
    check(&visitor(r#","NaN\\\"":NaN,"b":"\"NaN""#), Some(Some(KEY)));
    check(&visitor(r#","lone":"\ud83d""#), Some(Some(KEY)));
    check(&visitor(r#","large":1e999,"larger":123456789012345678901234567890"#), Some(Some(KEY)));
    check(&visitor(&format!(r#","deep":{}{}"#, "[".repeat(500), "]".repeat(500))), Some(Some(KEY)));
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
        let login = decode(signed(json).as_bytes(), Form::TABLE, &keys()).unwrap().login;
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

const FORMS: [Form; 4] = [
    Form::TABLE,
    Form { serializer: Serializer::Pickle, ..Form::TABLE },
    Form { place: Place::File, ..Form::TABLE },
    Form { place: Place::File, serializer: Serializer::Pickle },
];

#[test]
fn what_we_write_we_read() {
    let visitor = SessionKey::parse("abcdefgh12345678");
    for (form, hashing) in FORMS.iter().flat_map(|&form| {
        [Hashing::Sha1, Hashing::Both, Hashing::Sha256].map(|hashing| (form, hashing))
    }) {
        let keys =
            |current: &str, fallbacks: Vec<_>| Keys::new(current.into(), fallbacks).with(hashing);
        let (ours, other) = (keys("secret", Vec::new()), keys("other", Vec::new()));
        let text = encode("abcdefgh12345678", form, &ours, 1_790_000_000_999_999);
        let data = decode(text.as_bytes(), form, &ours).unwrap();
        assert_eq!(data.visitor, visitor);
        assert_eq!(decode(text.as_bytes(), form, &other), None);
        let rotated = keys("other", vec!["secret".into()]);
        assert!(decode(text.as_bytes(), form, &rotated).is_some());
    }
    for serializer in [Serializer::Json, Serializer::Pickle] {
        let form = Form { place: Place::Cache, serializer };
        let text = encode("abcdefgh12345678", form, &keys(), 0);
        assert_eq!(decode(text.as_bytes(), form, &keys()).unwrap().visitor, visitor);
    }
}

#[test]
fn a_cookie_counts_as_long_as_it_is_young() {
    let form = Form { place: Place::Cookie, ..Form::TABLE };
    let signed = 1_790_000_000_000_000;
    let cookie = encode("abcdefgh12345678", form, &keys(), signed);
    let check = |keys: &Keys, now: Micros, counts: bool| {
        let data = decode_cookie(&cookie, form.serializer, keys, (60, now));
        assert_eq!(data.is_some(), counts, "{}", now - signed);
    };
    check(&keys(), signed, true);
    check(&keys(), signed - 3_600_000_000, true);
    check(&keys(), signed + 60_000_000, true);
    check(&keys(), signed + 60_000_001, false);
    check(&Keys::new("other".into(), Vec::new()), signed, false);
    // The row of a table is signed with another salt.
    assert_eq!(decode(cookie.as_bytes(), Form::TABLE, &keys()), None);
    let row = encode("abcdefgh12345678", Form::TABLE, &keys(), signed);
    assert_eq!(decode_cookie(&row, form.serializer, &keys(), (60, signed)), None);
}

#[test]
fn what_set_expiry_left() {
    fn check(value: &str, expected: Option<Expiry>) {
        let json = format!(r#"{{"_session_expiry":{value}}}"#);
        let data = decode(signed(&json).as_bytes(), Form::TABLE, &keys()).unwrap();
        assert_eq!(data.expiry, expected, "{value}");
    }
    check("null", None);
    check("0", None);
    check("0.0", None);
    check("\"\"", None);
    check("60", Some(Expiry::Seconds));
    check("-60", Some(Expiry::Over));
    let at = Expiry::At(1_482_996_922_571_000 - 999_999);
    check("\"2016-12-29T07:35:22.571000+00:00\"", Some(at));
    check("\"2016-12-29T08:35:22.571+01:00\"", Some(at));
    check("\"2016-12-29T07:35:22\"", Some(Expiry::Over));
    check("[]", Some(Expiry::Over));
}

#[test]
fn no_byte_of_a_session_can_be_changed() {
    for hashing in [Hashing::Sha256, Hashing::Sha1] {
        let keys = keys().with(hashing);
        let text = encode("abcdefgh12345678", Form::TABLE, &keys, 1_790_000_000_000_000);
        for at in 0..text.len() {
            for byte in *b"aB0_-+/=:.\0" {
                let mut changed = text.clone().into_bytes();
                if std::mem::replace(&mut changed[at], byte) != byte {
                    assert_eq!(decode(&changed, Form::TABLE, &keys), None, "{at} {byte}");
                }
            }
            assert_eq!(decode(&text.as_bytes()[..at], Form::TABLE, &keys), None);
        }
    }
}

#[test]
fn a_django_reads_the_forms_that_it_knows() {
    let row = |hashing| encode("abcdefgh12345678", Form::TABLE, &keys().with(hashing), 0);
    let (old, new) = (row(Hashing::Sha1), row(Hashing::Sha256));
    for (hashing, reads_old, reads_new) in
        [(Hashing::Sha1, true, false), (Hashing::Both, true, true), (Hashing::Sha256, false, true)]
    {
        let reads = |row: &str| decode(row.as_bytes(), Form::TABLE, &keys().with(hashing));
        assert_eq!(reads(&old).is_some(), reads_old, "{hashing:?}");
        assert_eq!(reads(&new).is_some(), reads_new, "{hashing:?}");
    }
}

#[test]
fn a_login_fits_where_its_hash_is_believed() {
    for (digits, hash) in [(40, Hash::Sha1), (64, Hash::Sha256)] {
        let mac = signing::salted_hmac(hash, AUTH_HASH_SALT, b"pw", keys().current());
        let login =
            Login { user: "1".to_owned(), backend: "b".to_owned(), hash: signing::hex(&mac) };
        assert_eq!(login.hash.len(), digits);
        for hashing in [Hashing::Sha1, Hashing::Both, Hashing::Sha256] {
            let fits = login.fits("pw", &keys().with(hashing));
            assert_eq!(fits, hashing.believes(hash), "{hash:?} {hashing:?}");
        }
    }
}
