//! The expected bytes were printed by `manage.py dumpdata` of Django 6.1 (`tests/django/`).

use super::*;

#[test]
fn numbers_and_texts_as_python_prints_them() {
    for (text, want) in [
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("1.0", "1.0"),
        ("1e5", "100000.0"),
        ("1e15", "1000000000000000.0"),
        ("1e16", "1e+16"),
        ("12345678901234567.0", "1.2345678901234568e+16"),
        ("0.0001", "0.0001"),
        ("1e-5", "1e-05"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("-1e999", "-Infinity"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a": 3, "b": 2}"#),
        (" [ 1 ,\n{ } , [ ] ] ", "[1, {}, []]"),
        (r#""\u00e9\ud83d\ude00\/\b\u001f\u007f""#, "\"é\u{1F600}/\\b\\u001f\u{7f}\""),
    ] {
        let mut out = String::new();
        Value::parse(text).unwrap_or_else(|at| panic!("{text} {at}")).print(None, &mut out);
        assert_eq!(out, want);
    }
}

#[test]
fn not_json() {
    let deep = "[".repeat(100_000);
    for text in ["", "{", "[1,]", "{\"a\"}", "01", "1.", "nul", "\"", "[1 2]", "1 1", "é", &deep] {
        assert!(Value::parse(text).is_err(), "{text}");
    }
}

#[test]
fn indented() {
    let value = Value::parse(r#"{"a":[1,{"b":null}],"c":{}}"#).unwrap();
    for (indent, want) in [
        (Some(0), "{\n\"a\": [\n1,\n{\n\"b\": null\n}\n],\n\"c\": {}\n}"),
        (Some(2), "{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"c\": {}\n}"),
    ] {
        let mut out = String::new();
        value.print(indent, &mut out);
        assert_eq!(out, want);
    }
}

#[test]
fn labels() {
    for (label, want) in [
        ("djaffar.Activity", Some(Model::Activity)),
        ("djaffar.activity", Some(Model::Activity)),
        ("djaffar.SessionInfo", Some(Model::SessionInfo)),
        ("Activity", None),
        ("auth.User", None),
    ] {
        assert_eq!(label.parse().ok(), want, "{label}");
    }
}
