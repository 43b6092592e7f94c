//! PostgreSQL: what is stored, page by page, on a connection that cannot write.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::link::{Failure, Link, Server, Setup};
use super::schema::columns;
use super::value::{JsonText, KeyColumn, Moment, digits};
use crate::store::{Error, History, Moments, StoredActivity, StoredSession};

const READER: Setup = Setup {
    patience: Duration::from_secs(60),
    lock: Duration::from_secs(5),
    sql: "SET default_transaction_read_only = on;",
};

const COLUMNS: &str = "id, user_id, session_id, ip_address, date, path, referer, received_at, \
                       event_id, name, properties";

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
            let rows = client.query(sql, values).await?;
            rows.iter().map(|row| activity(row, &keys, moments)).collect()
        })
    }
}

impl History for PostgresHistory {
    fn after(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM djaffar_activity WHERE id > $1 ORDER BY id LIMIT {limit}"
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

    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error> {
        let Self { link, moments } = self;
        // By bytes, whatever the order of the database's language is; that has an index of its own.
        let sql = format!(
            "SELECT session_id, user_agent, visitor, browser, os, device, bot, country, created_at \
             FROM djaffar_sessioninfo WHERE session_id ~>~ $1 \
             ORDER BY session_id USING ~<~ LIMIT {limit}"
        );
        let after = after.unwrap_or_default();
        link.with(async |client| {
            let statement = client.prepare_typed(&sql, &[Type::TEXT]).await?;
            let rows = client.query(&statement, &[&after]).await?;
            rows.iter().map(|row| session(row, moments)).collect()
        })
    }
}

fn activity(row: &Row, keys: &KeyColumn, moments: &Moments) -> Result<StoredActivity, Failure> {
    let received_at: Option<Moment> = row.try_get(7)?;
    let properties: Option<JsonText> = row.try_get(10)?;
    Ok(StoredActivity {
        id: row.try_get(0)?,
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
