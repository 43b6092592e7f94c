//! SQLite: what the tables of tokens look like, which differs by the age of the app that made them.

use rusqlite::Connection;

use super::sqlite_key::quote;
use super::sqlite_link::Failure;
use super::sqlite_schema::columns;
use super::{TokenKey, TokenTables};

/// The parts of a query for tokens, of a table `t` joined with the users `u`.
pub(super) struct Select {
    /// When it ends, its digest, its salt, and whether it is restricted.
    pub(super) columns: &'static str,
    pub(super) table: String,
    /// `LEFT` where a token may be nobody's.
    pub(super) join: &'static str,
    pub(super) condition: &'static str,
    pub(super) values: Vec<String>,
}

/// How to ask for tokens; `None` where the table is absent.
pub(super) fn select(
    connection: &Connection,
    tables: &TokenTables,
    key: TokenKey<'_>,
) -> Result<Option<Select>, Failure> {
    let table = match key {
        TokenKey::Drf(_) => "authtoken_token",
        TokenKey::Knox(_) => &tables.knox,
        TokenKey::Oauth { .. } => &tables.oauth,
    };
    let present = columns(connection, table)?;
    if present.is_empty() {
        return Ok(None);
    }
    let has = |column: &str| present.iter().any(|name| name == column);
    let columns = match key {
        TokenKey::Drf(_) => "NULL, '', NULL, 0",
        // Up to knox 4.1; its expiry came with 3.0, as `expires`.
        TokenKey::Knox(_) if has("salt") && has("expires") => "t.expires, t.digest, t.salt, 0",
        TokenKey::Knox(_) if has("salt") => "t.expiry, t.digest, t.salt, 0",
        TokenKey::Knox(_) => "t.expiry, t.digest, NULL, 0",
        TokenKey::Oauth { .. } if has("resource") => {
            "t.expires, '', NULL, coalesce(t.resource, '') NOT IN ('', '[]', '\"\"', 'null')"
        }
        TokenKey::Oauth { .. } => "t.expires, '', NULL, 0",
    };
    let (join, condition, values) = match key {
        TokenKey::Drf(token) => ("", "t.key = ?1", vec![token]),
        TokenKey::Knox(starts) => ("", "t.token_key IN (?1, ?2) LIMIT 100", starts.to_vec()),
        TokenKey::Oauth { checksum, .. } if has("token_checksum") => {
            ("LEFT", "t.token_checksum = ?1", vec![checksum])
        }
        TokenKey::Oauth { token, .. } => ("LEFT", "t.token = ?1", vec![token]),
    };
    let values = values.into_iter().map(str::to_owned).collect();
    Ok(Some(Select { columns, table: quote(table), join, condition, values }))
}
