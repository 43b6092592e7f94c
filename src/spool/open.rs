//! Opening a spool: whose it is, what is in it, and a first segment for each lane.
//!
//! Reads, and removes only files without a page (spares that were never used).

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
};

use uuid::Uuid;

use super::{
    Error, Lane, Options, Parked, Reader, Spool,
    directory::Directory,
    frame::Pending,
    lane::Active,
    page::{PAGE, PAGE_BYTES},
    prepare::{self, Prepared, SMALL, Slot},
    retain::Retained,
    room::Room,
    scan::{Pages, any_page},
    segment::{Identity, Need, Segment},
    shared::{Disk, Shared, Sleeper},
};

/// See [`Spool::open`].
pub(super) fn open(options: Options) -> Result<(Spool, Vec<Lane>, Reader), Error> {
    let directory = Directory::open(options.dir)?;
    let lock = directory.lock()?;
    let found = look(&directory)?;
    let disk = Arc::new(Disk {
        spool: found.spool.unwrap_or_else(Uuid::new_v4),
        next_number: AtomicU64::new(found.next_number),
        segment_bytes: options.segment_bytes.next_multiple_of(PAGE_BYTES).max(4 * PAGE_BYTES),
        retained: Retained::new(options.retain_for, options.retain_bytes),
        room: Room::new(options.database),
        directory,
    });
    let waiting = found.segments.iter().map(|segment| segment.end().saturating_sub(PAGE_BYTES));
    disk.room.waiting.store(waiting.sum(), Ordering::Relaxed);
    let parked = Parked::new(&disk.directory.path);
    parked.clean()?;
    let parked = parked.list()?;
    disk.room.parked.store(parked.iter().map(|(_, bytes)| bytes).sum(), Ordering::Relaxed);
    let small = disk.segment_bytes.min(SMALL);
    let first = |lane| match prepare::create(&disk, lane, small, Need::Now) {
        // The lane makes one when there is room.
        Err(Error::Full(_)) => Ok(None),
        made => made.map(Some),
    };
    let firsts = (0..options.lanes.max(1)).map(first).collect::<Result<Vec<_>, _>>()?;
    let shared = Arc::new(Shared {
        limit_bytes: options.limit_bytes,
        damaged: AtomicU64::new(found.damaged),
        torn: AtomicU64::new(0),
        quarantined: AtomicU64::new(disk.directory.quarantined()),
        poisoned: AtomicBool::new(false),
        begun: Mutex::default(),
        sleeper: Sleeper::default(),
        lock,
        disk,
    });
    let reader = Reader::new(Arc::clone(&shared), found.segments, firsts.len());
    let lanes = lanes(&shared, firsts)?;
    Ok((Spool(shared), lanes, reader))
}

/// What is in the directory.
#[derive(Default)]
struct Found {
    spool: Option<Uuid>,
    next_number: u64,
    segments: VecDeque<Arc<Segment>>,
    damaged: u64,
}

/// Looks at each segment; removes the unused ones only when all of them are known to be ours.
fn look(directory: &Directory) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut unused = Vec::new();
    for (number, named, path) in directory.segments()? {
        found.next_number = number + 1;
        let seen = inspect(&path, named)?;
        match (found.spool, seen.spool) {
            (Some(ours), Some(other)) if ours != other => return Err(Error::Mixed { path }),
            (ours, seen) => found.spool = ours.or(seen),
        }
        if seen.unused {
            unused.push(path);
            continue;
        }
        if found.segments.iter().any(|segment: &Arc<Segment>| segment.uuid == seen.uuid) {
            tracing::warn!(path = %path.display(), "a copy of another segment is left alone");
            continue;
        }
        found.damaged += u64::from(seen.damaged);
        found.segments.push_back(Arc::new(Segment {
            uuid: seen.uuid,
            path,
            end: AtomicU64::new(seen.bytes),
            closed: AtomicBool::new(true),
            old: true,
        }));
    }
    for path in &unused {
        directory.remove(path)?;
    }
    Ok(found)
}

/// One segment file of an earlier process.
struct Seen {
    uuid: Uuid,
    spool: Option<Uuid>,
    bytes: u64,
    /// Its header page could not be read.
    damaged: bool,
    /// It holds no page: it was made and not used.
    unused: bool,
}

fn inspect(path: &Path, named: Uuid) -> Result<Seen, Error> {
    let failed = |error: io::Error| Error::io("read", path)(error);
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let (mut header, mut first) = ([0; PAGE], [0; PAGE]);
    // An unreadable sector in the header is a damaged header; a short file is read short.
    let _ = file.read_at(&mut header, 0);
    let _ = file.read_at(&mut first, PAGE_BYTES);
    let identity = Identity::of_header(&header);
    if identity.is_none()
        && let Some(version) = Identity::newer(&header)
    {
        return Err(Error::Newer { path: path.to_owned(), version });
    }
    let unused = zeros(&first) && blank(&file, bytes).map_err(failed)?;
    let uuid = identity.map_or(named, |identity| identity.segment);
    let mut spool = identity.map(|identity| identity.spool);
    if spool.is_none() && !unused {
        let page = any_page(&mut Pages::file(file), bytes).map_err(failed)?;
        spool = page.map(|page| page.spool);
    }
    Ok(Seen { uuid, spool, bytes, damaged: identity.is_none(), unused })
}

/// Compares page by page: byte by byte takes a debug build 0.1 s for what a start looks at.
fn zeros(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE).all(|page| [0; PAGE].get(..page.len()) == Some(page))
}

/// Whether all behind the header page is zero.
fn blank(file: &File, bytes: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 256 << 10];
    let mut at = PAGE_BYTES;
    while at < bytes {
        match file.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(read) if zeros(buffer.get(..read).unwrap_or_default()) => at += read as u64,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The lanes on their first segments, and the thread that makes the next ones.
fn lanes(shared: &Arc<Shared>, firsts: Vec<Option<Prepared>>) -> Result<Vec<Lane>, Error> {
    let slots: Vec<Arc<Slot>> = firsts.iter().map(|_| Arc::default()).collect();
    let (preparer, requests) = mpsc::channel();
    let (disk, all) = (Arc::clone(&shared.disk), slots.clone());
    std::thread::Builder::new()
        .name("spool-prepare".to_owned())
        .spawn(move || prepare::run(&disk, &all, &requests))
        .map_err(Error::io("start a thread for", PathBuf::from(&shared.disk.directory.path)))?;
    let lane = |(number, (prepared, slot)): (usize, (Option<Prepared>, Arc<Slot>))| {
        if let Some(prepared) = &prepared {
            shared.begin(number, Arc::clone(&prepared.segment));
        }
        let _ = preparer.send(number);
        Lane {
            shared: Arc::clone(shared),
            number,
            active: prepared.map(Active::new),
            slot,
            preparer: preparer.clone(),
            pending: Pending::default(),
            pages: Vec::new(),
            failures: 0,
        }
    };
    Ok(firsts.into_iter().zip(slots).enumerate().map(lane).collect())
}
