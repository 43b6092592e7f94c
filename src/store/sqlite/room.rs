//! SQLite: room on the file's disk.
//!
//! What is committed stands in the log (`-wal`) first and needs as much room again when it is
//! checkpointed into the file. A log that took the last byte could never be checkpointed: so it
//! may take only a quarter of what is free, and a batch only half.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::link::Failure;
use crate::activity::Activity;
use crate::store::{Batch, Error};

/// What a row may add to the log beside its own bytes: a page of each index, in each of its forms.
const PAGES_OF_A_ROW: u64 = 32 << 10;
/// What a row's bytes take in log and file together, with its indexes and its session.
const GROWTH: u64 = 6;

/// Sees to it that a batch fits; asks for a smaller one where it does not.
pub(super) fn ensure(connection: &Connection, batch: &Batch<'_>) -> Result<(), Failure> {
    let path = Path::new(connection.path().unwrap_or_default());
    let Some(mut free) = free(path) else { return Ok(()) };
    if log(path).saturating_mul(4) > free {
        // Where somebody reads, it is for the next time.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        free = self::free(path).unwrap_or(free);
    }
    let needed: u64 = batch.activities.iter().map(needed).sum();
    // A single row is always tried.
    if batch.activities.len() > 1 && needed > free / 2 {
        return Err(Error::Full(format!(
            "{}: {free} bytes are free on its disk, too few for so many rows at once",
            path.display()
        ))
        .into());
    }
    Ok(())
}

fn needed(activity: &Activity) -> u64 {
    let properties = activity.properties.as_ref().map_or(0, String::len);
    let Activity { path, referer, user_agent, .. } = activity;
    let bytes = path.len() + referer.len() + user_agent.len() + properties;
    PAGES_OF_A_ROW + GROWTH * bytes as u64
}

/// Free bytes of the disk, if it can be asked.
fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn log(path: &Path) -> u64 {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name).metadata().map_or(0, |found| found.len())
}
