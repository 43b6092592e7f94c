//! MySQL and MariaDB: what is stored, page by page, on a connection that cannot write.

use std::time::Duration;

use mysql::prelude::{FromValue, Queryable};
use mysql::{Params, Row, Value};
use uuid::Uuid;

use super::link::{Failure, Link, Server, Setup};
use super::schema::columns;
use super::value::{KeyColumn, digits, unreadable};
use crate::store::{Error, History, StoredActivity, StoredSession};

const READER: Setup =
    Setup { patience: Duration::from_secs(60), lock: 5, sql: "SET SESSION TRANSACTION READ ONLY" };

const COLUMNS: &str = "id, user_id, session_id, ip_address, date, path, referer, received_at, \
                       event_id, name, properties";

/// The history in a MySQL database.
#[derive(Debug)]
pub(super) struct MysqlHistory {
    link: Link,
}

impl MysqlHistory {
    pub(super) fn new(server: &Server) -> Self {
        Self { link: Link::new(server, READER) }
    }

    fn activities(&mut self, sql: &str, values: &[Value]) -> Result<Vec<StoredActivity>, Error> {
        self.link.with(|connection| {
            let table = columns(connection, "djaffar_activity")?;
            let user = table.iter().find(|column| column.name == "user_id");
            let keys = user.map_or(KeyColumn::Text, |column| KeyColumn::of(&column.kind));
            let values = match values {
                [] => Params::Empty,
                values => Params::Positional(values.to_vec()),
            };
            let rows: Vec<Row> = connection.exec(sql, values)?;
            rows.iter().map(|row| activity(row, keys)).collect()
        })
    }
}

impl History for MysqlHistory {
    fn after(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_activity WHERE id > ? ORDER BY id LIMIT {limit}"
        );
        self.activities(&sql, &[id.into()])
    }

    fn last(&mut self, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM djaffar_activity ORDER BY id DESC LIMIT {limit}");
        let mut activities = self.activities(&sql, &[])?;
        activities.reverse();
        Ok(activities)
    }

    fn recent(&mut self, session: &str, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_activity WHERE session_id = ? ORDER BY id DESC \
             LIMIT {limit}"
        );
        self.activities(&sql, &[session.into()])
    }

    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error> {
        let sql = format!(
            "SELECT session_id, user_agent, visitor, browser, os, device, bot, country, created_at \
             FROM djaffar_sessioninfo WHERE session_id > ? ORDER BY session_id LIMIT {limit}"
        );
        let after = after.unwrap_or_default();
        self.link.with(|connection| {
            let rows: Vec<Row> = connection.exec(&sql, (after,))?;
            rows.iter().map(session).collect()
        })
    }
}

/// A column of a row, of the type that is wanted.
fn get<T: FromValue>(row: &Row, column: usize) -> Result<T, Failure> {
    row.get_opt(column).and_then(Result::ok).ok_or_else(unreadable)
}

fn activity(row: &Row, keys: KeyColumn) -> Result<StoredActivity, Failure> {
    let event_id: Option<String> = get(row, 8)?;
    let event_id = event_id.map(|id| Uuid::try_parse(&id)).transpose();
    Ok(StoredActivity {
        id: get(row, 0)?,
        user: keys.key(&get(row, 1)?),
        session: get(row, 2)?,
        ip_address: get(row, 3)?,
        date: digits(&get(row, 4)?)?.ok_or_else(unreadable)?,
        path: get(row, 5)?,
        referer: get(row, 6)?,
        received_at: digits(&get(row, 7)?)?,
        event_id: event_id.map_err(|_| unreadable())?,
        name: get(row, 9)?,
        properties: get(row, 10)?,
    })
}

fn session(row: &Row) -> Result<StoredSession, Failure> {
    Ok(StoredSession {
        session: get(row, 0)?,
        user_agent: get(row, 1)?,
        visitor: get(row, 2)?,
        browser: get(row, 3)?,
        os: get(row, 4)?,
        device: get(row, 5)?,
        bot: get(row, 6)?,
        country: get(row, 7)?,
        created_at: digits(&get(row, 8)?)?,
    })
}
