//! SQLite: rows of another database, taken as they are.

use std::sync::LazyLock;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Statement, TransactionBehavior, params};
use uuid::Uuid;

use super::key::KeyColumn;
use super::link::Failure;
use super::{Sqlite, position, set_cursor};
use crate::store::moment::print;
use crate::store::moving::{Door, Load, Moved, Mover, boundary, is_of_a_spool, progress, user};
use crate::store::rows::check_properties;
use crate::store::{Cursor, Error, StoredActivity, StoredSession};

/// What a row of an activity needs; [`bind`] follows this order.
const COLUMNS: usize = 11;
/// So many rows a statement: what a statement costs by itself is half of what a row costs.
const ROWS: usize = 32;

static ONE: LazyLock<String> = LazyLock::new(|| insert(1));
static MANY: LazyLock<String> = LazyLock::new(|| insert(ROWS));

fn insert(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS].join(", "));
    format!(
        "INSERT OR FAIL INTO djaffar_activity (id, user_id, session_id, ip_address, date, path, \
         referer, received_at, event_id, name, properties) VALUES {} \
         ON CONFLICT (event_id) WHERE event_id IS NOT NULL DO NOTHING",
        vec![row; rows].join(", ")
    )
}

const INFO: &str = "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, browser, os, \
    device, bot, country, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
    ON CONFLICT (session_id) DO UPDATE SET user_agent = excluded.user_agent, \
    visitor = excluded.visitor, browser = excluded.browser, os = excluded.os, \
    device = excluded.device, bot = excluded.bot, country = excluded.country, \
    created_at = excluded.created_at";

/// What a writer of activities must be told, if anything.
pub(super) fn admit(connection: &Connection) -> Result<(), Failure> {
    Ok(Door::admit_rows(position(connection, &Door::Open.cursor())?)?)
}

impl Mover for Sqlite {
    fn positions(&mut self, id: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.link.with(|connection| super::cursors(connection, id))
    }

    fn spools(&mut self) -> Result<Option<Vec<Cursor>>, Error> {
        self.link.with(|connection| {
            if !has_cursors(connection)? {
                return Ok(None);
            }
            let mut statement =
                connection.prepare("SELECT spool, segment, position FROM djaffar_spool_cursor")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })?;
            let mut cursors = Vec::new();
            for row in rows {
                let (spool, segment, position) = row?;
                if let (Ok(spool), Ok(segment), Ok(position)) =
                    (Uuid::try_parse(&spool), Uuid::try_parse(&segment), u64::try_from(position))
                {
                    cursors.push(Cursor { spool, segment, position });
                }
            }
            cursors.retain(is_of_a_spool);
            Ok(Some(cursors))
        })
    }

    fn load(&mut self, load: &Load<'_>) -> Result<u64, Error> {
        self.connect()?;
        let Self { link, keys, .. } = self;
        let stored = link.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if position(&transaction, &load.guard)?.is_some_and(|at| at >= load.guard.position) {
                return Ok(0);
            }
            if let Some(owner) = &load.owner {
                load.admit(position(&transaction, owner)?)?;
            }
            let stored = rows(&transaction, load, *keys)?;
            let counter = Cursor { segment: progress::STORED, position: stored, ..load.guard };
            let before = position(&transaction, &counter)?.unwrap_or(0);
            set_cursor(&transaction, &Cursor { position: before + stored, ..counter })?;
            set_cursor(&transaction, &load.guard)?;
            for cursor in load.set {
                set_cursor(&transaction, cursor)?;
            }
            transaction.commit()?;
            Ok(stored)
        })?;
        if !self.link.is_current() {
            return Err(Error::Unavailable(
                "the database file was replaced during a write: writing again".into(),
            ));
        }
        Ok(stored)
    }

    fn set_door(&mut self, door: Door, id: Uuid) -> Result<(), Error> {
        self.link.with(|connection| {
            // There is one writer at a time: who comes next sees it.
            if has_cursors(connection)? {
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                for row in door.rows(id) {
                    set_cursor(&transaction, &row)?;
                }
                transaction.commit()?;
            }
            Ok(())
        })
    }

    fn reserve(&mut self, boundary: i64) -> Result<(), Error> {
        self.link.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let known = "UPDATE sqlite_sequence SET seq = max(seq, ?1) \
                         WHERE name = 'djaffar_activity'";
            if transaction.execute(known, [boundary - 1])? == 0 {
                let new = "INSERT INTO sqlite_sequence (name, seq) VALUES ('djaffar_activity', ?1)";
                transaction.execute(new, [boundary - 1])?;
            }
            Ok(transaction.commit()?)
        })
    }

    fn moved(&mut self, id: Uuid) -> Result<Moved, Error> {
        Ok(boundary(&self.positions(id)?))
    }
}

fn has_cursors(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'djaffar_spool_cursor'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

fn rows(connection: &Connection, load: &Load<'_>, keys: KeyColumn) -> Result<u64, Failure> {
    let mut info = connection.prepare_cached(INFO)?;
    for it in load.infos {
        write_info(&mut info, it)?;
    }
    let (many, rest) = load.activities.as_chunks::<ROWS>();
    let mut stored = 0;
    let mut statement = connection.prepare_cached(&MANY)?;
    for rows in many {
        for (number, row) in rows.iter().enumerate() {
            bind(&mut statement, number * COLUMNS, row, keys)?;
        }
        stored += statement.raw_execute()? as u64;
    }
    let mut statement = connection.prepare_cached(&ONE)?;
    for row in rest {
        bind(&mut statement, 0, row, keys)?;
        stored += statement.raw_execute()? as u64;
    }
    Ok(stored)
}

fn write_info(statement: &mut Statement<'_>, info: &StoredSession) -> Result<(), Failure> {
    statement.execute(params![
        info.session,
        info.user_agent,
        info.visitor,
        info.browser,
        info.os,
        info.device,
        info.bot,
        info.country,
        info.created_at.map(print)
    ])?;
    Ok(())
}

/// Binds a row to the parameters after the first `before`.
fn bind(
    statement: &mut Statement<'_>,
    before: usize,
    row: &StoredActivity,
    keys: KeyColumn,
) -> Result<(), Failure> {
    // The table's CHECK, which our connection leaves out.
    check_properties(row.properties.as_deref())?;
    let user: Option<Value> = user(row).map(|user| keys.value(&user));
    statement.raw_bind_parameter(before + 1, row.id)?;
    statement.raw_bind_parameter(before + 2, user)?;
    statement.raw_bind_parameter(before + 3, &row.session)?;
    statement.raw_bind_parameter(before + 4, &row.ip_address)?;
    statement.raw_bind_parameter(before + 5, print(row.date))?;
    statement.raw_bind_parameter(before + 6, &row.path)?;
    statement.raw_bind_parameter(before + 7, &row.referer)?;
    statement.raw_bind_parameter(before + 8, row.received_at.map(print))?;
    statement.raw_bind_parameter(before + 9, row.event_id.map(|id| id.simple().to_string()))?;
    statement.raw_bind_parameter(before + 10, &row.name)?;
    statement.raw_bind_parameter(before + COLUMNS, &row.properties)?;
    Ok(())
}
