//! What a person can do wrong, or two at once, and what earlier moves have left behind.

use super::*;
use crate::store::Door;

fn text(result: Result<Outcome, Error>) -> String {
    match result {
        Err(Error::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

impl Rig {
    /// A move between these two files, under the id that stands for them.
    fn way(&self, from: &str, to: &str) -> Parties {
        let id = |one: &str, other: &str| {
            let number = |name: &str| u128::from(name.bytes().next().unwrap());
            Uuid::from_u128(number(one) << 100 | number(other) << 70)
        };
        let (id, back) = (id(from, to), id(to, from));
        Parties { from: self.side(from), to: self.side(to), id, back, folder: None }
    }

    fn go(&self, from: &str, to: &str, task: Task) -> Result<Outcome, Error> {
        let mut silent = Silent::default();
        run(&self.way(from, to), task, None, (&mut silent, &AtomicBool::new(false)))
    }

    fn door(&self, name: &str) -> Option<Door> {
        Door::of(&self.side(name).database.mover().positions(Door::ID).unwrap())
    }

    fn takes(&self, name: &str, number: u32, position: u64) -> bool {
        let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position };
        let batch = Batch { activities: &[activity(number)], sessions: &[], cursor };
        self.side(name).database.store().write(&batch).is_ok()
    }

    fn empty(&self, name: &str) {
        let sql = "DELETE FROM djaffar_activity; DELETE FROM djaffar_sessioninfo";
        self.sql(name).execute_batch(sql).unwrap();
    }
}

#[test]
fn onto_itself_by_another_name() {
    let rig = Rig::new();
    std::os::unix::fs::symlink(rig.dir.path().join("from"), rig.dir.path().join("alias")).unwrap();
    assert!(text(rig.go("from", "alias", FINISH)).contains("same database"));
    assert_eq!(rig.door("from"), Some(Door::Open));
    assert!(rig.takes("from", 1, 10));
}

#[test]
fn there_and_back_and_there_again() {
    let rig = Rig::new();
    rig.write("from", 0..20, 10);
    let rows = |outcome| match outcome {
        Ok(Outcome::Finished(report)) if report.is_clean() => report.total().rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(rows(rig.go("from", "to", FINISH)), 20);
    rig.write("to", 20..30, 20);
    for (round, (from, to)) in
        [("to", "from"), ("from", "to"), ("to", "from")].into_iter().enumerate()
    {
        let other = text(rig.go(from, to, FINISH));
        assert!(other.contains("empty"), "{other}");
        rig.empty(to);
        let want = 30 + round as u64;
        assert_eq!(rows(rig.go(from, to, FINISH)), want);
        assert_eq!(rig.dump(from), rig.dump(to));
        assert!(!rig.takes(from, 1_000, 1_000), "closed");
        assert!(rig.takes(to, 40 + round as u32, 30 + round as u64));
        // Once more is harmless.
        assert_eq!(rows(rig.go(from, to, Task::Copy)), want);
    }
}

#[test]
fn from_a_database_that_another_move_has() {
    let rig = Rig::new();
    rig.go("from", "one", Task::Copy).unwrap();
    rig.side("nine").database.migrate().unwrap();
    assert!(text(rig.go("one", "nine", Task::Copy)).contains("being filled"));
    assert!(text(rig.go("nine", "one", Task::Copy)).contains("being filled by another"));
    rig.write("from", 0..20, 10);
    rig.go("from", "one", Task::Copy).unwrap();
    rig.go("from", "two", Task::Copy).unwrap();
    rig.go("from", "two", FINISH).unwrap();
    // It is over for the other; what is said does not depend on how far that one was.
    for task in [Task::Copy, FINISH, CANCEL, Task::Cancel { without_to: true }] {
        let said = text(rig.go("from", "one", task));
        assert!(said.contains("closed by a move to another"), "{said}");
    }
    assert!(text(rig.go("from", "nine", Task::Copy)).contains("closed by a move to another"));
    assert!(!rig.takes("from", 100, 100));
}

#[test]
fn cancelled_by_mistake_or_without_to() {
    let rig = Rig::new();
    rig.write("from", 0..20, 10);
    rig.side("to").database.migrate().unwrap();
    assert!(text(rig.go("from", "to", CANCEL)).contains("no move between"));
    rig.go("from", "to", Task::Copy).unwrap();
    rig.sql("to").execute_batch("DELETE FROM djaffar_activity WHERE id = 8").unwrap();
    let mut silent = Silent::default();
    let parties = rig.way("from", "to");
    let stop = AtomicBool::new(false);
    assert!(run(&parties, FINISH, None, (&mut silent, &stop)).is_err());
    assert!(silent.0.iter().any(|said| said.contains("their spools fill")), "{:?}", silent.0);
    // Where a copy ends, FROM is closed as before, and that is said.
    let copied = rig.go("from", "to", Task::Copy);
    assert!(matches!(copied, Ok(Outcome::CaughtUp { is_closed: true, .. })), "{copied:?}");
    std::fs::remove_file(rig.dir.path().join("to")).unwrap();
    std::fs::create_dir(rig.dir.path().join("to")).unwrap();
    assert!(!rig.takes("from", 100, 100));
    let done = rig.go("from", "to", Task::Cancel { without_to: true });
    assert!(matches!(done, Ok(Outcome::Cancelled)), "{done:?}");
    assert!(rig.takes("from", 100, 100));
}

/// Starts another run as soon as the first has said something, or passed something.
struct Second<'a>(&'a Rig, Option<Task>, Vec<Result<Outcome, Error>>);

impl Watcher for Second<'_> {
    fn progress(&mut self, _: Stage, _: u64, _: u64) {
        if let Some(task) = self.1.take() {
            self.2.push(self.0.go("from", "to", task));
        }
    }
    fn say(&mut self, _: &str) {}
}

#[test]
fn two_at_once() {
    for (task, second) in [(FINISH, Task::Copy), (FINISH, FINISH), (Task::Copy, FINISH)] {
        let rig = Rig::new();
        rig.write("from", 0..5_000, 10);
        let mut watcher = Second(&rig, Some(second), Vec::new());
        let stop = AtomicBool::new(false);
        let parties = rig.way("from", "to");
        let first = run(&parties, task, Some(1_000), (&mut watcher, &stop));
        let taken = |result: &Result<Outcome, Error>| match result {
            Err(Error::Store(store::Error::Schema(text))) => {
                text.contains("another `djaffar move`")
            }
            _ => false,
        };
        assert!(taken(&first), "{first:?}");
        assert!(watcher.2[0].is_ok(), "{:?}", watcher.2);
        assert!(rig.finish_way().is_clean());
        assert_eq!(rig.dump("from"), rig.dump("to"));
    }
}

#[test]
fn cancelled_while_another_run_is_to_finish() {
    let rig = Rig::new();
    rig.write("from", 0..5_000, 10);
    rig.go("from", "to", Task::Copy).unwrap();
    let mut watcher = Second(&rig, Some(CANCEL), Vec::new());
    let stop = AtomicBool::new(false);
    let first = run(&rig.way("from", "to"), FINISH, None, (&mut watcher, &stop));
    assert!(first.is_err(), "{first:?}");
    assert!(watcher.2[0].is_ok());
    // One of the two is open, never both.
    assert!(rig.takes("from", 6_000, 20));
    assert_eq!(rig.door("to"), Some(Door::Filling));
}

impl Rig {
    fn finish_way(&self) -> Report {
        match self.go("from", "to", FINISH) {
            Ok(Outcome::Finished(report)) => report,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn deleted_in_from_and_committed_late() {
    let rig = Rig::new();
    rig.write("from", 0..100, 10);
    let sql = rig.sql("from");
    sql.execute_batch(
        "CREATE TABLE late AS SELECT * FROM djaffar_activity WHERE id IN (40, 41); \
         DELETE FROM djaffar_activity WHERE id IN (40, 41);",
    )
    .unwrap();
    rig.go("from", "to", Task::Copy).unwrap();
    // What is committed late is taken, also where other rows were deleted or changed meanwhile.
    sql.execute_batch(
        "INSERT INTO djaffar_activity SELECT * FROM late; \
         DELETE FROM djaffar_activity WHERE id IN (7, 8, 9); \
         UPDATE djaffar_activity SET path = '/changed' WHERE id = 11",
    )
    .unwrap();
    assert!(matches!(rig.go("from", "to", FINISH), Err(Error::Differs(..))));
    let done = rig.go("from", "to", Task::Finish { accept_differences: true });
    assert!(matches!(done, Ok(Outcome::Finished(report)) if !report.is_clean()));
    let ids: Vec<i64> = rig.dump("to").iter().map(|row| row.id).collect();
    assert_eq!(ids, (1..=100).collect::<Vec<_>>());
}

#[test]
fn many_rows_that_were_committed_late() {
    let rig = Rig::new();
    rig.write("from", 0..20_000, 10);
    let sql = rig.sql("from");
    // As an import that was one transaction.
    sql.execute_batch(
        "CREATE TABLE late AS SELECT * FROM djaffar_activity WHERE id BETWEEN 100 AND 12000; \
         DELETE FROM djaffar_activity WHERE id BETWEEN 100 AND 12000;",
    )
    .unwrap();
    rig.go("from", "to", Task::Copy).unwrap();
    sql.execute_batch("INSERT INTO djaffar_activity SELECT * FROM late").unwrap();
    assert_eq!(rig.finish_way().total().rows, 20_000);
    assert_eq!(rig.dump("from"), rig.dump("to"));
}

#[test]
fn pages_are_bounded_by_what_rows_weigh() {
    let rig = Rig::new();
    let heavy = |number| crate::activity::Activity {
        properties: Some(format!(r#"{{"text":"{}"}}"#, "x".repeat(8_000))),
        ..activity(number)
    };
    let activities: Vec<_> = (0..5_000).map(heavy).collect();
    let cursor = Cursor { spool: SPOOL, segment: SEGMENT, position: 10 };
    let batch = Batch { activities: &activities, sessions: &[], cursor };
    rig.side("from").database.store().write(&batch).unwrap();
    let (parties, stop) = (rig.way("from", "to"), AtomicBool::new(false));
    let mut silent = Silent::default();
    let mut it = Move::new(&parties, &mut silent, &stop);
    // As to a ClickHouse, whose batches are the largest.
    let (mut after, mut sizes) = (0, Vec::new());
    loop {
        let page = it.page(read::Which::From, after, copy::LARGE).unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        let bytes: usize = page.iter().map(|row| row.properties.as_ref().unwrap().len()).sum();
        assert!(bytes < 18 << 20, "{} rows of {bytes} bytes", page.len());
        sizes.push(page.len());
    }
    assert_eq!(sizes, [2_048, 2_048, 904]);
    drop(it);
    // And all of it goes over.
    assert_eq!(rig.finish_way().total().rows, 5_000);
    assert_eq!(rig.dump("from"), rig.dump("to"));
}
