//! MySQL and MariaDB: who is who, on a connection that cannot write.

use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, Params, Row, Value};

use super::link::{Failure, Link, Server, Setup};
use super::schema::columns;
use super::value::{KeyColumn, digits, quote, unreadable};
use crate::activity::Micros;
use crate::store::tokens::{self, Dialect};
use crate::store::{
    Directory, Error, Key, Moments, SessionRow, Settings, TokenKey, TokenRow, TokenTables, UserRow,
    Users, schema,
};

/// A request waits for this connection.
const READER: Setup =
    Setup { patience: Duration::from_secs(2), lock: 1, sql: "SET SESSION TRANSACTION READ ONLY" };

/// Collations of MySQL take `A` for `a`, and a token is letter for letter.
const DIALECT: Dialect =
    Dialect { quote, parameter: |_| "?".to_owned(), never: "NULL", text: "CHAR", exact: "BINARY" };

/// The look-ups of a MySQL database.
#[derive(Debug)]
pub(super) struct MysqlDirectory {
    link: Link,
    users: Users,
    tables: TokenTables,
    moments: Moments,
    /// What the columns are like, and of which connection that is known.
    shape: Option<(u64, Shape)>,
}

#[derive(Debug, Clone)]
struct Shape {
    keys: KeyColumn,
    /// The columns of a user: key, password, whether active.
    user: String,
    /// The table of users, as `u`.
    from: String,
}

impl MysqlDirectory {
    pub(super) fn new(server: &Server, settings: &Settings, moments: Moments) -> Self {
        let Settings { users, tokens, .. } = settings.clone();
        Self { link: Link::new(server, READER), users, tables: tokens, moments, shape: None }
    }

    fn shape(&mut self) -> Result<Shape, Error> {
        if let Some((generation, shape)) = &self.shape
            && *generation == self.link.generation
        {
            return Ok(shape.clone());
        }
        let users = &self.users;
        let shape = self.link.with(|connection| shape(connection, users))?;
        self.shape = Some((self.link.generation, shape.clone()));
        Ok(shape)
    }
}

impl Directory for MysqlDirectory {
    fn session(&mut self, key: &str) -> Result<Option<SessionRow>, Error> {
        let sql = "SELECT session_data, expire_date FROM django_session \
                   WHERE session_key = ? AND BINARY session_key = ?";
        let Self { link, moments, .. } = self;
        link.with(|connection| {
            let row: Option<(String, Value)> = connection.exec_first(sql, (key, key))?;
            let Some((data, expires)) = row else { return Ok(None) };
            let expires = expires_at(moments, &expires).unwrap_or(Micros::MIN);
            Ok(Some(SessionRow { data: data.into_bytes(), expires }))
        })
    }

    fn user(&mut self, id: &str) -> Result<Option<UserRow>, Error> {
        let Shape { keys, user, from } = self.shape()?;
        let Some(value) = keys.value(id) else { return Ok(None) };
        let sql = format!("SELECT {user} FROM {from} WHERE u.{} = ?", quote(&self.users.id));
        self.link.with(|connection| {
            let row: Option<Row> = connection.exec_first(&sql, (value.clone(),))?;
            row.map(|row| self::user(&row, keys)).transpose()
        })
    }

    fn tokens(&mut self, key: TokenKey<'_>) -> Result<Vec<TokenRow>, Error> {
        let Shape { keys, user, from } = self.shape()?;
        let Self { link, tables, users, moments, .. } = self;
        let id = quote(&users.id);
        link.with(|connection| {
            let table = tokens::table(tables, key);
            let present: Vec<_> =
                columns(connection, table)?.into_iter().map(|column| column.name).collect();
            let Some(select) = tokens::select(DIALECT, table, &present, key) else {
                return Ok(Vec::new());
            };
            let sql = format!(
                "SELECT {user}, {} FROM {} t {} JOIN {from} ON u.{id} = t.user_id WHERE {}",
                select.columns, select.table, select.join, select.condition
            );
            let values = select.values.into_iter().map(Value::from).collect();
            let rows: Vec<Row> = connection.exec(&sql, Params::Positional(values))?;
            rows.iter().map(|row| token(row, keys, moments)).collect()
        })
    }
}

fn shape(connection: &mut Conn, users: &Users) -> Result<Shape, Failure> {
    let present = columns(connection, &users.table)?;
    let find = |wanted: &str| present.iter().find(|column| column.name == wanted);
    let keys = find(&users.id).ok_or_else(|| schema::no_users(users))?;
    let keys = KeyColumn::of(&keys.kind);
    let active = match find(&users.is_active) {
        Some(_) => format!("u.{}", quote(&users.is_active)),
        None => "1".into(),
    };
    let (id, password, table) = (quote(&users.id), quote(&users.password), quote(&users.table));
    Ok(Shape { keys, user: format!("u.{id}, u.{password}, {active}"), from: format!("{table} u") })
}

/// A column of a row, of the type that is wanted.
fn get<T: mysql::prelude::FromValue>(row: &Row, column: usize) -> Result<T, Failure> {
    row.get_opt(column).and_then(Result::ok).ok_or_else(unreadable)
}

fn user(row: &Row, keys: KeyColumn) -> Result<UserRow, Failure> {
    let id = match keys.key(&get(row, 0)?) {
        Some(Key::Integer(number)) => number.to_string(),
        Some(Key::Text(text)) => text,
        None => String::new(),
    };
    Ok(UserRow { id, password: get(row, 1)?, is_active: get(row, 2)? })
}

fn token(row: &Row, keys: KeyColumn, moments: &Moments) -> Result<TokenRow, Failure> {
    let owner = match keys.key(&get(row, 0)?) {
        Some(_) => Some(user(row, keys)?),
        None => None,
    };
    let expires: Value = get(row, 3)?;
    Ok(TokenRow {
        user: owner,
        expires: (expires != Value::NULL)
            .then(|| expires_at(moments, &expires).unwrap_or(Micros::MIN)),
        digest: get(row, 4)?,
        salt: get(row, 5)?,
        restricted: get(row, 6)?,
    })
}

/// One that cannot be read is long past.
fn expires_at(moments: &Moments, value: &Value) -> Option<Micros> {
    digits(value).ok().flatten().and_then(|digits| moments.instant(digits))
}
