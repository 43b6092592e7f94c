//! SQLite: what is stored, page by page, on a connection that cannot write.

use std::path::Path;
use std::time::Duration;

use jiff::civil::DateTime;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Params, Row, params_from_iter};
use uuid::Uuid;

use super::key::KeyColumn;
use super::link::{Link, Setup};
use super::schema::columns;
use crate::store::moment::parse;
use crate::store::schema::readable;
use crate::store::{Error, History, StoredActivity, StoredSession};

const READER: Setup = Setup {
    patience: Duration::from_secs(5),
    pragmas: "PRAGMA query_only = 1; PRAGMA mmap_size = 0; PRAGMA cache_size = -4096;",
};

/// Stands in the statements below for the columns that the table has.
const COLUMNS: &str = "{columns}";
/// So many sessions a statement.
const SESSIONS: usize = 500;

/// The history in an SQLite file.
#[derive(Debug)]
pub(super) struct SqliteHistory {
    link: Link,
}

impl SqliteHistory {
    pub(super) fn new(path: &Path) -> Self {
        Self { link: Link::new(path, READER) }
    }

    fn activities(&mut self, sql: &str, params: impl Params) -> Result<Vec<StoredActivity>, Error> {
        self.link.with(|connection| {
            let keys = KeyColumn::of(connection, "djaffar_activity", "user_id")?
                .unwrap_or(KeyColumn::Text);
            let present = columns(connection, "djaffar_activity")?;
            let sql = sql.replace(COLUMNS, &readable("djaffar_activity", &present));
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params, |row| activity(row, keys))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

impl History for SqliteHistory {
    fn after(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_activity WHERE id > ?1 ORDER BY id LIMIT {limit}"
        );
        self.activities(&sql, [id])
    }

    fn last(&mut self, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM djaffar_activity ORDER BY id DESC LIMIT {limit}");
        let mut activities = self.activities(&sql, [])?;
        activities.reverse();
        Ok(activities)
    }

    fn recent(&mut self, session: &str, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        // Part after part of the index, whatever SQLite knows about the table.
        let sql = format!(
            "WITH RECURSIVE part (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM part \
             WHERE number < (SELECT max(id) >> 16 FROM djaffar_activity)) \
             SELECT {COLUMNS} FROM part CROSS JOIN djaffar_activity \
             WHERE id >> 16 = part.number AND session_id = ?1 ORDER BY id DESC LIMIT {limit}"
        );
        self.activities(&sql, [session])
    }

    fn infos(&mut self, sessions: &[&str]) -> Result<Vec<StoredSession>, Error> {
        let mut found = Vec::new();
        for keys in sessions.chunks(SESSIONS) {
            found.extend(self.link.with(|connection| {
                let sql = format!(
                    "SELECT {} FROM djaffar_sessioninfo WHERE session_id IN ({})",
                    readable("djaffar_sessioninfo", &columns(connection, "djaffar_sessioninfo")?),
                    vec!["?"; keys.len()].join(", ")
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params_from_iter(keys), session)?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            })?);
        }
        Ok(found)
    }

    fn count(&mut self) -> Result<u64, Error> {
        self.link.with(|connection| {
            let sql = "SELECT count(*) FROM djaffar_activity";
            Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
        })
    }

    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error> {
        // Two statements: with one condition for both, SQLite would not seek in the index.
        let condition = if after.is_some() { "session_id > ?1" } else { "?1 IS NULL" };
        self.link.with(|connection| {
            let present = columns(connection, "djaffar_sessioninfo")?;
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {} FROM djaffar_sessioninfo WHERE {condition} \
                 ORDER BY session_id LIMIT {limit}",
                readable("djaffar_sessioninfo", &present)
            ))?;
            let rows = statement.query_map([after], session)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

fn activity(row: &Row<'_>, keys: KeyColumn) -> rusqlite::Result<StoredActivity> {
    let user = row.get_ref(1)?;
    let event_id: Option<String> = row.get(8)?;
    Ok(StoredActivity {
        id: row.get(0)?,
        user: (user != ValueRef::Null).then(|| keys.key(user)),
        session: row.get(2)?,
        ip_address: row.get(3)?,
        date: digits(row, 4)?.ok_or_else(|| unreadable(row, 4))?,
        path: row.get(5)?,
        referer: row.get(6)?,
        received_at: digits(row, 7)?,
        event_id: match event_id {
            Some(id) => Some(Uuid::try_parse(&id).map_err(|_| unreadable(row, 8))?),
            None => None,
        },
        name: row.get(9)?,
        properties: row.get(10)?,
    })
}

fn session(row: &Row<'_>) -> rusqlite::Result<StoredSession> {
    Ok(StoredSession {
        session: row.get(0)?,
        user_agent: row.get(1)?,
        visitor: row.get(2)?,
        browser: row.get(3)?,
        os: row.get(4)?,
        device: row.get(5)?,
        bot: row.get(6)?,
        country: row.get(7)?,
        created_at: digits(row, 8)?,
    })
}

fn digits(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DateTime>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text).ok_or_else(|| unreadable(row, column))).transpose()
}

fn unreadable(row: &Row<'_>, column: usize) -> rusqlite::Error {
    let id = row.get_ref(0).map(|id| format!("{id:?}")).unwrap_or_default();
    let name = format!("column {column} of row {id}");
    rusqlite::Error::InvalidColumnType(column, name, Type::Text)
}
