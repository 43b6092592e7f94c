//! Reading and validating what a page posts. The input is the Content-Type header, a line feed,
//! and the body.

use djaffar::activity::body::{BATCH_ITEMS, BodyError, Posted, read};
use djaffar::activity::{Activity, Client, Clock, DEPTH, Identity, Input, Invalid, date};
use djaffar::activity::{
    NAME_CHARS, PATH_CHARS, PROPERTIES_BYTES, REFERER_CHARS, USER_AGENT_CHARS,
};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::date::written;

const FORM: &str = "application/x-www-form-urlencoded";
const FIELDS: [&str; 8] =
    ["date", "path", "referer", "event_id", "name", "properties", "sent_at", "non_field_errors"];

/// What is accepted is within the limits and is the same when posted again as a form; what is
/// refused is refused with messages, in the order of the fields.
///
/// # Panics
/// When that does not hold.
pub fn check(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (header, body) = data.split_at(end);
    let Ok(header) = std::str::from_utf8(header) else { return };
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    match read(Some(header).filter(|header| !header.is_empty()), body) {
        Ok(Posted::One(input)) => check_input(input),
        Ok(Posted::Batch(items)) => {
            assert!(items.len() <= BATCH_ITEMS);
            for item in items {
                item.map_or_else(|invalid| check_messages(&invalid), check_input);
            }
        }
        Err(BodyError::Invalid(invalid)) => check_messages(&invalid),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_input(input: Input) {
    match validate(input) {
        Ok(activity) => check_activity(&activity),
        Err(invalid) => check_messages(&invalid),
    }
}

fn validate(input: Input) -> Result<Activity, Invalid> {
    let client = Client {
        address: [192, 0, 2, 1].into(),
        user_agent: "Mozilla/5.0".to_owned(),
        referer: "https://example.com/".to_owned(),
    };
    let clock = Clock { now: 1_482_996_922_571_000, zone: &TimeZone::UTC };
    Activity::new(input, &client, Identity::default(), &clock)
}

fn check_activity(activity: &Activity) {
    let Activity { date, path, referer, user_agent, name, properties, .. } = activity;
    assert!((date::FIRST..=date::LAST).contains(date), "{date}");
    assert!(!path.is_empty());
    let texts = [
        (path, PATH_CHARS),
        (referer, REFERER_CHARS),
        (name, NAME_CHARS),
        (user_agent, USER_AGENT_CHARS),
    ];
    for (text, limit) in texts {
        assert!(text.chars().count() <= limit && !text.contains('\0'), "{text:?}");
        assert_eq!(text.trim(), text);
    }
    if let Some(properties) = properties {
        check_properties(properties);
    }
    let Ok(Posted::One(again)) = read(Some(FORM), &posted(activity)) else {
        panic!("{activity:?} is no form");
    };
    assert_eq!(validate(again).as_ref(), Ok(activity));
}

fn check_properties(text: &str) {
    assert!(text.len() <= PROPERTIES_BYTES, "{}", text.len());
    let parsed: Result<Map<String, Value>, _> = serde_json::from_str(text);
    let Ok(object) = parsed else { panic!("{text} is no object") };
    let value = Value::Object(object);
    assert!(depth(&value) < DEPTH, "{text}");
    assert_eq!(value.to_string(), text);
    assert!(!holds_nul(&value), "{text}");
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(items) => 1 + items.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(items) => {
            items.iter().any(|(key, item)| key.contains('\0') || holds_nul(item))
        }
        _ => false,
    }
}

/// The activity as a form of its own.
fn posted(activity: &Activity) -> Vec<u8> {
    let event_id = activity.event_id.map(|id| id.to_string()).unwrap_or_default();
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("date", &written(activity.date))
        .append_pair("path", &activity.path)
        .append_pair("referer", &activity.referer)
        .append_pair("event_id", &event_id)
        .append_pair("name", &activity.name)
        .append_pair("properties", activity.properties.as_deref().unwrap_or_default());
    form.finish().into_bytes()
}

fn check_messages(Invalid(fields): &Invalid) {
    assert!(!fields.is_empty());
    assert!(fields.iter().all(|(_, messages)| !messages.is_empty()));
    let place = |field| FIELDS.iter().position(|known| *known == field);
    let places: Vec<_> = fields.iter().map(|(field, _)| place(*field)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{fields:?}");
}
