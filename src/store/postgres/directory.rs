//! PostgreSQL: who is who, on a connection that cannot write.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::link::{Failure, Link, Server, Setup};
use super::schema::{columns, quote};
use super::value::{KeyColumn, Moment};
use crate::activity::Micros;
use crate::store::tokens::{self, Dialect};
use crate::store::{
    Directory, Error, Key, SessionRow, Settings, TokenKey, TokenRow, TokenTables, UserRow, Users,
    schema,
};

/// A request waits for this connection.
const READER: Setup = Setup {
    patience: Duration::from_secs(2),
    lock: Duration::from_millis(500),
    sql: "SET default_transaction_read_only = on;",
};

const DIALECT: Dialect = Dialect {
    quote,
    parameter: |number| format!("${number}"),
    never: "CAST(NULL AS timestamptz)",
    text: "text",
    exact: "",
};

/// The look-ups of a PostgreSQL database.
#[derive(Debug)]
pub(super) struct PostgresDirectory {
    link: Link,
    users: Users,
    tables: TokenTables,
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

impl PostgresDirectory {
    pub(super) fn new(server: &Server, settings: &Settings) -> Self {
        let Settings { users, tokens, .. } = settings.clone();
        Self { link: Link::new(server, READER), users, tables: tokens, shape: None }
    }

    fn shape(&mut self) -> Result<Shape, Error> {
        if let Some((generation, shape)) = &self.shape
            && *generation == self.link.generation
        {
            return Ok(shape.clone());
        }
        let users = &self.users;
        let shape = self.link.with(async |client| shape(client, users).await)?;
        self.shape = Some((self.link.generation, shape.clone()));
        Ok(shape)
    }
}

impl Directory for PostgresDirectory {
    fn session(&mut self, key: &str) -> Result<Option<SessionRow>, Error> {
        let sql = "SELECT session_data, expire_date FROM django_session WHERE session_key = $1";
        self.link.with(async |client| {
            // A text with a NUL is in no column.
            if key.contains('\0') {
                return Ok(None);
            }
            let statement = client.prepare(sql).await?;
            let Some(row) = client.query_opt(&statement, &[&key]).await? else { return Ok(None) };
            let data: String = row.try_get(0)?;
            let Moment(expires) = row.try_get(1)?;
            Ok(Some(SessionRow { data: data.into_bytes(), expires }))
        })
    }

    fn user(&mut self, id: &str) -> Result<Option<UserRow>, Error> {
        let Shape { keys, user, from } = self.shape()?;
        let Some(value) = keys.value(id) else { return Ok(None) };
        let sql = format!("SELECT {user} FROM {from} WHERE u.{} = $1", quote(&self.users.id));
        self.link.with(async |client| {
            let row = client.query_opt(&sql, &[&value]).await?;
            row.map(|row| self::user(&row, &keys)).transpose()
        })
    }

    fn tokens(&mut self, key: TokenKey<'_>) -> Result<Vec<TokenRow>, Error> {
        let Shape { keys, user, from } = self.shape()?;
        let Self { link, tables, users, .. } = self;
        let id = quote(&users.id);
        link.with(async |client| {
            let table = tokens::table(tables, key);
            let present: Vec<_> =
                columns(client, table).await?.into_iter().map(|(name, _)| name).collect();
            let Some(select) = tokens::select(DIALECT, table, &present, key) else {
                return Ok(Vec::new());
            };
            if select.values.iter().any(|value| value.contains('\0')) {
                return Ok(Vec::new());
            }
            let sql = format!(
                "SELECT {user}, {} FROM {} t {} JOIN {from} ON u.{id} = t.user_id WHERE {}",
                select.columns, select.table, select.join, select.condition
            );
            let values: Vec<&(dyn ToSql + Sync)> =
                select.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            let rows = client.query(&sql, &values).await?;
            rows.iter().map(|row| token(row, &keys)).collect()
        })
    }
}

async fn shape(client: &mut Client, users: &Users) -> Result<Shape, Failure> {
    let present = columns(client, &users.table).await?;
    let find = |wanted: &str| present.iter().find(|(name, _)| name == wanted);
    let Some((_, oid)) = find(&users.id) else {
        return Err(schema::no_users(users).into());
    };
    let Some(keys) = KeyColumn::of(*oid) else {
        return Err(Error::Schema(format!(
            "{} of {} is of a type that cannot be looked up: integers, uuid and texts can",
            users.id, users.table
        ))
        .into());
    };
    let active = match find(&users.is_active) {
        Some(_) => format!("u.{}", quote(&users.is_active)),
        None => "true".into(),
    };
    let (id, password, table) = (quote(&users.id), quote(&users.password), quote(&users.table));
    Ok(Shape { keys, user: format!("u.{id}, u.{password}, {active}"), from: format!("{table} u") })
}

fn user(row: &Row, keys: &KeyColumn) -> Result<UserRow, Failure> {
    let id = match keys.key(row, 0)? {
        Some(Key::Integer(number)) => number.to_string(),
        Some(Key::Text(text)) => text,
        None => String::new(),
    };
    Ok(UserRow { id, password: row.try_get(1)?, is_active: row.try_get(2)? })
}

fn token(row: &Row, keys: &KeyColumn) -> Result<TokenRow, Failure> {
    let owner = match keys.key(row, 0)? {
        Some(_) => Some(user(row, keys)?),
        None => None,
    };
    let expires: Option<Moment> = row.try_get(3)?;
    Ok(TokenRow {
        user: owner,
        expires: expires.map(|Moment(at): Moment| -> Micros { at }),
        digest: row.try_get(4)?,
        salt: row.try_get(5)?,
        restricted: row.try_get(6)?,
    })
}
