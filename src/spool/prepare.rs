//! New segments: made ahead by a thread, so that a lane that rolls over does not wait.

use std::{
    fs::File,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use uuid::Uuid;

use super::{
    Error, Full,
    page::PAGE_BYTES,
    segment::{self, Identity, Need, Segment},
    shared::Disk,
};

/// The first segment of a lane is this small, so that starting is quick; so is one for which a
/// nearly full disk has no more room.
pub(super) const SMALL: u64 = 1 << 20;

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A synced file with nothing in it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) segment: Arc<Segment>,
    pub(super) file: File,
    /// Bytes of the file.
    pub(super) bytes: u64,
}

/// A lane's next segment. Whoever makes it holds the lock meanwhile, so that the numbers of a
/// lane's segments grow in the order of their use.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// Somebody waits for the lock: who makes a spare takes no more time than it needs.
    wanted: AtomicBool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Empty,
    Ready(Prepared),
    Closed,
}

impl Slot {
    /// For who does not want to wait.
    fn at_once(&self) -> MutexGuard<'_, State> {
        self.wanted.store(true, Ordering::Relaxed);
        let state = self.state();
        self.wanted.store(false, Ordering::Relaxed);
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spare, or one made now; at least `bytes` large.
    pub(super) fn take(&self, disk: &Disk, lane: usize, bytes: u64) -> Result<Prepared, Error> {
        let mut state = self.at_once();
        match std::mem::take(&mut *state) {
            State::Ready(spare) if spare.bytes >= bytes => return Ok(spare),
            // Too small, and too old to be used after the one that is made now.
            State::Ready(spare) => disk.directory.remove(&spare.segment.path)?,
            other => *state = other,
        }
        prepare(disk, lane, bytes)
    }

    fn refill(&self, disk: &Disk, lane: usize) -> Result<(), Error> {
        let mut state = self.state();
        if matches!(*state, State::Empty) {
            let need = Need::Later(&self.wanted);
            *state = State::Ready(create(disk, lane, disk.segment_bytes, need)?);
        }
        Ok(())
    }

    /// Removes the spare; the lane makes its next segment itself.
    fn give_back(&self, disk: &Disk) {
        let mut state = self.state();
        if let State::Ready(spare) = &*state
            && disk.directory.remove(&spare.segment.path).is_ok()
        {
            *state = State::Empty;
        }
    }

    /// Removes the spare; there will be no other.
    pub(super) fn close(&self, disk: &Disk) {
        if let State::Ready(spare) = std::mem::replace(&mut *self.at_once(), State::Closed) {
            // One that stays is removed at the next start: it holds no page.
            let _ = disk.directory.remove(&spare.segment.path);
        }
    }
}

/// Keeps the slots filled, and an eye on the disk. Each message is the lane that took its spare.
pub(super) fn run(disk: &Disk, slots: &[Arc<Slot>], requests: &mpsc::Receiver<usize>) {
    loop {
        match requests.recv_timeout(LOOK) {
            Ok(lane) => {
                if let Some(slot) = slots.get(lane)
                    && let Err(error) = slot.refill(disk, lane)
                {
                    // The lane makes its own when it needs one, and reports what is wrong then.
                    tracing::debug!(lane, %error, "no spare segment could be made");
                }
            }
            Err(RecvTimeoutError::Timeout) => make_room(disk, slots),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Gives back what is only kept, then what is only ready, where the disk has hardly any room.
fn make_room(disk: &Disk, slots: &[Arc<Slot>]) {
    let room = || disk.room.look(&disk.directory);
    if room() >= disk.segment_bytes {
        return;
    }
    if let Err(error) = disk.retained.evict(&disk.directory) {
        tracing::warn!(%error, "a stored segment cannot be removed");
    }
    if room() == 0 {
        slots.iter().for_each(|slot| slot.give_back(disk));
    }
}

/// A segment of the full size, or else one that just fits, at the cost of what is only retained.
fn prepare(disk: &Disk, lane: usize, least: u64) -> Result<Prepared, Error> {
    let full = |error: &Error| matches!(error, Error::Full(Full::Disk(_)));
    let wanted = disk.segment_bytes.max(least);
    match create(disk, lane, wanted, Need::Now) {
        Err(error) if full(&error) => {
            if disk.retained.evict(&disk.directory)? {
                return prepare(disk, lane, least);
            }
            let small = SMALL.max(least);
            if small < wanted { create(disk, lane, small, Need::Now) } else { Err(error) }
        }
        made => made,
    }
}

/// Makes a segment of exactly this size and syncs its name.
pub(super) fn create(
    disk: &Disk,
    lane: usize,
    bytes: u64,
    need: Need<'_>,
) -> Result<Prepared, Error> {
    disk.room.admit(&disk.directory, bytes)?;
    let uuid = Uuid::new_v4();
    let number = disk.next_number.fetch_add(1, Ordering::Relaxed);
    let path = disk.directory.path.join(Segment::name(number, uuid));
    let identity = Identity { spool: disk.spool, segment: uuid, number, lane: lane as u64 };
    let file = segment::create(&path, &identity, bytes, need).map_err(Error::io("make", &path))?;
    if let Err(error) = disk.directory.sync() {
        let _ = disk.directory.remove(&path);
        return Err(error);
    }
    let segment = Segment {
        uuid,
        path,
        end: AtomicU64::new(PAGE_BYTES),
        closed: AtomicBool::new(false),
        old: false,
    };
    Ok(Prepared { segment: Arc::new(segment), file, bytes })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn who_waits_for_a_spare_hurries_it() {
        let slot = Slot::default();
        let hurried = thread::scope(|scope| {
            let (making, made) = mpsc::channel();
            let slot = &slot;
            let maker = scope.spawn(move || {
                let _state = slot.state();
                making.send(()).unwrap();
                let mut pieces = 0..5_000;
                pieces.any(|_| {
                    thread::sleep(Duration::from_millis(2));
                    slot.wanted.load(Ordering::Relaxed)
                })
            });
            made.recv().unwrap();
            drop(slot.at_once());
            maker.join().unwrap()
        });
        assert!(hurried, "its maker is not told");
        assert!(!slot.wanted.load(Ordering::Relaxed), "the next one takes its time again");
    }
}
