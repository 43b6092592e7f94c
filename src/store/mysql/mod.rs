//! MySQL and MariaDB: the writer.
//!
//! Several servers may write to one database, each with a spool of its own; what they share
//! (sessions, events) is settled by unique indexes, and by nothing else.

mod directory;
mod history;
mod link;
mod moving;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, Transaction, TxOpts};
use uuid::Uuid;

use self::directory::MysqlDirectory;
use self::history::MysqlHistory;
use self::link::{Failure, Link, OPTIONS, Server, Setup};
use self::rows::{Rows, Way};
use self::schema::DUPLICATE;
use self::value::KeyColumn;
use super::address::Address;
use super::moving::{Door, Mover};
use super::rows::{Caution, position};
use super::schema::{RUN_MIGRATE, check_superuser};
use super::{
    Batch, Database, Directory, Error, History, Moments, Owner, Settings, Store, Superuser,
};
use crate::activity::Activity;

const WRITER: Setup = Setup { patience: Duration::from_secs(75), lock: 10, sql: "" };

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;
/// `ER_LOCK_DEADLOCK`.
const DEADLOCK: u16 = 1213;
/// More than this in a statement gains nothing.
const PACKET: usize = 4 << 20;

/// A database of a MySQL or MariaDB server.
#[derive(Debug)]
pub struct MysqlDatabase {
    server: Server,
    settings: Settings,
    moments: Moments,
}

impl MysqlDatabase {
    /// The database at this address.
    pub fn new(url: &str, settings: Settings) -> Result<Self, String> {
        let address = Address::parse("mysql", url, settings.password.as_ref(), OPTIONS)?;
        let moments = Moments::new(&settings);
        Ok(Self { server: Server::new(&address)?, settings, moments })
    }

    fn writer(&self) -> Mysql {
        Mysql {
            link: Link::new(&self.server, WRITER),
            moments: self.moments.clone(),
            shape: None,
            known: HashSet::new(),
            caution: Caution::default(),
        }
    }
}

impl Database for MysqlDatabase {
    fn owner(&self) -> Result<Owner, Error> {
        schema::owner(&self.server)
    }

    fn check(&self) -> Result<(), Error> {
        schema::check(&self.server, &self.settings.users)
    }

    fn migrate(&self) -> Result<(), Error> {
        schema::migrate(&self.server, &self.settings.users)
    }

    fn legacy_sessions(&self) -> Result<bool, Error> {
        schema::legacy_sessions(&self.server)
    }

    fn create_superuser(&self, user: &Superuser<'_>) -> Result<(), Error> {
        check_superuser(&self.settings.users, user.username)?;
        schema::create_superuser(&self.server, user, &self.moments)
    }

    fn file(&self) -> Option<&Path> {
        None
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(self.writer())
    }

    fn mover(&self) -> Box<dyn Mover> {
        Box::new(self.writer())
    }

    fn directory(&self) -> Box<dyn Directory> {
        Box::new(MysqlDirectory::new(&self.server, &self.settings, self.moments.clone()))
    }

    fn history(&self) -> Box<dyn History> {
        Box::new(MysqlHistory::new(&self.server))
    }

    fn moments(&self) -> &Moments {
        &self.moments
    }
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
struct Shape {
    generation: u64,
    keys: KeyColumn,
    packet: usize,
    /// MariaDB's own type of UUIDs.
    native_uuid: bool,
}

/// The one writer of our process.
#[derive(Debug)]
struct Mysql {
    link: Link,
    moments: Moments,
    shape: Option<Shape>,
    /// Sessions whose info was written, so that it need not be sent again. Emptied when full, and
    /// with each new connection.
    known: HashSet<String>,
    caution: Caution,
}

impl Mysql {
    fn shape(&mut self) -> Result<Shape, Error> {
        if let Some(shape) = self.shape
            && shape.generation == self.link.generation
        {
            return Ok(shape);
        }
        let (columns, packet) = self.link.with(|connection| {
            let columns = schema::columns(connection, "djaffar_activity")?;
            let packet: Option<u64> = connection.query_first("SELECT @@max_allowed_packet")?;
            Ok((columns, packet))
        })?;
        let user = columns.iter().find(|column| column.name == "user_id").ok_or_else(|| {
            Error::Schema(format!("there is no table djaffar_activity: {RUN_MIGRATE}"))
        })?;
        let packet = packet.and_then(|bytes| usize::try_from(bytes / 2).ok()).unwrap_or(PACKET);
        let shape = Shape {
            generation: self.link.generation,
            keys: KeyColumn::of(&user.kind),
            packet: packet.min(PACKET),
            native_uuid: columns.iter().any(|it| it.name == "event_id" && it.kind == "uuid"),
        };
        self.known.clear();
        self.shape = Some(shape);
        Ok(shape)
    }
}

impl Store for Mysql {
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.link.with(|connection| {
            // The door first: once it is open, the positions are those that it was opened with.
            Door::admit_resuming(moving::position_of(connection, &Door::Open.cursor())?)?;
            cursors(connection, spool)
        })
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        let Shape { keys, packet, native_uuid, .. } = self.shape()?;
        let held = if native_uuid { with_held_ids(batch.activities) } else { None };
        let batch = &Batch { activities: held.as_deref().unwrap_or(batch.activities), ..*batch };
        if self.known.len() > KNOWN_SESSIONS {
            self.known.clear();
        }
        let Self { link, moments, known, caution, .. } = self;
        let stored = link.with(|connection| {
            let look = caution.next();
            let rows = Rows { moments, keys, known, way: Way::New, look, packet };
            let again = |failure: &Failure| {
                // One of them is stored, or was just now by another server; or that met our batch
                // crosswise.
                matches!(failure.code(), Some(DUPLICATE | DEADLOCK))
            };
            match write(connection, rows, batch) {
                Err(failure) if again(&failure) => {
                    caution.begin();
                    write(connection, Rows { way: Way::Either, look: true, ..rows }, batch)
                }
                result => result,
            }
        })?;
        let sessions = batch.activities.iter().filter_map(|activity| activity.session.as_ref());
        self.known.extend(sessions.map(|session| session.key.clone()));
        Ok(stored)
    }

    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        let sql = "DELETE FROM djaffar_spool_cursor WHERE spool = ? AND segment = ?";
        self.link.with(|connection| {
            for segment in segments {
                connection.exec_drop(sql, (value::uuid(spool), value::uuid(*segment)))?;
            }
            Ok(())
        })
    }
}

fn cursors(connection: &mut Conn, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Failure> {
    let sql = "SELECT segment, position FROM djaffar_spool_cursor WHERE spool = ?";
    let rows: Vec<(String, i64)> = connection.exec(sql, (value::uuid(spool),))?;
    // A row that we did not write names no segment of ours.
    let pairs = rows.into_iter().filter_map(|(segment, position)| {
        Some((Uuid::try_parse(&segment).ok()?, u64::try_from(position).ok()?))
    });
    Ok(pairs.collect())
}

/// MariaDB's `uuid` does not take each UUID: it stores those of the usual versions in another order of
/// bytes, and refuses what would look like one of these (of version 8, one in 64). A client that makes
/// such an id must not lose its activity: a bit of the version is cleared, and the same id is the same
/// afterwards. `None` where there is none, which is nearly always.
fn with_held_ids(activities: &[Activity]) -> Option<Vec<Activity>> {
    if !activities.iter().any(|activity| activity.event_id.is_some_and(|id| held(id) != id)) {
        return None;
    }
    let activity = |activity: &Activity| Activity {
        event_id: activity.event_id.map(held),
        ..activity.clone()
    };
    Some(activities.iter().map(activity).collect())
}

/// The id as MariaDB's `uuid` takes it.
fn held(id: Uuid) -> Uuid {
    let [.., version, _, variant, _, _, _, _, _, _, _] = id.into_bytes();
    let is_odd = version & 0x80 != 0 && (0x01..=0x80).contains(&variant);
    if is_odd { Uuid::from_u128(id.as_u128() & !(1 << 79)) } else { id }
}

/// One transaction; what fails is rolled back when it is dropped.
fn write(connection: &mut Conn, rows: Rows<'_>, batch: &Batch<'_>) -> Result<u64, Failure> {
    let mut transaction = connection.start_transaction(TxOpts::default())?;
    let stored = insert(&mut transaction, rows, batch)?;
    transaction.commit()?;
    Ok(stored)
}

/// The position first: a batch that is stored already, also by somebody who stores the same spool,
/// ends here.
fn insert(
    transaction: &mut Transaction<'_>,
    rows: Rows<'_>,
    batch: &Batch<'_>,
) -> Result<u64, Failure> {
    let cursor = batch.cursor;
    transaction.exec_drop(
        "INSERT INTO djaffar_spool_cursor (spool, segment, position) VALUES (?, ?, ?) \
         ON DUPLICATE KEY UPDATE position = greatest(position, VALUES(position))",
        (value::uuid(cursor.spool), value::uuid(cursor.segment), position(cursor.position)?),
    )?;
    match transaction.affected_rows() {
        0 => Ok(0),
        _ if !batch.activities.is_empty() => {
            moving::admit(transaction)?;
            rows.insert(transaction, batch)
        }
        _ => rows.insert(transaction, batch),
    }
}
