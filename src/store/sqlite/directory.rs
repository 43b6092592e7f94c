//! SQLite: who is who, on a connection that cannot write.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::key::{KeyColumn, quote};
use super::link::{Failure, Link, Setup};
use super::schema::columns;
use crate::activity::Micros;
use crate::store::moment::parse;
use crate::store::tokens::{self, Dialect};
use crate::store::{
    Directory, Error, Key, Moments, SessionRow, Settings, TokenKey, TokenRow, TokenTables, UserRow,
    Users, schema,
};

/// A request waits for this connection.
const READER: Setup = Setup {
    patience: Duration::from_millis(100),
    pragmas: "PRAGMA query_only = 1; PRAGMA mmap_size = 0; PRAGMA cache_size = -4096;",
};

const DIALECT: Dialect = Dialect {
    quote,
    parameter: |number| format!("?{number}"),
    never: "NULL",
    text: "text",
    exact: "",
};

/// The look-ups of an SQLite file.
#[derive(Debug)]
pub(super) struct SqliteDirectory {
    link: Link,
    users: Users,
    tables: TokenTables,
    moments: Moments,
    /// What the columns are like; read on connecting.
    shape: Option<Shape>,
}

#[derive(Debug, Clone)]
struct Shape {
    keys: KeyColumn,
    /// The columns of a user: key, password, whether active.
    user: String,
    /// The table of users, as `u`.
    from: String,
}

impl SqliteDirectory {
    pub(super) fn new(path: &Path, settings: &Settings, moments: Moments) -> Self {
        let Settings { users, tokens, .. } = settings.clone();
        Self { link: Link::new(path, READER), users, tables: tokens, moments, shape: None }
    }

    fn shape(&mut self) -> Result<Shape, Error> {
        if let Some(shape) = self.shape.as_ref().filter(|_| self.link.is_current()) {
            return Ok(shape.clone());
        }
        let users = &self.users;
        let shape = self.link.with(|connection| shape(connection, users))?;
        self.shape = Some(shape.clone());
        Ok(shape)
    }

    fn one_user(
        &mut self,
        condition: &str,
        key: impl FnOnce(KeyColumn) -> rusqlite::types::Value,
    ) -> Result<Option<UserRow>, Error> {
        let shape = self.shape()?;
        let sql = format!("SELECT {} FROM {} {condition}", shape.user, shape.from);
        self.link.with(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row([key(shape.keys)], |row| user(row, shape.keys)).optional()?)
        })
    }
}

impl Directory for SqliteDirectory {
    fn session(&mut self, key: &str) -> Result<Option<SessionRow>, Error> {
        let Self { link, moments, .. } = self;
        link.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.session_data, s.expire_date FROM django_session s WHERE s.session_key = ?1",
            )?;
            let row = statement.query_row([key], |row| {
                let data: String = row.get(0)?;
                let expires = expires(moments, row.get_ref(1)?);
                Ok(SessionRow { data: data.into_bytes(), expires })
            });
            Ok(row.optional()?)
        })
    }

    fn user(&mut self, id: &str) -> Result<Option<UserRow>, Error> {
        let condition = format!("WHERE u.{} = ?1", quote(&self.users.id));
        self.one_user(&condition, |keys| keys.value(id))
    }

    fn tokens(&mut self, key: TokenKey<'_>) -> Result<Vec<TokenRow>, Error> {
        let Shape { keys, user, from } = self.shape()?;
        let Self { link, moments, tables, .. } = self;
        let table = tokens::table(tables, key);
        let present = link.with(|connection| Ok(columns(connection, table)?))?;
        let Some(select) = tokens::select(DIALECT, table, &present, key) else {
            return Ok(Vec::new());
        };
        let id = quote(&self.users.id);
        let sql = format!(
            "SELECT {user}, {} FROM {} t {} JOIN {from} ON u.{id} = t.user_id WHERE {}",
            select.columns, select.table, select.join, select.condition
        );
        link.with(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(select.values), |row| {
                let user = match row.get_ref(0)? {
                    ValueRef::Null => None,
                    _ => Some(self::user(row, keys)?),
                };
                let expires = match row.get_ref(3)? {
                    ValueRef::Null => None,
                    value => Some(expires(moments, value)),
                };
                let (digest, salt, restricted) = (row.get(4)?, row.get(5)?, row.get(6)?);
                Ok(TokenRow { user, expires, digest, salt, restricted })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn shape(connection: &mut Connection, users: &Users) -> Result<Shape, Failure> {
    let Some(keys) = KeyColumn::of(connection, &users.table, &users.id)? else {
        return Err(schema::no_users(users).into());
    };
    let active = match KeyColumn::of(connection, &users.table, &users.is_active)? {
        Some(_) => format!("u.{}", quote(&users.is_active)),
        None => "1".into(),
    };
    let (id, password, table) = (quote(&users.id), quote(&users.password), quote(&users.table));
    // Qualified by `u.`, or SQLite would take the name of a missing column for a text.
    Ok(Shape { keys, user: format!("u.{id}, u.{password}, {active}"), from: format!("{table} u") })
}

fn user(row: &Row<'_>, keys: KeyColumn) -> rusqlite::Result<UserRow> {
    let id = match keys.key(row.get_ref(0)?) {
        Key::Integer(number) => number.to_string(),
        Key::Text(text) => text,
    };
    Ok(UserRow { id, password: row.get(1)?, is_active: row.get(2)? })
}

fn expires(moments: &Moments, value: ValueRef<'_>) -> Micros {
    let text = value.as_str().unwrap_or_default();
    parse(text).and_then(|digits| moments.instant(digits)).unwrap_or(Micros::MIN)
}
