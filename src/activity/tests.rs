//! `Activity::new`: which inputs are activities, and what is said of those that are none.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;

const DATE: &str = "Datetime has wrong format. Use one of these formats instead: \
    YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].";
const BLANK: &str = "This field may not be blank.";
const NUL: &str = "Null characters are not allowed.";
const NO_TEXT: &str = "Not a valid string.";
const NOW: Micros = 1_482_996_922_571_000;

fn make(input: Value, referer: &str) -> Result<Activity, Invalid> {
    let Value::Object(input) = input else { panic!("{input}") };
    let client = Client {
        address: [127, 0, 0, 1].into(),
        user_agent: "😀".repeat(USER_AGENT_CHARS + 1),
        referer: referer.to_owned(),
    };
    let zone = TimeZone::get("America/Chicago").unwrap();
    let identity = Identity { session: None, user: Some("7".to_owned()) };
    Activity::new(input.into(), &client, identity, &Clock { now: NOW, zone: &zone })
}

/// Posts these fields beside a good date and path, from a page that sends no Referer header.
fn posted(fields: Value) -> Result<Activity, Invalid> {
    let Value::Object(fields) = fields else { panic!("{fields}") };
    let mut input = json!({"date": "2016-12-29T07:35:22.571Z", "path": "/"});
    input.as_object_mut().unwrap().extend(fields);
    make(input, "")
}

#[track_caller]
fn check(fields: Value, expected: &[(&'static str, &[&str])]) {
    let shown = fields.to_string();
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let expected = expected.iter().map(|&(field, texts)| (field, owned(texts))).collect();
    assert_eq!(posted(fields), Err(Invalid(expected)), "{shown}");
}

#[test]
fn everything_is_taken_down() {
    let id = "0190f0a2-7a5b-7d52-b3a1-0123456789ab";
    let activity = posted(json!({
        "path": "/cart/", "referer": " https://x.example/ ", "event_id": id, "name": "buy",
        "properties": {"b": 1.50, "a": [1, 2]}, "sent_at": "2016-12-29T07:35:23Z", "user": "99",
    }));
    let expected = Activity {
        received_at: NOW,
        date: NOW,
        address: [127, 0, 0, 1].into(),
        session: None,
        user: Some("7".to_owned()),
        path: "/cart/".to_owned(),
        referer: "https://x.example/".to_owned(),
        user_agent: "😀".repeat(USER_AGENT_CHARS),
        event_id: Some(id.parse().unwrap()),
        name: "buy".to_owned(),
        properties: Some(r#"{"b":1.5,"a":[1,2]}"#.to_owned()),
    };
    assert_eq!(activity, Ok(expected));
}

#[test]
fn dates_that_are_none() {
    let long = format!("2016-12-29T07:35:22.{}Z", "571".repeat(15).split_at(44).0);
    assert_eq!(long.len(), 65);
    for date in [json!(null), json!(""), json!(" "), json!("foo"), json!(1482996922571_i64)] {
        check(json!({"date": date}), &[("date", &[DATE])]);
    }
    for date in [json!(true), json!([]), json!({}), json!(long), json!("2016-12-29T07:35\0")] {
        check(json!({"date": date}), &[("date", &[DATE])]);
    }
    assert_eq!(posted(json!({"date": long.replace("57Z", "5Z")})).unwrap().date, NOW + 571);
    assert_eq!(posted(json!({"date": "2016-12-29T01:35:22.571"})).unwrap().date, NOW);
}

#[test]
fn paths() {
    let check = |path: Value, referer: &str, expected: Result<&str, &str>| {
        let shown = format!("{path} {referer:?}");
        let made = make(json!({"date": "2016-12-29T07:35Z", "path": path}), referer);
        let expected = expected.map(str::to_owned);
        let expected = expected.map_err(|text| Invalid(vec![("path", vec![text.to_owned()])]));
        assert_eq!(made.map(|activity| activity.path), expected, "{shown}");
    };
    let long = "Ensure this field has no more than 2000 characters.";
    let (most, more) = ("😀".repeat(2_000), "😀".repeat(2_001));
    check(json!("a/"), "https://x/", Ok("a/"));
    check(json!("\t a b\r\n"), "https://x/", Ok("a b"));
    check(json!(null), "https://x/", Ok("https://x/"));
    check(json!(""), " https://x/ ", Ok("https://x/"));
    check(json!("   "), "https://x/", Err(BLANK));
    check(json!(""), "", Err(BLANK));
    check(json!(null), " ", Err(BLANK));
    check(json!(true), "https://x/", Err(NO_TEXT));
    check(json!(["a"]), "https://x/", Err(NO_TEXT));
    check(json!({}), "https://x/", Err(NO_TEXT));
    check(json!(7), "", Ok("7"));
    check(json!("a\0b"), "", Err(NUL));
    check(json!("a\r\nb\u{202e}<script>\u{1b}"), "", Ok("a\r\nb\u{202e}<script>\u{1b}"));
    check(json!(most), "", Ok(&most));
    check(json!(format!("  {most}\n")), "", Ok(&most));
    check(json!(more), "", Err(long));
    check(json!(null), &more, Err(long));
}

#[test]
fn other_fields() {
    check(
        json!({"referer": "r".repeat(2_001)}),
        &[("referer", &["Ensure this field has no more than 2000 characters."])],
    );
    check(json!({"referer": "\0"}), &[("referer", &[NUL])]);
    check(json!({"referer": false}), &[("referer", &[NO_TEXT])]);
    check(
        json!({"name": "n".repeat(101)}),
        &[("name", &["Ensure this field has no more than 100 characters."])],
    );
    for id in
        [json!("x"), json!(7), json!(" "), json!({}), json!("0190f0a27a5b7d52b3a10123456789a")]
    {
        check(json!({"event_id": id}), &[("event_id", &["Must be a valid UUID."])]);
    }
    for sent_at in [json!("x"), json!(1), json!([]), json!(" ")] {
        check(json!({"sent_at": sent_at}), &[("sent_at", &[DATE])]);
    }
    let blank =
        json!({"referer": null, "event_id": "", "name": null, "properties": "", "sent_at": ""});
    assert_eq!(posted(blank), posted(json!({})));
    assert_eq!(posted(json!({"name": " buy "})).unwrap().name, "buy");
}

#[test]
fn messages_stand_in_the_order_of_the_fields() {
    let fields = json!({
        "sent_at": "x", "properties": [], "name": true, "event_id": "x", "referer": {},
        "path": " ", "date": "",
    });
    check(
        fields,
        &[
            ("date", &[DATE]),
            ("path", &[BLANK]),
            ("referer", &[NO_TEXT]),
            ("event_id", &["Must be a valid UUID."]),
            ("name", &[NO_TEXT]),
            ("properties", &["Expected a JSON object."]),
            ("sent_at", &[DATE]),
        ],
    );
}

#[test]
fn properties_are_objects_within_limits() {
    let wrong = |value: Value, message: &str| {
        check(json!({"properties": value}), &[("properties", &[message])]);
    };
    let right = |value: Value, expected: &str| {
        let properties = posted(json!({"properties": value})).unwrap().properties;
        assert_eq!(properties.as_deref(), Some(expected));
    };
    wrong(json!("{"), "Value must be valid JSON.");
    wrong(json!("{\"a\": NaN}"), "Value must be valid JSON.");
    for value in [json!([]), json!(1), json!(true), json!("null"), json!("[]"), json!("\"a\"")] {
        wrong(value, "Expected a JSON object.");
    }
    for value in [
        json!({"a": "\0"}),
        json!({"\0": 1}),
        json!({"a": [{"b\0": 1}]}),
        json!(r#"{"a":"\u0000"}"#),
    ] {
        wrong(value, NUL);
    }
    right(json!({"a": "\\u0000"}), r#"{"a":"\\u0000"}"#);
    right(json!(r#" { "b" : 1 , "a" : "x y", "b": 2 } "#), r#"{"b":2,"a":"x y"}"#);
    right(json!(r#"{"a": 0.1234567890123456789}"#), r#"{"a":0.12345678901234568}"#);
    right(json!({}), "{}");

    let sized = |bytes: usize| json!({"a": "é".repeat((bytes - 8) / 2)});
    assert_eq!(
        posted(json!({"properties": sized(8_192)})).unwrap().properties.unwrap().len(),
        8_192
    );
    wrong(sized(8_194), "Ensure this field has no more than 8192 bytes.");

    let deep = "Ensure this field has no more than 3 levels of nesting.";
    right(json!({"a": {"b": [1]}}), r#"{"a":{"b":[1]}}"#);
    wrong(json!({"a": {"b": [[]]}}), deep);
    wrong(json!(r#"{"a": {"b": [{}]}}"#), deep);
    wrong(json!("[".repeat(60_000)), deep);
}

#[test]
fn a_wrong_clock_is_corrected() {
    // The client's clock when it sent, and by how much the date moves.
    let cases = [
        ("2016-12-29T07:35:22.571Z", 0),
        ("2016-12-29T07:34:22.571Z", 0),
        ("2016-12-29T07:36:22.571Z", 0),
        ("2016-12-29T07:34:22.570999Z", 60_000_001),
        ("2016-12-29T07:36:22.571001Z", -60_000_001),
        ("2017-12-29T07:35:22.571Z", -365 * 86_400_000_000),
        ("0001-01-01T00:00Z", NOW - date::FIRST),
    ];
    for (sent_at, moved) in cases {
        let date = "1970-01-01T00:00Z";
        let fields = if moved < 0 {
            json!({"sent_at": sent_at})
        } else {
            json!({"date": date, "sent_at": sent_at})
        };
        let from = if moved < 0 { NOW } else { 0 };
        assert_eq!(posted(fields).unwrap().date, from + moved, "{sent_at}");
    }
    let range = "Datetime value out of range.";
    let first = json!({"date": "0001-01-02T00:00Z", "sent_at": "2017-01-01T00:00Z"});
    check(first, &[("sent_at", &[range])]);
    check(json!({"date": "0001-01-01T00:00Z"}), &[("date", &[range])]);
    let last = json!({"date": "9999-12-31T23:59Z", "sent_at": "2016-12-28T00:00Z"});
    check(last, &[("sent_at", &[range])]);
}
