//! The writer: the site's store and the shards behind one [`Store`], a batch at a time.
//!
//! A batch is checked, rid of what is stored already, numbered, cut up by shards, encoded and
//! frozen on the spool's disk; only then is it tried. From there on it can only be finished, by
//! this process or the next one: every shard takes its bytes, then the site's database takes the
//! sessions and the cursor in one transaction ([`super::giver`]). What a shard that is away would get
//! is parked (`shards`) instead, if another one is there.
//!
//! While one batch is frozen and given, the next one is made; but it is frozen only when that one is
//! through. So there is one frozen batch at most, and what fails is the fault of one batch.

use std::{
    collections::HashMap,
    iter,
    panic::resume_unwind,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use foldhash::{HashSet, HashSetExt};
use uuid::Uuid;

use super::{
    super::{Batch, Cursor, Error, Moments, Store, Taken},
    address::Address,
    frozen::{Freezer, Frozen, Part},
    giver::{Giver, Over, Takers},
    native::{self, Block},
    number::{self, Numbers},
    order::{self, Numbered},
    rows::{self, Blocks, Sizes, Stamp},
    shards::{Asker, Known, Pending, Shards},
};
use crate::activity::Activity;

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;
/// For so long a batch waits for the one before, until the caller is told. He may have to stop.
const TURN: Duration = Duration::from_secs(4);

/// Writes activities to ClickHouse, the rest to the site's database.
pub(super) struct Writer {
    giver: Giver,
    /// Asks while a batch is given.
    asker: Option<Asker>,
    /// Whether that failed last: then those are asked who wait longer.
    asked_in_vain: bool,
    shards: usize,
    moments: Moments,
    /// [`TURN`], but in tests.
    pub(super) turn: Duration,
    /// Whether what was frozen by the process before was looked at.
    thawed: bool,
    /// Where the spool is stored to once what is frozen is through.
    frozen_to: Option<Cursor>,
    /// The event_ids of what was frozen last, sorted: no server may know them yet. Others that are stored
    /// may be among them.
    frozen_events: Vec<Uuid>,
    /// The site's cursors, of the spools that were asked for.
    positions: HashMap<Uuid, HashMap<Uuid, u64>>,
    numbers: HashMap<Uuid, Numbers>,
    /// The highest number that is known to be given.
    last_id: i64,
    /// Sessions whose info was written, or frozen. Emptied when full.
    sessions: HashSet<String>,
    /// How large the columns of the last batch were.
    sizes: Sizes,
    /// What is not needed any more of a batch before: its memory is.
    spent: Vec<Part>,
}

/// A batch that is to be frozen.
struct Ready {
    frozen: Frozen,
    /// The event_ids in it, sorted; some may be stored already.
    events: Vec<Uuid>,
    /// Sessions whose info is in it.
    sessions: Vec<String>,
}

impl Writer {
    pub(super) fn new(
        site: Box<dyn Store>,
        address: &Address,
        freezer: Box<dyn Freezer>,
        moments: Moments,
    ) -> Writer {
        let shards = Shards::new(address, freezer.parking());
        Writer {
            asker: Asker::new(address),
            asked_in_vain: false,
            shards: shards.count(),
            giver: Giver::new(Takers {
                site,
                shards,
                freezer,
                pending: None,
                spent: Vec::new(),
                over: Over::default(),
            }),
            moments,
            turn: TURN,
            thawed: false,
            frozen_to: None,
            frozen_events: Vec::new(),
            positions: HashMap::new(),
            numbers: HashMap::new(),
            last_id: 0,
            sessions: HashSet::new(),
            sizes: Sizes::default(),
            spent: Vec::new(),
        }
    }

    /// What is frozen is through: then the site and the shards may be asked.
    fn settled(&mut self, within: Duration) -> Result<&mut Takers, Error> {
        if !self.thawed {
            self.thaw()?;
        }
        let takers = self.giver.settle(within)?;
        if let Some(cursor) = self.frozen_to {
            move_to(&mut self.positions, cursor);
        }
        Ok(takers)
    }

    /// The same, before another batch, which is not to blame for what became of this one.
    fn before(&mut self) -> Result<&mut Takers, Error> {
        self.settled(self.turn).map_err(|error| match error {
            Error::Full(text) | Error::Rejected(text) => Error::Unavailable(text),
            error => error,
        })
    }

    /// Finds what the process before froze and parked.
    fn thaw(&mut self) -> Result<(), Error> {
        let mut held = None;
        let mut events = Vec::new();
        if let Some(bytes) = self.giver.settle(self.turn)?.freezer.load()? {
            let frozen = Frozen::decode(&bytes)?;
            self.last_id = frozen.last_id;
            self.frozen_to = Some(frozen.cursor);
            for part in &frozen.parts {
                events.extend(native::uuids(&part.events, "event_id")?);
            }
            if !self.is_stored(&frozen.cursor)? {
                held = Some(frozen);
            }
        }
        let batch = held.as_ref().map(|frozen| frozen.batch);
        let takers = self.giver.settle(self.turn)?;
        let kept = takers.shards.find(batch)?;
        takers.shards.remember(events.iter().copied());
        order::events(&mut events);
        self.frozen_events = events;
        takers.pending = held.map(|frozen| Pending::found(frozen, kept));
        self.thawed = true;
        Ok(())
    }

    /// Whether the site's cursor is there already.
    fn is_stored(&mut self, cursor: &Cursor) -> Result<bool, Error> {
        if !self.positions.contains_key(&cursor.spool) {
            let positions = self.giver.settle(self.turn)?.site.cursors(cursor.spool)?;
            self.positions.insert(cursor.spool, positions.into_iter().collect());
        }
        let position = self.positions.get(&cursor.spool).and_then(|it| it.get(&cursor.segment));
        Ok(position.is_some_and(|position| *position >= cursor.position))
    }

    /// Begins to freeze and give what is new of a batch, once the one before is through. Returns how many
    /// activities that is; with none of them the batch is stored.
    fn begin(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        // What failed goes first, before anything is made of this one; and what is frozen is not made
        // again.
        if !self.giver.is_busy() || self.frozen_to.is_some_and(|to| is_behind(&batch.cursor, &to)) {
            self.before()?;
        }
        if self.is_stored(&batch.cursor)? {
            self.before()?;
            return Ok(0);
        }
        for activity in batch.activities {
            rows::check(activity, &self.moments)?;
        }
        let ready = self.make(batch)?;
        let takers = self.before()?;
        let count = ready.frozen.parts.iter().map(|part| u64::from(part.rows)).sum();
        if count == 0 {
            takers.site.write(&Batch { activities: &[], ..*batch })?;
            move_to(&mut self.positions, batch.cursor);
            return Ok(0);
        }
        self.give(ready)?;
        Ok(count)
    }

    /// Makes of a batch what is to be frozen, and asks meanwhile what of it is stored.
    fn make(&mut self, batch: &Batch<'_>) -> Result<Ready, Error> {
        let spool = batch.cursor.spool;
        if !self.numbers.contains_key(&spool) {
            let number = number::of_spool(&mut *self.before()?.site, spool)?;
            self.numbers.insert(spool, Numbers::new(number, self.last_id));
        }
        // Also while none is under way: it waits for seconds only, as long as a stop may take.
        let is_its = self.giver.is_busy() || self.shards == 1 && !self.asked_in_vain;
        let is_free = is_its && self.giver.parked() == 0;
        let Some(mut asker) = self.asker.take_if(|_| is_free) else {
            let known = self.before()?.shards.known(batch.activities)?;
            self.asked_in_vain = false;
            return self.encode(batch).without(&known);
        };
        let (known, ready) = thread::scope(|scope| {
            let asking = scope.spawn(|| asker.known(batch.activities));
            let ready = self.encode(batch);
            (asking.join().unwrap_or_else(|panic| resume_unwind(panic)), ready)
        });
        self.asker = Some(asker);
        self.asked_in_vain = known.is_err();
        if known.is_err() {
            // The next attempt finds none under way, and asks those who know what to do then.
            self.before()?;
        }
        ready.without(&known?)
    }

    /// Cuts up, numbers and encodes a batch: of the activities with the same `event_id` the first, and
    /// none that is frozen already.
    fn encode(&mut self, batch: &Batch<'_>) -> Ready {
        let (fresh, events) = order::fresh(batch.activities, &self.frozen_events);
        let now = UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let numbers = self.numbers.get_mut(&batch.cursor.spool);
        let ids = numbers.map(|numbers| numbers.take(fresh.len(), now)).unwrap_or_default();
        self.last_id = ids.last().copied().unwrap_or(self.last_id);
        let stored_at = number::second_of(ids.first().copied().unwrap_or_default());
        let stamp = Stamp { batch: Uuid::new_v4(), stored_at };
        let spent = std::mem::take(&mut self.spent).into_iter().map(|part| part.activities);
        let spent = spent.chain(iter::repeat_with(Block::default)).take(self.shards);
        let mut blocks: Vec<Blocks> =
            spent.map(|spent| Blocks::with_room(&self.sizes, spent)).collect();
        let mut with = |activity: &Activity, add: &dyn Fn(&mut Blocks)| {
            blocks.get_mut(rows::shard(activity, self.shards)).map(add);
        };
        let sorted = order::activities(fresh.into_iter().zip(ids));
        let infos = order::first_of_sessions(&sorted, |key| !self.sessions.contains(key));
        for (session, activity) in &infos {
            with(activity, &|block| block.info(session, activity));
        }
        for (id, place) in &events {
            let Some(activity) = batch.activities.get(*place) else { continue };
            with(activity, &|block| block.event(*id, stamp));
        }
        for (number, block) in blocks.iter_mut().enumerate() {
            let is_its = |it: &&Numbered<'_>| rows::shard(it.0, self.shards) == number;
            match self.shards {
                1 => block.fill(&sorted, stamp),
                _ => block.fill(&sorted.iter().filter(is_its).copied().collect::<Vec<_>>(), stamp),
            }
        }
        if let Some(block) = blocks.first() {
            self.sizes = block.sizes();
        }
        let frozen = Frozen {
            batch: stamp.batch,
            stored_at,
            last_id: self.last_id,
            cursor: batch.cursor,
            sessions: batch.sessions.to_vec(),
            parts: blocks.into_iter().map(Blocks::finish).collect(),
        };
        Ready {
            frozen,
            events: events.into_iter().map(|(id, _)| id).collect(),
            sessions: infos.into_iter().map(|(session, _)| session.key.clone()).collect(),
        }
    }

    /// Has a batch frozen and given: it will be stored, whatever happens, unless this process ends before
    /// it is frozen; then it is still in the spool.
    fn give(&mut self, Ready { frozen, events, sessions }: Ready) -> Result<(), Error> {
        let takers = self.giver.settle(self.turn)?;
        self.spent = std::mem::take(&mut takers.spent);
        takers.shards.remember(events.iter().copied());
        self.frozen_to = Some(frozen.cursor);
        self.frozen_events = events;
        if self.sessions.len() > KNOWN_SESSIONS {
            self.sessions.clear();
        }
        self.sessions.extend(sessions);
        takers.pending = Some(Pending::new(frozen));
        self.giver.begin();
        Ok(())
    }
}

impl Ready {
    /// Without what is stored already.
    fn without(mut self, Known { ids, asked }: &Known) -> Result<Ready, Error> {
        for (part, asked) in self.frozen.parts.iter_mut().zip(asked) {
            *part = Part { asked: *asked, ..std::mem::take(part).without(ids)? };
        }
        Ok(self)
    }
}

/// Whether a cursor is not beyond another one.
fn is_behind(cursor: &Cursor, other: &Cursor) -> bool {
    (cursor.spool, cursor.segment) == (other.spool, other.segment)
        && cursor.position <= other.position
}

/// Takes down that the site's cursor is there, if those of its spool are known.
fn move_to(positions: &mut HashMap<Uuid, HashMap<Uuid, u64>>, cursor: Cursor) {
    if let Some(positions) = positions.get_mut(&cursor.spool) {
        let position = positions.entry(cursor.segment).or_default();
        *position = cursor.position.max(*position);
    }
}

impl Store for Writer {
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        let cursors = self.before()?.site.cursors(spool)?;
        self.positions.insert(spool, cursors.iter().copied().collect());
        Ok(cursors)
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        let count = self.begin(batch)?;
        self.settled(self.turn)?;
        Ok(count)
    }

    fn take(&mut self, batch: &Batch<'_>) -> Result<Taken, Error> {
        Ok(if self.begin(batch)? > 0 { Taken::Later } else { Taken::Stored })
    }

    fn settle(&mut self, within: Duration) -> Result<(), Error> {
        self.settled(within)?.spent = Vec::new();
        // Nothing more waits: what many rows took is not needed.
        self.spent = Vec::new();
        Ok(())
    }

    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        self.before()?;
        // Without its cursor, the next process would take a batch that is stored for one that is
        // not.
        if self.frozen_to.is_some_and(|to| segments.contains(&to.segment)) {
            self.before()?.freezer.freeze(&[])?;
            self.frozen_to = None;
        }
        self.before()?.site.forget(spool, segments)?;
        if let Some(positions) = self.positions.get_mut(&spool) {
            positions.retain(|segment, _| !segments.contains(segment));
        }
        Ok(())
    }

    fn parked(&self) -> u64 {
        self.giver.parked()
    }

    fn unpark(&mut self, within: Duration) -> Result<(), Error> {
        self.before()?.shards.parked().finish(within)
    }
}
