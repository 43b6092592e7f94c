//! The spool on real files: what is promised, and what happens when the disk misbehaves.

mod basic;
mod committer;
mod damage;
mod model;
mod trouble;

use std::{fs, path::Path, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{Batch, Lane, Options, Reader, Spool};

/// A directory in memory, where syncs cost nothing; the promises that need a disk are for the
/// durability harness.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.unwrap()
}

/// Small segments and no retention.
fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 64 << 10,
        retain_for: Duration::ZERO,
        ..Options::new(dir.join("spool"))
    }
}

/// A spool with one lane.
fn open(options: Options) -> (Spool, Lane, Reader) {
    let (spool, mut lanes, reader) = Spool::open(options).unwrap();
    (spool, lanes.remove(0), reader)
}

fn put(lane: &mut Lane, payloads: &[Vec<u8>]) {
    for payload in payloads {
        lane.append(payload).unwrap();
    }
    lane.commit().unwrap();
}

/// All that can be read now.
fn batches(reader: &mut Reader) -> Vec<Batch> {
    std::iter::from_fn(|| reader.next(7, 100_000).unwrap()).collect()
}

fn payloads(batches: &[Batch]) -> Vec<Vec<u8>> {
    batches.iter().flat_map(|batch| &batch.records).map(|r| r.payload.clone()).collect()
}

/// Payloads that differ, of sizes that end in all places of a page.
fn samples(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![u8::try_from(n % 251).unwrap(); 1 + n * 37 % 700]).collect()
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    files.sort();
    files
}
