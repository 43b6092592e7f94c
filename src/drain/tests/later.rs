//! A store that takes a batch and stores it when the next one comes.

use super::*;
use fake::Early;

fn later() -> Fake {
    let fake = Fake::default();
    fake.table().later = true;
    fake
}

/// What is under way when a process ends is not stored, or it is and nobody was told.
fn end(fake: &Fake) {
    fake.table().under_way = None;
}

#[test]
fn in_order_once_and_told_when_it_is_stored() {
    let folder = spooled(&activities(60, &[]));
    let fake = later();
    let told = drain_all(folder.path(), &fake);
    assert_eq!(fake.table().taken, 8);
    assert_eq!(fake.table().writes, 8);
    assert_eq!(fake.table().rows, paths(0..60));
    assert_eq!(told, paths(0..60));
    drain_all(folder.path(), &fake);
    assert_eq!(fake.table().rows.len(), 60, "the cursor is at the end");
}

#[test]
fn nobody_is_told_of_what_is_under_way() {
    let folder = spooled(&activities(20, &[]));
    let fake = later();
    fake.table().away_after = Some(1);
    let told = drain(folder.path(), &fake, Nobody(0), |table| table.writes > 3);
    assert_eq!(fake.table().rows, paths(0..8));
    assert_eq!(told, paths(0..8));
    end(&fake);
    fake.table().away_after = None;
    // Neither is the spool told: it has the rest.
    assert_eq!(drain_all(folder.path(), &fake), paths(8..20));
    assert_eq!(fake.table().rows, paths(0..20));
}

#[test]
fn outages_panics_and_poison_hit_the_batch_that_they_are_of() {
    use Act::{Away, CommitAway, Panic, Schema};
    let poison = [2, 9, 10, 15, 40];
    let good = paths((0..60).filter(|number| !poison.contains(number)));
    for script in [
        vec![],
        vec![Away, Panic],
        vec![Panic, Panic, Panic, Panic, Panic, Panic, Panic],
        vec![CommitAway, Away, Panic, CommitAway, Schema, Away],
    ] {
        let folder = spooled(&activities(60, &poison));
        let fake = later();
        fake.table().script = script;
        let done = |table: &Table| table.rows.len() >= good.len() && table.under_way.is_none();
        drain(folder.path(), &fake, Nobody(0), done);
        assert_eq!(fake.table().rows, good);
        let aside = quarantined(folder.path());
        assert_eq!(aside.len(), poison.len());
        assert!(aside.iter().all(|text| text.contains("poisonous")), "{aside:?}");
        assert!(fake.table().taken > 2, "hardly any later");
    }
}

#[test]
fn broken_off_anywhere() {
    let poison = [2, 9, 10, 15];
    let good = paths((0..40).filter(|number| !poison.contains(number)));
    for limit in 0..40 {
        let folder = spooled(&activities(40, &poison));
        let fake = later();
        fake.table().away_after = Some(limit);
        drain_all(folder.path(), &fake);
        end(&fake);
        fake.table().away_after = None;
        drain_all(folder.path(), &fake);
        assert_eq!(fake.table().rows, good, "after {limit} writes");
        assert_eq!(quarantined(folder.path()).len(), poison.len(), "after {limit} writes");
    }
}

#[test]
fn a_stop_does_not_wait_for_what_hangs() {
    // The next one waits for it, or none is there.
    for count in [20, 8] {
        let folder = spooled(&activities(count, &[]));
        let fake = later();
        fake.table().hangs = true;
        let start = Instant::now();
        drain(folder.path(), &fake, Nobody(0), |_| true);
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        assert!(fake.table().rows.is_empty());
        end(&fake);
        fake.table().hangs = false;
        drain_all(folder.path(), &fake);
        assert_eq!(fake.table().rows, paths(0..count));
    }
}

#[test]
fn who_is_who_is_asked_when_nothing_is_under_way() {
    let session = Session { key: "u".repeat(32), visitor: None, state: SessionState::Unverified };
    let mut all = activities(24, &[]);
    all[20].session = Some(session);
    let folder = spooled(&all);
    let fake = later();
    drain(folder.path(), &fake, Early(fake.clone()), |table| table.rows.len() == 24);
    assert!(fake.table().taken > 1);
    assert!(!fake.table().asked_early);
    assert_eq!(fake.table().rows, paths(0..24));
}

#[test]
fn segments_and_cursors_go_when_nothing_of_them_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut lanes, _) = open(folder.path());
    let mut bytes = Vec::new();
    for number in 0..400 {
        bytes.clear();
        let properties = Some(format!("[{}1]", "1,".repeat(9_000)));
        record::encode(&Activity { properties, ..activity(number) }, &mut bytes);
        lanes[0].append(&bytes).unwrap();
        if number % 10 == 9 {
            lanes[0].commit().unwrap();
        }
    }
    drop(lanes);
    let fake = later();
    let mut is_empty = false;
    // Ended after each batch: what is not stored is in the spool.
    while !is_empty {
        let writes = fake.table().writes;
        assert!(writes < 1_000, "it does not go on");
        fake.table().away_after = Some(writes + 1);
        let at_once = spool::Options {
            segment_bytes: 1 << 20,
            retain_for: Duration::ZERO,
            retain_bytes: 0,
            ..spool::Options::new(folder.path())
        };
        let (_spool, _lanes, reader) = Spool::open(at_once).unwrap();
        let settings = auth::Settings::new(Secret::from("secret"));
        let auth = Arc::new(Auth::new(settings, Box::new(Nobody(0))).unwrap());
        let (store, directory) = (Box::new(fake.clone()), Box::new(Nobody(0)));
        let parts = Parts { reader, store, directory, engine: Engine::Table, auth };
        is_empty = run(parts, &options(), &AtomicBool::new(true), |_| {});
        end(&fake);
    }
    assert_eq!(fake.table().rows, paths(0..400));
    assert!(fake.table().taken > 40);
    assert!(fake.table().forgotten > 4, "{} segments", fake.table().forgotten);
    assert!(!fake.table().asked_early);
}
