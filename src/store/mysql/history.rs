//! MySQL and MariaDB: what is stored, page by page, on a connection that cannot write.

use std::time::Duration;

use mysql::prelude::{FromValue, Queryable};
use mysql::{Params, Row, Value};
use uuid::Uuid;

use super::link::{Failure, Link, Server, Setup};
use super::schema::{Column, columns};
use super::value::{KeyColumn, digits, unreadable};
use crate::store::schema::readable;
use crate::store::{Error, History, StoredActivity, StoredSession};

const READER: Setup =
    Setup { patience: Duration::from_secs(60), lock: 5, sql: "SET SESSION TRANSACTION READ ONLY" };

/// Stands in the statements below for the columns that the table has.
const COLUMNS: &str = "{columns}";
/// So many sessions a statement.
const SESSIONS: usize = 1_024;

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
            let rows: Vec<Row> =
                connection.exec(select(sql, "djaffar_activity", &table), values)?;
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

    fn infos(&mut self, sessions: &[&str]) -> Result<Vec<StoredSession>, Error> {
        let mut found = Vec::new();
        for keys in sessions.chunks(SESSIONS) {
            // Filled up, so that few statements are needed.
            let places = keys.len().next_power_of_two();
            let fill = keys.last().copied().into_iter().cycle();
            let values: Vec<Value> =
                keys.iter().copied().chain(fill).take(places).map(Value::from).collect();
            let marks = vec!["?"; places].join(", ");
            let sql =
                format!("SELECT {COLUMNS} FROM djaffar_sessioninfo WHERE session_id IN ({marks})");
            found.extend(self.link.with(|connection| {
                let table = columns(connection, "djaffar_sessioninfo")?;
                let sql = select(&sql, "djaffar_sessioninfo", &table);
                let rows: Vec<Row> = connection.exec(sql, Params::Positional(values.clone()))?;
                rows.iter().map(session).collect::<Result<Vec<_>, _>>()
            })?);
        }
        Ok(found)
    }

    fn count(&mut self) -> Result<u64, Error> {
        self.link.with(|connection| {
            let count: Option<u64> =
                connection.query_first("SELECT count(*) FROM djaffar_activity")?;
            Ok(count.unwrap_or(0))
        })
    }

    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} \
             FROM djaffar_sessioninfo WHERE session_id > ? ORDER BY session_id LIMIT {limit}"
        );
        let after = after.unwrap_or_default();
        self.link.with(|connection| {
            let table = columns(connection, "djaffar_sessioninfo")?;
            let sql = select(&sql, "djaffar_sessioninfo", &table);
            let rows: Vec<Row> = connection.exec(sql, (after,))?;
            rows.iter().map(session).collect()
        })
    }
}

/// A statement with the columns that the table has.
fn select(sql: &str, table: &str, present: &[Column]) -> String {
    let names: Vec<String> = present.iter().map(|column| column.name.clone()).collect();
    sql.replace(COLUMNS, &readable(table, &names))
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
