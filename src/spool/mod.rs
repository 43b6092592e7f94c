//! The spool: where activities are safe between the 204 and the database. Bytes on disk.
//!
//! It knows payloads as `&[u8]` ([`record`] alone knows what an activity looks like in them). It
//! must know nothing of SQL, HTTP or Django; the cursor of what the database has taken lives in
//! the database, beside the rows.
//!
//! # Constraints
//!
//! - [`Lane::commit`] returns `Ok` after `fdatasync` returned for every record of the commit, in
//!   a file whose size, header and directory entry were synced before its first use.
//! - No page is ever written twice, and no file of an earlier process is ever written at all:
//!   opening reads, and removes only files that never held a commit, so being killed while
//!   opening changes nothing.
//! - After a failed write or sync a file is never written or synced again.
//! - One damaged byte costs the records that touch its page of 4,096 bytes, and no other.
//! - A record's length is checked against [`MAX_PAYLOAD`] (256 KiB) before memory is taken.
//! - All integers are little-endian; all checksums are CRC-32C; unused bytes are zero.
//!
//! # Directory (mode 0700, files 0600)
//!
//! ```text
//! lock                      flock(2) by the owner for its life; holds its process id as text
//! NNNNNNNNNNNN-UUID.seg     a segment: its number (creation order, 12 digits) and its UUID
//! frozen                    one block of bytes, for the drain, see below
//! parked/LANE-NUMBER-NAME.block     the same for a part of the database that is away
//! quarantine/UUID-OFFSET.damaged    the bytes at OFFSET of segment UUID that could not be read
//! quarantine/UUID-OFFSET.torn       the same of the last commit of a crashed process
//! quarantine/UUID-OFFSET.refused    one record: the reason, a newline, the payload
//! ```
//!
//! # Segment
//!
//! A header page, then commits one after the other, then a seal page (when it was closed in good
//! order), then zeros. It is allocated and filled with zeros before use (a sync into such a file
//! changes no metadata), so "no page yet" is a page of zeros. The header page holds the same 64
//! bytes at 0 and at 2,048:
//!
//! ```text
//!  0  8  "DJAFFAR\n"             these three fields keep their place in every version
//!  8  4  version, 1
//! 12  4  checksum of the other 60 bytes
//! 16 16  UUID of the spool       the directory's identity: cursors in the database name it
//! 32 16  UUID of the segment
//! 48  8  number
//! 56  8  lane that writes it
//! ```
//!
//! A file of a newer version makes [`Spool::open`] refuse ([`Error::Newer`]); nothing is removed.
//! If both copies are damaged, the UUID in the file name and the pages themselves stand in.
//!
//! # Page
//!
//! ```text
//!  0  4  "DjP\x01"
//!  4  4  checksum of bytes 8 to 63
//!  8 16  UUID of the spool
//! 24  8  first eight bytes of the segment's UUID
//! 32  8  page number: offset in the file / 4,096
//! 40  8  commit number, from 1 in each segment
//! 48  2  where the first record that *starts* in this page starts; 0: none does
//! 50  2  where the used bytes end, 64 to 4,096
//! 52  1  1: first page of its commit, 2: last page, 4: seal (no records, all before is whole)
//! 53 11  zeros
//! 64     record bytes
//! ```
//!
//! # Record
//!
//! ```text
//!  0  4  length of the payload, at most 256 KiB
//!  4  4  checksum of length, type and payload
//!  8  1  type, 1
//!  9     payload
//! ```
//!
//! Records follow each other without gaps and flow over page boundaries within a commit. A
//! position (in a cursor, in [`Record::at`]) is an offset in the file: of a record's first byte,
//! or of a page, which means its first record.
//!
//! # Commit
//!
//! A commit starts on a fresh page: one `pwrite` and one `fdatasync` for all records that were
//! ready, then the committed end is published to the reader, which never reads beyond it. If
//! either call fails the segment is given up: its committed part is delivered, the failed commit
//! is acknowledged to nobody and not delivered by this process, so that a client that sends again
//! is not stored twice. Its bytes may have reached the disk all the same; then the next process
//! delivers them, as after a broken connection, and the `event_id` tells the copies apart. The
//! next commit tries one fresh segment; if that fails too, the spool is poisoned until restart.
//!
//! # Recovery
//!
//! A segment of an earlier process is read page by page; a read that the disk fails is tried again
//! for some seconds, and then its pages are bad. A page counts when its magic, checksum,
//! segment and number are right. At a bad page or record, reading goes on at the next good page
//! in which a record or commit starts; a page of zeros with good pages behind it is not the end.
//! Such bad bytes are damage: counted, copied to `quarantine/`, left behind. (A power cut may write
//! the pages of the last commit out of order; that counts as damage although nobody got a 204 for
//! it.)
//!
//! If no good page follows, the segment was not sealed and bytes follow that are not zeros, they
//! are told apart by the numbers of their commits. A commit is written only after the one before
//! was synced, so that all but the last was acknowledged: it is damage. The last one may have been
//! cut short, unacknowledged, or synced and damaged later; nothing on disk says which. It is
//! counted apart (`torn`), logged, and its bytes are copied to `quarantine/` all the same. What
//! cannot be seen at all: a last commit whose every page became zeros. The seal makes all damage
//! in the last commit of a closed segment count.
//!
//! # Frozen
//!
//! Where the database has no transactions, what the drain is about to do to it is kept in one file
//! that is written over each time ([`Frozen`]): what was in it before is done by then, and what is
//! not whole was never begun.
//!
//! ```text
//!  0  8  "DJFROZE\x01"
//!  8  8  length of the bytes
//! 16  8  checksum of length and bytes
//! 24     bytes
//! ```
//!
//! # Parked
//!
//! What a part of the database does not take while others do, is kept in files of the same layout
//! ([`Parked`]), `DJPARKD\x01`, each made under another name, synced, renamed and never changed
//! but by being replaced as a whole. What they take of the disk counts as waiting. One that is not whole
//! was damaged, as none gets its name before it is: it goes to `quarantine/`.
//!
//! # Room
//!
//! No segment is made, and nothing is taken, that would leave less of the disk free than what
//! empties the spool needs: 4 MiB for quarantine and, where the database is on the same disk,
//! 64 MiB (or a quarter of a small disk) and twice the bytes that wait. So the database gets what
//! is freed first, and the spool goes on when it has become smaller. Without room for a first
//! segment the spool opens all the same, to be emptied.
//!
//! # Deletion
//!
//! Once the database holds all of a closed segment, its file is kept for a while (for a database
//! that turns out to have lied), bounded in time and bytes and given up first when the disk is
//! full; then it is unlinked and the directory synced, and only then may its cursor be forgotten.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use uuid::Uuid;

mod claim;
mod commit;
mod directory;
mod error;
mod frame;
mod frozen;
mod lane;
mod open;
mod page;
mod parked;
mod prepare;
mod reader;
pub mod record;
mod retain;
mod room;
mod scan;
mod segment;
mod shared;

pub use claim::Claim;
pub use commit::Committer;
pub use error::{Error, Full};
pub use frame::MAX_PAYLOAD;
pub use frozen::Frozen;
pub use lane::Lane;
pub use parked::{Parked, Place};
pub use reader::Reader;
pub use scan::{Scan, scan};

use shared::Shared;

/// How a spool is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; made when absent.
    pub dir: PathBuf,
    /// How many lanes: one for each thread that takes activities in.
    pub lanes: usize,
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Not more than this waits for the database; beyond it appends get [`Error::Full`].
    pub limit_bytes: u64,
    /// A file that grows as the spool is emptied: while it is on the same disk, the spool leaves it
    /// room, and takes nothing where it cannot.
    pub database: Option<PathBuf>,
    /// How long a segment is kept after the database took all of it.
    pub retain_for: Duration,
    /// How many bytes of such segments are kept at most.
    pub retain_bytes: u64,
}

impl Options {
    /// The defaults for `dir`: one lane, segments of 16 MiB, 4 GiB may wait, what is stored is
    /// kept for an hour or 1 GiB.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            lanes: 1,
            segment_bytes: 16 << 20,
            limit_bytes: 4 << 30,
            database: None,
            retain_for: Duration::from_secs(3_600),
            retain_bytes: 1 << 30,
        }
    }
}

/// One record, as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset of its first byte in the segment file.
    pub at: u64,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// Records of one segment, in the order in which they were appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The segment that they are in.
    pub segment: Uuid,
    /// The cursor after this batch: all that starts before it has been delivered.
    pub end: u64,
    /// At least one.
    pub records: Vec<Record>,
}

/// What the spool says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bytes that the database has not taken yet.
    pub waiting_bytes: u64,
    /// Those of them that are parked.
    pub parked_bytes: u64,
    /// Bytes of segments that are stored and kept for a while.
    pub retained_bytes: u64,
    /// Damaged places that were met since the start.
    pub damaged: u64,
    /// Last commits of crashed segments that were not whole.
    pub torn: u64,
    /// Files in `quarantine/`.
    pub quarantined: u64,
    /// Whether two files in a row failed: nothing is accepted any more.
    pub poisoned: bool,
}

/// A handle on an open spool. Cheap to clone; the directory stays locked while a handle, a lane
/// or the reader lives.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Shared>);

impl Spool {
    /// Opens the directory, or makes it, and gives out its lanes and its reader.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Newer`] and [`Error::Mixed`] need a person; [`Error::Full`]
    /// and [`Error::Io`] may pass.
    pub fn open(options: Options) -> Result<(Spool, Vec<Lane>, Reader), Error> {
        open::open(options)
    }

    /// Whether one could be opened here; nothing is changed. `false`: there is none yet, and it
    /// would be made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: it is no directory, or may not be written.
    pub fn check(path: &Path) -> Result<bool, Error> {
        directory::check(path)
    }

    /// Whether the directory holds one: its lock, or a segment that was copied there.
    #[must_use]
    pub fn is_in(path: &Path) -> bool {
        directory::is_spool(path)
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            waiting_bytes: self.0.disk.room.waiting(),
            parked_bytes: self.0.disk.room.parked.load(Ordering::Relaxed),
            retained_bytes: self.0.disk.retained.bytes(),
            damaged: self.0.damaged.load(Ordering::Relaxed),
            torn: self.0.torn.load(Ordering::Relaxed),
            quarantined: self.0.quarantined.load(Ordering::Relaxed),
            poisoned: self.poisoned(),
        }
    }

    /// Whether two files in a row failed. Nothing is accepted any more; the process should end
    /// with exit code 74 and be started again.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.0.poisoned.load(Ordering::Acquire)
    }

    /// Identity of the directory, see [`Reader::spool`].
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.0.disk.spool
    }
}

#[cfg(test)]
mod tests;
