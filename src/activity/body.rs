//! The body of a request → the inputs in it: form, multipart form, JSON.
//!
//! Takes what Django REST framework's parsers (`rest_framework/parsers.py`) take, within limits.
//! Knows nothing of HTTP beyond the value of one header, and of fields only where they go.

use serde_json::{Value, value::RawValue};

use super::properties::{DEPTH, too_deep};
use super::{Field, Input, Invalid, multipart};

/// The most fields in a form.
pub const FORM_FIELDS: usize = 64;
/// The most activities in a batch.
pub const BATCH_ITEMS: usize = 100;

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly always One, and moved once")]
pub enum Posted {
    /// One activity.
    One(Input),
    /// An array of activities, possibly none; an item that is no object is invalid by itself.
    Batch(Vec<Result<Input, Invalid>>),
}

/// Why a body holds nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// We do not read this type (415); the header as it came.
    #[error("Unsupported media type \"{0}\" in request.")]
    UnsupportedMediaType(String),
    /// It is not what its type says, or over a limit (400); what is wrong, as `detail`.
    #[error("{0}")]
    Malformed(String),
    /// It is JSON, and neither an object nor an array (400); the `errors`.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Reads a body of the type that its Content-Type header names.
///
/// Plain text, which a page may send across origins without asking first, holds JSON, and so does
/// a body without a type. An empty body is an activity without fields, as for DRF.
///
/// # Errors
/// [`BodyError`] says which answer is due.
pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Posted, BodyError> {
    let header = content_type.unwrap_or_default();
    let media_type = header.split(';').next().unwrap_or_default().trim();
    let is = |expected: &str| media_type.eq_ignore_ascii_case(expected);
    if is("application/x-www-form-urlencoded") {
        form(body).map(Posted::One)
    } else if is("application/json") || is("text/plain") || is("") {
        json(body)
    } else if is("multipart/form-data") {
        multipart::read(header, body).map(Posted::One)
    } else {
        Err(BodyError::UnsupportedMediaType(header.to_owned()))
    }
}

/// Of a field that is repeated, the last value counts, as in Django's `QueryDict`.
fn form(body: &[u8]) -> Result<Input, BodyError> {
    let mut input = Input::default();
    for (index, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if index >= FORM_FIELDS {
            let message = format!("Form parse error - send at most {FORM_FIELDS} fields.");
            return Err(BodyError::Malformed(message));
        }
        if let Some(field) = input.field(&name) {
            *field = Field::Text(value.into_owned());
        }
    }
    Ok(input)
}

fn json(body: &[u8]) -> Result<Posted, BodyError> {
    if body.is_empty() {
        return Ok(Posted::One(Input::default()));
    }
    if body.trim_ascii_start().starts_with(b"[") {
        return batch(body);
    }
    let value = value(body).map_err(BodyError::Malformed)?;
    Ok(Posted::One(object(value)?))
}

/// Each item by itself: one that cannot be read costs no other its place.
fn batch(body: &[u8]) -> Result<Posted, BodyError> {
    let items: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|error| BodyError::Malformed(format!("JSON parse error - {error}")))?;
    if items.len() > BATCH_ITEMS {
        let message = format!("Send at most {BATCH_ITEMS} activities in one request.");
        return Err(BodyError::Malformed(message));
    }
    let item = |item: &RawValue| {
        let value = value(item.get().as_bytes());
        object(value.map_err(|message| Invalid(vec![("non_field_errors", vec![message])]))?)
    };
    Ok(Posted::Batch(items.into_iter().map(item).collect()))
}

fn value(json: &[u8]) -> Result<Value, String> {
    if too_deep(json, DEPTH) {
        return Err(format!("JSON parse error - nest an activity at most {DEPTH} levels deep"));
    }
    serde_json::from_slice(json).map_err(|error| format!("JSON parse error - {error}"))
}

fn object(value: Value) -> Result<Input, Invalid> {
    let name = match value {
        Value::Object(object) => return Ok(object.into()),
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
    };
    let message = format!("Invalid data. Expected a dictionary, but got {name}.");
    Err(Invalid(vec![("non_field_errors", vec![message])]))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
