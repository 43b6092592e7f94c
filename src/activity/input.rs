//! What was posted, and whether it is an activity.
//!
//! The messages are those of Django REST framework, so that a page written for django-djaffar
//! finds what it expects. Knows nothing of how the fields were sent; `body.rs` does.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Activity, Client, Identity, Micros, USER_AGENT_CHARS};
use super::{date, properties, text};

/// The longest path, in characters (Unicode code points, as all limits of a text).
pub const PATH_CHARS: usize = 2_000;
/// The longest referer, in characters.
pub const REFERER_CHARS: usize = 2_000;
/// The longest name, in characters.
pub const NAME_CHARS: usize = 100;
/// The longest date, in bytes: what is longer is not looked at.
const DATE_BYTES: usize = 64;
/// A client's clock may be wrong by this much before we correct its dates: that much is the way.
const CLOCK_TOLERANCE: Micros = 60_000_000;

const WRONG_DATE: &str = "Datetime has wrong format. Use one of these formats instead: \
    YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].";
const WRONG_UUID: &str = "Must be a valid UUID.";
const OUT_OF_RANGE: &str = "Datetime value out of range.";

/// A field as it was sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Field {
    /// Not sent, or JSON's null.
    #[default]
    Absent,
    /// Text: all that a form can send.
    Text(String),
    /// Any other JSON.
    Other(Value),
}

impl From<Value> for Field {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Absent,
            Value::String(text) => Self::Text(text),
            value => Self::Other(value),
        }
    }
}

impl Field {
    fn is_blank(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Text(text) => text.is_empty(),
            Self::Other(_) => false,
        }
    }
}

/// The fields of an activity as they were sent; all others are ignored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Input {
    /// When the user did it.
    pub date: Field,
    /// What the user did it on.
    pub path: Field,
    /// Where the user came from.
    pub referer: Field,
    /// The client's id for it.
    pub event_id: Field,
    /// What kind of activity it is.
    pub name: Field,
    /// Details of a named activity.
    pub properties: Field,
    /// The client's clock when it sent the request.
    pub sent_at: Field,
}

impl Input {
    /// Where the field of that name goes.
    pub fn field(&mut self, name: &str) -> Option<&mut Field> {
        Some(match name {
            "date" => &mut self.date,
            "path" => &mut self.path,
            "referer" => &mut self.referer,
            "event_id" => &mut self.event_id,
            "name" => &mut self.name,
            "properties" => &mut self.properties,
            "sent_at" => &mut self.sent_at,
            _ => return None,
        })
    }
}

impl From<Map<String, Value>> for Input {
    fn from(object: Map<String, Value>) -> Self {
        let mut input = Self::default();
        for (name, value) in object {
            if let Some(field) = input.field(&name) {
                *field = value.into();
            }
        }
        input
    }
}

/// Why an input is no activity: messages by field, in the order of [`Input`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid activity: {0:?}")]
pub struct Invalid(pub Vec<(&'static str, Vec<String>)>);

impl Invalid {
    /// Takes down what is wrong with a field, and stands in for it.
    fn note<T: Default>(&mut self, field: &'static str, read: Result<T, Vec<String>>) -> T {
        read.unwrap_or_else(|messages| {
            self.0.push((field, messages));
            T::default()
        })
    }
}

/// What time it is, and what a date without an offset means.
#[derive(Debug, Clone, Copy)]
pub struct Clock<'a> {
    /// Our clock.
    pub now: Micros,
    /// The zone of dates without an offset: the site's, UTC where `USE_TZ = False`.
    pub zone: &'a TimeZone,
}

impl Activity {
    /// Makes an activity of what a page posted.
    ///
    /// # Errors
    /// What is wrong with each field, in DRF's words.
    pub fn new(
        input: Input,
        client: &Client,
        identity: Identity,
        at: &Clock<'_>,
    ) -> Result<Self, Invalid> {
        let mut wrong = Invalid(Vec::new());
        let date = wrong.note("date", read_date(&input.date, at).and_then(|date| shown(date, at)));
        let path = wrong.note("path", read_path(input.path, client));
        let referer = wrong.note("referer", text::read(input.referer, REFERER_CHARS));
        let event_id = wrong.note("event_id", read_event_id(&input.event_id));
        let name = wrong.note("name", text::read(input.name, NAME_CHARS));
        let properties = wrong.note("properties", properties::read(input.properties));
        let skew = wrong.note("sent_at", read_skew(&input.sent_at, at));
        if !wrong.0.is_empty() {
            return Err(wrong);
        }
        let date = wrong.note("sent_at", corrected(date, skew, at));
        if !wrong.0.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            received_at: at.now,
            date,
            address: client.address,
            session: identity.session,
            user: identity.user,
            path,
            referer,
            user_agent: text::cut(&client.user_agent, USER_AGENT_CHARS).to_owned(),
            event_id,
            name,
            properties,
        })
    }
}

fn read_date(field: &Field, at: &Clock<'_>) -> Result<Micros, Vec<String>> {
    let read = match field {
        Field::Text(text) if text.len() <= DATE_BYTES => date::parse(text, at.zone),
        _ => None,
    };
    read.ok_or_else(|| vec![WRONG_DATE.to_owned()])
}

fn shown(moment: Micros, at: &Clock<'_>) -> Result<Micros, Vec<String>> {
    if date::is_shown(moment, at.zone) { Ok(moment) } else { Err(vec![OUT_OF_RANGE.to_owned()]) }
}

/// The path, or the Referer header where none was sent. One of white space was sent, and is blank.
fn read_path(field: Field, client: &Client) -> Result<String, Vec<String>> {
    let field = if field.is_blank() { Field::Text(client.referer.clone()) } else { field };
    let path = text::read(field, PATH_CHARS)?;
    if path.is_empty() { Err(vec![text::BLANK.to_owned()]) } else { Ok(path) }
}

fn read_event_id(field: &Field) -> Result<Option<Uuid>, Vec<String>> {
    let wrong = || vec![WRONG_UUID.to_owned()];
    match field {
        blank if blank.is_blank() => Ok(None),
        Field::Text(text) => Uuid::try_parse(text).map(Some).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// How far the client's clock is behind ours; nothing when that may be the way of the request.
fn read_skew(field: &Field, at: &Clock<'_>) -> Result<Micros, Vec<String>> {
    if field.is_blank() {
        return Ok(0);
    }
    let skew = at.now.saturating_sub(read_date(field, at)?);
    Ok(if skew.saturating_abs() > CLOCK_TOLERANCE { skew } else { 0 })
}

fn corrected(date: Micros, skew: Micros, at: &Clock<'_>) -> Result<Micros, Vec<String>> {
    let moment = date.checked_add(skew).and_then(date::in_range);
    moment.ok_or_else(|| vec![OUT_OF_RANGE.to_owned()]).and_then(|moment| shown(moment, at))
}
