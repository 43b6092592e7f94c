//! Django's fixture JSON, equal to what `manage.py dumpdata` prints for the same rows
//! (`django/core/serializers/json.py`), page by page in constant memory.
//!
//! Knows no SQL and no command line.

mod python_json;

use std::io::{self, Write};

use jiff::civil::DateTime;

use crate::store::{self, History, Key, Moments, StoredActivity, StoredSession};
use python_json::Value;

/// Rows that are held at a time.
const PAGE: usize = 500;

/// Why a dump stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Where it is written to.
    #[error("cannot write the dump: {0}")]
    Io(#[from] io::Error),
    /// A row that Django could not read either.
    #[error("the properties of the activity {id} are not JSON: {reason}")]
    Properties {
        /// The row.
        id: i64,
        /// What is wrong with them.
        reason: String,
    },
}

/// A model that can be dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// `djaffar.Activity`
    Activity,
    /// `djaffar.SessionInfo`
    SessionInfo,
}

impl std::str::FromStr for Model {
    type Err = String;

    /// As `manage.py dumpdata` takes it: the case of the model's name does not matter.
    fn from_str(label: &str) -> Result<Self, String> {
        match label.strip_prefix("djaffar.").unwrap_or_default().to_ascii_lowercase().as_str() {
            "activity" => Ok(Self::Activity),
            "sessioninfo" => Ok(Self::SessionInfo),
            _ => Err(format!("unknown model {label}: djaffar.Activity or djaffar.SessionInfo")),
        }
    }
}

/// Writes all rows of a model. `indent` is the option of `dumpdata`.
pub fn dumpdata(
    model: Model,
    history: &mut dyn History,
    moments: &Moments,
    indent: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut list = List { indent, first: true, text: String::new(), out };
    list.out.write_all(b"[")?;
    match model {
        Model::Activity => activities(history, moments, &mut list)?,
        Model::SessionInfo => sessions(history, moments, &mut list)?,
    }
    list.out.write_all(if list.is_indented() { b"\n]\n" } else { b"]\n" })?;
    Ok(list.out.flush()?)
}

fn activities(
    history: &mut dyn History,
    moments: &Moments,
    list: &mut List<'_>,
) -> Result<(), Error> {
    let mut last = i64::MIN;
    loop {
        let page = history.after(last, PAGE)?;
        let Some(end) = page.last() else { return Ok(()) };
        last = end.id;
        for row in page {
            list.add(&activity(row, moments)?)?;
        }
    }
}

fn sessions(
    history: &mut dyn History,
    moments: &Moments,
    list: &mut List<'_>,
) -> Result<(), Error> {
    let mut last: Option<String> = None;
    loop {
        let page = history.sessions(last.as_deref(), PAGE)?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.session.clone());
        for row in page {
            list.add(&session(row, moments))?;
        }
    }
}

/// The outer list, which Django writes by hand.
struct List<'a> {
    indent: Option<usize>,
    first: bool,
    text: String,
    out: &'a mut dyn Write,
}

impl List<'_> {
    /// Like Django, which takes `--indent 0` for none here (and not within the objects).
    fn is_indented(&self) -> bool {
        self.indent.is_some_and(|indent| indent > 0)
    }

    fn add(&mut self, object: &Value) -> io::Result<()> {
        self.text.clear();
        if !std::mem::take(&mut self.first) {
            self.text.push_str(if self.is_indented() { "," } else { ", " });
        }
        if self.is_indented() {
            self.text.push('\n');
        }
        object.print(self.indent, &mut self.text);
        self.out.write_all(self.text.as_bytes())
    }
}

/// One activity as a flat JSON object in one line: its `id`, and the fields of the dump.
///
/// # Errors
/// [`Error::Properties`] where they are not JSON.
pub fn line(row: StoredActivity, moments: &Moments) -> Result<String, Error> {
    let id = ("id", Value::Number(row.id.to_string()));
    let pairs = std::iter::once(id).chain(fields(row, moments)?);
    let mut out = String::new();
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), value)).collect())
        .print(None, &mut out);
    Ok(out)
}

fn activity(row: StoredActivity, moments: &Moments) -> Result<Value, Error> {
    let id = Value::Number(row.id.to_string());
    Ok(object("djaffar.activity", id, fields(row, moments)?))
}

fn fields(row: StoredActivity, moments: &Moments) -> Result<Vec<(&'static str, Value)>, Error> {
    let StoredActivity { id, .. } = row;
    let properties = match row.properties {
        Some(text) => Value::parse(&text).map_err(|reason| Error::Properties { id, reason })?,
        None => Value::Null,
    };
    let user = match row.user {
        Some(Key::Integer(number)) => Value::Number(number.to_string()),
        Some(Key::Text(text)) => Value::Text(text),
        None => Value::Null,
    };
    Ok(vec![
        ("user", user),
        ("session", text(row.session)),
        ("ip_address", Value::Text(row.ip_address)),
        ("date", date(Some(row.date), moments)),
        ("path", Value::Text(row.path)),
        ("referer", Value::Text(row.referer)),
        ("received_at", date(row.received_at, moments)),
        ("event_id", text(row.event_id.map(|id| id.hyphenated().to_string()))),
        ("name", Value::Text(row.name)),
        ("properties", properties),
    ])
}

fn session(row: StoredSession, moments: &Moments) -> Value {
    let fields = vec![
        ("user_agent", Value::Text(row.user_agent)),
        ("visitor", Value::Text(row.visitor)),
        ("browser", text(row.browser)),
        ("os", text(row.os)),
        ("device", text(row.device)),
        ("bot", row.bot.map_or(Value::Null, Value::Bool)),
        ("country", text(row.country)),
        ("created_at", date(row.created_at, moments)),
    ];
    object("djaffar.sessioninfo", Value::Text(row.session), fields)
}

fn object(model: &str, pk: Value, fields: Vec<(&str, Value)>) -> Value {
    let object = |pairs: Vec<(&str, Value)>| {
        Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    object(vec![("model", Value::Text(model.into())), ("pk", pk), ("fields", object(fields))])
}

fn text(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}

/// `DjangoJSONEncoder.default`: ISO 8601, microseconds cut to milliseconds; none where they are
/// zero; `Z` where Django's dates are aware.
fn date(at: Option<DateTime>, moments: &Moments) -> Value {
    let Some(at) = at else { return Value::Null };
    let (date, time) = (at.date(), at.time());
    let fraction = match time.subsec_nanosecond() / 1_000 {
        0 => String::new(),
        micros => format!(".{:03}", micros / 1_000),
    };
    let zone = if moments.use_tz { "Z" } else { "" };
    Value::Text(format!(
        "{date}T{:02}:{:02}:{:02}{fraction}{zone}",
        time.hour(),
        time.minute(),
        time.second()
    ))
}

#[cfg(test)]
mod tests;
