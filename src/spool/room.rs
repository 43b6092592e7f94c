//! How much the spool may take of its disk: what empties it needs room as well.
//!
//! A spool that takes the last byte cannot be emptied where the database grows on the same disk,
//! and would stand still for good. So it leaves room, and what is left of the disk lowers how much
//! may wait. Knows nothing of segments and of what the database is.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Full, directory::Directory};

/// Always left: for records that the database refuses, which need a place in quarantine.
const FOR_QUARANTINE: u64 = 4 << 20;
/// Left beside a database on the same disk: for its log and for what a checkpoint adds to it.
const FOR_DATABASE: u64 = 64 << 20;
/// What waits may take so many times its bytes in such a database, rows and indexes together,
/// beyond those that its segments give back.
const GROWTH: u64 = 2;

/// The room on the disk, as it was seen last.
#[derive(Debug)]
pub(super) struct Room {
    /// The file that grows as the spool is emptied.
    database: Option<PathBuf>,
    /// Committed bytes that are not stored yet.
    pub(super) waiting: AtomicU64,
    /// What parked blocks take of the disk.
    pub(super) parked: AtomicU64,
    /// Not more than this may wait as the disk stands.
    may_wait: AtomicU64,
}

/// The disk at one moment, in bytes.
#[derive(Debug, Clone, Copy)]
struct Space {
    free: u64,
    total: u64,
    shared: bool,
}

impl Space {
    /// What must stay free while so much waits.
    fn reserve(self, waiting: u64) -> u64 {
        let quarantine = FOR_QUARANTINE.min(self.total / 16);
        if !self.shared {
            return quarantine;
        }
        let database = FOR_DATABASE.min(self.total / 4);
        waiting.saturating_mul(GROWTH).saturating_add(quarantine + database)
    }

    /// How much may wait if nothing more is allocated.
    fn may_wait(self) -> u64 {
        match self.free.checked_sub(self.reserve(0)) {
            None => 0,
            Some(_) if !self.shared => u64::MAX,
            Some(rest) => rest / GROWTH,
        }
    }
}

impl Room {
    pub(super) fn new(database: Option<PathBuf>) -> Room {
        let [waiting, parked] = [0, 0].map(AtomicU64::new);
        Room { database, waiting, parked, may_wait: AtomicU64::new(u64::MAX) }
    }

    /// Bytes that wait for the database.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) + self.parked.load(Ordering::Relaxed)
    }

    /// Whether so much may wait, as the disk was seen last.
    pub(super) fn has(&self, waiting: u64) -> bool {
        waiting < self.may_wait.load(Ordering::Relaxed)
    }

    /// Looks at the disk: how many bytes may be allocated beyond what is.
    pub(super) fn look(&self, directory: &Directory) -> u64 {
        let space = self.space(&directory.path);
        self.may_wait.store(space.may_wait(), Ordering::Relaxed);
        space.free.saturating_sub(space.reserve(self.waiting()))
    }

    /// Whether a file of this size may be made.
    pub(super) fn admit(&self, directory: &Directory, bytes: u64) -> Result<(), Full> {
        if self.look(directory) < bytes {
            return Err(Full::Disk(directory.path.clone()));
        }
        Ok(())
    }

    /// What cannot be asked is taken for endless: then the disk itself says when it is full.
    fn space(&self, directory: &Path) -> Space {
        let (free, total) = rustix::fs::statvfs(directory).map_or((u64::MAX, u64::MAX), |found| {
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            (bytes(found.f_bavail), bytes(found.f_blocks))
        });
        let shared = self.database.as_deref().is_some_and(|file| same_disk(file, directory));
        Space { free, total, shared }
    }
}

/// Whether both are on one file system. Asked each time: a file may be moved.
fn same_disk(file: &Path, directory: &Path) -> bool {
    let disk = |path: &Path| path.metadata().map(|found| found.dev());
    let of_file = disk(file).or_else(|_| disk(file.parent().unwrap_or(file)));
    matches!((of_file, disk(directory)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(free: u64, total: u64, shared: bool, may_wait: u64) {
        let space = Space { free: free * MIB, total: total * MIB, shared };
        assert_eq!(space.may_wait() / MIB, may_wait, "{space:?}");
    }

    #[test]
    fn what_may_wait_as_the_disk_stands() {
        check(10_000, 10_000, true, (10_000 - 68) / 2);
        check(168, 10_000, true, 50);
        check(68, 10_000, true, 0);
        check(0, 10_000, true, 0);
        // A small disk: a quarter for the database.
        check(192, 192, true, (192 - 48 - 4) / 2);
        check(8, 8, true, 2);
        check(5, 10_000, false, u64::MAX / MIB);
        check(3, 10_000, false, 0);
    }

    #[test]
    fn one_disk_or_two() {
        let here = tempfile::tempdir().unwrap();
        let absent = here.path().join("database");
        assert!(same_disk(&absent, here.path()), "made there later");
        assert!(!same_disk(Path::new("/proc/version"), here.path()));
        assert!(!same_disk(&absent.join("no/such"), here.path()));
    }
}
