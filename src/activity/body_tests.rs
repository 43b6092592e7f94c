//! `body::read`: what each body holds, and what is said of those that hold nothing.

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// An item of a batch is `{…}`; an object is its fields that were sent, sorted as in `Input`.
fn shown(input: &Input) -> String {
    let mut input = input.clone();
    let mut shown = Vec::new();
    for name in ["date", "path", "referer", "event_id", "name", "properties", "sent_at"] {
        match std::mem::take(input.field(name).unwrap()) {
            Field::Absent => {}
            Field::Text(text) => shown.push(format!("{name}={text}")),
            Field::Other(value) => shown.push(format!("{name}:{value}")),
        }
    }
    shown.join(" | ")
}

fn outcome(content_type: Option<&str>, body: &[u8]) -> String {
    match read(content_type, body) {
        Ok(Posted::One(input)) => shown(&input),
        Ok(Posted::Batch(items)) => {
            let item = |item: &Result<Input, Invalid>| match item {
                Ok(input) => format!("{{{}}}", shown(input)),
                Err(invalid) => format!("{:?}", invalid.0),
            };
            format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        Err(BodyError::Invalid(invalid)) => format!("invalid {:?}", invalid.0),
        Err(error) => format!("error {error}"),
    }
}

#[track_caller]
fn check<'a>(content_type: impl Into<Option<&'a str>>, body: &[u8], expected: &str) {
    assert_eq!(outcome(content_type.into(), body), expected, "{}", body.escape_ascii());
}

#[test]
fn forms() {
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"date=2016&path=/", "date=2016 | path=/"),
        (b"path=&date", "date= | path="),
        (b"&&date=a&&path=/&", "date=a | path=/"),
        (b"path=/first&path=/last", "path=/last"),
        (b"user=99&session=abc&ip_address=1.2.3.4&path=/", "path=/"),
        (b"date=a%2Bb+c&path=%zz%4", "date=a+b c | path=%zz%4"),
        (b"path=%ff%fe/x", "path=\u{fffd}\u{fffd}/x"),
        (b"path=\xff", "path=\u{fffd}"),
        (b"path=a%00b", "path=a\0b"),
        (b"date=2016-12-29T07:35:22Z;path=/semi", "date=2016-12-29T07:35:22Z;path=/semi"),
        (b"path=';DROP TABLE djaffar_activity;--", "path=';DROP TABLE djaffar_activity;--"),
        (b"p%61th=/", "path=/"),
        (
            b"event_id=1&name=2&properties={}&sent_at=3&referer=4",
            "referer=4 | event_id=1 | name=2 | properties={} | sent_at=3",
        ),
    ];
    for (body, expected) in cases {
        check(FORM, body, expected);
    }
}

#[test]
fn types() {
    let form = "path=/";
    check("application/x-www-form-urlencoded; charset=UTF-8", b"path=/", form);
    check("Application/X-WWW-Form-Urlencoded", b"path=/", form);
    check(" application/x-www-form-urlencoded ;charset=\"latin1\"", b"path=/", form);
    let json = br#"{"path": "/"}"#;
    for json_type in [JSON, "APPLICATION/JSON;charset=utf-8", "text/plain;charset=UTF-8", "", " "] {
        check(json_type, json, form);
    }
    check(None, json, form);
    check(None, b"path=/", "error JSON parse error - expected value at line 1 column 1");
    for other in ["application/xml", "text/html; charset=x", "application/jsonp", "a\"b"] {
        let expected = format!("error Unsupported media type \"{other}\" in request.");
        check(other, b"<a/>", &expected);
        check(other, b"", &expected);
    }
}

#[test]
fn json_objects_and_batches() {
    let dictionary = |name: &str| {
        format!(
            r#"[("non_field_errors", ["Invalid data. Expected a dictionary, but got {name}."])]"#
        )
    };
    let cases: &[(&str, &str)] = &[
        ("", ""),
        ("{}", ""),
        (" {\"path\": \"/\"}\n", "path=/"),
        (r#"{"path": "/first", "path": "/last"}"#, "path=/last"),
        (r#"{"path": null, "date": 1, "user": 7}"#, "date:1"),
        (r#"{"path": true, "referer": ["a"]}"#, r#"path:true | referer:["a"]"#),
        (r#"{"path": "\u0000\ud83d\ude00"}"#, "path=\0😀"),
        (r#"{"properties": {"a": {"b": {"c": 1}}}}"#, r#"properties:{"a":{"b":{"c":1}}}"#),
        ("[]", "[]"),
        (r#"[{"path": "a"}, {}]"#, "[{path=a}, {}]"),
        (r#"[{"properties": {"a": {"b": {}}}}]"#, r#"[{properties:{"a":{"b":{}}}}]"#),
        ("1", &format!("invalid {}", dictionary("int"))),
        ("\"a\"", &format!("invalid {}", dictionary("str"))),
        ("null", &format!("invalid {}", dictionary("NoneType"))),
        (
            "[1.5, {}, [], true]",
            &format!(
                "[{}, {{}}, {}, {}]",
                dictionary("float"),
                dictionary("list"),
                dictionary("bool")
            ),
        ),
    ];
    for (body, expected) in cases {
        check(JSON, body.as_bytes(), expected);
    }
}

#[test]
fn what_is_no_json() {
    let cases: &[(&[u8], &str)] = &[
        (b"{\"date\":", "EOF while parsing a value at line 1 column 8"),
        (b" ", "EOF while parsing a value at line 1 column 1"),
        (b"{} {}", "trailing characters at line 1 column 4"),
        (b"{\"date\": NaN}", "expected value at line 1 column 10"),
        (b"\"\xff\"", "invalid unicode code point at line 1 column 2"),
        (b"\"\\ud800\"", "unexpected end of hex escape at line 1 column 8"),
        (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
    ];
    for (body, expected) in cases {
        check(JSON, body, &format!("error JSON parse error - {expected}"));
    }
    let too_deep = "error JSON parse error - nest an activity at most 4 levels deep";
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let list = dictionary_expected("list");
    check(JSON, deep(5).as_bytes(), &list);
    let end = "error JSON parse error - EOF while parsing a list at line 1 column 60000";
    check(JSON, "[".repeat(60_000).as_bytes(), end);
    check(JSON, (r#"{"a":"#.to_owned() + &deep(60_000)).as_bytes(), too_deep);
    check(JSON, br#"{"a": {"b": {"c": {"d": 1}}}}"#, "");
    check(JSON, br#"{"a": {"b": {"c": {"d": {}}}}}"#, too_deep);
    // In a batch it costs no other its place.
    let messages = |text: &str| format!(r#"[("non_field_errors", ["JSON parse error - {text}"])]"#);
    let deep_item = messages("nest an activity at most 4 levels deep");
    check(JSON, deep(6).as_bytes(), &format!("[{deep_item}]"));
    check(JSON, deep(30_000).as_bytes(), &format!("[{deep_item}]"));
    let surrogate = messages("unexpected end of hex escape at line 1 column 17");
    let batch =
        br#"[{"path": "a"}, {"path": "\ud800"}, {"a": {"b": {"c": {"d": {}}}}}, {"path": "b"}]"#;
    check(JSON, batch, &format!("[{{path=a}}, {surrogate}, {deep_item}, {{path=b}}]"));
    check(JSON, br#"{"path": "[[[[[[\"[[[[[["}"#, "path=[[[[[[\"[[[[[[");
}

fn dictionary_expected(name: &str) -> String {
    format!(r#"[[("non_field_errors", ["Invalid data. Expected a dictionary, but got {name}."])]]"#)
}

#[test]
fn limits() {
    check(FORM, &b"a=1&".repeat(FORM_FIELDS), "");
    let one_more = b"a=1&".repeat(FORM_FIELDS + 1);
    check(FORM, &one_more, "error Form parse error - send at most 64 fields.");
    let batch = |length| format!("[{}]", vec!["{}"; length].join(","));
    check(JSON, batch(BATCH_ITEMS).as_bytes(), &batch(BATCH_ITEMS).replace(',', ", "));
    let expected = "error Send at most 100 activities in one request.";
    check(JSON, batch(BATCH_ITEMS + 1).as_bytes(), expected);
}

fn check_multipart(body: &str, expected: &str) {
    let body = body.replace('\n', "\r\n");
    check("multipart/form-data; boundary=BOUND", body.as_bytes(), expected);
}

fn part(name: &str, value: &str) -> String {
    format!("--BOUND\nContent-Disposition: form-data; name=\"{name}\"\n\n{value}\n")
}

#[test]
fn multipart_forms() {
    let date = part("date", "2016");
    let end = "--BOUND--\n";
    let cases = [
        (date.clone() + &part("path", "/multi/part/") + end, "date=2016 | path=/multi/part/"),
        (part("path", "/a") + &part("path", "/b") + end, "path=/b"),
        (part("path", "") + end, "path="),
        (part("other", "x") + &date + end, "date=2016"),
        (part("path", "a\n--BOUN\nb") + end, "path=a\r\n--BOUN\r\nb"),
        ("preamble\n".to_owned() + &date + "--BOUND--", "date=2016"),
        (date.clone() + "--BOUND\nX: y\n\nnameless\n" + end, "date=2016"),
        (end.to_owned(), ""),
        // Cut off: the parts that are complete count.
        (date.clone(), ""),
        (date.clone() + &part("path", "/"), "date=2016"),
        (date.clone() + "--BOUND\nContent-Disp", "date=2016"),
        (String::new(), ""),
        ("no boundary".to_owned(), ""),
    ];
    for (body, expected) in cases {
        check_multipart(&body, expected);
    }
}

#[test]
fn multipart_limits() {
    let error = "error Multipart form parse error - ";
    let most = part("name", "x").repeat(super::super::MULTIPART_PARTS);
    check_multipart(&(most.clone() + "--BOUND--\n"), "name=x");
    let expected = format!("{error}send at most 16 parts");
    check_multipart(&(most + &part("name", "x") + "--BOUND--\n"), &expected);
    let file = part("path\"; filename=\"a.txt", "x") + "--BOUND--\n";
    check_multipart(&file, &format!("{error}send text, not files"));
    let no_boundary = outcome(Some("multipart/form-data"), b"x");
    assert!(no_boundary.starts_with(error), "{no_boundary}");
    let bad_header =
        outcome(Some("multipart/form-data; boundary=B"), b"--B\r\nBad Header\r\n\r\nx\r\n--B--");
    assert!(bad_header.starts_with(error), "{bad_header}");
    check(
        "multipart/form-data; boundary=B",
        b"--B\r\nContent-Disposition: form-data; name=path\
        \r\n\r\n\xff\r\n--B--",
        "path=\u{fffd}",
    );
}
