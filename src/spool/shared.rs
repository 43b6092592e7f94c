//! What the lanes, the reader and the handles of one spool share.

use std::{
    fs::File,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
};

use uuid::Uuid;

use super::{Error, Full, directory::Directory, retain::Retained, room::Room, segment::Segment};

/// The disk part: all that making a segment needs.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) directory: Directory,
    pub(super) spool: Uuid,
    pub(super) next_number: AtomicU64,
    pub(super) segment_bytes: u64,
    pub(super) retained: Retained,
    pub(super) room: Room,
}

/// One open spool.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<Disk>,
    pub(super) limit_bytes: u64,
    pub(super) damaged: AtomicU64,
    pub(super) torn: AtomicU64,
    pub(super) quarantined: AtomicU64,
    pub(super) poisoned: AtomicBool,
    /// Segments that lanes began to use and the reader does not know yet, with their lanes.
    pub(super) begun: Mutex<Vec<(usize, Arc<Segment>)>>,
    pub(super) sleeper: Sleeper,
    /// Closing it releases the directory; nothing else reads it.
    #[expect(dead_code, reason = "held for its lock")]
    pub(super) lock: File,
}

impl Shared {
    /// Whether `pending` more bytes may wait for the database.
    pub(super) fn admit(&self, pending: u64) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned);
        }
        let waiting = self.disk.room.waiting().saturating_add(pending);
        if waiting >= self.limit_bytes {
            let parked = self.disk.room.parked.load(Ordering::Relaxed);
            return Err(Full::Limit { waiting, parked, limit: self.limit_bytes }.into());
        }
        if !self.disk.room.has(waiting) {
            return Err(Full::Disk(self.disk.directory.path.clone()).into());
        }
        Ok(())
    }

    /// Tells the reader of a segment before anything is committed to it.
    pub(super) fn begin(&self, lane: usize, segment: Arc<Segment>) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push((lane, segment));
    }
}

/// The reader's sleep. A commit costs it one load while the reader is awake.
#[derive(Debug, Default)]
pub(super) struct Sleeper {
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Sleeper {
    /// Wakes the reader if it sleeps. What it is woken for must be stored before, with `SeqCst`.
    pub(super) fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(thread) = thread.as_ref() {
                thread.unpark();
            }
        }
    }

    /// Announces sleep. The caller looks once more for work before it parks.
    pub(super) fn lie_down(&self) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.asleep.store(true, Ordering::SeqCst);
    }

    pub(super) fn asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    pub(super) fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
