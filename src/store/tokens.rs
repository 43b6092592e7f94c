//! What the tables of tokens look like, which differs by the age of the app that made them.

use super::{TokenKey, TokenTables};

/// How a database writes what differs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// A name in SQL.
    pub(super) quote: fn(&str) -> String,
    /// The n-th parameter, from 1 on.
    pub(super) parameter: fn(usize) -> String,
    /// No moment, in the type of moments.
    pub(super) never: &'static str,
    /// The type of a text, in a cast.
    pub(super) text: &'static str,
    /// Before a column that is to be compared letter for letter.
    pub(super) exact: &'static str,
}

/// The parts of a query for tokens, of a table `t` joined with the users `u`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Select {
    /// When it ends, its digest, its salt, and whether it is restricted.
    pub(super) columns: String,
    pub(super) table: String,
    /// `LEFT` where a token may be nobody's.
    pub(super) join: &'static str,
    pub(super) condition: String,
    pub(super) values: Vec<String>,
}

/// The table of tokens of this kind.
pub(super) fn table<'a>(tables: &'a TokenTables, key: TokenKey<'_>) -> &'a str {
    match key {
        TokenKey::Drf(_) => "authtoken_token",
        TokenKey::Knox(_) => &tables.knox,
        TokenKey::Oauth { .. } => &tables.oauth,
    }
}

/// How to ask for tokens in a table with these columns; `None` where it is absent.
pub(super) fn select(
    dialect: Dialect,
    table: &str,
    present: &[String],
    key: TokenKey<'_>,
) -> Option<Select> {
    if present.is_empty() {
        return None;
    }
    let Dialect { quote, parameter, never, text, exact } = dialect;
    let has = |column: &str| present.iter().any(|name| name == column);
    let nothing = format!("CAST(NULL AS {text})");
    let columns = match key {
        TokenKey::Drf(_) => format!("{never}, '', {nothing}, 1 = 0"),
        // Up to knox 4.1; its expiry came with 3.0, as `expires`.
        TokenKey::Knox(_) if has("salt") && has("expires") => {
            "t.expires, t.digest, t.salt, 1 = 0".to_owned()
        }
        TokenKey::Knox(_) if has("salt") => "t.expiry, t.digest, t.salt, 1 = 0".to_owned(),
        TokenKey::Knox(_) => format!("t.expiry, t.digest, {nothing}, 1 = 0"),
        TokenKey::Oauth { .. } if has("resource") => format!(
            "t.expires, '', {nothing}, \
             coalesce(CAST(t.resource AS {text}), '') NOT IN ('', '[]', '\"\"', 'null')"
        ),
        TokenKey::Oauth { .. } => format!("t.expires, '', {nothing}, 1 = 0"),
    };
    let is = |column: &str| {
        let (column, value) = (format!("t.{}", quote(column)), parameter(1));
        match exact {
            "" => format!("{column} = {value}"),
            _ => format!("{column} = {value} AND {exact} {column} = {}", parameter(2)),
        }
    };
    let (join, condition, values) = match key {
        TokenKey::Drf(token) => ("", is("key"), vec![token]),
        TokenKey::Knox(starts) => {
            let condition =
                format!("t.token_key IN ({}, {}) LIMIT 100", parameter(1), parameter(2));
            ("", condition, starts.to_vec())
        }
        TokenKey::Oauth { checksum, .. } if has("token_checksum") => {
            ("LEFT", is("token_checksum"), vec![checksum])
        }
        TokenKey::Oauth { token, .. } => ("LEFT", is("token"), vec![token]),
    };
    let mut values: Vec<_> = values.into_iter().map(str::to_owned).collect();
    if !exact.is_empty() && values.len() == 1 {
        values.extend_from_within(..);
    }
    Some(Select { columns, table: quote(table), join, condition, values })
}
