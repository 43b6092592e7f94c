//! Damage at every place of a small segment: no panic, bounded loss, nothing altered.

use std::{collections::HashMap, thread};

use proptest::prelude::*;

use super::*;
use crate::spool::{Scan, page::PAGE, scan};

/// A closed segment of about `pages` pages in memory, with commits of one and of many pages.
fn segment(pages: usize) -> (Vec<u8>, Scan) {
    let dir = directory();
    let large = Options { segment_bytes: 1 << 20, ..options(dir.path()) };
    let (_, mut lane, _) = open(large);
    let sizes = [30, 500, 9_000, 3, 700, 4_023, 120, 250].into_iter().cycle();
    let mut sizes = sizes.enumerate();
    while lane.active.as_ref().unwrap().prepared.segment.end() < (pages * PAGE) as u64 {
        let byte = |at: usize, n: usize| u8::try_from((at * 7 + n * 31) % 256).unwrap();
        let payload = |(n, size)| (0..size).map(|at| byte(at, n)).collect();
        let group: Vec<Vec<u8>> = sizes.by_ref().take(7).map(payload).collect();
        put(&mut lane, &group);
    }
    drop(lane);
    let bytes = fs::read(segment_files(dir.path()).remove(0)).unwrap();
    let whole = scan(&bytes);
    assert!(whole.damaged.is_empty() && whole.records.len() > 4);
    (bytes, whole)
}

/// The records that touch the pages `hit`.
fn touching(bytes: &[u8], whole: &Scan, hit: &[usize]) -> Vec<u64> {
    let mut ends: Vec<u64> = whole.records.iter().skip(1).map(|record| record.at).collect();
    ends.push(bytes.len() as u64);
    let touches = |at: u64, end: u64| {
        hit.iter().any(|page| {
            let (from, to) = (page * PAGE, (page + 1) * PAGE);
            (at as usize) < to && (end as usize) > from
        })
    };
    let spans = whole.records.iter().zip(ends).filter(|(record, end)| touches(record.at, *end));
    spans.map(|(record, _)| record.at).collect()
}

/// What is read is what was written, and only records that touch the pages `hit` are missing.
fn check(bytes: &[u8], whole: &Scan, hit: &[usize], damaged: &[u8], what: &str) {
    let found = scan(damaged);
    let original: HashMap<u64, &Vec<u8>> =
        whole.records.iter().map(|r| (r.at, &r.payload)).collect();
    for record in &found.records {
        assert_eq!(original.get(&record.at), Some(&&record.payload), "altered by {what}");
    }
    assert!(found.records.is_sorted_by_key(|record| record.at), "order after {what}");
    if found.records.len() < whole.records.len() {
        let may = touching(bytes, whole, hit);
        let left: Vec<u64> = found.records.iter().map(|record| record.at).collect();
        let lost = whole.records.iter().map(|record| record.at).filter(|at| !left.contains(at));
        for at in lost {
            assert!(may.contains(&at), "{what} lost the record at {at}");
        }
        assert!(!found.damaged.is_empty(), "{what} lost records unseen");
    }
}

/// A small one by default; DJAFFAR_DAMAGE_PAGES=16 at build time makes the full test.
fn pages() -> usize {
    option_env!("DJAFFAR_DAMAGE_PAGES").and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[test]
fn every_bit_flipped() {
    let (bytes, whole) = segment(pages());
    let half = bytes.len() / 2;
    thread::scope(|scope| {
        for range in [0..half, half..bytes.len()] {
            let (mut copy, bytes, whole) = (bytes.clone(), &bytes, &whole);
            scope.spawn(move || {
                for at in range {
                    for bit in 0..8 {
                        copy[at] ^= 1 << bit;
                        check(
                            bytes,
                            whole,
                            &[at / PAGE],
                            &copy,
                            &format!("bit {bit} of byte {at}"),
                        );
                        copy[at] ^= 1 << bit;
                    }
                }
            });
        }
    });
}

#[test]
fn cut_at_every_byte() {
    let (bytes, whole) = segment(pages());
    for length in 0..bytes.len() {
        let found = scan(&bytes[..length]);
        assert_eq!(found.records[..], whole.records[..found.records.len()], "cut at {length}");
        assert!(found.damaged.is_empty(), "a cut is no damage: {length}");
        let ends = whole.records.iter().skip(1).map(|record| record.at);
        let complete = ends.filter(|&end| end as usize <= length).count();
        assert!(found.records.len() >= complete, "cut at {length}");
    }
}

#[test]
fn every_page_zeroed_filled_doubled_and_swapped() {
    let (bytes, whole) = segment(16);
    let pages = bytes.len() / PAGE;
    for page in 0..pages {
        let range = page * PAGE..(page + 1) * PAGE;
        for fill in [0, 255] {
            let mut copy = bytes.clone();
            copy[range.clone()].fill(fill);
            // Without its seal, the end of a segment cannot be told from a torn commit.
            if page + 1 < pages {
                check(&bytes, &whole, &[page], &copy, &format!("page {page} full of {fill}"));
            }
        }
        for other in (0..pages).filter(|&other| other != page) {
            let mut copy = bytes.clone();
            copy.copy_within(range.clone(), other * PAGE);
            if other + 1 < pages {
                check(&bytes, &whole, &[other], &copy, &format!("page {page} over {other}"));
            }
            if page + 1 < pages && other + 1 < pages {
                copy[range.clone()].copy_from_slice(&bytes[other * PAGE..(other + 1) * PAGE]);
                check(
                    &bytes,
                    &whole,
                    &[page, other],
                    &copy,
                    &format!("{page} and {other} swapped"),
                );
            }
        }
    }
}

/// A segment as a crash leaves it: no seal, and zeros behind.
fn crashed(commits: &[Vec<Vec<u8>>]) -> (TempDir, Vec<u8>) {
    let dir = directory();
    let copy = directory();
    let (_spool, mut lane, _reader) = open(options(dir.path()));
    commits.iter().for_each(|commit| put(&mut lane, commit));
    super::model::copy_tree(dir.path(), copy.path());
    let bytes = fs::read(segment_files(copy.path()).remove(0)).unwrap();
    (copy, bytes)
}

#[test]
fn no_damage_of_a_crashed_segment_goes_unseen() {
    let (_dir, bytes) = crashed(&[vec![vec![1; 30]], vec![vec![2; 9_000]], vec![vec![3; 300]]]);
    let whole = scan(&bytes);
    assert_eq!((whole.records.len(), whole.torn.clone()), (3, None));
    for at in (PAGE..6 * PAGE).step_by(3) {
        let mut copy = bytes.clone();
        copy[at] ^= 4;
        let found = scan(&copy);
        if found.records == whole.records {
            continue;
        }
        let of_last = at >= 5 * PAGE;
        assert_eq!(found.records.len(), 2, "{at}");
        assert_eq!((found.torn.is_some(), found.damaged.is_empty()), (of_last, of_last), "{at}");
    }
}

#[test]
fn only_the_last_commit_can_be_torn() {
    let commits =
        [vec![vec![1; 30]], vec![vec![2; 9_000]], vec![vec![3; 30]], vec![vec![4; 9_000]]];
    let (dir, bytes) = crashed(&commits);
    let pages = |from: usize, to: usize| (from * PAGE + 64) as u64..(to * PAGE) as u64;
    for (hit, damaged, torn) in [
        // The commits take pages 1, 2 to 4, 5, and 6 to 8. Hit: in which pages a record is bad.
        (vec![6], vec![], Some(pages(6, 9))),
        (vec![8], vec![], Some(pages(6, 9))),
        (vec![5, 7], vec![pages(5, 6)], Some(pages(6, 9))),
        (vec![3, 5, 6], vec![pages(2, 6)], Some(pages(6, 9))),
    ] {
        let mut copy = bytes.clone();
        hit.iter().for_each(|page| copy[page * PAGE + 100] ^= 1);
        let found = scan(&copy);
        assert_eq!((found.damaged, found.torn), (damaged, torn), "{hit:?}");
    }
    let mut copy = bytes.clone();
    [5, 7].iter().for_each(|page| copy[page * PAGE + 100] ^= 1);
    let path = segment_files(dir.path()).remove(0);
    fs::write(&path, &copy).unwrap();
    for _ in 0..2 {
        let (spool, _lane, mut reader) = open(options(dir.path()));
        assert_eq!(payloads(&batches(&mut reader)), [vec![1; 30], vec![2; 9_000]]);
        let stats = spool.stats();
        assert_eq!((stats.damaged, stats.torn, stats.quarantined), (1, 1, 2));
    }
}

#[test]
fn bad_bytes_at_the_end_are_cut_and_in_the_middle_are_damage() {
    let (bytes, whole) = segment(16);
    let unsealed = &bytes[..bytes.len() - PAGE];
    let last = whole.records.last().unwrap().at as usize;
    let mut torn = unsealed.to_vec();
    torn[last + 5..].fill(0);
    torn.resize(40 * PAGE, 0);
    let found = scan(&torn);
    assert_eq!(found.records[..], whole.records[..whole.records.len() - 1]);
    assert_eq!(found.damaged, []);

    let mut hole = bytes.clone();
    hole[2 * PAGE..9 * PAGE].fill(0);
    let found = scan(&hole);
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.records.last(), whole.records.last());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..20_000),
        copies in proptest::collection::vec((0_usize..16, 0_usize..16), 0..6),
    ) {
        let _ = scan(&bytes);
        let (real, _) = segment(3);
        bytes.resize(16 * PAGE, 0);
        for (from, to) in copies {
            let page = real.chunks(PAGE).cycle().nth(from).unwrap();
            bytes[to * PAGE..(to + 1) * PAGE].copy_from_slice(page);
        }
        let _ = scan(&bytes);
    }
}
