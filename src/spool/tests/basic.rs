//! What goes in comes out, once, in order, over rolls and restarts.

use std::{
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::*;
use crate::spool::{Error, Full, MAX_PAYLOAD, Parked, Place};

/// Commits the given groups, reads them here and after a restart.
fn round_trip(groups: &[Vec<Vec<u8>>]) {
    let dir = directory();
    let (spool, mut lane, mut reader) = open(options(dir.path()));
    for group in groups {
        put(&mut lane, group);
    }
    let all = groups.concat();
    assert_eq!(payloads(&batches(&mut reader)), all);
    assert_eq!(reader.next(1, 1).unwrap(), None);
    drop((spool, lane, reader));
    let (_spool, _lane, mut reader) = open(options(dir.path()));
    assert!(payloads(&batches(&mut reader)) == all);
}

#[test]
fn what_goes_in_comes_out() {
    round_trip(&[]);
    round_trip(&[vec![vec![]]]);
    round_trip(&[vec![vec![1; 4_023]], vec![vec![2; 4_024]], vec![vec![3; 4_022], vec![4]]]);
    round_trip(&samples(100).chunks(9).map(<[_]>::to_vec).collect::<Vec<_>>());
    round_trip(&[vec![vec![7; MAX_PAYLOAD]], samples(3)]);
    let rolls: Vec<_> = samples(900).chunks(50).map(<[_]>::to_vec).collect();
    round_trip(&rolls);
}

#[test]
fn nothing_is_delivered_before_its_commit() {
    let dir = directory();
    let (_spool, mut lane, mut reader) = open(options(dir.path()));
    lane.append(b"waits").unwrap();
    assert_eq!(reader.next(9, 999).unwrap(), None);
    assert!(!reader.wait(Duration::from_millis(1)));
    lane.commit().unwrap();
    assert!(reader.wait(Duration::ZERO));
    assert_eq!(payloads(&batches(&mut reader)), [b"waits"]);
}

#[test]
fn a_restart_goes_on_at_the_cursor() {
    let dir = directory();
    let all = samples(60);
    let (_, mut lane, _) = open(options(dir.path()));
    for group in all.chunks(25) {
        put(&mut lane, group);
    }
    drop(lane);
    let whole =
        |reader: &mut Reader| std::iter::from_fn(|| reader.next(1, 1).unwrap()).collect::<Vec<_>>();
    let (spool, lane, mut reader) = open(options(dir.path()));
    let one_by_one = whole(&mut reader);
    assert_eq!(payloads(&one_by_one), all);
    drop((spool, lane, reader));
    for (done, batch) in one_by_one.iter().enumerate() {
        let (_spool, _lane, mut reader) = open(options(dir.path()));
        reader.resume(&[(batch.segment, batch.end), (Uuid::nil(), 9)]);
        assert_eq!(payloads(&whole(&mut reader)), all[done + 1..], "after {done}");
    }
}

#[test]
fn lanes_take_turns_and_each_keeps_its_order() {
    let dir = directory();
    let (_spool, mut lanes, mut reader) =
        Spool::open(Options { lanes: 3, ..options(dir.path()) }).unwrap();
    for n in 0..30 {
        for (number, lane) in (0..).zip(&mut lanes) {
            put(lane, &[vec![number, n]]);
        }
    }
    let first_nine: Vec<_> = (0..9)
        .filter_map(|_| reader.next(1, 1).unwrap())
        .map(|b| b.records[0].payload[0])
        .collect();
    assert_eq!(first_nine, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    let rest = payloads(&batches(&mut reader));
    for lane in 0..3 {
        let seen: Vec<u8> = rest.iter().filter(|p| p[0] == lane).map(|p| p[1]).collect();
        assert_eq!(seen, (3..30).collect::<Vec<u8>>());
    }
}

/// `threads` says how many lanes there are, and may be another number at the next start.
#[test]
fn what_more_lanes_have_left_is_read_where_there_is_one() {
    let dir = directory();
    let several = Options { lanes: 3, ..options(dir.path()) };
    let (spool, mut lanes, reader) = Spool::open(several).unwrap();
    for (number, lane) in (0..).zip(&mut lanes) {
        put(lane, &[vec![number], vec![number]]);
    }
    drop((spool, lanes, reader));
    let (_spool, mut lane, mut reader) = open(options(dir.path()));
    put(&mut lane, &[vec![3]]);
    let mut found = payloads(&batches(&mut reader)).concat();
    found.sort_unstable();
    assert_eq!(found, [0, 0, 1, 1, 2, 2, 3]);
}

#[test]
fn the_reader_is_woken_by_a_commit() {
    let dir = directory();
    let (_spool, mut lane, mut reader) = open(options(dir.path()));
    for n in 0..200_u8 {
        thread::scope(|scope| {
            scope.spawn(|| put(&mut lane, &[vec![n]]));
            let start = Instant::now();
            assert!(reader.wait(Duration::from_secs(10)));
            assert!(start.elapsed() < Duration::from_secs(9), "it slept on");
        });
        assert_eq!(payloads(&batches(&mut reader)), [[n]]);
    }
}

#[test]
fn a_full_spool_refuses_before_it_takes() {
    let dir = directory();
    let (spool, mut lane, mut reader) = open(Options { limit_bytes: 8_192, ..options(dir.path()) });
    put(&mut lane, &[vec![1]]);
    put(&mut lane, &[vec![2]]);
    assert_eq!(spool.stats().waiting_bytes, 8_192);
    let refused = lane.append(b"x").unwrap_err();
    assert!(matches!(
        refused,
        Error::Full(Full::Limit { waiting: 8_192, parked: 0, limit: 8_192 })
    ));
    let batch = reader.next(1, 1).unwrap().unwrap();
    reader.stored(&batch).unwrap();
    assert_eq!(spool.stats().waiting_bytes, 4_096);
    lane.append(b"x").unwrap();
}

#[test]
fn the_reader_knows_how_much_more_could_wait() {
    let dir = directory();
    let options = Options { limit_bytes: 16 * 4_096 + 1, ..options(dir.path()) };
    let (_spool, mut lane, mut reader) = open(options);
    let room = |reader: &Reader| [16, 8, 2].map(|times| reader.has_room_for(times));
    assert_eq!(room(&reader), [true, true, true]);
    put(&mut lane, &[vec![1]]);
    assert_eq!(room(&reader), [true, true, true]);
    put(&mut lane, &[vec![2]]);
    assert_eq!(room(&reader), [false, true, true]);
    put(&mut lane, &[vec![3]]);
    assert_eq!(room(&reader), [false, false, true]);
    while let Some(batch) = reader.next(1, 1).unwrap() {
        reader.stored(&batch).unwrap();
    }
    assert_eq!(room(&reader), [true, true, true]);
}

#[test]
fn what_is_parked_takes_room() {
    let dir = directory();
    let options = Options { limit_bytes: 8_192, ..options(dir.path()) };
    let place = Place { lane: 1, number: 0, name: Uuid::nil() };
    let parked = Parked::new(&options.dir);
    parked.keep(&place, &[1; 5_000]).unwrap();
    // Also that of an earlier process.
    let (spool, mut lane, reader) = open(options);
    assert_eq!((spool.stats().waiting_bytes, spool.stats().parked_bytes), (8_192, 8_192));
    let refused = lane.append(b"x").unwrap_err();
    assert!(matches!(refused, Error::Full(Full::Limit { parked: 8_192, .. })));
    assert!(refused.to_string().contains("8192 of them are parked"), "{refused}");
    // One that was damaged is counted where it is now.
    let path = dir.path().join("spool/parked").read_dir().unwrap().next().unwrap().unwrap().path();
    std::fs::write(path, "damaged").unwrap();
    assert_eq!(parked.load(&place).unwrap(), None);
    reader.parked(0);
    assert_eq!((spool.stats().waiting_bytes, spool.stats().quarantined), (0, 1));
    lane.append(b"x").unwrap();
}

#[test]
fn a_payload_over_the_limit_is_refused() {
    let dir = directory();
    let (_spool, mut lane, _reader) = open(options(dir.path()));
    let refused = lane.append(&vec![0; MAX_PAYLOAD + 1]).unwrap_err();
    assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
}

#[test]
fn a_directory_has_one_owner() {
    let dir = directory();
    let (spool, lane, reader) = open(options(dir.path()));
    let refused = Spool::open(options(dir.path())).unwrap_err();
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("spool")), 0o700);
    assert_eq!(mode(&segment_files(dir.path())[0]), 0o600);
    let identity = reader.spool();
    drop((spool, lane, reader));
    assert_eq!(open(options(dir.path())).2.spool(), identity);
}

/// Stores everything; returns which segments were removed, and those that exist.
fn drain(reader: &mut Reader) -> (usize, usize) {
    let all = batches(reader);
    let removed: usize = all.iter().map(|batch| reader.stored(batch).unwrap().len()).sum();
    (removed, reader.segments().len())
}

#[test]
fn stored_segments_are_kept_for_a_while() {
    let cases = [
        // kept for, kept bytes, expected to be removed
        (Duration::ZERO, u64::MAX, 3),
        (Duration::from_secs(3_600), u64::MAX, 0),
        (Duration::from_secs(3_600), 0, 3),
        (Duration::from_secs(3_600), 140_000, 1),
    ];
    for (retain_for, retain_bytes, expected) in cases {
        let dir = directory();
        let (spool, mut lane, mut reader) =
            open(Options { retain_for, retain_bytes, ..options(dir.path()) });
        for _ in 0..4 {
            put(&mut lane, &[vec![0; 55_000]]);
        }
        let (removed, left) = drain(&mut reader);
        assert_eq!((removed, left), (expected, 4 - expected));
        assert_eq!(spool.stats().waiting_bytes, 0);
        assert!(segment_files(dir.path()).len() >= left);
        drop((spool, lane, reader));
        assert_eq!(segment_files(dir.path()).len(), left);
    }
}

#[test]
fn what_is_not_stored_is_not_removed() {
    let dir = directory();
    let (_spool, mut lane, mut reader) = open(options(dir.path()));
    for _ in 0..3 {
        put(&mut lane, &[vec![0; 30_000], vec![1; 25_000]]);
    }
    let all = std::iter::from_fn(|| reader.next(1, 1).unwrap()).collect::<Vec<_>>();
    assert_eq!(all.len(), 6);
    assert!(reader.stored(&all[0]).unwrap().is_empty());
    assert_eq!(reader.stored(&all[1]).unwrap(), [all[1].segment]);
    assert_eq!(reader.stored(&all[3]).unwrap(), [all[3].segment]);
}

fn wait_for_spare(dir: &Path) {
    while segment_files(dir).len() < 2 {
        thread::yield_now();
    }
}

#[test]
fn a_spare_that_is_too_small_is_not_used_later() {
    let dir = directory();
    let (_, mut lane, _) = open(options(dir.path()));
    wait_for_spare(dir.path());
    let all = [vec![1; MAX_PAYLOAD], vec![2; 50_000], vec![3; 50_000]];
    all.chunks(1).for_each(|one| put(&mut lane, one));
    drop(lane);
    let (_spool, _lane, mut reader) = open(options(dir.path()));
    assert!(payloads(&batches(&mut reader)) == all, "order");
}

#[test]
fn spares_that_were_never_used_are_gone_after_a_restart() {
    let dir = directory();
    let copy = directory();
    let (_spool, mut lane, _reader) = open(options(dir.path()));
    put(&mut lane, &samples(3));
    wait_for_spare(dir.path());
    model::copy_tree(dir.path(), copy.path());
    let (_, _, mut reader) = open(options(copy.path()));
    assert_eq!(payloads(&batches(&mut reader)), samples(3));
    assert_eq!(reader.segments().len(), 1, "the new first one; the old one was emptied");
}
