//! What can go wrong with the spool, named by what the caller can do about it.

use std::{io, path::PathBuf, sync::Arc};

/// Why the spool did not do as asked.
///
/// Cheap to clone: one failed commit is told to everyone who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk or the file system failed. What was asked did not happen; it may work later.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// There is no room now. Nothing was taken; send it again later.
    #[error(transparent)]
    Full(#[from] Full),
    /// The payload is longer than a record may be. It never fits.
    #[error("a record of {0} bytes is over the limit of {max} bytes", max = super::MAX_PAYLOAD)]
    TooLarge(usize),
    /// Writing to two files in a row failed: nothing is accepted until the process is restarted.
    #[error(
        "the disk of the spool failed twice in a row; check the disk and the kernel's log, then \
         restart: what was acknowledged is read back then"
    )]
    Poisoned,
    /// Another process owns the directory.
    #[error(
        "the spool {} is in use by process {owner}: stop that one first, or give this one a \
         directory of its own (--spool)", path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process id that its owner left there, `?` if unreadable.
        owner: String,
    },
    /// A segment was written by a newer version. Nothing was changed.
    #[error(
        "{} has format version {version}, this program reads version 1: start the newer version \
         of djaffar on this spool (its `djaffar drain` empties it)", path.display()
    )]
    Newer {
        /// The segment file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Segments of two spools lie in one directory. Nothing was changed.
    #[error(
        "{} belongs to another spool than the other segments beside it: move it to a directory \
         of its own and run `djaffar drain --spool` on that", path.display()
    )]
    Mixed {
        /// One of the segments that do not belong.
        path: PathBuf,
    },
    /// The lane was closed; the process is shutting down.
    #[error("the spool is shutting down: send it again to the next process")]
    Closed,
}

/// What there is no room in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The database has not taken enough for too long.
    #[error(
        "{waiting} bytes wait in the spool for the database, the limit is {limit}: {}",
        what_to_do(*parked)
    )]
    Limit {
        /// Bytes that wait.
        waiting: u64,
        /// Those of them that are parked for a part of the database.
        parked: u64,
        /// [`super::Options::limit_bytes`].
        limit: u64,
    },
    /// No space is left on the disk (or in the quota), but for what empties the spool.
    #[error("no space is left for the spool {}: free some, service resumes by itself", .0.display())]
    Disk(PathBuf),
    /// Too much came in at once for one commit.
    #[error("more than {0} bytes wait for one commit: send it again in a moment")]
    Commit(usize),
}

fn what_to_do(parked: u64) -> String {
    match parked {
        0 => "see why the database takes nothing, or raise the limit".to_owned(),
        _ => format!(
            "{parked} of them are parked for a part of the database that is away; the log says \
             which: bring it back, or raise the limit"
        ),
    }
}

impl Error {
    /// An [`Error::Io`] maker for `map_err`; a full disk becomes [`Full::Disk`].
    pub(super) fn io<E: Into<io::Error>>(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Error {
        move |source| {
            let (source, path) = (source.into(), path.into());
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Full::Disk(path).into()
                }
                _ => Error::Io { doing, path, source: Arc::new(source) },
            }
        }
    }
}
