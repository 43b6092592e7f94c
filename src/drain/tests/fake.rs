//! A database that fails on demand, and one without anybody in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::activity::Activity;
use crate::store::{
    self, Cursor, Directory, Error, NewSession, SessionRow, Store, Taken, TokenKey, TokenRow,
    UserRow,
};

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
    /// A batch that is taken is stored when the next one comes.
    pub(super) later: bool,
    pub(super) under_way: Option<(Vec<Activity>, Vec<NewSession>, Cursor)>,
    /// How often a batch was taken for later.
    pub(super) taken: usize,
    /// What is under way does not come through.
    pub(super) hangs: bool,
    pub(super) forgotten: usize,
    /// Something was asked for that what is under way may change.
    pub(super) asked_early: bool,
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
        self.settle(Duration::ZERO)?;
        self.commit(batch)
    }

    fn take(&mut self, batch: &store::Batch<'_>) -> Result<Taken, Error> {
        if !self.table().later {
            return self.write(batch).map(|_| Taken::Stored);
        }
        if batch.activities.iter().any(|activity| activity.name == "poison") {
            return Err(Error::Rejected("poisonous".into()));
        }
        self.settle(Duration::ZERO)?;
        let mut table = self.table();
        table.taken += 1;
        let store::Batch { activities, sessions, cursor } = *batch;
        table.under_way = Some((activities.to_vec(), sessions.to_vec(), cursor));
        Ok(Taken::Later)
    }

    fn settle(&mut self, within: Duration) -> Result<(), Error> {
        let Some((activities, sessions, cursor)) = self.table().under_way.clone() else {
            return Ok(());
        };
        if self.table().hangs {
            std::thread::sleep(within);
            return Err(Error::Unavailable("under way".into()));
        }
        self.commit(&store::Batch { activities: &activities, sessions: &sessions, cursor })?;
        self.table().under_way = None;
        Ok(())
    }

    fn forget(&mut self, _: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        let mut table = self.table();
        table.asked_early |= table.under_way.is_some();
        table.forgotten += segments.len();
        table.cursors.retain(|segment, _| !segments.contains(segment));
        Ok(())
    }
}

impl Fake {
    fn commit(&mut self, batch: &store::Batch<'_>) -> Result<u64, Error> {
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
}

/// A directory without anybody, that takes down whether it is asked while a batch is under way.
pub(super) struct Early(pub(super) Fake);

impl Directory for Early {
    fn session(&mut self, _: &str) -> Result<Option<SessionRow>, Error> {
        let mut table = self.0.table();
        table.asked_early |= table.under_way.is_some();
        Ok(None)
    }

    fn user(&mut self, _: &str) -> Result<Option<UserRow>, Error> {
        Ok(None)
    }

    fn tokens(&mut self, _: TokenKey<'_>) -> Result<Vec<TokenRow>, Error> {
        Ok(Vec::new())
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
