//! Segments that are stored in the database and kept for a while before they are removed.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{Error, directory::Directory};

/// A segment that nobody needs any more, unless the database lied.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) uuid: Uuid,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) since: Instant,
}

/// The stored segments, oldest first, and those whose removal was not reported yet.
#[derive(Debug)]
pub(super) struct Retained {
    keep_for: Duration,
    keep_bytes: u64,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    kept: VecDeque<Stored>,
    removed: Vec<Uuid>,
}

impl Retained {
    pub(super) fn new(keep_for: Duration, keep_bytes: u64) -> Retained {
        Retained { keep_for, keep_bytes, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, stored: Stored) {
        self.files().kept.push_back(stored);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files().kept.iter().map(|stored| stored.bytes).sum()
    }

    pub(super) fn uuids(&self) -> Vec<Uuid> {
        self.files().kept.iter().map(|stored| stored.uuid).collect()
    }

    /// Removes what was kept long enough.
    pub(super) fn sweep(&self, directory: &Directory, now: Instant) -> Result<(), Error> {
        self.remove(directory, |oldest, bytes| {
            bytes > self.keep_bytes || now.duration_since(oldest.since) >= self.keep_for
        })?;
        Ok(())
    }

    /// Removes all, as the space is needed; false: there was nothing.
    pub(super) fn evict(&self, directory: &Directory) -> Result<bool, Error> {
        self.remove(directory, |_, _| true)
    }

    /// The segments whose files are gone since the last call.
    pub(super) fn removed(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.files().removed)
    }

    fn remove(
        &self,
        directory: &Directory,
        due: impl Fn(&Stored, u64) -> bool,
    ) -> Result<bool, Error> {
        let mut files = self.files();
        let mut bytes: u64 = files.kept.iter().map(|stored| stored.bytes).sum();
        let mut gone = Vec::new();
        while let Some(oldest) = files.kept.front().filter(|oldest| due(oldest, bytes)) {
            directory.remove(&oldest.path)?;
            bytes = bytes.saturating_sub(oldest.bytes);
            gone.extend(files.kept.pop_front().map(|stored| stored.uuid));
        }
        if gone.is_empty() {
            return Ok(false);
        }
        directory.sync()?;
        files.removed.append(&mut gone);
        Ok(true)
    }
}
