//! JSON as Python reads and prints it (`json.loads`, then `json.dumps` with
//! `ensure_ascii=False`).
//!
//! serde_json is not enough: Python keeps whole numbers of any length, prints numbers in its own
//! way, and takes what is too large for infinite.

use std::fmt::Write;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As Python prints it.
    Number(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// Deeper than SQLite's `JSON_VALID` goes.
const MAX_DEPTH: usize = 1_001;

impl Value {
    /// Reads JSON; the error says where it is none.
    pub(super) fn parse(text: &str) -> Result<Value, String> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0).filter(|_| parser.peek().is_none());
        value.ok_or_else(|| format!("at byte {}", parser.at))
    }

    /// Appends it as `json.dump(value, indent=indent)` does.
    pub(super) fn print(&self, indent: Option<usize>, out: &mut String) {
        self.print_at(indent, 0, out);
    }

    fn print_at(&self, indent: Option<usize>, level: usize, out: &mut String) {
        let line = |out: &mut String, level: usize| {
            if let Some(indent) = indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * level));
            }
        };
        let comma = if indent.is_some() { "," } else { ", " };
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(text) => out.push_str(text),
            Value::Text(text) => quote(text, out),
            Value::Array(items) if items.is_empty() => out.push_str("[]"),
            Value::Object(pairs) if pairs.is_empty() => out.push_str("{}"),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { comma });
                    line(out, level + 1);
                    item.print_at(indent, level + 1, out);
                }
                line(out, level);
                out.push(']');
            }
            Value::Object(pairs) => {
                out.push('{');
                for (index, (name, value)) in pairs.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { comma });
                    line(out, level + 1);
                    quote(name, out);
                    out.push_str(": ");
                    value.print_at(indent, level + 1, out);
                }
                line(out, level);
                out.push('}');
            }
        }
    }
}

/// `json.encoder.py_encode_basestring`.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            // Writing to a String cannot fail.
            '\0'..='\u{1f}' => drop(write!(out, "\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        let blank = self.rest().bytes().take_while(|byte| b" \t\n\r".contains(byte)).count();
        self.at += blank;
        self.rest().bytes().next()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.peek().is_some() && self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.peek()? {
            _ if depth > MAX_DEPTH => None,
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ if self.take("null") => Some(Value::Null),
            _ if self.take("true") => Some(Value::Bool(true)),
            _ if self.take("false") => Some(Value::Bool(false)),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.take("[");
        if self.take("]") {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take("]") {
                return Some(Value::Array(items));
            }
            self.take(",").then_some(())?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        self.take("{");
        if self.take("}") {
            return Some(Value::Object(pairs));
        }
        loop {
            self.peek().filter(|byte| *byte == b'"')?;
            let name = self.string()?;
            self.take(":").then_some(())?;
            let value = self.value(depth + 1)?;
            // As in a dict: the last value, in the place of the first.
            match pairs.iter_mut().find(|(other, _)| *other == name) {
                Some(pair) => pair.1 = value,
                None => pairs.push((name, value)),
            }
            if self.take("}") {
                return Some(Value::Object(pairs));
            }
            self.take(",").then_some(())?;
        }
    }

    /// Unescaping is left to serde_json.
    fn string(&mut self) -> Option<String> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let text = serde_json::from_str(rest.get(..end + 2)?).ok()?;
        self.at += end + 2;
        Some(text)
    }

    fn number(&mut self) -> Option<Value> {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| b"+-.0123456789eE".contains(byte)).count();
        let text = rest.get(..length)?;
        // Whether it is a number as JSON has them; the value is not of interest.
        serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
        self.at += length;
        Some(Value::Number(python_number(text)?))
    }
}

/// `repr()` of `int(text)` or `float(text)`.
fn python_number(text: &str) -> Option<String> {
    if !text.contains(['.', 'e', 'E']) {
        return Some(if text == "-0" { "0".into() } else { text.into() });
    }
    let number: f64 = text.parse().ok()?;
    if number.is_infinite() {
        return Some(if number > 0.0 { "Infinity".into() } else { "-Infinity".into() });
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return Some(if plain.contains('.') { plain } else { plain + ".0" });
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{digits}e{sign}{:02}", exponent.abs()))
}
