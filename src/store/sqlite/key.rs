//! SQLite: primary keys of users, which are of any type.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use crate::store::Key;

/// How a column holds primary keys of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyColumn {
    /// Numbers.
    Integer,
    /// UUIDs: 32 hexadecimal digits without dashes (`UUIDField` on SQLite).
    Uuid,
    /// Text as it is.
    Text,
}

impl KeyColumn {
    /// The way of a column, by its declared type; `None` where there is no such column.
    pub(super) fn of(
        connection: &Connection,
        table: &str,
        column: &str,
    ) -> rusqlite::Result<Option<Self>> {
        let declared: Option<String> = connection
            .prepare_cached(
                "SELECT lower(type) FROM pragma_table_info(?1) WHERE lower(name) = lower(?2)",
            )?
            .query_row([table, column], |row| row.get(0))
            .optional()?;
        Ok(declared.map(|declared| match declared.as_str() {
            "char(32)" => Self::Uuid,
            other if other.contains("int") => Self::Integer,
            _ => Self::Text,
        }))
    }

    /// The value to bind for `str(user.pk)`.
    pub(super) fn value(self, key: &str) -> Value {
        match self {
            Self::Integer => match key.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => key.to_owned().into(),
            },
            Self::Uuid => match Uuid::try_parse(key) {
                Ok(uuid) => uuid.simple().to_string().into(),
                Err(_) => key.to_owned().into(),
            },
            Self::Text => key.to_owned().into(),
        }
    }

    /// The key that the column holds, as Python's `str()` has it.
    pub(super) fn key(self, value: ValueRef<'_>) -> Key {
        let text = match value {
            ValueRef::Integer(number) => return Key::Integer(number),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) | ValueRef::Blob(text) => {
                String::from_utf8_lossy(text).into_owned()
            }
            ValueRef::Null => String::new(),
        };
        match Uuid::try_parse(&text) {
            Ok(uuid) if self == Self::Uuid => Key::Text(uuid.hyphenated().to_string()),
            _ => Key::Text(text),
        }
    }
}

/// A name in SQL.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
