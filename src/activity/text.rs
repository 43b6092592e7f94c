//! The texts of an activity: trimmed, measured and refused as Django REST framework's `CharField`
//! (`rest_framework/fields.py`) does it, in its words.
//!
//! Knows nothing of which fields there are.

use serde_json::{Number, Value};

use super::Field;

/// DRF's message for a text in which there is nothing but white space.
pub(super) const BLANK: &str = "This field may not be blank.";
/// DRF's message for a text with a NUL: PostgreSQL cannot hold one.
pub(super) const NUL: &str = "Null characters are not allowed.";

/// White space as Python's `str.isspace()` has it: Unicode's, and the four ASCII separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The trimmed text of a field, at most `limit` characters; absent and null are blank.
pub(super) fn read(field: Field, limit: usize) -> Result<String, Vec<String>> {
    let text = match field {
        Field::Absent => String::new(),
        Field::Text(text) => trimmed(text),
        Field::Other(Value::Number(number)) => python_str(&number),
        Field::Other(_) => return Err(vec!["Not a valid string.".to_owned()]),
    };
    let mut messages = Vec::new();
    // Bytes first: nearly every text is short, and then nothing needs counting.
    if text.len() > limit && text.chars().nth(limit).is_some() {
        messages.push(format!("Ensure this field has no more than {limit} characters."));
    }
    if text.contains('\0') {
        messages.push(NUL.to_owned());
    }
    if messages.is_empty() { Ok(text) } else { Err(messages) }
}

fn trimmed(text: String) -> String {
    let kept = text.trim_matches(is_space);
    if kept.len() == text.len() { text } else { kept.to_owned() }
}

/// The first `limit` characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let end = text.char_indices().nth(limit).map(|(at, _)| at);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// A client's text for a terminal: nothing in it can steer one, or turn the line around.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns
    };
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A number as Python's `str()` writes it, for that is what `CharField` stores: floats in
/// scientific notation below 1e-4 and from 1e16 on, with two digits of exponent at least.
fn python_str(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    if float == 0.0 || (1e-4..1e16).contains(&float.abs()) {
        return format!("{float:?}");
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(field: Field, expected: Result<&str, &[&str]>) {
        let shown = format!("{field:?}");
        let expected = expected.map(str::to_owned);
        let expected = expected.map_err(|texts| texts.iter().map(|&t| t.to_owned()).collect());
        assert_eq!(read(field, 4), expected, "{shown}");
    }

    #[test]
    fn texts_are_trimmed_and_measured_as_by_rest_framework() {
        let too_long = "Ensure this field has no more than 4 characters.";
        let cases: &[(&str, Result<&str, &[&str]>)] = &[
            ("", Ok("")),
            ("abcd", Ok("abcd")),
            ("  abcd\r\n", Ok("abcd")),
            ("\x1c\x1d\x1e\x1f\u{85}\u{a0}\u{3000}a\u{2028}\t", Ok("a")),
            ("\u{200b}a", Ok("\u{200b}a")),
            ("\u{feff}", Ok("\u{feff}")),
            ("a b", Ok("a b")),
            ("😀😀😀😀", Ok("😀😀😀😀")),
            ("😀😀😀😀😀", Err(&[too_long])),
            ("abcde", Err(&[too_long])),
            ("a\0b", Err(&[NUL])),
            ("\0", Err(&[NUL])),
            ("abcd\0", Err(&[too_long, NUL])),
        ];
        for (text, expected) in cases {
            check(Field::Text((*text).to_owned()), *expected);
        }
        check(Field::Absent, Ok(""));
    }

    #[test]
    fn values_that_are_no_text() {
        for value in [json!(true), json!(false), json!([]), json!(["a"]), json!({"a": 1})] {
            check(Field::Other(value), Err(&["Not a valid string."]));
        }
        check(
            Field::Other(json!(12345)),
            Err(&["Ensure this field has no more than 4 characters."]),
        );
        check(Field::Other(json!(-7)), Ok("-7"));
    }

    #[test]
    fn numbers_are_written_as_by_python() {
        let cases = [
            (json!(0), "0"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(i64::MIN), "-9223372036854775808"),
            (json!(1.0), "1.0"),
            (json!(-0.0), "-0.0"),
            (json!(1.5), "1.5"),
            (json!(1e15), "1000000000000000.0"),
            (json!(1e16), "1e+16"),
            (json!(1.25e-5), "1.25e-05"),
            (json!(0.0001), "0.0001"),
            (json!(1.7976931348623157e308), "1.7976931348623157e+308"),
        ];
        for (value, expected) in cases {
            assert_eq!(read(Field::Other(value), 40).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn cutting_keeps_whole_characters() {
        for (text, expected) in [("", ""), ("ab", "ab"), ("abc", "abc"), ("a😀cd", "a😀c")] {
            assert_eq!(cut(text, 3), expected);
        }
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let steering = "/a\u{1b}[31m\r\n\u{202e}b\u{85}";
        assert_eq!(plain(steering), "/a\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(plain("/café 😀"), "/café 😀");
    }
}
