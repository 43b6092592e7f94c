//! PostgreSQL: values on the wire, which are bytes of the column's own type.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use jiff::civil::DateTime;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::activity::Micros;
use crate::store::{Error, Key};

type Boxed = Box<dyn StdError + Sync + Send>;

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const MILLENNIUM: Micros = 946_684_800_000_000;

/// A moment: `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Micros);

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        out.put_i64(self.0.checked_sub(MILLENNIUM).ok_or("out of range")?);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl FromSql<'_> for Moment {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Boxed> {
        let since = i64::from_be_bytes(raw.try_into()?);
        // `infinity` too is a moment to PostgreSQL.
        Ok(Self(since.saturating_add(MILLENNIUM)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

/// JSON text: `jsonb`.
#[derive(Debug)]
pub(super) struct Json<'a>(pub(super) &'a str);

impl ToSql for Json<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        // The version of the format.
        out.put_u8(1);
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSONB
    }

    to_sql_checked!();
}

/// How a column holds primary keys of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyColumn(pub(super) Type);

impl KeyColumn {
    /// The way of a type's number; `None` for types that are no key of Django's.
    pub(super) fn of(oid: u32) -> Option<Self> {
        [Type::INT2, Type::INT4, Type::INT8, Type::UUID, Type::VARCHAR, Type::TEXT, Type::BPCHAR]
            .into_iter()
            .find(|kind| kind.oid() == oid)
            .map(Self)
    }

    /// The value for `str(user.pk)`; `None` where the column could not hold it.
    pub(super) fn value<'a>(&self, key: &'a str) -> Option<UserKey<'a>> {
        match self.0 {
            Type::INT2 => key.parse().map(UserKey::Small).ok(),
            Type::INT4 => key.parse().map(UserKey::Integer).ok(),
            Type::INT8 => key.parse().map(UserKey::Big).ok(),
            Type::UUID => Uuid::try_parse(key).map(UserKey::Uuid).ok(),
            // A text with a NUL is in no column.
            _ => (!key.contains('\0')).then_some(UserKey::Text(key)),
        }
    }

    /// The key in a row, as Python's `str()` has it.
    pub(super) fn key(
        &self,
        row: &Row,
        column: usize,
    ) -> Result<Option<Key>, tokio_postgres::Error> {
        Ok(match self.0 {
            Type::INT2 => row.try_get::<_, Option<i16>>(column)?.map(|id| Key::Integer(id.into())),
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(|id| Key::Integer(id.into())),
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(Key::Integer),
            Type::UUID => row
                .try_get::<_, Option<Uuid>>(column)?
                .map(|id| Key::Text(id.hyphenated().to_string())),
            _ => row.try_get::<_, Option<String>>(column)?.map(Key::Text),
        })
    }
}

/// A user's key in the type of its column.
#[derive(Debug, Clone, Copy)]
pub(super) enum UserKey<'a> {
    Small(i16),
    Integer(i32),
    Big(i64),
    Uuid(Uuid),
    Text(&'a str),
}

impl ToSql for UserKey<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        match self {
            Self::Small(id) => id.to_sql(kind, out),
            Self::Integer(id) => id.to_sql(kind, out),
            Self::Big(id) => id.to_sql(kind, out),
            Self::Uuid(id) => id.to_sql(kind, out),
            Self::Text(id) => id.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        KeyColumn::of(kind.oid()).is_some()
    }

    to_sql_checked!();
}

/// `jsonb` as text.
#[derive(Debug)]
pub(super) struct JsonText(pub(super) String);

impl FromSql<'_> for JsonText {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Boxed> {
        let (version, text) = raw.split_first().ok_or("no jsonb")?;
        if *version != 1 {
            return Err("an unknown version of jsonb".into());
        }
        Ok(Self(std::str::from_utf8(text)?.to_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSONB
    }
}

/// The digits in a zone; a moment that no date has is an error of the row.
pub(super) fn digits(moments: &crate::store::Moments, at: Moment) -> Result<DateTime, Error> {
    moments.digits(at.0).ok_or_else(|| Error::Schema(format!("{} is no date", at.0)))
}
