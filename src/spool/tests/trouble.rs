//! Failing disks, full disks, foreign files.

use std::fs::OpenOptions;

use super::*;
use crate::spool::{Error, Full, Record, lane::Active, segment::Identity};

/// From now on every write to the lane's segment fails as if the disk did.
fn break_file(lane: &mut Lane) {
    let Active { prepared, .. } = lane.active.as_mut().unwrap();
    prepared.file = fs::File::open(&prepared.segment.path).unwrap();
}

#[test]
fn one_failed_file_is_replaced() {
    let dir = directory();
    let (spool, mut lane, mut reader) = open(options(dir.path()));
    put(&mut lane, &[b"before".to_vec()]);
    let broken = lane.active.as_ref().unwrap().prepared.segment.path.clone();
    break_file(&mut lane);
    lane.append(b"fails").unwrap();
    assert!(matches!(lane.commit(), Err(Error::Io { doing: "write", .. })));
    assert!(lane.active.is_none(), "the file is not written again");
    let bytes = fs::read(&broken).unwrap();
    put(&mut lane, &[b"after".to_vec()]);
    break_file(&mut lane);
    lane.append(b"fails, but not in a row").unwrap();
    assert!(matches!(lane.commit(), Err(Error::Io { .. })));
    put(&mut lane, &[b"last".to_vec()]);
    assert!(!spool.poisoned());
    assert_eq!(payloads(&batches(&mut reader)), [&b"before"[..], b"after", b"last"]);
    drop(lane);
    assert_eq!(fs::read(&broken).unwrap(), bytes, "nor sealed");
}

#[test]
fn two_failed_files_in_a_row_poison_the_spool() {
    let dir = directory();
    let (spool, mut lane, mut reader) = open(options(dir.path()));
    put(&mut lane, &[b"before".to_vec()]);
    for _ in 0..2 {
        lane.append(b"fails").unwrap();
        lane.ready(4_096).unwrap();
        break_file(&mut lane);
        assert!(lane.commit().is_err());
    }
    assert!(spool.poisoned());
    assert!(matches!(lane.append(b"x"), Err(Error::Poisoned)));
    assert!(matches!(lane.commit(), Ok(())), "nothing was taken, so nothing fails");
    assert_eq!(payloads(&batches(&mut reader)), [b"before"]);
}

#[test]
fn a_commit_that_reached_the_disk_unacknowledged_is_not_delivered_in_this_process() {
    let dir = directory();
    let (spool, mut lane, mut reader) = open(options(dir.path()));
    put(&mut lane, &[b"before".to_vec()]);
    lane.append(b"written").unwrap();
    let pending = std::mem::take(&mut lane.pending);
    let active = lane.active.as_ref().unwrap();
    // As a commit whose sync fails: the pages are in the file, the end is not moved.
    let end = active.prepared.segment.end();
    lane.commit_pending(&pending).unwrap();
    let active = lane.active.as_ref().unwrap();
    active.prepared.segment.end.store(end, std::sync::atomic::Ordering::SeqCst);
    break_file(&mut lane);
    lane.append(b"fails").unwrap();
    lane.commit().unwrap_err();
    put(&mut lane, &[b"sent again".to_vec()]);
    let delivered = payloads(&batches(&mut reader));
    assert_eq!(delivered, [&b"before"[..], b"sent again"]);
    drop((spool, lane, reader));
    let (_spool, _lane, mut reader) = open(options(dir.path()));
    assert_eq!(payloads(&batches(&mut reader)), [&b"before"[..], b"written", b"sent again"]);
}

#[test]
fn a_full_disk_is_waited_for() {
    let dir = directory();
    let (spool, mut lane, mut reader) =
        open(Options { retain_for: Duration::from_secs(60), ..options(dir.path()) });
    put(&mut lane, &[vec![0; 50_000]]);
    let Active { prepared, .. } = lane.active.as_mut().unwrap();
    prepared.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for _ in 0..3 {
        lane.append(b"x").unwrap();
        let full = lane.commit();
        assert!(matches!(full, Err(Error::Full(Full::Disk(_)))), "{full:?}");
        lane.ready(4_096).unwrap();
        let Active { prepared, .. } = lane.active.as_mut().unwrap();
        prepared.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    }
    assert!(!spool.poisoned(), "a full disk is no broken disk");
    lane.give_up();
    put(&mut lane, &[b"space again".to_vec()]);
    assert_eq!(payloads(&batches(&mut reader)).last().unwrap(), b"space again");
}

#[test]
fn a_newer_format_and_a_foreign_segment_stop_the_start() {
    let dir = directory();
    let (_, mut lane, _) = open(options(dir.path()));
    put(&mut lane, &samples(3));
    drop(lane);
    let path = segment_files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    for at in [0, 2_048] {
        bytes[at + 8] = 2;
        let crc =
            crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 12]), &bytes[at + 16..at + 64]);
        bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
    }
    let original = fs::read(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let refused = Spool::open(options(dir.path())).unwrap_err();
    assert!(matches!(refused, Error::Newer { version: 2, .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes);

    fs::write(&path, original).unwrap();
    let other = directory();
    drop(open(options(other.path())));
    for foreign in segment_files(other.path()) {
        fs::copy(&foreign, path.with_file_name(foreign.file_name().unwrap())).unwrap();
    }
    let refused = Spool::open(options(dir.path())).unwrap_err();
    assert!(matches!(refused, Error::Mixed { .. }), "{refused}");
}

#[test]
fn a_lost_header_page_loses_nothing() {
    let dir = directory();
    let (_, mut lane, reader) = open(options(dir.path()));
    put(&mut lane, &samples(30));
    drop(lane);
    let path = segment_files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let identity = Identity::of_header(&bytes).unwrap();
    bytes[..4_096].fill(0);
    fs::write(&path, bytes).unwrap();
    let old = (reader.spool(), identity.segment);
    drop(reader);
    let (spool, _lane, mut reader) = open(options(dir.path()));
    let found = batches(&mut reader);
    assert_eq!((reader.spool(), found[0].segment), old);
    assert_eq!(payloads(&found), samples(30));
    assert_eq!(spool.stats().damaged, 1);
}

#[test]
fn a_zeroed_first_page_does_not_make_a_segment_unused() {
    let dir = directory();
    let (_, mut lane, _) = open(options(dir.path()));
    put(&mut lane, &[b"lost".to_vec()]);
    put(&mut lane, &[b"behind".to_vec()]);
    drop(lane);
    let path = segment_files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..8_192].fill(0);
    fs::write(&path, bytes).unwrap();
    let (spool, _lane, mut reader) = open(options(dir.path()));
    assert_eq!(payloads(&batches(&mut reader)), [b"behind"]);
    assert_eq!(spool.stats().damaged, 1);
}

#[test]
fn quarantine_keeps_bytes_once() {
    let dir = directory();
    let (spool, mut lane, mut reader) = open(options(dir.path()));
    put(&mut lane, &samples(40));
    let found = batches(&mut reader);
    let (segment, record) = (found[0].segment, Record { at: 4_160, payload: b"it".to_vec() });
    for _ in 0..2 {
        reader.quarantine(segment, &record, "row\nrefused").unwrap();
    }
    assert_eq!(spool.stats().quarantined, 1);
    let place = dir.path().join("spool/quarantine");
    let kept = fs::read(place.join(format!("{segment}-4160.refused"))).unwrap();
    assert_eq!(kept, b"row refused\nit");
    drop((spool, lane, reader));

    let path = segment_files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * 4_096 + 100] ^= 4;
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let (spool, _lane, mut reader) = open(options(dir.path()));
        let left = payloads(&batches(&mut reader));
        assert!(left.len() < 40 && left.len() > 20);
        assert_eq!(spool.stats().damaged, 1);
        assert_eq!(spool.stats().quarantined, 2);
    }
    let damaged = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let damaged = damaged.filter(|path| path.extension().unwrap() == "damaged").collect::<Vec<_>>();
    let copy = fs::read(&damaged[0]).unwrap();
    assert!(bytes.windows(copy.len()).any(|window| window == copy));
}
