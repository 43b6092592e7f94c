//! The drain against a database that fails on demand, and a real spool.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tempfile::TempDir;

mod fake;
mod later;

use super::*;
use crate::activity::{Micros, Session};
use crate::auth::{self, signing::Secret};
use crate::engine::Engine;
use crate::spool::{Lane, Spool, record};
use crate::store::conformance::activity;
use fake::{Act, Fake, Nobody, Table};

fn options() -> Options {
    Options {
        max_records: 8,
        linger: Duration::ZERO,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        ..Options::default()
    }
}

fn open(folder: &Path) -> (Spool, Vec<Lane>, Reader) {
    let options = spool::Options { segment_bytes: 1 << 20, ..spool::Options::new(folder) };
    Spool::open(options).unwrap()
}

/// Puts activities into a new spool.
fn spooled(activities: &[Activity]) -> TempDir {
    spooled_bytes(activities.iter().map(|activity| {
        let mut bytes = Vec::new();
        record::encode(activity, &mut bytes);
        bytes
    }))
}

fn spooled_bytes(payloads: impl Iterator<Item = Vec<u8>>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (_spool, mut lanes, _reader) = open(folder.path());
    for payload in payloads {
        lanes[0].append(&payload).unwrap();
    }
    lanes[0].commit().unwrap();
    folder
}

/// Starts on a spool, as after a restart, and runs until `done` says so. Returns what
/// `on_stored` was told.
fn drain(
    folder: &Path,
    fake: &Fake,
    directory: impl Directory + 'static,
    done: impl Fn(&Table) -> bool,
) -> Vec<String> {
    drain_in(Crowd::new(), folder, fake, directory, done)
}

/// The same, where the processor is as it is told.
fn drain_in(
    crowd: Crowd,
    folder: &Path,
    fake: &Fake,
    directory: impl Directory + 'static,
    done: impl Fn(&Table) -> bool,
) -> Vec<String> {
    let (_spool, _lanes, reader) = open(folder);
    let settings = auth::Settings::new(Secret::from("secret"));
    let auth = Arc::new(Auth::new(settings, Box::new(Nobody(0))).unwrap());
    let store = Box::new(fake.clone());
    let parts =
        Parts { reader, store, directory: Box::new(directory), engine: Engine::Table, auth };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut told = Vec::new();
            run_in(crowd, parts, &options(), &stop, |activities| {
                told.extend(activities.iter().map(|activity| activity.path.clone()));
            });
            told
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(&fake.table()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap()
    })
}

/// To the end of the spool: a stop lets it finish.
fn drain_all(folder: &Path, fake: &Fake) -> Vec<String> {
    drain(folder, fake, Nobody(0), |_| true)
}

fn quarantined(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("quarantine")).into_iter().flatten();
    files
        .map(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect()
}

fn paths(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("/path/{number}/")).collect()
}

/// So many activities; those with these numbers are poisonous.
fn activities(count: u32, poison: &[u32]) -> Vec<Activity> {
    let name = |number| if poison.contains(&number) { "poison".into() } else { String::new() };
    (0..count).map(|number| Activity { name: name(number), ..activity(number) }).collect()
}

#[test]
fn in_order_and_once() {
    let folder = spooled(&activities(100, &[]));
    let fake = Fake::default();
    assert_eq!(drain_all(folder.path(), &fake), paths(0..100));
    assert_eq!(fake.table().rows, paths(0..100));
    assert!(drain_all(folder.path(), &fake).is_empty(), "after a restart");
    assert_eq!(fake.table().rows.len(), 100);
    assert!(quarantined(folder.path()).is_empty());
}

#[test]
fn outages_are_waited_out() {
    use Act::{Away, CommitAway, Panic, Schema};
    for script in [
        vec![Away],
        vec![Schema, Schema],
        vec![Panic],
        vec![CommitAway],
        vec![CommitAway, Away, Panic, CommitAway, Schema, Away],
    ] {
        let folder = spooled(&activities(20, &[]));
        let fake = Fake::default();
        fake.table().script = script;
        drain(folder.path(), &fake, Nobody(0), |table| table.rows.len() >= 20);
        assert_eq!(fake.table().rows, paths(0..20));
        assert!(quarantined(folder.path()).is_empty());
    }
}

#[test]
fn a_row_that_the_store_panics_on_is_put_aside() {
    for bombs in [vec![7], vec![0, 1, 19]] {
        let mut all = activities(20, &[4]);
        bombs.iter().for_each(|bomb: &usize| all[*bomb].name = "bomb".into());
        let folder = spooled(&all);
        let fake = Fake::default();
        let good = paths((0..20).filter(|it| *it != 4 && !bombs.contains(&(*it as usize))));
        let aside = bombs.len() + 1;
        drain(folder.path(), &fake, Nobody(0), |table| {
            table.rows.len() >= good.len() && quarantined(folder.path()).len() >= aside
        });
        assert_eq!(fake.table().rows, good, "{bombs:?}");
        let texts = quarantined(folder.path());
        assert_eq!(texts.len(), aside, "{texts:?}");
        let said = texts.iter().filter(|text| text.starts_with("the store panicked: boom\n"));
        assert_eq!(said.count(), bombs.len(), "{texts:?}");
    }
}

#[test]
fn a_store_that_always_panics_is_waited_for() {
    let folder = spooled(&activities(4, &[]));
    let fake = Fake::default();
    fake.table().always_panics = true;
    drain(folder.path(), &fake, Nobody(0), |table| table.writes > 40);
    assert!(quarantined(folder.path()).is_empty());
    fake.table().always_panics = false;
    drain_all(folder.path(), &fake);
    assert_eq!(fake.table().rows, paths(0..4));
}

#[test]
fn what_does_not_fit_is_written_in_parts() {
    for (room, poison) in [(7, vec![]), (1, vec![]), (2, vec![3, 4]), (0, vec![7])] {
        let folder = spooled(&activities(20, &poison));
        let fake = Fake::default();
        fake.table().room = Some(room);
        let good = paths((0..20).filter(|number| !poison.contains(number)));
        drain(folder.path(), &fake, Nobody(0), |table| table.rows.len() >= good.len());
        assert_eq!(fake.table().rows, good, "room for {room}");
        assert_eq!(quarantined(folder.path()).len(), poison.len(), "room for {room}");
    }
}

#[test]
fn a_stop_ends_an_outage_and_loses_nothing() {
    let folder = spooled(&activities(20, &[]));
    let fake = Fake::default();
    fake.table().away_after = Some(1);
    let start = Instant::now();
    drain(folder.path(), &fake, Nobody(0), |table| table.writes > 3);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(fake.table().rows, paths(0..8));
    fake.table().away_after = None;
    drain_all(folder.path(), &fake);
    assert_eq!(fake.table().rows, paths(0..20));
}

#[test]
fn guilty_records_stand_alone() {
    for poison in
        [vec![0], vec![7], vec![8], vec![19], vec![3, 4], vec![0, 5, 7, 8, 19], (0..20).collect()]
    {
        let folder = spooled(&activities(20, &poison));
        let fake = Fake::default();
        drain_all(folder.path(), &fake);
        let good = paths((0..20).filter(|number| !poison.contains(number)));
        assert_eq!(fake.table().rows, good, "{poison:?}");
        let aside = quarantined(folder.path());
        assert_eq!(aside.len(), poison.len());
        assert!(aside.iter().all(|text| text.contains("poisonous")));
        let writes = fake.table().writes;
        drain_all(folder.path(), &fake);
        assert_eq!(fake.table().writes, writes, "the cursor is at the end: {poison:?}");
    }
}

#[test]
fn broken_off_anywhere_it_goes_on_rightly() {
    let poison = [2, 9, 10, 15];
    let good = paths((0..20).filter(|number| !poison.contains(number)));
    for limit in 0..30 {
        let folder = spooled(&activities(20, &poison));
        let fake = Fake::default();
        fake.table().away_after = Some(limit);
        drain_all(folder.path(), &fake);
        fake.table().away_after = None;
        drain_all(folder.path(), &fake);
        assert_eq!(fake.table().rows, good, "after {limit} writes");
        assert_eq!(quarantined(folder.path()).len(), poison.len(), "after {limit} writes");
    }
}

#[test]
fn the_cursor_waits_for_the_quarantine() {
    let folder = spooled(&activities(3, &[1]));
    let fake = Fake::default();
    let quarantine = folder.path().join("quarantine");
    let stop = AtomicBool::new(true);
    {
        let (_spool, _lanes, reader) = open(folder.path());
        // No file can be made in what is not a folder.
        let _ = std::fs::remove_dir(&quarantine);
        std::fs::write(&quarantine, "").unwrap();
        let settings = auth::Settings::new(Secret::from("secret"));
        let auth = Arc::new(Auth::new(settings, Box::new(Nobody(0))).unwrap());
        let store = Box::new(fake.clone());
        let parts =
            Parts { reader, store, directory: Box::new(Nobody(0)), engine: Engine::Table, auth };
        run(parts, &options(), &stop, |_| {});
    }
    assert_eq!(fake.table().rows, paths([0]), "no further than the record that cannot be kept");
    std::fs::remove_file(&quarantine).unwrap();
    drain_all(folder.path(), &fake);
    assert_eq!(fake.table().rows, paths([0, 2]));
    assert_eq!(quarantined(folder.path()).len(), 1);
}

#[test]
fn what_cannot_be_read_is_put_aside() {
    let mut good = Vec::new();
    record::encode(&activity(1), &mut good);
    let folder = spooled_bytes([b"garbage".to_vec(), good, vec![0xff; 9]].into_iter());
    let fake = Fake::default();
    drain_all(folder.path(), &fake);
    assert_eq!(fake.table().rows, paths([1]));
    let aside = quarantined(folder.path());
    assert_eq!(aside.len(), 2);
    assert!(aside.iter().all(|text| text.starts_with("the record cannot be read")), "{aside:?}");
}

#[test]
fn sessions_are_made_and_settled() {
    let with = |number, key: &str, state| Activity {
        received_at: Micros::from(number),
        session: Some(Session { key: key.into(), visitor: None, state }),
        ..activity(number)
    };
    let (new, old) = ("n".repeat(32), "u".repeat(32));
    let folder = spooled(&[
        with(0, &new, SessionState::Minted),
        with(1, &new, SessionState::Minted),
        with(2, "known", SessionState::Known),
        with(3, &old, SessionState::Unverified),
    ]);
    let fake = Fake::default();
    // Away three times: the drain waits before it writes anything.
    let told = drain(folder.path(), &fake, Nobody(3), |table| table.rows.len() == 4);
    assert_eq!(told.len(), 4);
    assert_eq!(fake.table().sessions, [new], "once, and none for who is unknown");
}

#[test]
fn cursors_of_segments_that_are_gone_are_forgotten() {
    let folder = spooled(&activities(1, &[]));
    let fake = Fake::default();
    fake.table().cursors.insert(Uuid::from_u128(5), 100);
    drain_all(folder.path(), &fake);
    assert_eq!(fake.table().cursors.len(), 1);
    assert!(!fake.table().cursors.contains_key(&Uuid::from_u128(5)));
}

#[test]
fn rests_between_batches_while_the_processor_is_short() {
    let folder = spooled(&activities(64, &[]));
    let fake = Fake::default();
    let all = |table: &Table| table.rows.len() == 64;
    drain_in(Crowd::short(), folder.path(), &fake, Nobody(0), all);
    let mut gaps: Vec<Duration> =
        fake.table().times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort();
    // Storing takes microseconds here, syncing nothing: what is between two writes is the rest.
    assert!(gaps[gaps.len() / 2] >= crowd::SHORTEST, "{gaps:?}");
}
