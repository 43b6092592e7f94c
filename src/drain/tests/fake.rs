//! A database that fails on demand, and one without anybody in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use crate::store::{self, Directory, Error, SessionRow, Store, TokenKey, TokenRow, UserRow};

/// A database that fails on demand.
#[derive(Default)]
pub(super) struct Table {
    pub(super) rows: Vec<String>,
    /// When each write began.
    pub(super) times: Vec<Instant>,
    pub(super) sessions: Vec<String>,
    pub(super) cursors: HashMap<Uuid, u64>,
    pub(super) writes: usize,
    /// What the next writes do, the last one first.
    pub(super) script: Vec<Act>,
    /// What all writes beyond this many do: the database is away.
    pub(super) away_after: Option<usize>,
    /// It has no room for more rows than this at once; for none: for the next ten writes.
    pub(super) room: Option<usize>,
    pub(super) always_panics: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Act {
    Away,
    Schema,
    Panic,
    /// It is committed, and the answer is lost.
    CommitAway,
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Table>>);

impl Fake {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Fake {
    fn cursors(&mut self, _: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        Ok(self.table().cursors.iter().map(|(segment, position)| (*segment, *position)).collect())
    }

    fn write(&mut self, batch: &store::Batch<'_>) -> Result<u64, Error> {
        let mut table = self.table();
        table.writes += 1;
        table.times.push(Instant::now());
        if table.away_after.is_some_and(|limit| table.writes > limit) {
            return Err(Error::Unavailable("away".into()));
        }
        if let Some(room) = table.room
            && batch.activities.len() > room
        {
            if room == 0 && table.writes > 10 {
                table.room = None;
            }
            return Err(Error::Full("no space".into()));
        }
        let act = table.script.pop();
        match act {
            Some(Act::Away) => return Err(Error::Unavailable("away".into())),
            Some(Act::Schema) => return Err(Error::Schema("run something".into())),
            Some(Act::Panic) => panic!("a bug of the test's own"),
            _ => {}
        }
        assert!(!batch.activities.iter().any(|it| it.name == "bomb"), "boom");
        assert!(!table.always_panics, "a bug that is nobody's fault");
        let cursor = batch.cursor;
        if table.cursors.get(&cursor.segment).is_some_and(|at| *at >= cursor.position) {
            return Ok(0);
        }
        if batch.activities.iter().any(|activity| activity.name == "poison") {
            return Err(Error::Rejected("poisonous".into()));
        }
        table.rows.extend(batch.activities.iter().map(|activity| activity.path.clone()));
        table.sessions.extend(batch.sessions.iter().map(|session| session.key.clone()));
        table.cursors.insert(cursor.segment, cursor.position);
        match act {
            Some(Act::CommitAway) => Err(Error::Unavailable("lost".into())),
            _ => Ok(batch.activities.len() as u64),
        }
    }

    fn forget(&mut self, _: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        self.table().cursors.retain(|segment, _| !segments.contains(segment));
        Ok(())
    }
}

/// A directory without anybody, that is away for the first look-ups.
pub(super) struct Nobody(pub(super) usize);

impl Directory for Nobody {
    fn session(&mut self, _: &str) -> Result<Option<SessionRow>, Error> {
        self.0 = self.0.checked_sub(1).map_or(Ok(0), |left| {
            self.0 = left;
            Err(Error::Unavailable("away".into()))
        })?;
        Ok(None)
    }

    fn user(&mut self, _: &str) -> Result<Option<UserRow>, Error> {
        Ok(None)
    }

    fn tokens(&mut self, _: TokenKey<'_>) -> Result<Vec<TokenRow>, Error> {
        Ok(Vec::new())
    }
}
