//! The writer: the site's store and the shards behind one [`Store`], a batch at a time.
//!
//! A batch is checked, rid of what is stored already, numbered, cut up by shards, encoded and
//! frozen on the spool's disk; only then is it tried. From there on it can only be finished, by
//! this process or the next one: every shard takes its bytes, then the site's database takes the
//! sessions and the cursor in one transaction.

use std::{
    collections::{HashMap, HashSet},
    time::UNIX_EPOCH,
};

use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::{
    super::{Batch, Cursor, Error, Moments, Store},
    address::Address,
    frozen::{Freezer, Frozen},
    number::{self, Numbers},
    rows::{self, Blocks, Stamp},
    shard::Shard,
};
use crate::activity::Activity;

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;

/// Writes activities to ClickHouse, the rest to the site's database.
pub(super) struct Writer {
    site: Box<dyn Store>,
    shards: Vec<Shard>,
    freezer: Box<dyn Freezer>,
    moments: Moments,
    runtime: Option<Runtime>,
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

/// A batch on its way.
struct Pending {
    frozen: Frozen,
    /// The shards that have it.
    done: Vec<bool>,
    /// Whether a shard may have it unknown to us.
    tried: bool,
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
            shards: Shard::all(address),
            freezer,
            moments,
            runtime: None,
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
            if let Some(bytes) = self.freezer.load()? {
                let frozen = Frozen::decode(&bytes)?;
                self.last_id = frozen.last_id;
                self.frozen_of = Some(frozen.cursor.segment);
                if !self.is_stored(&frozen.cursor)? {
                    let done = vec![false; frozen.parts.len()];
                    self.pending = Some(Pending { frozen, done, tried: true });
                }
            }
            self.thawed = true;
        }
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        let settled = self.finish(&mut pending);
        if settled.is_err() {
            pending.tried = true;
            self.pending = Some(pending);
        }
        settled
    }

    fn finish(&mut self, pending: &mut Pending) -> Result<(), Error> {
        let Pending { frozen, done, tried } = pending;
        if frozen.parts.len() != self.shards.len() {
            return Err(Error::Schema(format!(
                "a batch for {} shards is frozen in the spool, and activity_database names {}: \
                 start once with the address as it was, until the spool is empty",
                frozen.parts.len(),
                self.shards.len()
            )));
        }
        let stamp = Stamp { batch: frozen.batch, stored_at: frozen.stored_at };
        let (shards, tried) = (&mut self.shards, *tried);
        let tries = shards.iter_mut().zip(&frozen.parts).zip(done).filter(|(_, done)| !**done).map(
            |((shard, part), done)| async move {
                shard.take(part, stamp, tried).await?;
                *done = true;
                Ok(())
            },
        );
        let results: Vec<Result<(), Error>> = runtime(&mut self.runtime)?.block_on(join_all(tries));
        results.into_iter().collect::<Result<(), Error>>()?;
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

    /// The activities that are to be stored: of those with the same `event_id` the first, and none
    /// that is stored already.
    fn fresh<'a>(&mut self, activities: &'a [Activity]) -> Result<Vec<&'a Activity>, Error> {
        let mut wanted: Vec<HashSet<Uuid>> = vec![HashSet::new(); self.shards.len()];
        let mut elsewhere = HashSet::new();
        for activity in activities {
            let Some(id) = activity.event_id else { continue };
            if let Some(wanted) = wanted.get_mut(rows::shard(activity, self.shards.len())) {
                wanted.insert(id);
            }
            if self.shards.len() > 1 && rows::is_newcomer(activity) {
                elsewhere.insert(id);
            }
        }
        for wanted in &mut wanted {
            wanted.extend(&elsewhere);
        }
        let asked = self.shards.iter_mut().zip(&wanted).filter(|(_, wanted)| !wanted.is_empty());
        let asked = asked.map(|(shard, wanted)| shard.known(wanted));
        let mut known = HashSet::new();
        for found in runtime(&mut self.runtime)?.block_on(join_all(asked)) {
            known.extend(found?);
        }
        let is_fresh =
            |activity: &&Activity| activity.event_id.is_none_or(|event_id| known.insert(event_id));
        Ok(activities.iter().filter(is_fresh).collect())
    }

    /// Cuts up, numbers and encodes a batch, and keeps it on the disk.
    fn freeze(&mut self, batch: &Batch<'_>, fresh: &[&Activity]) -> Result<Pending, Error> {
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
        let mut blocks: Vec<Blocks> = self.shards.iter().map(|_| Blocks::new()).collect();
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
            parts: blocks.iter().map(Blocks::finish).collect(),
        };
        self.freezer.freeze(&frozen.encode())?;
        self.frozen_of = Some(frozen.cursor.segment);
        let done = frozen.parts.iter().map(|part| part.rows == 0).collect();
        Ok(Pending { frozen, done, tried: false })
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
        let fresh = self.fresh(batch.activities)?;
        if fresh.is_empty() {
            self.site.write(&Batch { activities: &[], ..*batch })?;
            self.moved(batch.cursor);
            return Ok(0);
        }
        self.pending = Some(self.freeze(batch, &fresh)?);
        self.settle()?;
        self.remember(&fresh);
        Ok(fresh.len() as u64)
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
}

/// Made when first used: the connections live on it.
pub(super) fn runtime(slot: &mut Option<Runtime>) -> Result<&Runtime, Error> {
    let made = match slot.take() {
        Some(runtime) => runtime,
        None => Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Unavailable(format!("no event loop: {error}")))?,
    };
    Ok(slot.insert(made))
}
