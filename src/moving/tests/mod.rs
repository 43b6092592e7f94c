//! Moves between SQLite files, step by step; other databases and kills are tried from outside.

mod wrong;

use std::cell::RefCell;
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::store::conformance::activity;
use crate::store::{Batch, Settings, open};

/// Two files in a folder.
struct Rig {
    dir: TempDir,
}

#[derive(Default)]
struct Silent(Vec<String>);

impl Watcher for Silent {
    fn progress(&mut self, _: Stage, _: u64, _: u64) {}

    fn say(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

impl Rig {
    fn new() -> Rig {
        let rig = Rig { dir: tempfile::tempdir().unwrap() };
        rig.side("from").database.migrate().unwrap();
        rig
    }

    fn side(&self, name: &str) -> Side {
        let path = self.dir.path().join(name);
        let url = format!("sqlite:///{}", path.display());
        let database = open(&url, Settings::default()).unwrap();
        Side { name: name.to_owned(), database, is_clickhouse: false }
    }

    fn parties(&self) -> Parties {
        let (from, to) = (self.side("from"), self.side("to"));
        Parties { from, to, id: ID, back: BACK, folder: None }
    }

    fn sql(&self, name: &str) -> Connection {
        Connection::open(self.dir.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, numbers: std::ops::Range<u32>, position: u64) {
        let event = |number| Some(Uuid::from_u128(0x4000 << 64 | u128::from(number)));
        let one = |number| crate::activity::Activity {
            event_id: if number % 3 == 0 { event(number) } else { None },
            ..activity(number)
        };
        let activities: Vec<_> = numbers.map(one).collect();
        let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position };
        let batch = Batch { activities: &activities, sessions: &[], cursor };
        self.side(name).database.store().write(&batch).unwrap();
    }

    fn run(&self, task: Task) -> Result<Outcome, Error> {
        run(&self.parties(), task, None, (&mut Silent::default(), &AtomicBool::new(false)))
    }

    fn finish(&self) -> Report {
        match self.run(FINISH) {
            Ok(Outcome::Finished(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    fn dump(&self, name: &str) -> Vec<store::StoredActivity> {
        self.side(name).database.history().after(i64::MIN, 100_000).unwrap()
    }
}

const SPOOL: Uuid = Uuid::from_u128(1 << 100);
const SEGMENT: Uuid = Uuid::from_u128(1 << 101);
const ID: Uuid = Uuid::from_u128(1 << 90);
const BACK: Uuid = Uuid::from_u128(2 << 90);
const CANCEL: Task = Task::Cancel { without_to: false };
const FINISH: Task = Task::Finish { accept_differences: false };

#[test]
fn copied_while_it_grows_and_switched() {
    let rig = Rig::new();
    rig.write("from", 0..20_000, 10);
    assert!(matches!(
        rig.run(Task::Copy),
        Ok(Outcome::CaughtUp { rows: 20_000, is_closed: false })
    ));
    rig.write("from", 20_000..20_010, 20);
    let report = rig.finish();
    assert!(report.is_clean());
    assert_eq!((report.total().rows, report.left_out), (20_010, 0));
    assert_eq!(rig.dump("from"), rig.dump("to"));
    // The spool goes on where it was, and in TO only.
    assert_eq!(rig.side("to").database.store().cursors(SPOOL), Ok(vec![(SEGMENT, 20)]));
    let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position: 30 };
    let batch = Batch { activities: &[activity(7)], sessions: &[], cursor };
    assert!(rig.side("from").database.store().write(&batch).is_err());
    assert_eq!(rig.side("to").database.store().write(&batch), Ok(1));
    // And again: nothing happens to what TO got itself.
    assert_eq!(rig.finish().total().rows, 20_010);
    assert_eq!(rig.dump("to").len(), 20_011);
    assert!(matches!(rig.run(CANCEL), Err(Error::Refused(_))));
}

#[test]
fn a_row_that_was_committed_late() {
    let rig = Rig::new();
    rig.write("from", 0..100, 10);
    // As PostgreSQL might: a number is given, and seen only after later ones.
    let sql = rig.sql("from");
    sql.execute_batch(
        "CREATE TABLE late AS SELECT * FROM djaffar_activity WHERE id IN (40, 41); \
         DELETE FROM djaffar_activity WHERE id IN (40, 41);",
    )
    .unwrap();
    assert!(matches!(rig.run(Task::Copy), Ok(Outcome::CaughtUp { rows: 98, .. })));
    sql.execute_batch("INSERT INTO djaffar_activity SELECT * FROM late").unwrap();
    let report = rig.finish();
    assert_eq!((report.is_clean(), report.total().rows), (true, 100));
    assert_eq!(rig.dump("from"), rig.dump("to"));
    assert_eq!(rig.finish().total().rows, 100);
}

#[test]
fn what_differs_is_not_opened() {
    let rig = Rig::new();
    rig.write("from", 0..100, 10);
    rig.run(Task::Copy).unwrap();
    for (sql, same) in [
        ("UPDATE djaffar_activity SET path = '/other' WHERE id = 7", false),
        ("UPDATE djaffar_activity SET path = '/path/6/' WHERE id = 7", true),
        ("DELETE FROM djaffar_activity WHERE id = 8", false),
    ] {
        rig.sql("to").execute_batch(sql).unwrap();
        match rig.run(FINISH) {
            Err(Error::Differs(_, report)) if !same => {
                assert!(report.to_text().contains("TO HAS"), "{}", report.to_text());
                assert!(rig.side("to").database.store().cursors(SPOOL).is_err(), "it is open");
            }
            Ok(Outcome::Finished(_)) if same => break,
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_row_that_is_missing_in_to_is_not_doubled_elsewhere() {
    let rig = Rig::new();
    rig.write("from", 0..100, 10);
    rig.run(Task::Copy).unwrap();
    // As a replica that is behind: TO shows less than it has stored.
    let to = rig.sql("to");
    to.execute_batch(
        "CREATE TABLE hidden AS SELECT * FROM djaffar_activity WHERE id = 8; \
         DELETE FROM djaffar_activity WHERE id = 8;",
    )
    .unwrap();
    assert!(matches!(rig.run(FINISH), Err(Error::Differs(..))));
    to.execute_batch("INSERT INTO djaffar_activity SELECT * FROM hidden").unwrap();
    assert_eq!(rig.finish().total().rows, 100);
    assert_eq!(rig.dump("to").len(), 100);
    // Told to, it opens all the same.
    let rig = Rig::new();
    rig.write("from", 0..10, 10);
    rig.run(Task::Copy).unwrap();
    rig.sql("to").execute_batch("DELETE FROM djaffar_activity WHERE id = 8").unwrap();
    let accepted = rig.run(Task::Finish { accept_differences: true });
    assert!(matches!(accepted, Ok(Outcome::Finished(report)) if !report.is_clean()));
    assert!(rig.side("to").database.store().cursors(SPOOL).is_ok());
}

#[test]
fn what_came_late_into_from_is_taken_afterwards() {
    let rig = Rig::new();
    rig.write("from", 0..10, 10);
    rig.finish();
    rig.write("to", 100..103, 20);
    // By the view inside Django, which knows no doors; one of them was sent again to TO.
    let sql = "INSERT INTO djaffar_activity (session_id, ip_address, date, path, referer, name, \
               event_id) VALUES (NULL, '::1', '2026-01-01 00:00:00', ?1, '', '', ?2)";
    let from = rig.sql("from");
    from.execute(sql, rusqlite::params!["/late", None::<String>]).unwrap();
    let again = Uuid::from_u128(0x4000 << 64 | 102).simple().to_string();
    from.execute(sql, rusqlite::params!["/again", again]).unwrap();
    for _ in 0..2 {
        let Ok(Outcome::Finished(report)) = rig.run(Task::Copy) else { panic!() };
        assert_eq!((report.is_clean(), report.left_out), (true, 1), "{}", report.to_text());
        assert_eq!(report.total().rows, 11);
    }
    let paths: Vec<String> = rig.dump("to").into_iter().map(|row| row.path).collect();
    assert_eq!(paths.len(), 14);
    assert_eq!(paths.iter().filter(|path| *path == "/late").count(), 1);
    assert!(!paths.contains(&"/again".to_owned()));
}

#[test]
fn sessions_without_activities_and_what_is_known_of_them() {
    let rig = Rig::new();
    rig.write("from", 0..10, 10);
    let sql = "INSERT INTO djaffar_sessioninfo VALUES ('lonely', 'Opera', 'v', 'Opera', 'BeOS', \
               'desktop', 0, 'FR', NULL)";
    rig.sql("from").execute_batch(sql).unwrap();
    rig.run(Task::Copy).unwrap();
    rig.sql("from").execute_batch("UPDATE djaffar_sessioninfo SET browser = 'New'").unwrap();
    let report = rig.finish();
    assert!(report.is_clean());
    assert_eq!(report.sessions.from.rows, 2);
    let infos = |name| rig.side(name).database.history().sessions(None, 10).unwrap();
    assert_eq!(infos("from"), infos("to"));
}

#[test]
fn tables_of_0_1_10() {
    let dir = tempfile::tempdir().unwrap();
    let old = Connection::open(dir.path().join("from")).unwrap();
    old.execute_batch(
        "CREATE TABLE djaffar_sessioninfo (session_id varchar(40) NOT NULL PRIMARY KEY, \
         user_agent varchar(1000) NOT NULL); \
         CREATE TABLE djaffar_activity (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, \
         ip_address varchar(45) NOT NULL, date datetime NOT NULL, path varchar(1000) NOT NULL, \
         referer varchar(160) NOT NULL, session_id varchar(40) NULL, user_id integer NULL); \
         INSERT INTO djaffar_sessioninfo VALUES ('abc', 'Firefox'); \
         INSERT INTO djaffar_activity VALUES (3, '', '2016-12-29 07:35:22.571', '/', '', 'abc', 7); \
         INSERT INTO djaffar_activity VALUES (9, '::1', '2016-12-29 07:35:22', '/', '/', NULL, NULL);",
    )
    .unwrap();
    let rig = Rig { dir };
    rig.run(Task::Copy).unwrap();
    old.execute_batch(
        "INSERT INTO djaffar_activity VALUES (10, '', '2016-12-30 07:35:22', '/late', '', 'abc', 7)",
    )
    .unwrap();
    assert_eq!(rig.finish().total().rows, 3);
    let rows = rig.dump("to");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [3, 9, 10]);
    assert!(rows.iter().all(|row| row.received_at.is_none() && row.name.is_empty()));
    let infos = rig.side("to").database.history().sessions(None, 10).unwrap();
    assert_eq!((infos.len(), infos[0].visitor.as_str()), (1, "abc"));
    old.execute_batch("DELETE FROM djaffar_sessioninfo").unwrap();
    assert!(rig.run(Task::Copy).is_ok());
}

#[test]
fn refused() {
    let rig = Rig::new();
    rig.write("from", 0..3, 10);
    rig.side("to").database.migrate().unwrap();
    rig.write("to", 0..1, 10);
    assert!(matches!(rig.run(Task::Copy), Err(Error::Refused(text)) if text.contains("empty")));
    let rig = Rig::new();
    rig.write("from", 0..3, 10);
    rig.run(Task::Copy).unwrap();
    let parties = Parties { folder: Some(7), ..rig.parties() };
    let result = run(&parties, FINISH, None, (&mut Silent::default(), &AtomicBool::new(false)));
    assert!(matches!(result, Err(Error::Refused(text)) if text.contains("--folder")));
    let stopped =
        run(&rig.parties(), FINISH, None, (&mut Silent::default(), &AtomicBool::new(true)));
    assert!(matches!(stopped, Err(Error::Stopped)));
    // A row that TO cannot hold stops it, with its id.
    rig.sql("from").execute_batch(REFUSED).unwrap();
    assert!(matches!(rig.run(Task::Copy), Err(Error::Refused(text)) if text.contains(" 4")));
    rig.sql("from").execute_batch("DELETE FROM djaffar_activity WHERE id = 4").unwrap();
    assert_eq!(rig.finish().total().rows, 5);
}

const REFUSED: &str = "PRAGMA ignore_check_constraints = 1; \
    INSERT INTO djaffar_activity (id, ip_address, date, path, referer, name, properties) VALUES \
    (4, '', '2026-01-01 00:00:00', '/', '', '', '{'), \
    (5, '', '2026-01-01 00:00:00', '/', '', '', '{}'), \
    (6, '', '2026-01-01 00:00:00', '/', '', '', NULL)";

#[test]
fn cancelled_before_the_switch() {
    let rig = Rig::new();
    rig.write("from", 0..10, 10);
    rig.run(Task::Copy).unwrap();
    rig.sql("to").execute_batch("DELETE FROM djaffar_activity WHERE id = 8").unwrap();
    assert!(rig.run(FINISH).is_err());
    let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position: 20 };
    let batch = Batch { activities: &[activity(7)], sessions: &[], cursor };
    assert!(rig.side("from").database.store().write(&batch).is_err());
    assert!(matches!(rig.run(CANCEL), Ok(Outcome::Cancelled)));
    assert_eq!(rig.side("from").database.store().write(&batch), Ok(1));
}

#[test]
fn a_database_that_is_locked_is_waited_for() {
    let rig = Rig::new();
    rig.write("from", 0..10, 10);
    rig.run(Task::Copy).unwrap();
    rig.write("from", 10..20, 20);
    let (locked, told) = (RefCell::new(None), RefCell::new(0));
    struct Unlocks<'a>(&'a RefCell<Option<Connection>>, &'a RefCell<u32>);
    impl Watcher for Unlocks<'_> {
        fn progress(&mut self, _: Stage, _: u64, _: u64) {}
        fn say(&mut self, text: &str) {
            if text.starts_with("waiting: ") {
                *self.1.borrow_mut() += 1;
                drop(self.0.borrow_mut().take());
            }
        }
    }
    let lock = rig.sql("to");
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    *locked.borrow_mut() = Some(lock);
    let mut watcher = Unlocks(&locked, &told);
    let done = run(&rig.parties(), Task::Copy, None, (&mut watcher, &AtomicBool::new(false)));
    assert!(matches!(done, Ok(Outcome::CaughtUp { rows: 20, .. })), "{done:?}");
    assert!(*told.borrow() > 0);
    assert!(Path::new(&rig.dir.path().join("to")).exists());
}
