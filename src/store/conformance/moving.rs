//! What a move asks of a database.

use super::*;

/// A move that is under way.
const MOVE: Uuid = Uuid::from_u128(0x6d6f_7665_0000_0000_0000_0000_0000_0001);

/// A row of another database that differs by its id.
fn old_row(id: i64) -> StoredActivity {
    StoredActivity {
        id,
        user: Some(Key::Integer(7)),
        session: Some("s".repeat(32)),
        ip_address: "192.0.2.7".into(),
        date: jiff::civil::date(2016, 12, 29).at(7, 35, 21, 571_006_000),
        path: format!("/old/{id}"),
        referer: "/from/".into(),
        received_at: Some(jiff::civil::date(2016, 12, 29).at(8, 0, 0, 0)),
        event_id: Some(Uuid::from_u128(u128::from(id.unsigned_abs()) << 80 | 0x4000 << 64 | 7)),
        name: "buy".into(),
        properties: Some(r#"{"n":1,"a":"é"}"#.into()),
    }
}

fn load(
    mover: &mut dyn Mover,
    activities: &[StoredActivity],
    infos: &[StoredSession],
    position: u64,
) -> Result<u64, Error> {
    let guard = Cursor { spool: MOVE, segment: progress::PASSED, position };
    let set = [Cursor { spool: MOVE, segment: progress::GIVEN, position: position * 10 }];
    mover.load(&Load { guard, owner: None, activities, infos, set: &set })
}

fn info(session: &str, user_agent: &str) -> StoredSession {
    StoredSession {
        session: session.into(),
        user_agent: user_agent.into(),
        visitor: "v".repeat(32),
        browser: None,
        os: None,
        device: None,
        bot: None,
        country: None,
        created_at: None,
    }
}

pub(super) fn moved_rows_are_as_they_were(database: &dyn Database) {
    // As 0.1.10 has left them.
    let bare = StoredActivity {
        user: None,
        session: None,
        ip_address: String::new(),
        received_at: None,
        event_id: None,
        name: String::new(),
        properties: None,
        ..old_row(900)
    };
    // More than a statement takes.
    let rows: Vec<_> = (1..=75).map(|id| old_row(id * 3)).chain([bare]).collect();
    let key = "s".repeat(32);
    let mut mover = database.mover();
    assert_eq!(load(&mut *mover, &rows, &[info(&key, "Firefox")], 900), Ok(76));
    let mut history = database.history();
    assert_eq!(history.count(), Ok(76));
    let moved = mover.moved(MOVE).unwrap();
    let found = history.after(i64::MIN, 1_000).unwrap();
    assert_eq!(found.len(), rows.len());
    let value = |text: &Option<String>| {
        text.as_deref().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap())
    };
    for (found, row) in found.iter().zip(&rows) {
        assert!(moved.has(found.id), "{}", found.id);
        assert_eq!(value(&found.properties), value(&row.properties));
        // ClickHouse has numbers of its own.
        let ids_are_kept = moved.has(row.id);
        let id = if ids_are_kept { row.id } else { found.id };
        let properties = found.properties.clone();
        assert_eq!(*found, StoredActivity { id, properties, ..row.clone() });
    }
    assert_eq!(history.infos(&["nobody", &key]), Ok(vec![info(&key, "Firefox")]));
    assert_eq!(history.infos(&[]), Ok(vec![]));
    // As many as a move asks for at once, with the longest keys.
    let many: Vec<String> = (0..2_000).map(|number| format!("{number:040}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many.push(&key);
    assert_eq!(history.infos(&many), Ok(vec![info(&key, "Firefox")]));
    assert_eq!(load(&mut *mover, &[], &[info("t", "Opera")], 901), Ok(0));
    assert_eq!(history.sessions(None, 10).unwrap().len(), 2);
}

pub(super) fn a_load_again_changes_nothing(database: &dyn Database) {
    let mut mover = database.mover();
    assert_eq!(load(&mut *mover, &[old_row(1), old_row(2)], &[], 2), Ok(2));
    assert_eq!(load(&mut *mover, &[old_row(1), old_row(2)], &[], 2), Ok(0), "the same");
    assert_eq!(load(&mut *database.mover(), &[old_row(2)], &[], 2), Ok(0), "after a restart");
    // What came twice, or after the switch.
    let again = StoredActivity { id: 3, event_id: old_row(1).event_id, ..old_row(3) };
    assert_eq!(load(&mut *mover, &[again, old_row(4)], &[], 4), Ok(1));
    let mut known = mover.positions(MOVE).unwrap();
    known.retain(|(segment, _)| [progress::PASSED, progress::GIVEN].contains(segment));
    known.sort();
    assert_eq!(known, [(progress::PASSED, 4), (progress::GIVEN, 40)]);
    let stored = mover.positions(MOVE).unwrap();
    let stored = stored.iter().find(|(segment, _)| *segment == progress::STORED);
    assert_eq!(stored, Some(&(progress::STORED, 3)));
    assert_eq!(paths(database), ["/old/1", "/old/2", "/old/4"]);
    let bad = StoredActivity { properties: Some("{".into()), ..old_row(5) };
    let result = load(&mut *mover, &[old_row(6), bad], &[], 6);
    assert!(matches!(result, Err(Error::Rejected(_))), "{result:?}");
    assert_eq!(paths(database).len(), 3);
    assert!(mover.spools().unwrap().unwrap().iter().all(|it| it.spool != MOVE));
}

pub(super) fn a_run_that_was_taken_over_writes_nothing(database: &dyn Database) {
    let (mut one, mut other) = (database.mover(), database.mover());
    let cursor = |segment, position| Cursor { spool: MOVE, segment, position };
    let run = |number| cursor(progress::RUN, number);
    let take_over = |mover: &mut dyn Mover, number| {
        let set = [cursor(progress::PASSED, 0), run(number)];
        let guard = cursor(progress::STEP, number);
        mover.load(&Load { guard, owner: None, activities: &[], infos: &[], set: &set }).unwrap();
    };
    let give = |mover: &mut dyn Mover, number, id: i64| {
        let guard = cursor(progress::PASSED, id.unsigned_abs());
        let (activities, owner) = ([old_row(id)], Some(run(number)));
        mover.load(&Load { guard, owner, activities: &activities, infos: &[], set: &[] })
    };
    take_over(&mut *one, 1);
    assert_eq!(give(&mut *one, 1, 1), Ok(1));
    take_over(&mut *other, 2);
    assert!(matches!(give(&mut *one, 1, 2), Err(Error::Schema(text)) if text.contains("another")));
    assert_eq!(give(&mut *other, 2, 2), Ok(1));
    assert!(give(&mut *one, 1, 3).is_err());
    assert_eq!(paths(database), ["/old/1", "/old/2"]);
    assert!(one.positions(MOVE).unwrap().contains(&(progress::PASSED, 2)));
}

pub(super) fn doors_keep_servers_waiting(database: &dyn Database) {
    let mut mover = database.mover();
    mover.set_door(Door::Open, MOVE).unwrap();
    // What an earlier move was remembered under.
    let other = Uuid::from_u128(7 << 100);
    if Door::of(&mover.positions(Door::ID).unwrap()).is_none() {
        // A ClickHouse has none: positions are in the site's database, before and after.
        return;
    }
    let mut store = database.store();
    assert_eq!(write(&mut *store, &[activity(1)], 10), Ok(1));
    mover.set_door(Door::Gone, MOVE).unwrap();
    let waits = |result: Result<u64, Error>| matches!(result, Err(Error::Unavailable(_)));
    assert!(waits(write(&mut *store, &[activity(2)], 20)));
    assert!(waits(write(&mut *database.store(), &[activity(2)], 20)), "a new connection");
    // Positions beside a ClickHouse go on.
    assert_eq!(write(&mut *store, &[], 15), Ok(0));
    assert_eq!(store.cursors(SPOOL), Ok(vec![(SEGMENT, 15)]));
    // Segments of spools have random ids.
    let cursor = Cursor { spool: SPOOL, segment: Uuid::from_u128(1 << 100), position: 7 };
    assert_eq!(store.write(&Batch { activities: &[], sessions: &[], cursor }), Ok(0));
    assert_eq!(mover.spools(), Ok(Some(vec![cursor])));
    let is_of = |mover: &mut dyn Mover, id| Door::is_of(&mover.positions(Door::ID).unwrap(), id);
    assert!(is_of(&mut *mover, MOVE) && !is_of(&mut *mover, other));
    mover.set_door(Door::Filling, other).unwrap();
    assert!(is_of(&mut *mover, other) && !is_of(&mut *mover, MOVE));
    assert!(waits(write(&mut *store, &[activity(2)], 20)));
    assert!(matches!(store.cursors(SPOOL), Err(Error::Unavailable(_))));
    assert_eq!(mover.positions(SPOOL).unwrap().len(), 2);
    mover.set_door(Door::Open, MOVE).unwrap();
    assert_eq!(write(&mut *store, &[activity(2)], 20), Ok(1));
    assert_eq!(paths(database), ["/path/1/", "/path/2/"]);
}

pub(super) fn numbers_below_the_boundary_belong_to_a_move(database: &dyn Database) {
    let mut mover = database.mover();
    mover.reserve(1_000).unwrap();
    mover.reserve(1_000).unwrap();
    let guard = Cursor { spool: MOVE, segment: progress::STEP, position: 1 };
    let boundary = Cursor { segment: progress::BOUNDARY, position: 1_000, ..guard };
    let set = &[boundary];
    mover.load(&Load { guard, owner: None, activities: &[], infos: &[], set }).unwrap();
    assert_eq!(load(&mut *mover, &[old_row(5)], &[], 5), Ok(1));
    let moved = mover.moved(MOVE).unwrap();
    if moved != Moved::below(1_000) {
        // In a ClickHouse each writer has numbers of its own, and freezes its own batches.
        assert!(database.history().after(i64::MIN, 10).unwrap().iter().all(|it| moved.has(it.id)));
        return;
    }
    assert_eq!(write(&mut *database.store(), &[activity(1), activity(2)], 20), Ok(2));
    assert_eq!(load(&mut *mover, &[old_row(6)], &[], 6), Ok(1));
    let rows = database.history().after(i64::MIN, 10).unwrap();
    let (old, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| moved.has(row.id));
    let paths =
        |rows: Vec<StoredActivity>| -> Vec<_> { rows.into_iter().map(|it| it.path).collect() };
    assert_eq!(paths(old), ["/old/5", "/old/6"]);
    assert_eq!(paths(new), ["/path/1/", "/path/2/"]);
}
