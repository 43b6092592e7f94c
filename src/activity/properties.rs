//! The details of a named activity: a JSON object, kept as compact text.
//!
//! Knows nothing of what they mean: a report may, nothing else does.

use serde_json::{Map, Value};

use super::Field;
use super::text::NUL;

/// The longest properties, as compact text, in bytes.
pub const PROPERTIES_BYTES: usize = 8_192;
/// How deep an activity may nest: itself, its properties, and two levels in them.
pub const DEPTH: usize = 4;

/// The compact text of a JSON object, or of a text that holds one (all that a form can send);
/// `None` where there is nothing.
pub(super) fn read(field: Field) -> Result<Option<String>, Vec<String>> {
    let value = match field {
        Field::Absent => return Ok(None),
        Field::Text(text) if text.is_empty() => return Ok(None),
        Field::Text(text) => parsed(&text).map_err(|message| vec![message])?,
        Field::Other(value) => value,
    };
    let Value::Object(object) = value else {
        return Err(vec!["Expected a JSON object.".to_owned()]);
    };
    compact(&object).map(Some).map_err(|message| vec![message])
}

fn parsed(text: &str) -> Result<Value, String> {
    if too_deep(text.as_bytes(), DEPTH - 1) {
        return Err(too_deep_message());
    }
    serde_json::from_str(text).map_err(|_| "Value must be valid JSON.".to_owned())
}

fn compact(object: &Map<String, Value>) -> Result<String, String> {
    if object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) {
        return Err(NUL.to_owned());
    }
    let text = serde_json::to_string(object).map_err(|error| error.to_string())?;
    if text.len() > PROPERTIES_BYTES {
        return Err(format!("Ensure this field has no more than {PROPERTIES_BYTES} bytes."));
    }
    if too_deep(text.as_bytes(), DEPTH - 1) {
        return Err(too_deep_message());
    }
    Ok(text)
}

fn too_deep_message() -> String {
    format!("Ensure this field has no more than {} levels of nesting.", DEPTH - 1)
}

/// Whether JSON nests deeper than `limit`, from the brackets outside its strings: counted before
/// parsing, so that no depth of brackets can exhaust the stack.
pub(super) fn too_deep(json: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if escaped {
            escaped = false;
        } else if in_string {
            escaped = byte == b'\\';
            in_string = byte != b'"';
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > limit {
                return true;
            }
        }
    }
    false
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(object) => {
            object.iter().any(|(key, value)| key.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
