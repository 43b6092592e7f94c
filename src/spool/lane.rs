//! A lane: the writing end of the spool, one for each thread that takes activities in.
//!
//! Synchronous: [`super::Committer`] makes the asynchronous group commit of it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering, mpsc},
};

use rustix::io::Errno;

use super::{
    Error, Spool,
    frame::Pending,
    page::{PAGE_BYTES, Place},
    prepare::{Prepared, Slot},
    shared::Shared,
};

/// Takes records into memory and commits them to its own segments.
#[derive(Debug)]
pub struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) number: usize,
    pub(super) active: Option<Active>,
    pub(super) slot: Arc<Slot>,
    pub(super) preparer: mpsc::Sender<usize>,
    pub(super) pending: Pending,
    /// The pages of the commit that is being written; kept for its memory.
    pub(super) pages: Vec<u8>,
    /// Files in a row that failed.
    pub(super) failures: u32,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) prepared: Prepared,
    commits: u64,
}

impl Active {
    pub(super) fn new(prepared: Prepared) -> Active {
        Active { prepared, commits: 0 }
    }

    /// Whether a commit of this size fits, with a seal behind it.
    fn fits(&self, bytes: u64) -> bool {
        self.prepared.segment.end() + bytes + PAGE_BYTES <= self.prepared.bytes
    }
}

impl Lane {
    /// Takes a record for the next commit.
    ///
    /// # Errors
    ///
    /// Nothing was taken: [`Error::Full`], [`Error::TooLarge`] or [`Error::Poisoned`].
    pub fn append(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.shared.admit(self.pending.page_bytes())?;
        self.pending.push(payload)
    }

    /// Makes all that was appended since the last commit durable.
    ///
    /// # Errors
    ///
    /// None of it is acknowledged, and none of it will be: append it again. [`Error::Poisoned`]
    /// lasts until restart; after any other the next commit may work.
    pub fn commit(&mut self) -> Result<(), Error> {
        let mut pending = std::mem::take(&mut self.pending);
        let done = self.commit_pending(&pending);
        pending.clear();
        self.pending = pending;
        done
    }

    /// A handle on the spool of this lane.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool(Arc::clone(&self.shared))
    }

    pub(super) fn commit_pending(&mut self, pending: &Pending) -> Result<(), Error> {
        if pending.is_empty() {
            return Ok(());
        }
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned);
        }
        match self.ready(pending.page_bytes()).and_then(|()| self.write(pending)) {
            Ok(()) => {
                self.failures = 0;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sees to it that a commit of this many bytes fits.
    pub(super) fn ready(&mut self, bytes: u64) -> Result<(), Error> {
        if self.active.as_ref().is_some_and(|active| active.fits(bytes)) {
            return Ok(());
        }
        let least = bytes + 2 * PAGE_BYTES;
        let prepared = self.slot.take(&self.shared.disk, self.number, least)?;
        // Without its thread the lane makes its segments itself.
        let _ = self.preparer.send(self.number);
        self.shared.begin(self.number, Arc::clone(&prepared.segment));
        if let Some(old) = self.active.replace(Active::new(prepared)) {
            seal(&self.shared, old);
        }
        Ok(())
    }

    fn write(&mut self, pending: &Pending) -> Result<(), Error> {
        let Some(active) = &mut self.active else { return Err(Error::Closed) };
        let Prepared { segment, file, .. } = &active.prepared;
        let from = segment.end();
        let place = Place {
            spool: self.shared.disk.spool,
            segment: segment.uuid,
            page: from / PAGE_BYTES,
            commit: active.commits + 1,
        };
        place.lay_out(&pending.stream, &pending.starts, &mut self.pages);
        let written = file.write_all_at(&self.pages, from).and_then(|()| sync(file));
        if let Err(error) = written {
            let path = segment.path.clone();
            self.give_up();
            return Err(Error::io("write", path)(error));
        }
        active.commits += 1;
        let bytes = self.pages.len() as u64;
        self.shared.disk.room.waiting.fetch_add(bytes, Ordering::Relaxed);
        segment.end.store(from + bytes, Ordering::SeqCst);
        self.shared.sleeper.wake();
        Ok(())
    }

    /// Closes the active segment as it is: the kernel may have dropped what it could not write,
    /// and would report the next sync of the same file as a success.
    pub(super) fn give_up(&mut self) {
        if let Some(active) = self.active.take() {
            active.prepared.segment.closed.store(true, Ordering::SeqCst);
        }
    }

    /// Counts the failures that speak of a broken disk.
    fn failed(&mut self, error: Error) -> Error {
        let Error::Io { source, .. } = &error else { return error };
        let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
        let code = source.raw_os_error();
        if passing.iter().any(|errno| Some(errno.raw_os_error()) == code) {
            return error;
        }
        self.failures += 1;
        if self.failures < 2 {
            return error;
        }
        tracing::error!(%error, "the second file in a row failed; the spool accepts nothing more");
        self.shared.poisoned.store(true, Ordering::Release);
        Error::Poisoned
    }

    /// Closes the lane in good order. What was appended and not committed is dropped.
    pub(super) fn close(&mut self) {
        self.slot.close(&self.shared.disk);
        if let Some(active) = self.active.take() {
            seal(&self.shared, active);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

/// Says on disk that the segment is complete, and gives back the space behind. Only a help for
/// the next start, so failures are not reported.
fn seal(shared: &Shared, active: Active) {
    let Prepared { segment, file, .. } = active.prepared;
    let end = segment.end();
    let place = Place {
        spool: shared.disk.spool,
        segment: segment.uuid,
        page: end / PAGE_BYTES,
        commit: active.commits + 1,
    };
    let _ = file.write_all_at(&place.seal(), end).and_then(|()| file.set_len(end + PAGE_BYTES));
    segment.closed.store(true, Ordering::SeqCst);
    shared.sleeper.wake();
}

/// One sync of a file's data.
pub(super) fn sync(file: &File) -> io::Result<()> {
    if crate::broken("fsync") {
        return Ok(());
    }
    rustix::fs::fdatasync(file).map_err(io::Error::from)
}
