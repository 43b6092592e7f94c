//! What every store must do. A store's own tests call [`all`] with a way to make an empty,
//! migrated database.

mod moving;

use std::net::IpAddr;

use uuid::Uuid;

use super::*;
use crate::activity::{Session, SessionState};

const NOW: Micros = 1_482_996_922_571_006; // 2016-12-29T07:35:22.571006Z
const SPOOL: Uuid = Uuid::from_u128(1);
const SEGMENT: Uuid = Uuid::from_u128(2);

/// All of it, each on a database of its own.
pub(crate) fn all(make: impl Fn() -> Box<dyn Database>) {
    for test in [
        rows_are_what_was_given,
        a_batch_again_changes_nothing,
        an_event_id_is_stored_once,
        sessions_are_written_once,
        a_rejected_row_leaves_nothing,
        many_rows_are_like_few,
        cursors_are_kept_apart,
        history_in_pages,
        who_is_who,
        migrating_again_is_harmless,
        moving::moved_rows_are_as_they_were,
        moving::a_load_again_changes_nothing,
        moving::a_run_that_was_taken_over_writes_nothing,
        moving::doors_keep_servers_waiting,
        moving::numbers_below_the_boundary_belong_to_a_move,
    ] {
        test(&*make());
    }
}

/// An activity that differs by its number.
pub(crate) fn activity(number: u32) -> Activity {
    Activity {
        received_at: NOW + i64::from(number),
        date: NOW - 1_000_000 + i64::from(number),
        address: IpAddr::from([192, 0, 2, 7]),
        session: Some(Session { key: "a".repeat(32), visitor: None, state: SessionState::Known }),
        user: Some("7".into()),
        path: format!("/path/{number}/"),
        referer: "/from/".into(),
        user_agent: "Firefox".into(),
        event_id: None,
        name: String::new(),
        properties: None,
    }
}

fn write(store: &mut dyn Store, activities: &[Activity], position: u64) -> Result<u64, Error> {
    let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position };
    store.write(&Batch { activities, sessions: &[], cursor })
}

fn paths(database: &dyn Database) -> Vec<String> {
    let rows = database.history().after(i64::MIN, 1_000).unwrap();
    rows.into_iter().map(|row| row.path).collect()
}

fn rows_are_what_was_given(database: &dyn Database) {
    let event_id = Uuid::from_u128(0x0123_4567_89ab_cdef);
    let full = Activity {
        path: "/é/\u{1F600}/'\"\\;--/%00".into(),
        address: "2001:db8::1".parse().unwrap(),
        event_id: Some(event_id),
        name: "buy".into(),
        properties: Some(r#"{"n":1,"näme":"\u0001é"}"#.into()),
        ..activity(1)
    };
    let bare = Activity {
        session: None,
        user: None,
        path: "x".repeat(2_000),
        referer: String::new(),
        date: -62_135_596_800_000_000, // 0001-01-01T00:00:00Z
        ..activity(2)
    };
    // 9999-12-31T23:59:59.999999Z
    let late = Activity { date: 253_402_300_799_999_999, ..activity(3) };
    // In the order of their dates, as a store may bring a batch into when they are far apart.
    let given = [bare, full, late];
    assert_eq!(write(&mut *database.store(), &given, 10), Ok(3));
    let rows = database.history().after(i64::MIN, 10).unwrap();
    assert_eq!(rows.len(), 3);
    for (row, given) in rows.iter().zip(&given) {
        assert_eq!(row.user.is_some(), given.user.is_some());
        assert!(row.user.is_none() || row.user == Some(Key::Integer(7)));
        assert_eq!(row.session, given.session.as_ref().map(|session| session.key.clone()));
        assert_eq!(row.ip_address, given.address.to_string());
        assert_eq!(database.moments().instant_of_date(row.date), Some(given.date));
        assert_eq!(row.path, given.path);
        assert_eq!(row.referer, given.referer);
        let received_at = row.received_at.and_then(|at| database.moments().instant(at));
        assert_eq!(received_at, Some(given.received_at));
        assert_eq!(row.event_id, given.event_id);
        assert_eq!(row.name, given.name);
        // Some keep JSON in a form of their own.
        let value = |text: &Option<String>| {
            text.as_deref().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap())
        };
        assert_eq!(value(&row.properties), value(&given.properties));
    }
}

/// What a server does in its life, once: for tests of rights.
pub(crate) fn a_server_s_life(database: &dyn Database) {
    let mut store = database.store();
    let event =
        |number| Activity { event_id: Some(Uuid::from_u128(0x4000 << 64 | 5)), ..activity(number) };
    let data = "data".to_owned();
    let session = NewSession { key: "a".repeat(32), data, expires: NOW };
    let cursor = |position| Cursor { spool: SPOOL, segment: SEGMENT, position };
    let sessions = [session];
    for (number, stored) in [(1, 1), (2, 0)] {
        let activities = [event(number)];
        let batch =
            Batch { activities: &activities, sessions: &sessions, cursor: cursor(number.into()) };
        assert_eq!(store.write(&batch), Ok(stored));
    }
    let many: Vec<_> = (10..200).map(activity).collect();
    assert_eq!(write(&mut *store, &many, 10), Ok(190));
    let mut directory = database.directory();
    assert!(directory.session(&"a".repeat(32)).unwrap().is_some());
    assert_eq!(directory.user("7"), Ok(None));
    assert_eq!(directory.tokens(TokenKey::Drf("x")), Ok(vec![]));
    assert_eq!(database.history().count(), Ok(191));
    assert_eq!(store.forget(SPOOL, &[SEGMENT]), Ok(()));
    assert_eq!(store.cursors(SPOOL), Ok(vec![]));
}

fn a_batch_again_changes_nothing(database: &dyn Database) {
    let mut store = database.store();
    assert_eq!(write(&mut *store, &[activity(1), activity(2)], 20), Ok(2));
    assert_eq!(write(&mut *store, &[activity(1), activity(2)], 20), Ok(0), "the same");
    assert_eq!(write(&mut *store, &[activity(1)], 10), Ok(0), "the start of it");
    assert_eq!(write(&mut *database.store(), &[activity(1)], 20), Ok(0), "after a restart");
    assert_eq!(write(&mut *store, &[activity(3)], 30), Ok(1), "what follows");
    assert_eq!(write(&mut *store, &[], 40), Ok(0), "a position alone");
    assert_eq!(store.cursors(SPOOL), Ok(vec![(SEGMENT, 40)]));
    assert_eq!(paths(database), ["/path/1/", "/path/2/", "/path/3/"]);
}

fn an_event_id_is_stored_once(database: &dyn Database) {
    let event = |number, id| Activity { event_id: Some(Uuid::from_u128(id)), ..activity(number) };
    let mut store = database.store();
    assert_eq!(write(&mut *store, &[event(1, 5), event(2, 5), event(3, 6)], 1), Ok(2));
    assert_eq!(write(&mut *store, &[event(4, 6), event(5, 7), activity(6)], 2), Ok(2));
    assert_eq!(write(&mut *store, &[event(7, 7)], 3), Ok(0));
    assert_eq!(paths(database), ["/path/1/", "/path/3/", "/path/5/", "/path/6/"]);
}

fn sessions_are_written_once(database: &dyn Database) {
    let mut store = database.store();
    let new = |data: &str| NewSession { key: "a".repeat(32), data: data.into(), expires: NOW };
    let mut write = |activity, data, position| {
        let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position };
        store.write(&Batch {
            activities: &[activity],
            sessions: &[new(data), new("twice")],
            cursor,
        })
    };
    assert_eq!(write(activity(1), "first", 1), Ok(1));
    let mut other = Activity { user_agent: "Chrome".into(), ..activity(2) };
    if let Some(session) = &mut other.session {
        session.visitor = Some("b".repeat(32));
    }
    assert_eq!(write(other, "second", 2), Ok(1));
    let row = database.directory().session(&"a".repeat(32)).unwrap();
    assert_eq!(row, Some(SessionRow { data: "first".into(), expires: NOW }));
    let infos = database.history().sessions(None, 10).unwrap();
    assert_eq!(infos.len(), 1);
    assert_eq!((infos[0].user_agent.as_str(), &infos[0].visitor), ("Firefox", &"a".repeat(32)));
    let created_at = infos[0].created_at.and_then(|at| database.moments().instant(at));
    assert_eq!(created_at, Some(NOW + 1));
}

fn a_rejected_row_leaves_nothing(database: &dyn Database) {
    let mut store = database.store();
    let key = "c".repeat(32);
    let session = Some(Session { key, visitor: None, state: SessionState::Known });
    for bad in [
        Activity { properties: Some("{".into()), ..activity(9) },
        Activity { date: Micros::MIN, ..activity(9) },
        Activity { date: 253_402_300_800_000_000, ..activity(9) }, // year 10000
        Activity { received_at: Micros::MAX, ..activity(9) },
    ] {
        let good = Activity { session: session.clone(), ..activity(1) };
        let result = write(&mut *store, &[good.clone(), bad], 10);
        assert!(matches!(result, Err(Error::Rejected(_))), "{result:?}");
        assert_eq!(store.cursors(SPOOL), Ok(vec![]));
        assert!(paths(database).is_empty());
        assert!(database.history().sessions(None, 10).unwrap().is_empty());
    }
    let good = Activity { session, ..activity(1) };
    assert_eq!(write(&mut *store, &[good], 10), Ok(1));
    assert_eq!(database.history().sessions(None, 10).unwrap().len(), 1, "not taken for written");
}

fn many_rows_are_like_few(database: &dyn Database) {
    let mut store = database.store();
    // 70 of 99 ids, some of them twice.
    let id = |number: u32| Some(Uuid::from_u128(u128::from(number % 70)));
    let mut activities: Vec<_> =
        (0..99).map(|number| Activity { event_id: id(number), ..activity(number) }).collect();
    let good = activities[60].properties.replace("[1,".into());
    assert!(matches!(write(&mut *store, &activities, 1), Err(Error::Rejected(_))));
    assert!(paths(database).is_empty());
    activities[60].properties = good;
    assert_eq!(write(&mut *store, &activities, 1), Ok(70));
    let first: Vec<_> = (0..70).map(|number| format!("/path/{number}/")).collect();
    assert_eq!(paths(database), first);
    assert_eq!(write(&mut *store, &activities, 2), Ok(0));
}

fn cursors_are_kept_apart(database: &dyn Database) {
    let mut store = database.store();
    let spools = [Uuid::from_u128(10), Uuid::from_u128(11)];
    let segments = [Uuid::from_u128(20), Uuid::from_u128(21)];
    for spool in spools {
        for (segment, position) in segments.into_iter().zip([1, u64::from(u32::MAX) + 1]) {
            let cursor = Cursor { spool, segment, position };
            let batch = Batch { activities: &[activity(1)], sessions: &[], cursor };
            assert_eq!(store.write(&batch), Ok(1));
        }
    }
    store.forget(spools[0], &segments[..1]).unwrap();
    store.forget(spools[0], &[Uuid::nil()]).unwrap();
    assert_eq!(store.cursors(spools[0]), Ok(vec![(segments[1], u64::from(u32::MAX) + 1)]));
    assert_eq!(store.cursors(spools[1]).unwrap().len(), 2);
    assert_eq!(store.cursors(SPOOL), Ok(vec![]));
}

fn history_in_pages(database: &dyn Database) {
    let other = |number| {
        let key = format!("{number:032}");
        Activity {
            session: Some(Session { key, visitor: None, state: SessionState::Known }),
            ..activity(number)
        }
    };
    let activities: Vec<_> = (0..10).map(other).chain([activity(10), activity(11)]).collect();
    write(&mut *database.store(), &activities, 1).unwrap();
    let mut history = database.history();
    let paths =
        |rows: Vec<StoredActivity>| rows.into_iter().map(|row| row.path).collect::<Vec<_>>();
    assert_eq!(paths(history.last(2).unwrap()), ["/path/10/", "/path/11/"]);
    assert_eq!(paths(history.recent(&"a".repeat(32), 1).unwrap()), ["/path/11/"]);
    let mut seen = Vec::new();
    while let Ok(page) = history.after(seen.last().map_or(i64::MIN, |&id| id), 5) {
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(seen.len(), 12);
    let first = history.sessions(None, 4).unwrap();
    let rest = history.sessions(first.last().map(|row| row.session.as_str()), 100).unwrap();
    assert_eq!(first.len() + rest.len(), 11);
    assert!(first.iter().chain(&rest).map(|row| &row.session).is_sorted());
}

fn who_is_who(database: &dyn Database) {
    let user = |username| Superuser { username, email: "", password: "pbkdf2$x", now: NOW };
    assert_eq!(database.create_superuser(&user("ada")), Ok(()));
    assert!(matches!(database.create_superuser(&user("ada")), Err(Error::Rejected(_))));
    let mut directory = database.directory();
    let row = UserRow { id: "1".into(), password: "pbkdf2$x".into(), is_active: true };
    for (id, want) in [("1", Some(row)), ("2", None), ("x", None), ("", None)] {
        assert_eq!(directory.user(id), Ok(want), "{id}");
    }
    for key in [
        TokenKey::Drf("0"),
        TokenKey::Knox(["0", "0"]),
        TokenKey::Oauth { token: "0", checksum: "0" },
    ] {
        assert_eq!(directory.tokens(key), Ok(Vec::new()), "without a table of tokens");
    }
    assert_eq!(directory.session("a"), Ok(None));
    assert_eq!(database.legacy_sessions(), Ok(false));
}

fn migrating_again_is_harmless(database: &dyn Database) {
    write(&mut *database.store(), &[activity(1)], 1).unwrap();
    assert_eq!(database.migrate(), Ok(()));
    assert_eq!(database.check(), Ok(()));
    assert_eq!(database.owner(), Ok(Owner::Djaffar));
    assert_eq!(paths(database).len(), 1);
}

/// What only databases do that several servers write to: four of them store the same sessions and
/// events at the same time, in opposite orders, again and again. 3,050 rows are to come of it, and
/// cursors that make 80.
pub(crate) fn several_writers_of_the_same_events(database: &dyn Database) {
    std::thread::scope(|scope| {
        for writer in 0..4_u32 {
            scope.spawn(move || {
                let mut store = database.store();
                for round in 0..20 {
                    let mut activities: Vec<_> = (0..200).map(|it| event(round, it)).collect();
                    if writer % 2 == 1 {
                        activities.reverse();
                    }
                    let cursor = Cursor {
                        spool: Uuid::from_u128(u128::from(writer)),
                        segment: Uuid::nil(),
                        position: u64::from(round) + 1,
                    };
                    let batch = Batch { activities: &activities, sessions: &[], cursor };
                    let mut result = store.write(&batch);
                    // What the drain does.
                    while let Err(Error::Unavailable(text)) = &result {
                        println!("{text}");
                        result = store.write(&batch);
                    }
                    result.unwrap();
                }
            });
        }
    });
}

/// Of a round's 200 events the last 50 are the first of the next one.
fn event(round: u32, number: u32) -> Activity {
    let mut activity = activity(round * 150 + number);
    activity.event_id = Some(Uuid::from_u128(u128::from(round * 150 + number)));
    if let Some(session) = &mut activity.session {
        session.key = format!("{:032}", number % 50);
    }
    activity
}
