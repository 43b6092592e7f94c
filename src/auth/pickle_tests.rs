//! Pickles that Pythons wrote, and pickles that nobody should.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::*;

macro_rules! vectors {
    ($($python:literal),+) => {
        [$(include_str!(concat!("../../tests/fixtures/auth/pickle-python-", $python, ".json"))),+]
    };
}

#[derive(Deserialize)]
struct Vector {
    case: String,
    proto: u8,
    b64: String,
}

#[test]
fn pickles_of_every_python_and_protocol() {
    let mut count = 0;
    for file in vectors!("2.7.18", "3.8.18", "3.13.0") {
        for Vector { case, proto, b64 } in serde_json::from_str::<Vec<Vector>>(file).unwrap() {
            let bytes = STANDARD.decode(b64).unwrap();
            let dict = read(&bytes).unwrap_or_else(|| panic!("{case} {proto}"));
            let check = |key: &str, value: Option<Value<'_>>| {
                assert_eq!(dict.get(key), value, "{case} {proto} {key}");
            };
            check("_auth_user_id", Some(Value::Text("42")));
            let backend = "django.contrib.auth.backends.ModelBackend";
            check("_auth_user_backend", Some(Value::Text(backend)));
            check("_auth_user_hash", Some(Value::Text(&"ab".repeat(32))));
            check("n", Some(Value::Integer(5)));
            check("big", Some(Value::Integer(1 << 40)));
            for opaque in ["f", "t", "x", "l"] {
                check(opaque, Some(Value::Opaque));
            }
            check("long", Some(Value::Text(&"x".repeat(300))));
            check("_session_expiry", (case == "datetime").then_some(Value::Opaque));
            check("absent", None);
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end]).is_none(), "{case} {proto} cut at {end}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 3 * 2 + 2 * 6 * 2);
}

#[test]
fn what_is_no_dictionary_or_reaches_outside_is_refused() {
    fn check(pickle: &[u8], is_dict: bool) {
        assert_eq!(read(pickle).is_some(), is_dict, "{}", pickle.escape_ascii());
    }
    check(b"}.", true);
    check(b"", false);
    check(b".", false);
    check(b"N.", false);
    check(b"K\x01.", false);
    check(b"(.", false);
    check(b"Pname\n.", false);
    check(b"}Q.", false);
    check(b"}\x82\x01.", false);
    check(b"}\x97.", false);
    check(b"}g9\n.", false);
    check(b"}0s.", false);
    check(b"}(K\x01u.", false);
    // What would run a program in Python is one opaque value among others.
    check(b"}X\x01\x00\x00\x00acos\nsystem\n(S'true'\ntRs.", true);
    check(b"cos\nsystem\n(S'true'\ntR.", false);
    let long = [b"}".as_slice(), &vec![b'N'; BYTES], b"."].concat();
    check(&long, false);
}

#[test]
fn memory_does_not_multiply() {
    // A long text, remembered once and stored ten thousand times; lists in lists.
    let mut pickle = b"}X\x00\x00\x01\x00".to_vec();
    pickle.extend(vec![b'x'; 1 << 16]);
    pickle.extend(b"q\x000(");
    for number in 0..10_000u16 {
        pickle.push(b'M');
        pickle.extend(number.to_le_bytes());
        pickle.extend(b"h\x00");
    }
    pickle.extend(b"u.");
    let dict = read(&pickle).unwrap();
    assert_eq!(dict.items.len(), 10_000);
    assert!(dict.built.len() <= 10_002);

    let deep = [b"}X\x01\x00\x00\x00a".as_slice(), &vec![b']'; 500_000], b"."].concat();
    assert!(read(&deep).is_none());
}

#[test]
fn what_we_write_we_read() {
    let dict = write("djaffar_visitor", "abcdefgh");
    assert_eq!(
        read(dict.as_bytes()).unwrap().get("djaffar_visitor"),
        Some(Value::Text("abcdefgh"))
    );
}

#[test]
fn numbers_of_every_width() {
    fn check(bytes: &[u8], expected: Option<i64>) {
        assert_eq!(signed(bytes), expected, "{bytes:?}");
    }
    check(&[], Some(0));
    check(&[0xff], Some(-1));
    check(&[0x80, 0], Some(128));
    check(&[0; 8], Some(0));
    check(&[0; 9], None);
}
