//! PostgreSQL: the writer.
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
mod tls;
mod value;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use self::directory::PostgresDirectory;
use self::history::PostgresHistory;
use self::link::{Failure, Link, OPTIONS, Server, Setup};
use self::rows::{Rows, Way};
use self::value::KeyColumn;
use super::address::Address;
use super::moving::{Door, Mover};
use super::rows::{Caution, position};
use super::schema::{RUN_MIGRATE, check_superuser};
use super::{
    Batch, Database, Directory, Error, History, Moments, Owner, Settings, Store, Superuser,
};

/// Whatever the server does by default, a commit is on its disk. Known events are looked up by the
/// index, also where the planner knows little of the table.
const WRITER: Setup = Setup {
    patience: Duration::from_secs(75),
    lock: Duration::from_secs(10),
    sql: "SELECT set_config('synchronous_commit', 'on', false) \
          WHERE current_setting('synchronous_commit') = 'off'; \
          SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;",
};

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;

/// A database of a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: Server,
    settings: Settings,
    moments: Moments,
}

impl PostgresDatabase {
    /// The database at this address.
    pub fn new(url: &str, settings: Settings) -> Result<Self, String> {
        let address = Address::parse("postgres", url, settings.password.as_ref(), OPTIONS)?;
        let moments = Moments::new(&settings);
        Ok(Self { server: Server::new(&address)?, settings, moments })
    }

    fn writer(&self) -> Postgres {
        Postgres {
            link: Link::new(&self.server, WRITER),
            moments: self.moments.clone(),
            keys: None,
            known: HashSet::new(),
            caution: Caution::default(),
        }
    }
}

impl Database for PostgresDatabase {
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
        Box::new(PostgresDirectory::new(&self.server, &self.settings))
    }

    fn history(&self) -> Box<dyn History> {
        Box::new(PostgresHistory::new(&self.server, self.moments.clone()))
    }

    fn moments(&self) -> &Moments {
        &self.moments
    }
}

/// The one writer of our process.
#[derive(Debug)]
struct Postgres {
    link: Link,
    moments: Moments,
    /// How the keys of users are kept, and of which connection that is known.
    keys: Option<(u64, KeyColumn)>,
    /// Sessions whose info was written, so that it need not be sent again. Emptied when full, and
    /// with each new connection.
    known: HashSet<String>,
    caution: Caution,
}

impl Postgres {
    fn keys(&mut self) -> Result<KeyColumn, Error> {
        if let Some((generation, keys)) = &self.keys
            && *generation == self.link.generation
        {
            return Ok(keys.clone());
        }
        let columns =
            self.link.with(async |client| schema::columns(client, "djaffar_activity").await)?;
        let user = columns.iter().find(|(name, _)| name == "user_id");
        let keys = user.and_then(|(_, oid)| KeyColumn::of(*oid)).ok_or_else(|| {
            Error::Schema(format!("there is no table djaffar_activity that will do: {RUN_MIGRATE}"))
        })?;
        self.known.clear();
        self.keys = Some((self.link.generation, keys.clone()));
        Ok(keys)
    }
}

impl Store for Postgres {
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.link.with(async |client| {
            // The door first: once it is open, the positions are those that it was opened with.
            Door::admit_resuming(moving::door(client).await?)?;
            cursors(client, spool).await
        })
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        let keys = self.keys()?;
        if self.known.len() > KNOWN_SESSIONS {
            self.known.clear();
        }
        let Self { link, moments, known, caution, .. } = self;
        let stored = link.with(async |client| {
            let rows = Rows { moments, keys: &keys, known, way: Way::Copy, look: caution.next() };
            match write(client, rows, batch).await {
                // One of them is stored, or was just now by another server.
                Err(failure) if failure.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    caution.begin();
                    write(client, Rows { way: Way::Insert, look: true, ..rows }, batch).await
                }
                // It met another server's batch crosswise, and gave way.
                Err(failure) if failure.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                    write(client, Rows { way: Way::Insert, look: true, ..rows }, batch).await
                }
                result => result,
            }
        })?;
        let sessions = batch.activities.iter().filter_map(|activity| activity.session.as_ref());
        self.known.extend(sessions.map(|session| session.key.clone()));
        Ok(stored)
    }

    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        self.link.with(async |client| {
            let sql = "DELETE FROM djaffar_spool_cursor WHERE spool = $1 AND segment = ANY($2)";
            client.execute(sql, &[&spool, &segments]).await?;
            Ok(())
        })
    }
}

async fn cursors(client: &Client, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Failure> {
    let sql = "SELECT segment, position FROM djaffar_spool_cursor WHERE spool = $1";
    let mut cursors = Vec::new();
    for row in client.query(sql, &[&spool]).await? {
        // A row that we did not write names no segment of ours.
        if let Ok(position) = u64::try_from(row.try_get::<_, i64>(1)?) {
            cursors.push((row.try_get(0)?, position));
        }
    }
    Ok(cursors)
}

/// One transaction. What is begun is ended here: the driver would send the end of a transaction that
/// is merely dropped only when it is next asked something.
async fn write(client: &mut Client, rows: Rows<'_>, batch: &Batch<'_>) -> Result<u64, Failure> {
    let transaction = client.transaction().await?;
    match insert(&transaction, rows, batch).await {
        Ok(Some(stored)) => {
            transaction.commit().await?;
            Ok(stored)
        }
        Ok(None) => {
            transaction.rollback().await?;
            Ok(0)
        }
        Err(failure) => {
            // It matters only where the connection lives on.
            drop(transaction.rollback().await);
            Err(failure)
        }
    }
}

/// The position first: a batch that is stored already, also by somebody who stores the same spool,
/// ends here.
async fn insert(
    transaction: &Transaction<'_>,
    rows: Rows<'_>,
    batch: &Batch<'_>,
) -> Result<Option<u64>, Failure> {
    let cursor = batch.cursor;
    let statement = transaction
        .prepare_typed(
            "INSERT INTO djaffar_spool_cursor AS c (spool, segment, position) VALUES ($1, $2, $3) \
             ON CONFLICT (spool, segment) DO UPDATE SET position = excluded.position \
             WHERE c.position < excluded.position",
            &[Type::UUID, Type::UUID, Type::INT8],
        )
        .await?;
    let at = position(cursor.position)?;
    match transaction.execute(&statement, &[&cursor.spool, &cursor.segment, &at]).await? {
        0 => Ok(None),
        _ if !batch.activities.is_empty() => {
            moving::admit(transaction).await?;
            Ok(Some(rows.insert(transaction, batch).await?))
        }
        _ => Ok(Some(rows.insert(transaction, batch).await?)),
    }
}
