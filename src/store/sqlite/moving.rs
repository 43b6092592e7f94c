//! SQLite: rows of another database, taken as they are.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Statement, TransactionBehavior, params};
use uuid::Uuid;

use super::insert::{Insert, Values};
use super::key::KeyColumn;
use super::link::Failure;
use super::rows::into_activities;
use super::{Sqlite, position, set_cursor};
use crate::store::moment::print;
use crate::store::moving::{Door, Load, Moved, Mover, boundary, is_of_a_spool, progress, user};
use crate::store::rows::check_properties;
use crate::store::{Cursor, Error, StoredActivity, StoredSession};

static ACTIVITIES: LazyLock<Insert> = LazyLock::new(|| into_activities(&["id"]));

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
    ACTIVITIES.all(connection, load.activities, |row, activity| bind(row, activity, keys))
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

fn bind(
    row: &mut Values<'_, '_>,
    activity: &StoredActivity,
    keys: KeyColumn,
) -> Result<(), Failure> {
    // The table's CHECK, which our connection leaves out.
    check_properties(activity.properties.as_deref())?;
    row.bind(activity.id)?;
    row.bind(user(activity).map(|user| keys.value(&user)))?;
    row.bind(&activity.session)?;
    row.bind(&activity.ip_address)?;
    row.bind(print(activity.date))?;
    row.bind(&activity.path)?;
    row.bind(&activity.referer)?;
    row.bind(activity.received_at.map(print))?;
    row.bind(activity.event_id.map(|id| id.simple().to_string()))?;
    row.bind(&activity.name)?;
    row.bind(&activity.properties)
}
