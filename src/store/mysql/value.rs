//! MySQL: values of the columns' types.

use jiff::civil::DateTime;
use mysql::Value;
use uuid::Uuid;

use super::link::Failure;
use crate::store::{Error, Key};

/// `datetime(6)`.
pub(super) fn datetime(at: DateTime) -> Value {
    let small = |number: i8| number.unsigned_abs();
    Value::Date(
        at.year().unsigned_abs(),
        small(at.month()),
        small(at.day()),
        small(at.hour()),
        small(at.minute()),
        small(at.second()),
        at.subsec_nanosecond().unsigned_abs() / 1_000,
    )
}

/// The digits of a `datetime(6)`.
pub(super) fn digits(value: &Value) -> Result<Option<DateTime>, Failure> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else {
        return match value {
            Value::NULL => Ok(None),
            _ => Err(unreadable()),
        };
    };
    let small = |number: u8| i8::try_from(number).unwrap_or(-1);
    let year = i16::try_from(year).unwrap_or(-1);
    let nanos = i32::try_from(micros).unwrap_or(-1).saturating_mul(1_000);
    let (month, day, hour) = (small(month), small(day), small(hour));
    DateTime::new(year, month, day, hour, small(minute), small(second), nanos)
        .map(Some)
        .map_err(|_| unreadable())
}

pub(super) fn unreadable() -> Failure {
    Error::Schema("a column is not of the type that Django makes".into()).into()
}

/// A UUID, for `char(32)` and for MariaDB's `uuid` alike.
pub(super) fn uuid(id: Uuid) -> Value {
    Value::from(id.simple().to_string())
}

/// How a column holds primary keys of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyColumn {
    /// Numbers.
    Integer,
    /// `UUIDField`: `char(32)`, or `uuid` on MariaDB.
    Uuid,
    /// Text as it is.
    Text,
}

impl KeyColumn {
    /// The way of a column, by its type.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "char(32)" | "uuid" => Self::Uuid,
            kind if kind.contains("int") => Self::Integer,
            _ => Self::Text,
        }
    }

    /// The value for `str(user.pk)`; `None` where the column could not hold it.
    pub(super) fn value(self, key: &str) -> Option<Value> {
        match self {
            Self::Integer => key.parse::<i64>().map(Value::from).ok(),
            Self::Uuid => Uuid::try_parse(key).map(uuid).ok(),
            Self::Text => Some(Value::from(key)),
        }
    }

    /// The key that the column holds, as Python's `str()` has it.
    pub(super) fn key(self, value: &Value) -> Option<Key> {
        let text = match value {
            Value::NULL => return None,
            Value::Int(number) => return Some(Key::Integer(*number)),
            Value::UInt(number) => match i64::try_from(*number) {
                Ok(number) => return Some(Key::Integer(number)),
                Err(_) => number.to_string(),
            },
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => other.as_sql(true),
        };
        Some(match Uuid::try_parse(&text) {
            Ok(uuid) if self == Self::Uuid => Key::Text(uuid.hyphenated().to_string()),
            _ => Key::Text(text),
        })
    }
}

/// A name in SQL.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
