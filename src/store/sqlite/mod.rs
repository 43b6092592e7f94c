//! SQLite: the writer.
//!
//! The file may be a Django site's: it has its own writers, so that every batch takes the write
//! lock at once (`BEGIN IMMEDIATE`), and a lock that lasts is an outage like any other. The
//! journal mode of such a file is left alone; our own is in WAL mode.

mod checkpoint;
mod directory;
mod history;
mod insert;
mod key;
mod link;
mod moving;
mod room;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::moving::{Door, Mover};
use super::rows::position as as_position;
use super::schema::{RUN_MIGRATE, check_superuser};
use super::{
    Batch, Cursor, Database, Directory, Error, History, Moments, Owner, Settings, Store, Superuser,
};
use checkpoint::Checkpoints;
use directory::SqliteDirectory;
use history::SqliteHistory;
use key::KeyColumn;
use link::{Failure, Link, Setup};
use rows::Rows;

/// EXTRA is FULL, and where the journal is not a WAL it also syncs the directory: without that a
/// power cut may undo a commit. [`Checkpoints`] empties the WAL; that SQLite does so by itself is for
/// where that cannot. [`Rows`] checks what the tables' CHECK would.
const WRITER: Setup = Setup {
    patience: Duration::from_secs(1),
    pragmas: "PRAGMA synchronous = EXTRA; PRAGMA mmap_size = 0; PRAGMA cache_size = -8192; \
              PRAGMA ignore_check_constraints = 1; \
              PRAGMA wal_autocheckpoint = 65536; PRAGMA journal_size_limit = 100663296;",
};

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;

/// An SQLite file.
#[derive(Debug)]
pub struct SqliteDatabase {
    path: PathBuf,
    settings: Settings,
    moments: Moments,
}

impl SqliteDatabase {
    /// The file at this path; it need not exist yet.
    pub fn new(path: &Path, settings: Settings) -> Self {
        let moments = Moments::new(&settings);
        Self { path: path.into(), settings, moments }
    }
}

impl Database for SqliteDatabase {
    fn owner(&self) -> Result<Owner, Error> {
        schema::owner(&self.path)
    }

    fn check(&self) -> Result<(), Error> {
        schema::check(&self.path, &self.settings.users)
    }

    fn migrate(&self) -> Result<(), Error> {
        schema::migrate(&self.path, &self.settings.users)
    }

    fn legacy_sessions(&self) -> Result<bool, Error> {
        schema::legacy_sessions(&self.path)
    }

    fn create_superuser(&self, user: &Superuser<'_>) -> Result<(), Error> {
        check_superuser(&self.settings.users, user.username)?;
        schema::create_superuser(&self.path, user, &self.moments)
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(Sqlite::new(&self.path, self.moments.clone()))
    }

    fn directory(&self) -> Box<dyn Directory> {
        Box::new(SqliteDirectory::new(&self.path, &self.settings, self.moments.clone()))
    }

    fn history(&self) -> Box<dyn History> {
        Box::new(SqliteHistory::new(&self.path))
    }

    fn mover(&self) -> Box<dyn Mover> {
        Box::new(Sqlite::new(&self.path, self.moments.clone()))
    }

    fn moments(&self) -> &Moments {
        &self.moments
    }
}

/// The one writer of our process.
#[derive(Debug)]
struct Sqlite {
    /// Before the connection: the last one that is closed empties the log.
    checkpoints: Checkpoints,
    link: Link,
    moments: Moments,
    /// How the keys of users are kept; read from the table on connecting.
    keys: KeyColumn,
    /// Sessions whose info was written, so that the statement can be spared. Emptied when full, and
    /// when a batch fails.
    known: HashSet<String>,
}

impl Sqlite {
    fn new(path: &Path, moments: Moments) -> Self {
        Self {
            checkpoints: Checkpoints::new(path),
            link: Link::new(path, WRITER),
            moments,
            keys: KeyColumn::Text,
            known: HashSet::new(),
        }
    }

    /// Has a connection, and what was remembered of another file forgotten.
    fn connect(&mut self) -> Result<(), Error> {
        if self.link.is_current() {
            return Ok(());
        }
        self.known.clear();
        self.keys = self
            .link
            .with(|connection| Ok(KeyColumn::of(connection, "djaffar_activity", "user_id")?))?
            .ok_or_else(|| {
                Error::Schema(format!("there is no table djaffar_activity: {RUN_MIGRATE}"))
            })?;
        Ok(())
    }
}

impl Store for Sqlite {
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.link.with(|connection| {
            // Of one moment: the door opens with the cursors.
            let transaction = connection.transaction()?;
            Door::admit_resuming(position(&transaction, &Door::Open.cursor())?)?;
            cursors(&transaction, spool)
        })
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        self.connect()?;
        self.link.with(|connection| room::ensure(connection, batch))?;
        if self.known.len() > KNOWN_SESSIONS {
            self.known.clear();
        }
        // Taken away for now: where this batch fails, what it added was not written.
        let known = std::mem::take(&mut self.known);
        let Self { link, moments, keys, checkpoints, .. } = self;
        let mut rows = Rows { moments, keys: *keys, known };
        let stored = link.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if position(&transaction, &batch.cursor)?.is_some_and(|at| at >= batch.cursor.position)
            {
                return Ok(0);
            }
            if !batch.activities.is_empty() {
                moving::admit(&transaction)?;
            }
            let stored = rows.insert(&transaction, batch)?;
            let apart = crate::broken("cursor");
            if !apart {
                set_cursor(&transaction, &batch.cursor)?;
            }
            transaction.commit()?;
            if apart {
                set_cursor(connection, &batch.cursor)?;
            }
            checkpoints.committed(connection);
            Ok(stored)
        })?;
        self.known = rows.known;
        if !self.link.is_current() {
            return Err(Error::Unavailable(
                "the database file was replaced during a write: writing again".into(),
            ));
        }
        Ok(stored)
    }

    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        self.link.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for segment in segments {
                transaction.execute(
                    "DELETE FROM djaffar_spool_cursor WHERE spool = ?1 AND segment = ?2",
                    [spool.simple().to_string(), segment.simple().to_string()],
                )?;
            }
            Ok(transaction.commit()?)
        })
    }
}

fn cursors(connection: &Connection, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Failure> {
    let mut statement = connection
        .prepare("SELECT segment, position FROM djaffar_spool_cursor WHERE spool = ?1")?;
    let rows = statement.query_map([spool.simple().to_string()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    let mut cursors = Vec::new();
    for row in rows {
        let (segment, position) = row?;
        // A row that we did not write names no segment of ours.
        if let (Ok(segment), Ok(position)) = (Uuid::try_parse(&segment), u64::try_from(position)) {
            cursors.push((segment, position));
        }
    }
    Ok(cursors)
}

fn position(connection: &Connection, cursor: &Cursor) -> rusqlite::Result<Option<u64>> {
    let position: Option<i64> = connection
        .prepare_cached(
            "SELECT position FROM djaffar_spool_cursor WHERE spool = ?1 AND segment = ?2",
        )?
        .query_row(
            [cursor.spool.simple().to_string(), cursor.segment.simple().to_string()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(position.and_then(|position| u64::try_from(position).ok()))
}

fn set_cursor(connection: &Connection, cursor: &Cursor) -> Result<(), Failure> {
    let position = as_position(cursor.position)?;
    connection
        .prepare_cached(
            "INSERT INTO djaffar_spool_cursor (spool, segment, position) VALUES (?1, ?2, ?3) \
             ON CONFLICT (spool, segment) DO UPDATE SET position = excluded.position",
        )?
        .execute(params![
            cursor.spool.simple().to_string(),
            cursor.segment.simple().to_string(),
            position
        ])?;
    Ok(())
}
