//! PostgreSQL: what is stored, page by page, on a connection that cannot write.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::link::{Failure, Link, Server, Setup};
use super::schema::columns;
use super::value::{JsonText, KeyColumn, Moment, digits};
use crate::store::schema::readable;
use crate::store::{Error, History, Moments, StoredActivity, StoredSession};

const READER: Setup = Setup {
    patience: Duration::from_secs(60),
    lock: Duration::from_secs(5),
    sql: "SET default_transaction_read_only = on;",
};

/// Stands in the statements below for the columns that the table has.
const COLUMNS: &str = "{columns}";

/// The history in a PostgreSQL database.
#[derive(Debug)]
pub(super) struct PostgresHistory {
    link: Link,
    moments: Moments,
}

impl PostgresHistory {
    pub(super) fn new(server: &Server, moments: Moments) -> Self {
        Self { link: Link::new(server, READER), moments }
    }

    fn activities(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<StoredActivity>, Error> {
        let Self { link, moments } = self;
        link.with(async |client| {
            let table = columns(client, "djaffar_activity").await?;
            let user = table.iter().find(|(name, _)| name == "user_id");
            let keys = user.and_then(|(_, oid)| KeyColumn::of(*oid));
            let keys = keys.unwrap_or(KeyColumn(Type::VARCHAR));
            let sql = select(sql, "djaffar_activity", &table);
            let rows = client.query(&sql, values).await?;
            rows.iter().map(|row| activity(row, &keys, moments)).collect()
        })
    }
}

impl History for PostgresHistory {
    fn after(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_activity WHERE id > $1::bigint ORDER BY id LIMIT {limit}"
        );
        self.activities(&sql, &[&id])
    }

    fn last(&mut self, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM djaffar_activity ORDER BY id DESC LIMIT {limit}");
        let mut activities = self.activities(&sql, &[])?;
        activities.reverse();
        Ok(activities)
    }

    fn recent(&mut self, session: &str, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        if session.contains('\0') {
            return Ok(Vec::new());
        }
        // Sorted by hand: a walk through the primary key, which it would rather do, may be long.
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_activity WHERE session_id = $1 ORDER BY id + 0 DESC \
             LIMIT {limit}"
        );
        self.activities(&sql, &[&session])
    }

    fn infos(&mut self, sessions: &[&str]) -> Result<Vec<StoredSession>, Error> {
        let Self { link, moments } = self;
        let sql = format!("SELECT {COLUMNS} FROM djaffar_sessioninfo WHERE session_id = ANY($1)");
        link.with(async |client| {
            let table = columns(client, "djaffar_sessioninfo").await?;
            let sql = select(&sql, "djaffar_sessioninfo", &table);
            let statement = client.prepare_typed(&sql, &[Type::TEXT_ARRAY]).await?;
            let rows = client.query(&statement, &[&sessions]).await?;
            rows.iter().map(|row| session(row, moments)).collect()
        })
    }

    fn count(&mut self) -> Result<u64, Error> {
        self.link.with(async |client| {
            let row = client.query_one("SELECT count(*) FROM djaffar_activity", &[]).await?;
            Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
        })
    }

    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error> {
        let Self { link, moments } = self;
        // By bytes, whatever the order of the database's language is; that has an index of its own.
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_sessioninfo WHERE session_id ~>~ $1 \
             ORDER BY session_id USING ~<~ LIMIT {limit}"
        );
        let after = after.unwrap_or_default();
        link.with(async |client| {
            let table = columns(client, "djaffar_sessioninfo").await?;
            let sql = select(&sql, "djaffar_sessioninfo", &table);
            let statement = client.prepare_typed(&sql, &[Type::TEXT]).await?;
            let rows = client.query(&statement, &[&after]).await?;
            rows.iter().map(|row| session(row, moments)).collect()
        })
    }
}

/// A statement with the columns that the table has; what is absent has the type of the others'.
fn select(sql: &str, table: &str, present: &[(String, u32)]) -> String {
    let names: Vec<String> = present.iter().map(|(name, _)| name.clone()).collect();
    let mut columns = readable(table, &names);
    for (name, kind) in [
        ("received_at", "timestamptz"),
        ("created_at", "timestamptz"),
        ("event_id", "uuid"),
        ("properties", "jsonb"),
        ("bot", "boolean"),
    ] {
        columns = columns.replace(&format!("NULL AS {name}"), &format!("NULL::{kind} AS {name}"));
    }
    sql.replace(COLUMNS, &columns)
}

fn activity(row: &Row, keys: &KeyColumn, moments: &Moments) -> Result<StoredActivity, Failure> {
    let received_at: Option<Moment> = row.try_get(7)?;
    let properties: Option<JsonText> = row.try_get(10)?;
    Ok(StoredActivity {
        // Of 32 bits in 0.1.10's tables.
        id: row.try_get(0).or_else(|_| row.try_get::<_, i32>(0).map(i64::from))?,
        user: keys.key(row, 1)?,
        session: row.try_get(2)?,
        ip_address: row.try_get(3)?,
        date: digits(moments, row.try_get(4)?)?,
        path: row.try_get(5)?,
        referer: row.try_get(6)?,
        received_at: received_at.map(|at| digits(moments, at)).transpose()?,
        event_id: row.try_get(8)?,
        name: row.try_get(9)?,
        properties: properties.map(|JsonText(text)| text),
    })
}

fn session(row: &Row, moments: &Moments) -> Result<StoredSession, Failure> {
    let created_at: Option<Moment> = row.try_get(8)?;
    Ok(StoredSession {
        session: row.try_get(0)?,
        user_agent: row.try_get(1)?,
        visitor: row.try_get(2)?,
        browser: row.try_get(3)?,
        os: row.try_get(4)?,
        device: row.try_get(5)?,
        bot: row.try_get(6)?,
        country: row.try_get(7)?,
        created_at: created_at.map(|at| digits(moments, at)).transpose()?,
    })
}
