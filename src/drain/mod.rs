//! Spool → store: the background half of an activity's way.
//!
//! What the spool holds is written to the database, in its order, however long that takes: a
//! database that is away is waited for, a record that it refuses for its data is put aside with
//! the reason, and every other record is stored. Knows no SQL, no files and no HTTP.
//!
//! Nothing is lost or doubled, because of two rules: the cursor moves in the transaction of the
//! rows, and a record that is put aside is durable in quarantine before a cursor passes it.

mod crowd;
mod options;
mod patience;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::activity::{Activity, SessionState};
use crate::auth::Auth;
use crate::engine::Engine;
use crate::spool::{self, Batch, Reader, Record};
use crate::store::{self, Cursor, Directory, NewSession, Store, Taken};
use crowd::Crowd;
pub use options::Options;
use patience::{End, Patience, away, guarded, refused_is_away};

/// What the drain works with; all of it is its own.
pub struct Parts {
    /// What is in the spool.
    pub reader: Reader,
    /// Where it goes.
    pub store: Box<dyn Store>,
    /// Who is who, for sessions that could not be looked up when the activity came in.
    pub directory: Box<dyn Directory>,
    /// Where the sessions go that we minted.
    pub engine: Engine,
    /// How to tell.
    pub auth: Arc<Auth>,
}

/// From so many records in a batch on, many come in.
const BUSY: usize = 500;

/// How long to wait at a time for what the store has taken: a stop must not wait longer.
const SETTLE: Duration = Duration::from_secs(5);

/// So many cursors of removed segments may wait until no batch is under way.
const GONE: usize = 256;

/// How long to sleep without news: `stop` is noticed after that at the latest.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Runs until `stop`: call it on a thread of its own. After a stop, what waits already is stored
/// as long as the database takes it, for at most [`Options::finish_within`].
///
/// `on_stored` is told what the database has now; among it may be an `event_id` that it had
/// before. A panic of the store is waited out like an outage and logged each time; after three in
/// a row it counts as refused by it. Another panic ends the thread, which whoever started it must
/// notice. Returns whether nothing was left.
pub fn run(
    parts: Parts,
    options: &Options,
    stop: &AtomicBool,
    on_stored: impl FnMut(&[Activity]),
) -> bool {
    run_in(Crowd::new(), parts, options, stop, on_stored)
}

fn run_in(
    crowd: Crowd,
    parts: Parts,
    options: &Options,
    stop: &AtomicBool,
    mut on_stored: impl FnMut(&[Activity]),
) -> bool {
    let patience = Patience::new(options, stop);
    let mut drain = Drain {
        parts,
        options,
        patience,
        crowd,
        gone: Vec::new(),
        taken: None,
        is_empty: false,
        on_stored: &mut on_stored,
    };
    if drain.resume().is_ok() {
        // Its only end is a stop.
        let Err(Stopped) = drain.work();
    }
    drain.is_empty
}

/// It was told to stop.
struct Stopped;

/// There is no way out of [`Drain::work`] but a stop.
enum Never {}

struct Drain<'a> {
    parts: Parts,
    options: &'a Options,
    patience: Patience<'a>,
    crowd: Crowd,
    /// Segments that are removed, whose cursors are still to be forgotten.
    gone: Vec<Uuid>,
    /// What the store has taken and stores later.
    taken: Option<(Batch, Vec<Activity>)>,
    on_stored: &'a mut dyn FnMut(&[Activity]),
    /// Nothing waited when it was told to stop.
    is_empty: bool,
}

/// What became of a part that was not refused.
enum Fate {
    Taken(Taken),
    /// There is no room for so much at once.
    TooMuch,
}

/// What is in neighbouring records of a batch.
#[derive(Clone, Copy)]
struct Part<'a> {
    segment: Uuid,
    activities: &'a [Activity],
    /// Where each of them begins.
    places: &'a [u64],
    /// Where the cursor is to be afterwards.
    end: u64,
    /// It may be stored later: nothing waits for it.
    later: bool,
}

impl Drain<'_> {
    /// Finds out where the store is.
    fn resume(&mut self) -> Result<(), Stopped> {
        let Parts { reader, store, .. } = &mut self.parts;
        let spool = reader.spool();
        let ask = || guarded(|| refused_is_away(store.cursors(spool)));
        let Ok(cursors) = self.patience.until(ask) else { return Err(Stopped) };
        reader.resume(&cursors);
        let here: HashSet<Uuid> = reader.segments().into_iter().collect();
        self.gone
            .extend(cursors.iter().map(|(segment, _)| segment).filter(|it| !here.contains(it)));
        self.forget();
        Ok(())
    }

    fn work(&mut self) -> Result<Never, Stopped> {
        loop {
            let (records, bytes) = (self.options.max_records, self.options.max_bytes);
            let reader = &mut self.parts.reader;
            match self.patience.until(|| reader.next(records, bytes).map_err(|it| away(&it))) {
                Ok(Some(batch)) => {
                    let (start, count) = (Instant::now(), batch.records.len());
                    self.take(batch)?;
                    self.count_parked();
                    if self.patience.is_over() {
                        return Err(Stopped);
                    }
                    let pause = self.pause(count, start.elapsed());
                    self.patience.pause(pause);
                }
                Ok(None) if self.taken.is_some() => self.settle()?,
                Ok(None) if self.patience.is_stopping() => {
                    self.is_empty = self.unpark();
                    return Err(Stopped);
                }
                Ok(None) => {
                    self.count_parked();
                    if self.parts.reader.wait(LOOK_UP) {
                        self.patience.pause(self.options.linger);
                    }
                }
                Err(_) => return Err(Stopped),
            }
        }
    }

    /// How long to wait after a batch of so many records that took so long.
    fn pause(&mut self, count: usize, took: Duration) -> Duration {
        let Options { linger, busy_linger, .. } = *self.options;
        if !self.is_behind(count) {
            return if count >= BUSY { busy_linger } else { linger };
        }
        let reader = &self.parts.reader;
        let rests = [(16, 8), (8, 1)].into_iter().find(|(room, _)| reader.has_room_for(*room));
        self.crowd.rest(took, rests.map_or(0, |(_, times)| times))
    }

    /// Whether much more waits after a batch of so many records: one at the end of a segment may be
    /// small.
    fn is_behind(&self, count: usize) -> bool {
        let Options { max_records, max_bytes, .. } = *self.options;
        count >= max_records / 2 || self.parts.reader.undelivered() >= max_bytes as u64 / 2
    }

    /// Stores a batch or puts aside what cannot be stored.
    fn take(&mut self, mut batch: Batch) -> Result<(), Stopped> {
        let Batch { segment, end, .. } = batch;
        let later = self.is_behind(batch.records.len());
        let mut places = Vec::with_capacity(batch.records.len());
        let mut activities = Vec::with_capacity(batch.records.len());
        for record in batch.records.drain(..) {
            match self.activity(&record.payload) {
                Ok(activity) => {
                    places.push(record.at);
                    activities.push(activity);
                }
                Err(End::Refused(reason) | End::Panicked(reason)) => {
                    self.put_aside(segment, &record, &reason)?;
                }
                Err(End::Stopped) => return Err(Stopped),
            }
        }
        batch.records = Vec::new();
        match self.write(Part { segment, places: &places, activities: &activities, end, later })? {
            Taken::Stored => {
                self.finish(&batch);
                self.forget();
            }
            Taken::Later => {
                self.taken = Some((batch, activities));
                if self.gone.len() >= GONE {
                    self.settle()?;
                }
            }
        }
        Ok(())
    }

    /// Has the store finish what it has taken.
    fn settle(&mut self) -> Result<(), Stopped> {
        if self.taken.is_none() {
            return Ok(());
        }
        let within = if self.patience.is_stopping() { self.patience.left() } else { SETTLE };
        let store = &mut self.parts.store;
        let settle = || guarded(|| refused_is_away(store.settle(within.min(SETTLE))));
        self.patience.until(settle).map_err(|_| Stopped)?;
        self.finish_taken();
        self.forget();
        Ok(())
    }

    /// What the store has taken is stored by now.
    fn finish_taken(&mut self) {
        if let Some((batch, activities)) = self.taken.take() {
            (self.on_stored)(&activities);
            self.finish(&batch);
        }
    }

    /// What is in a record, with its session settled.
    fn activity(&mut self, payload: &[u8]) -> Result<Activity, End> {
        let mut activity = spool::record::decode(payload)
            .map_err(|error| End::Refused(format!("the record cannot be read: {error}")))?;
        let state = activity.session.as_ref().map(|session| session.state);
        if state == Some(SessionState::Unverified) {
            // Its session may be among what is under way.
            self.settle().map_err(|_| End::Stopped)?;
            let Parts { directory, auth, .. } = &mut self.parts;
            self.patience.until_panics(|| auth.resolve(&mut **directory, &mut activity))?;
        }
        Ok(activity)
    }

    /// Writes a part in one transaction. What the store refuses is halved until the guilty
    /// records stand alone, and what it has no room for until it fits. The halves go in order, each with its own position, so that the
    /// cursor is right wherever this is broken off.
    fn write(&mut self, part: Part<'_>) -> Result<Taken, Stopped> {
        match self.attempt(part) {
            Ok(Fate::TooMuch) => self.halve(part),
            Ok(Fate::Taken(taken)) => {
                self.finish_taken();
                if taken == Taken::Stored && !part.activities.is_empty() {
                    (self.on_stored)(part.activities);
                }
                Ok(taken)
            }
            Err(End::Stopped) => Err(Stopped),
            Err(End::Refused(reason)) => self.refused(part, &reason),
            Err(End::Panicked(reason)) => {
                if let [at] = *part.places {
                    // Not if it cannot do anything at all.
                    self.write(Part {
                        places: &[],
                        activities: &[],
                        end: at,
                        later: false,
                        ..part
                    })?;
                }
                self.refused(part, &reason)
            }
        }
    }

    fn refused(&mut self, part: Part<'_>, reason: &str) -> Result<Taken, Stopped> {
        let ([at], [activity]) = (part.places, part.activities) else { return self.halve(part) };
        let mut payload = Vec::new();
        spool::record::encode(activity, &mut payload);
        self.put_aside(part.segment, &Record { at: *at, payload }, reason)?;
        self.write(Part { places: &[], activities: &[], later: false, ..part })
    }

    fn halve(&mut self, part: Part<'_>) -> Result<Taken, Stopped> {
        let (left, right) = part.places.split_at(part.places.len() / 2);
        let (before, after) = part.activities.split_at(left.len());
        let end = right.first().copied().unwrap_or(part.end);
        let part = Part { later: false, ..part };
        self.write(Part { places: left, activities: before, end, ..part })?;
        self.write(Part { places: right, activities: after, ..part })
    }

    fn attempt(&mut self, part: Part<'_>) -> Result<Fate, End> {
        let sessions = new_sessions(&self.parts.auth, part.activities);
        let Parts { reader, store, engine, .. } = &mut self.parts;
        // Where they go elsewhere, first: rows name sessions that are there.
        let keep = || guarded(|| refused_is_away(engine.keep(sessions.clone())));
        let sessions = self.patience.until(keep)?;
        let cursor = Cursor { spool: reader.spool(), segment: part.segment, position: part.end };
        let batch = store::Batch { activities: part.activities, sessions: &sessions, cursor };
        let mut write = || match part.later {
            true => store.take(&batch).map(Fate::Taken),
            false => store.write(&batch).map(|_| Fate::Taken(Taken::Stored)),
        };
        if batch.activities.is_empty() {
            // There is nothing to put aside.
            return self.patience.until(|| guarded(|| refused_is_away(write())));
        }
        self.patience.until_panics(|| match write() {
            Err(store::Error::Full(_)) if batch.activities.len() > 1 => Ok(Fate::TooMuch),
            result => result,
        })
    }

    /// Durably, before the cursor passes it.
    fn put_aside(&mut self, segment: Uuid, record: &Record, reason: &str) -> Result<(), Stopped> {
        tracing::error!(%segment, at = record.at, reason, "a record cannot be stored: quarantined");
        let reader = &mut self.parts.reader;
        self.patience
            .until(|| reader.quarantine(segment, record, reason).map_err(|error| away(&error)))
            .map_err(|_| Stopped)
    }

    /// The batch is durable in the store. What fails here is only a matter of space.
    fn finish(&mut self, batch: &Batch) {
        match self.parts.reader.stored(batch) {
            Ok(removed) => self.gone.extend(removed),
            Err(error) => tracing::warn!(%error, "a stored segment cannot be removed yet"),
        }
    }

    /// What is written and waits all the same takes room of the spool.
    fn count_parked(&mut self) {
        self.parts.reader.parked(self.parts.store.parked());
    }

    /// Has the rest stored that waits for a part of the database. Returns whether that was all.
    fn unpark(&mut self) -> bool {
        let (store, within) = (&mut self.parts.store, self.patience.left());
        let done = guarded(|| store.unpark(within));
        if let Err(error) = &done {
            tracing::warn!(%error, "a part of the database is still away: what is its is parked");
        }
        self.count_parked();
        done.is_ok()
    }

    /// Forgets the cursors of segments that are gone; if not now, then with the next batch.
    fn forget(&mut self) {
        let Parts { reader, store, .. } = &mut self.parts;
        let (spool, gone) = (reader.spool(), &self.gone);
        if !gone.is_empty() && guarded(|| store.forget(spool, gone)).is_ok() {
            self.gone.clear();
        }
    }
}

/// The rows of the sessions that we minted, one for each key.
fn new_sessions(auth: &Auth, activities: &[Activity]) -> Vec<NewSession> {
    let mut keys = HashSet::new();
    let mut rows = Vec::new();
    for activity in activities {
        if let Some(session) = &activity.session
            && session.state == SessionState::Minted
            && keys.insert(&session.key)
        {
            rows.push(auth.session_row(session, activity.received_at));
        }
    }
    rows
}

#[cfg(test)]
mod tests;
