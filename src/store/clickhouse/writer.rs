//! The writer: the site's store and the shards behind one [`Store`], a batch at a time.
//!
//! A batch is checked, rid of what is stored already, numbered, cut up by shards, encoded and
//! frozen on the spool's disk; only then is it tried. From there on it can only be finished, by
//! this process or the next one: every shard takes its bytes, then the site's database takes the
//! sessions and the cursor in one transaction. What a shard that is away would get is parked
//! (`shards`) instead, if another one is there.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, UNIX_EPOCH},
};

use uuid::Uuid;

use super::{
    super::{Batch, Cursor, Error, Moments, Store},
    address::Address,
    frozen::{Freezer, Frozen, Part},
    native,
    number::{self, Numbers},
    rows::{self, Blocks, Stamp},
    shards::{Fresh, Pending, Shards},
};
use crate::activity::Activity;

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;

/// Writes activities to ClickHouse, the rest to the site's database.
pub(super) struct Writer {
    site: Box<dyn Store>,
    shards: Shards,
    freezer: Box<dyn Freezer>,
    moments: Moments,
    /// Whether what was frozen by the process before was looked at.
    thawed: bool,
    /// The segment of what is frozen.
    frozen_of: Option<Uuid>,
    pending: Option<Pending>,
    /// The site's cursors, of the spools that were asked for.
    positions: HashMap<Uuid, HashMap<Uuid, u64>>,
    numbers: HashMap<Uuid, Numbers>,
    /// The highest number that is known to be given.
    last_id: i64,
    /// Sessions whose info was written. Emptied when full.
    sessions: HashSet<String>,
}

impl Writer {
    pub(super) fn new(
        site: Box<dyn Store>,
        address: &Address,
        freezer: Box<dyn Freezer>,
        moments: Moments,
    ) -> Writer {
        Writer {
            site,
            shards: Shards::new(address, freezer.parking()),
            freezer,
            moments,
            thawed: false,
            frozen_of: None,
            pending: None,
            positions: HashMap::new(),
            numbers: HashMap::new(),
            last_id: 0,
            sessions: HashSet::new(),
        }
    }

    /// Finishes what is frozen.
    fn settle(&mut self) -> Result<(), Error> {
        if !self.thawed {
            self.thaw()?;
        }
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        let settled = self.finish(&mut pending);
        if settled.is_err() {
            pending.tried = true;
            self.pending = Some(pending);
        }
        settled
    }

    /// Finds what the process before froze and parked.
    fn thaw(&mut self) -> Result<(), Error> {
        let mut held = None;
        let mut events = Vec::new();
        if let Some(bytes) = self.freezer.load()? {
            let frozen = Frozen::decode(&bytes)?;
            self.last_id = frozen.last_id;
            self.frozen_of = Some(frozen.cursor.segment);
            for part in &frozen.parts {
                events.extend(native::uuids(&part.events, "event_id")?);
            }
            if !self.is_stored(&frozen.cursor)? {
                held = Some(frozen);
            }
        }
        let batch = held.as_ref().map(|frozen| frozen.batch);
        let kept = self.shards.find(batch)?;
        self.shards.remember(events);
        self.pending = held.map(|frozen| {
            let has = |shard| kept.iter().any(|(place, _)| place.shard as usize == shard);
            let done = (0..frozen.parts.len()).map(has).collect();
            Pending { frozen, done, kept, tried: true }
        });
        self.thawed = true;
        Ok(())
    }

    fn finish(&mut self, pending: &mut Pending) -> Result<(), Error> {
        self.shards.give(pending)?;
        let Pending { frozen, kept, .. } = pending;
        let Frozen { cursor, sessions, .. } = &*frozen;
        let batch = Batch { activities: &[], sessions, cursor: *cursor };
        match self.site.write(&batch) {
            // The activities are stored, so that no record may be blamed for it.
            Err(Error::Rejected(reason)) => {
                tracing::error!(reason, "the database refuses sessions: stored without them");
                self.site.write(&Batch { sessions: &[], ..batch })?;
            }
            result => drop(result?),
        }
        self.moved(*cursor);
        self.shards.release(std::mem::take(kept));
        Ok(())
    }

    fn moved(&mut self, cursor: Cursor) {
        if let Some(positions) = self.positions.get_mut(&cursor.spool) {
            positions.insert(cursor.segment, cursor.position);
        }
    }

    /// Whether the site's cursor is there already.
    fn is_stored(&mut self, cursor: &Cursor) -> Result<bool, Error> {
        if !self.positions.contains_key(&cursor.spool) {
            let positions = self.site.cursors(cursor.spool)?;
            self.positions.insert(cursor.spool, positions.into_iter().collect());
        }
        let position = self.positions.get(&cursor.spool).and_then(|it| it.get(&cursor.segment));
        Ok(position.is_some_and(|position| *position >= cursor.position))
    }

    /// Cuts up, numbers and encodes a batch, and keeps it on the disk.
    fn freeze(&mut self, batch: &Batch<'_>, fresh: &Fresh<'_>) -> Result<Pending, Error> {
        let Fresh { activities: fresh, asked } = fresh;
        let spool = batch.cursor.spool;
        if !self.numbers.contains_key(&spool) {
            let number = number::of_spool(&mut *self.site, spool)?;
            self.numbers.insert(spool, Numbers::new(number, self.last_id));
        }
        let now = UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let numbers = self.numbers.get_mut(&spool);
        let ids = numbers.map(|numbers| numbers.take(fresh.len(), now)).unwrap_or_default();
        self.last_id = ids.last().copied().unwrap_or(self.last_id);
        let stored_at = number::second_of(ids.first().copied().unwrap_or_default());
        let stamp = Stamp { batch: Uuid::new_v4(), stored_at };
        let mut blocks: Vec<Blocks> = (0..self.shards.count()).map(|_| Blocks::new()).collect();
        let mut met = HashSet::new();
        for (activity, id) in fresh.iter().zip(ids) {
            let shard = rows::shard(activity, blocks.len());
            let Some(block) = blocks.get_mut(shard) else { continue };
            block.push(activity, id, stamp);
            if let Some(session) = &activity.session
                && !self.sessions.contains(&session.key)
                && met.insert(&session.key)
            {
                block.info(session, activity);
            }
        }
        let frozen = Frozen {
            batch: stamp.batch,
            stored_at,
            last_id: self.last_id,
            cursor: batch.cursor,
            sessions: batch.sessions.to_vec(),
            parts: blocks
                .iter()
                .zip(asked)
                .map(|(block, asked)| Part { asked: *asked, ..block.finish() })
                .collect(),
        };
        self.freezer.freeze(&frozen.encode())?;
        self.shards.remember(fresh.iter().filter_map(|activity| activity.event_id));
        self.frozen_of = Some(frozen.cursor.segment);
        let done = frozen.parts.iter().map(|part| part.asked && part.is_empty()).collect();
        Ok(Pending { frozen, done, kept: Vec::new(), tried: false })
    }

    /// Remembers the sessions of a batch that is stored.
    fn remember(&mut self, fresh: &[&Activity]) {
        if self.sessions.len() > KNOWN_SESSIONS {
            self.sessions.clear();
        }
        for session in fresh.iter().filter_map(|activity| activity.session.as_ref()) {
            if !self.sessions.contains(&session.key) {
                self.sessions.insert(session.key.clone());
            }
        }
    }
}

impl Store for Writer {
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.settle()?;
        let cursors = self.site.cursors(spool)?;
        self.positions.insert(spool, cursors.iter().copied().collect());
        Ok(cursors)
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        self.settle()?;
        if self.is_stored(&batch.cursor)? {
            return Ok(0);
        }
        for activity in batch.activities {
            rows::check(activity, &self.moments)?;
        }
        let fresh = self.shards.fresh(batch.activities)?;
        if fresh.activities.is_empty() {
            self.site.write(&Batch { activities: &[], ..*batch })?;
            self.moved(batch.cursor);
            return Ok(0);
        }
        self.pending = Some(self.freeze(batch, &fresh)?);
        self.settle()?;
        self.remember(&fresh.activities);
        Ok(fresh.activities.len() as u64)
    }

    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        // Without its cursor, the next process would take a batch that is stored for one that is
        // not.
        if self.pending.is_none() && self.frozen_of.is_some_and(|it| segments.contains(&it)) {
            self.freezer.freeze(&[])?;
            self.frozen_of = None;
        }
        self.site.forget(spool, segments)?;
        if let Some(positions) = self.positions.get_mut(&spool) {
            positions.retain(|segment, _| !segments.contains(segment));
        }
        Ok(())
    }

    fn parked(&self) -> u64 {
        self.shards.parked().bytes()
    }

    fn unpark(&mut self, within: Duration) -> Result<(), Error> {
        self.settle()?;
        self.shards.parked().finish(within)
    }
}
