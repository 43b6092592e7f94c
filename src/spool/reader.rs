//! The reading end of the spool: old segments and live lanes in turn, each record once.
//!
//! Knows cursors as numbers; whoever drains the spool keeps them in the database.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    Batch, Error, Record,
    page::PAGE_BYTES,
    retain::Stored,
    scan::{Pages, Scanner, Step, Tail, prefix},
    segment::Segment,
    shared::Shared,
};

/// Delivers what was committed. Owned by the one thread that drains the spool.
pub struct Reader {
    shared: Arc<Shared>,
    /// The segments of earlier processes, then those of each lane, in the order of reading.
    sources: Vec<VecDeque<Open>>,
    /// Whose turn it is.
    turn: usize,
    /// Every segment that is not wholly stored.
    tracks: HashMap<Uuid, Track>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("tracks", &self.tracks).finish_non_exhaustive()
    }
}

/// A segment in the queue; its file is opened when it is its turn.
struct Open {
    segment: Arc<Segment>,
    scanner: Scanner,
    pages: Option<Pages<'static>>,
}

/// How far a segment is.
#[derive(Debug)]
struct Track {
    segment: Arc<Segment>,
    stored: u64,
    delivered: u64,
    /// Nothing more will come of it.
    read: bool,
    damaged: bool,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, old: VecDeque<Arc<Segment>>, lanes: usize) -> Reader {
        let sources = (0..=lanes).map(|_| VecDeque::new()).collect();
        let mut reader = Reader { shared, sources, turn: 0, tracks: HashMap::new() };
        for segment in old {
            reader.add(0, segment);
        }
        reader
    }

    fn add(&mut self, source: usize, segment: Arc<Segment>) {
        let track = Track {
            segment: Arc::clone(&segment),
            stored: PAGE_BYTES,
            delivered: PAGE_BYTES,
            read: false,
            damaged: false,
        };
        self.tracks.insert(segment.uuid, track);
        let scanner = Scanner::new(prefix(*segment.uuid.as_bytes()), PAGE_BYTES);
        if let Some(queue) = self.sources.get_mut(source) {
            queue.push_back(Open { segment, scanner, pages: None });
        }
    }

    /// Takes over the segments that lanes began since the last call.
    fn meet(&mut self) {
        let begun =
            std::mem::take(&mut *self.shared.begun.lock().unwrap_or_else(PoisonError::into_inner));
        for (lane, segment) in begun {
            self.add(lane + 1, segment);
        }
    }

    /// Identity of the directory: it is in the header of every segment, and cursors name it.
    #[must_use]
    pub fn spool(&self) -> Uuid {
        self.shared.disk.spool
    }

    /// Skips what is stored already: segments and positions as the store remembers them. To be
    /// called once, before [`Reader::next`]. Cursors of other segments are ignored.
    pub fn resume(&mut self, cursors: &[(Uuid, u64)]) {
        for &(uuid, position) in cursors {
            self.advance(uuid, position);
            let Some(track) = self.tracks.get_mut(&uuid) else { continue };
            track.delivered = track.stored;
            for open in self.sources.iter_mut().flatten().filter(|open| open.segment.uuid == uuid) {
                open.scanner = Scanner::new(prefix(*uuid.as_bytes()), track.stored);
            }
        }
    }

    /// The next records, of one segment: at most `max_records`, and not many more than
    /// `max_bytes` of payload. `None`: nothing is committed that was not delivered.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when a file cannot be opened or read; nothing is skipped for that.
    pub fn next(&mut self, max_records: usize, max_bytes: usize) -> Result<Option<Batch>, Error> {
        self.meet();
        for _ in 0..self.sources.len() {
            let turn = self.turn;
            self.turn = (turn + 1) % self.sources.len();
            if let Some(batch) = self.take_turn(turn, max_records.max(1), max_bytes)? {
                return Ok(Some(batch));
            }
        }
        self.shared.disk.retained.sweep(&self.shared.disk.directory, Instant::now())?;
        Ok(None)
    }

    fn take_turn(
        &mut self,
        source: usize,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Option<Batch>, Error> {
        while let Some(open) = self.sources.get_mut(source).and_then(VecDeque::front_mut) {
            // In this order: what is closed is not committed to any more.
            let (closed, limit) = (open.segment.closed(), open.segment.end());
            let uuid = open.segment.uuid;
            let found = open.read(limit, max_records, max_bytes)?;
            let end = open.scanner.position();
            self.put_aside(uuid, &found.damaged);
            if let Some(torn) = &found.torn {
                self.put_aside_torn(uuid, torn);
            }
            let finished = closed && found.ended;
            if finished && let Some(queue) = self.sources.get_mut(source) {
                queue.pop_front();
            }
            if let Some(track) = self.tracks.get_mut(&uuid) {
                track.damaged |= !found.damaged.is_empty() || found.torn.is_some();
                track.read = finished;
                if !found.records.is_empty() {
                    track.delivered = end;
                }
            }
            if finished {
                self.retire(uuid)?;
            }
            if !found.records.is_empty() {
                return Ok(Some(Batch { segment: uuid, end, records: found.records }));
            }
            if !finished {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The store holds this batch durably. Returns the segments whose files were removed since
    /// the last call: their cursors may be forgotten.
    ///
    /// # Errors
    ///
    /// The batch counts as stored all the same; what could not be removed is tried again later.
    pub fn stored(&mut self, batch: &Batch) -> Result<Vec<Uuid>, Error> {
        self.advance(batch.segment, batch.end);
        self.retire(batch.segment)?;
        self.shared.disk.retained.sweep(&self.shared.disk.directory, Instant::now())?;
        Ok(self.shared.disk.retained.removed())
    }

    fn advance(&mut self, uuid: Uuid, position: u64) {
        if let Some(track) = self.tracks.get_mut(&uuid) {
            let position = position.clamp(track.stored, track.segment.end().max(track.stored));
            self.shared.disk.room.waiting.fetch_sub(position - track.stored, Ordering::Relaxed);
            track.stored = position;
        }
    }

    /// Hands a segment to retention once all of it is stored.
    fn retire(&mut self, uuid: Uuid) -> Result<(), Error> {
        let done = |track: &Track| track.read && track.stored >= track.delivered;
        if !self.tracks.get(&uuid).is_some_and(done) {
            return Ok(());
        }
        let Some(track) = self.tracks.remove(&uuid) else { return Ok(()) };
        let segment = track.segment;
        let rest = segment.end().saturating_sub(track.stored);
        self.shared.disk.room.waiting.fetch_sub(rest, Ordering::Relaxed);
        if track.stored == PAGE_BYTES && !track.damaged {
            // It never held a record, so there is nothing to retain.
            return self.shared.disk.directory.remove(&segment.path);
        }
        let bytes = std::fs::metadata(&segment.path).map_or(0, |file| file.len());
        let stored = Stored { uuid, path: segment.path.clone(), bytes, since: Instant::now() };
        self.shared.disk.retained.keep(stored);
        Ok(())
    }

    /// So many bytes are parked beside the segments by now.
    pub fn parked(&self, bytes: u64) {
        if self.shared.disk.room.parked.swap(bytes, Ordering::Relaxed) != bytes {
            let quarantined = self.shared.disk.directory.quarantined();
            self.shared.quarantined.store(quarantined, Ordering::Relaxed);
        }
    }

    /// Puts a record aside that the store refuses, with the reason, durably. Again: no change.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Full`]: it is not in quarantine yet.
    pub fn quarantine(
        &mut self,
        segment: Uuid,
        record: &Record,
        reason: &str,
    ) -> Result<(), Error> {
        let reason = reason.replace('\n', " ");
        let parts = [reason.as_bytes(), b"\n", &record.payload];
        self.keep(&format!("{segment}-{}.refused", record.at), &parts)
    }

    /// Counts damaged places and copies their bytes.
    fn put_aside(&self, segment: Uuid, damaged: &[(u64, Vec<u8>)]) {
        for (at, bytes) in damaged {
            self.shared.damaged.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.keep(&format!("{segment}-{at}.damaged"), &[bytes]) {
                // The bytes stay in the segment for as long as it is retained; waiting here for
                // space would keep the spool from becoming smaller.
                tracing::error!(%segment, at, %error, "damaged bytes could not be put aside");
            }
        }
    }

    /// Counts a commit that was cut short and copies its bytes: whether damage cut it, nobody can
    /// tell.
    fn put_aside_torn(&self, segment: Uuid, (at, bytes): &(u64, Vec<u8>)) {
        self.shared.torn.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%segment, at, "the last commit before a crash is not whole: put aside");
        if let Err(error) = self.keep(&format!("{segment}-{at}.torn"), &[bytes]) {
            tracing::error!(%segment, at, %error, "its bytes could not be put aside");
        }
    }

    fn keep(&self, name: &str, parts: &[&[u8]]) -> Result<(), Error> {
        if self.shared.disk.directory.keep(name, parts)? {
            self.shared.quarantined.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until something is committed that was not delivered (true), or the time is over.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            self.shared.sleeper.lie_down();
            if self.ready() {
                self.shared.sleeper.get_up();
                return true;
            }
            while self.shared.sleeper.asleep() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.shared.sleeper.get_up();
                    return self.ready();
                }
                std::thread::park_timeout(left);
            }
        }
    }

    fn ready(&mut self) -> bool {
        self.meet();
        let unread = |open: &Open| open.segment.end() > open.scanner.position();
        self.sources.iter().any(|queue| queue.front().is_some_and(unread) || queue.len() > 1)
    }

    /// About how many bytes are committed and not delivered.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        let rest = |track: &Track| track.segment.end().saturating_sub(track.delivered);
        self.tracks.values().map(rest).sum()
    }

    /// Whether so many times as much could wait for the database as does.
    #[must_use]
    pub fn has_room_for(&self, times: u64) -> bool {
        let waiting = self.shared.disk.room.waiting();
        self.shared.admit(waiting.saturating_mul(times.saturating_sub(1))).is_ok()
    }

    /// The segments whose files exist: unread, in use and retained.
    #[must_use]
    pub fn segments(&self) -> Vec<Uuid> {
        let mut uuids = self.shared.disk.retained.uuids();
        uuids.extend(self.tracks.keys());
        let begun = self.shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
        uuids.extend(begun.iter().map(|(_, segment)| segment.uuid));
        uuids
    }
}

/// What one turn at a segment gave.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    /// Where, and the bytes.
    damaged: Vec<(u64, Vec<u8>)>,
    /// The same of the last commit, where it is not whole.
    torn: Option<(u64, Vec<u8>)>,
    /// Nothing more up to the limit.
    ended: bool,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.damaged.is_empty() && self.torn.is_none()
    }
}

impl Open {
    fn read(&mut self, limit: u64, max_records: usize, max_bytes: usize) -> Result<Found, Error> {
        let path = &self.segment.path;
        let mut found = Found::default();
        let tail = if self.segment.old { Tail::Torn } else { Tail::Whole };
        let mut bytes = 0;
        while found.records.len() < max_records && (bytes < max_bytes || found.records.is_empty()) {
            if self.scanner.position() >= limit {
                found.ended = true;
                break;
            }
            let pages = match &mut self.pages {
                Some(pages) => pages,
                closed => {
                    let file = File::open(path).map_err(Error::io("open", path))?;
                    closed.insert(Pages::file(file))
                }
            };
            match self.scanner.step(pages, limit, tail) {
                Ok(Step::Record(record)) => {
                    bytes += record.payload.len();
                    found.records.push(record);
                }
                Ok(Step::Damage(range)) => {
                    found.damaged.push((range.start, raw(pages, &range)));
                }
                Ok(Step::Torn(range)) => {
                    found.torn = Some((range.start, raw(pages, &range)));
                }
                Ok(Step::End) => {
                    found.ended = true;
                    break;
                }
                // What was read is delivered first; the error comes again.
                Err(_) if !found.is_empty() => break,
                Err(error) => return Err(Error::io("read", path)(error)),
            }
        }
        Ok(found)
    }
}

/// The bytes of a damaged range, as far as they can be read; what cannot be read is zero.
fn raw(pages: &Pages, range: &Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    if let Pages::File { file, .. } = pages {
        for (sector, at) in bytes.chunks_mut(512).zip((range.start..).step_by(512)) {
            let _: io::Result<usize> = file.read_at(sector, at);
        }
    }
    bytes
}
