//! The directory of a spool: lock, names, removal and quarantine.
//!
//! Knows which files there are, not what is in them.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, FlockOperation, access, flock},
    io::Errno,
};
use uuid::Uuid;

use super::{Error, segment::Segment};

/// Whether a spool could be opened here: its directory, or the nearest there is above it, may be
/// written. `false`: there is none yet.
pub(super) fn check(path: &Path) -> Result<bool, Error> {
    let found = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new(""));
    let found = if found.as_os_str().is_empty() { Path::new(".") } else { found };
    // Listing it says whether it is a directory at all.
    std::fs::read_dir(found).map_err(Error::io("list", found))?;
    access(found, Access::WRITE_OK | Access::EXEC_OK).map_err(Error::io("write into", found))?;
    Ok(found == path)
}

/// Whether there is a lock or a segment.
pub(super) fn is_spool(path: &Path) -> bool {
    let ours = |name: &str| name == LOCK || Segment::parse_name(name).is_some();
    let mut entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_str().is_some_and(ours))
}

const LOCK: &str = "lock";

/// The open directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    handle: File,
    quarantine: PathBuf,
}

impl Directory {
    /// Opens the directory, or makes it.
    pub(super) fn open(path: PathBuf) -> Result<Directory, Error> {
        let directory = Directory::plain(path)?;
        if !directory.quarantine.is_dir() {
            let path = &directory.quarantine;
            make(path).map_err(Error::io("make", path))?;
        }
        Ok(directory)
    }

    /// The same, without a quarantine.
    pub(super) fn plain(path: PathBuf) -> Result<Directory, Error> {
        if !path.is_dir() {
            make(&path).map_err(Error::io("make", &path))?;
        }
        let quarantine = path.join("quarantine");
        let handle = File::open(&path).map_err(Error::io("open", &path))?;
        if handle.metadata().is_ok_and(|found| found.mode() & 0o002 != 0) {
            let path = path.display();
            tracing::warn!(%path, "anybody may remove what is in this folder: chmod 700");
        }
        Ok(Directory { path, handle, quarantine })
    }

    /// Makes this process the only owner, as long as the file is open.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.path.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                let owner = if owner.is_empty() { "?".to_owned() } else { owner };
                return Err(Error::Locked { path: self.path.clone(), owner });
            }
            Err(error) => return Err(Error::io("lock", &path)(error)),
        }
        // The process id only helps people: a full disk must not keep the spool from opening.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = write!(file, "{}", std::process::id());
        Ok(file)
    }

    /// Makes names that were created or removed last.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.handle.sync_all().map_err(Error::io("sync", &self.path))
    }

    /// The segment files: number, UUID and path, by number.
    pub(super) fn segments(&self) -> Result<Vec<(u64, Uuid, PathBuf)>, Error> {
        let failed = |error: io::Error| Error::io("list", &self.path)(error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some((number, uuid)) = entry.file_name().to_str().and_then(Segment::parse_name) {
                found.push((number, uuid, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes a file; one that is gone already is fine.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// How many files are in quarantine.
    pub(super) fn quarantined(&self) -> u64 {
        std::fs::read_dir(&self.quarantine).map_or(0, |entries| {
            let finished = |name: &std::ffi::OsStr| !name.to_string_lossy().ends_with(".tmp");
            entries.flatten().filter(|entry| finished(&entry.file_name())).count() as u64
        })
    }

    /// Keeps bytes in quarantine, durably, and says whether they are new there.
    pub(super) fn keep(&self, name: &str, parts: &[&[u8]]) -> Result<bool, Error> {
        let path = self.quarantine.join(name);
        if path.exists() {
            return Ok(false);
        }
        let draft = self.quarantine.join(format!("{name}.tmp"));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(&self.quarantine)?.sync_all()
        };
        write().map_err(Error::io("write", &path))?;
        Ok(true)
    }
}

/// Makes a directory with mode 0700, and its name durable.
pub(super) fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
