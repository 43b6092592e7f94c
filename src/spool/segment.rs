//! One segment file: who it is, how it is made and how far it is committed.
//!
//! Knows nothing of lanes that fill it and readers that empty it.

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Advice, FallocateFlags, fadvise, fallocate},
    io::Errno,
};
use uuid::Uuid;

use super::page::{PAGE, PAGE_BYTES, crc_holds};

const MAGIC: &[u8; 8] = b"DJAFFAR\n";
const VERSION: u32 = 1;
/// The second copy of the header, in another sector than the first.
const COPY: usize = PAGE / 2;
/// Bytes of one copy.
const SIZE: usize = 64;
/// A new file is written in pieces of so many bytes.
const PIECE: usize = 256 << 10;
/// The pause after a piece of a file that nobody waits for: 16 MiB take an eighth of a second.
const PAUSE: Duration = Duration::from_millis(2);

/// Whether somebody waits for a new segment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need<'a> {
    /// A lane, or the start.
    Now,
    /// Nobody until this says so: the disk is left to the syncs of the lanes meanwhile.
    Later(&'a AtomicBool),
}

impl Need<'_> {
    fn is_later(self) -> bool {
        matches!(self, Need::Later(wanted) if !wanted.load(Ordering::Relaxed))
    }
}

/// What the header page of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) spool: Uuid,
    pub(super) segment: Uuid,
    pub(super) number: u64,
    pub(super) lane: u64,
}

impl Identity {
    /// The header page.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::with_capacity(SIZE);
        checked.extend_from_slice(MAGIC);
        checked.extend_from_slice(&VERSION.to_le_bytes());
        checked.extend_from_slice(self.spool.as_bytes());
        checked.extend_from_slice(self.segment.as_bytes());
        checked.extend_from_slice(&self.number.to_le_bytes());
        checked.extend_from_slice(&self.lane.to_le_bytes());
        let mut copy = checked;
        let crc = crc32c::crc32c(&copy).to_le_bytes();
        copy.splice(12..12, crc);
        copy.resize(COPY, 0);
        copy.repeat(PAGE / COPY)
    }

    /// What the page says, if one of its copies is whole.
    pub(super) fn of_header(page: &[u8]) -> Option<Identity> {
        copies(page).find_map(|(version, rest)| {
            let (spool, rest) = rest.split_first_chunk::<16>()?;
            let (segment, rest) = rest.split_first_chunk::<16>()?;
            let (number, rest) = rest.split_first_chunk::<8>()?;
            let lane = rest.first_chunk::<8>()?;
            (version == VERSION).then_some(Identity {
                spool: Uuid::from_bytes(*spool),
                segment: Uuid::from_bytes(*segment),
                number: u64::from_le_bytes(*number),
                lane: u64::from_le_bytes(*lane),
            })
        })
    }

    /// The version of a segment that this program cannot read.
    pub(super) fn newer(page: &[u8]) -> Option<u32> {
        copies(page).map(|(version, _)| version).find(|&version| version > VERSION)
    }
}

/// The copies of the header whose checksum is right: version and the bytes from 16 on.
fn copies(page: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    [0, COPY].into_iter().filter_map(|at| {
        let copy = page.get(at..at + SIZE)?;
        let (checked, rest) = copy.split_first_chunk::<12>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let computed = crc32c::crc32c_append(crc32c::crc32c(checked), rest);
        let (magic, version) = checked.split_first_chunk::<8>()?;
        let whole = magic == MAGIC && crc_holds(u32::from_le_bytes(*crc), computed);
        whole.then_some((u32::from_le_bytes(*version.first_chunk()?), rest))
    })
}

/// A segment file, as lanes and reader share it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) uuid: Uuid,
    pub(super) path: PathBuf,
    /// The end of what may be read: committed, or the length of a file of an earlier process.
    pub(super) end: AtomicU64,
    /// Nothing will be committed to it any more.
    pub(super) closed: AtomicBool,
    /// Whether an earlier process wrote it: then its tail may be torn.
    pub(super) old: bool,
}

impl Segment {
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The name of the file of a segment.
    pub(super) fn name(number: u64, uuid: Uuid) -> String {
        format!("{number:012}-{uuid}.seg")
    }

    /// Number and UUID from a file name; `None`: not a segment.
    pub(super) fn parse_name(name: &str) -> Option<(u64, Uuid)> {
        let (number, uuid) = name.strip_suffix(".seg")?.split_once('-')?;
        Some((number.parse().ok()?, Uuid::try_parse(uuid).ok()?))
    }
}

/// Makes the file, `bytes` long, and syncs it; the caller syncs the directory. A file that could
/// not be finished is removed.
pub(super) fn create(
    path: &Path,
    identity: &Identity,
    bytes: u64,
    need: Need<'_>,
) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    match fill(&file, identity, bytes, need) {
        Ok(()) => Ok(file),
        Err(error) => {
            // If this fails too, the next start finds a segment without a page and removes it.
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

fn fill(file: &File, identity: &Identity, bytes: u64, need: Need<'_>) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Where there is no fallocate, the zeros take the space.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; PIECE];
    let mut at = PAGE_BYTES;
    while at < bytes {
        let count = zeros.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        file.write_all_at(zeros.get(..count).unwrap_or(&zeros), at)?;
        if need.is_later() {
            // All at once, at the last sync, the syncs of the lanes would wait for it. Linux takes this advice as a
            // reason to begin writing the piece (mm/fadvise.c), and does not wait for it.
            let _ = fadvise(file, at, NonZeroU64::new(count as u64), Advice::DontNeed);
            thread::sleep(PAUSE);
        }
        at += count as u64;
    }
    file.write_all_at(&identity.encode(), 0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_nobody_waits_for_takes_its_time_and_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, segment) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let identity = Identity { spool, segment, number: 3, lane: 4 };
        let pieces = 20;
        let made = |name: &str, need: Need<'_>| {
            let (path, start) = (folder.path().join(name), Instant::now());
            create(&path, &identity, PIECE as u64 * u64::from(pieces), need).unwrap();
            (std::fs::read(path).unwrap(), start.elapsed())
        };
        let (now, _) = made("now", Need::Now);
        let (later, took) = made("later", Need::Later(&AtomicBool::new(false)));
        assert!(took >= PAUSE * pieces, "{took:?}: no pauses");
        assert!(now == later);
        assert_eq!(Identity::of_header(&now[..PAGE]), Some(identity));
        assert!(!Need::Now.is_later());
        assert!(!Need::Later(&AtomicBool::new(true)).is_later(), "somebody waits after all");
    }
}
