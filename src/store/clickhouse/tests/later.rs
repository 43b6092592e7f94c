//! Two batches at a time: one is given, the next one is made.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{
    super::super::{Batch, Cursor, Taken, conformance},
    *,
};
use crate::activity::Activity;

/// What a write to the site's database does.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Away,
    Full,
    Reject,
    Panic,
}

/// What the next writes do, and how long each takes.
#[derive(Default)]
struct Script {
    acts: Vec<Act>,
    is_away: bool,
    slow: Duration,
}

/// A site's database that fails on demand.
struct Site(Box<dyn Store>, Arc<Mutex<Script>>);

impl Store for Site {
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.0.cursors(spool)
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error> {
        let (act, slow, is_away) = {
            let mut script = self.1.lock().unwrap();
            (script.acts.pop(), script.slow, script.is_away)
        };
        std::thread::sleep(slow);
        match act {
            Some(Act::Away) => Err(Error::Unavailable("away".into())),
            Some(Act::Full) => Err(Error::Full("full".into())),
            Some(Act::Reject) => Err(Error::Rejected("rejected".into())),
            Some(Act::Panic) => panic!("a bug of the test's own"),
            None if is_away => Err(Error::Unavailable("away".into())),
            None => self.0.write(batch),
        }
    }

    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error> {
        self.0.forget(spool, segments)
    }
}

/// A ClickHouse of its own, the site's database, and what is frozen.
struct Scene {
    database: WithClickHouse,
    script: Arc<Mutex<Script>>,
    memory: Memory,
}

const SPOOL: Uuid = Uuid::from_u128(1);
const LONG: Duration = Duration::from_secs(20);

impl Scene {
    fn new(variable: &str) -> Scene {
        Scene { database: fresh(variable), script: Arc::default(), memory: Memory::default() }
    }

    /// As of a new process.
    fn writer(&self) -> Writer {
        let site = Box::new(Site(self.database.site.store(), Arc::clone(&self.script)));
        let moments = self.database.moments().clone();
        let memory = Box::new(self.memory.clone());
        Writer::new(site, &self.database.address, memory, moments)
    }

    fn slow(&self, millis: u64) {
        self.script.lock().unwrap().slow = Duration::from_millis(millis);
    }

    fn away(&self, is_away: bool) {
        self.script.lock().unwrap().is_away = is_away;
    }

    /// All that is stored, by the numbers of the activities.
    #[track_caller]
    fn must_have(&self, numbers: &[u32]) {
        let rows = self.database.history().after(i64::MIN, 100).unwrap();
        let mut found: Vec<String> = rows.into_iter().map(|row| row.path).collect();
        let mut want: Vec<String> = numbers.iter().map(|it| format!("/path/{it}/")).collect();
        found.sort();
        want.sort();
        assert_eq!(found, want);
    }

    /// Until the batch of this number is on the disk.
    fn wait_until_frozen(&self, number: u128) {
        let is_it =
            |bytes: &Vec<u8>| end_of_frozen(bytes).unwrap().segment == Uuid::from_u128(number);
        while !self.memory.0.lock().unwrap().as_ref().is_some_and(is_it) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whose cursors are there.
    #[track_caller]
    fn must_be_at(&self, numbers: &[u32]) {
        let mut found = self.database.site.store().cursors(SPOOL).unwrap();
        found.sort();
        let want: Vec<_> = numbers.iter().map(|it| (Uuid::from_u128((*it).into()), 100)).collect();
        assert_eq!(found, want);
    }
}

/// Two activities without event_id, and one whose event_id all batches share.
fn batch(number: u32) -> (Vec<Activity>, Cursor) {
    let mut activities: Vec<Activity> =
        (0..3).map(|row| conformance::activity(number * 10 + row)).collect();
    for (activity, id) in activities.iter_mut().zip([None, None, Some(Uuid::from_u128(77))]) {
        activity.event_id = id;
    }
    (activities, Cursor { spool: SPOOL, segment: Uuid::from_u128(number.into()), position: 100 })
}

fn take(writer: &mut Writer, number: u32) -> Result<Taken, Error> {
    let (activities, cursor) = batch(number);
    writer.take(&Batch { activities: &activities, sessions: &[], cursor })
}

fn write(writer: &mut Writer, number: u32) -> Result<u64, Error> {
    let (activities, cursor) = batch(number);
    writer.write(&Batch { activities: &activities, sessions: &[], cursor })
}

/// What comes before is stored when the next is taken, and no id is stored twice.
fn in_turn(scene: &Scene) {
    let mut writer = scene.writer();
    assert_eq!(writer.cursors(SPOOL), Ok(vec![]));
    scene.slow(300);
    let start = Instant::now();
    assert_eq!(take(&mut writer, 1), Ok(Taken::Later));
    scene.must_be_at(&[]);
    assert_eq!(take(&mut writer, 2), Ok(Taken::Later));
    scene.must_be_at(&[1]);
    let until = writer.settle(Duration::from_millis(30));
    assert!(matches!(until, Err(Error::Unavailable(_))) && start.elapsed() < LONG);
    assert_eq!(writer.settle(LONG), Ok(()));
    scene.must_be_at(&[1, 2]);
    scene.must_have(&[10, 11, 12, 20, 21]);
    // Nothing of it is new; and again, what was stored.
    let (activities, cursor) = batch(3);
    let none = Batch { activities: &activities[2..], sessions: &[], cursor };
    assert_eq!(writer.take(&none), Ok(Taken::Stored));
    assert_eq!(take(&mut writer, 2), Ok(Taken::Stored));
    scene.must_be_at(&[1, 2, 3]);
    // Its segment goes while it is under way: it is not found again.
    assert_eq!(take(&mut writer, 4), Ok(Taken::Later));
    assert_eq!(writer.forget(SPOOL, &[Uuid::from_u128(4)]), Ok(()));
    assert_eq!(scene.memory.0.lock().unwrap().clone(), None);
    scene.must_have(&[10, 11, 12, 20, 21, 40, 41]);
}

/// A batch that takes long is not made a second time.
fn slow(scene: &Scene) {
    let mut writer = scene.writer();
    assert_eq!(writer.cursors(SPOOL), Ok(vec![]));
    writer.turn = Duration::from_millis(60);
    scene.slow(500);
    let mut late = 0;
    while write(&mut writer, 1).is_err() {
        late += 1;
    }
    assert_eq!(take(&mut writer, 2), Ok(Taken::Later));
    while take(&mut writer, 3).is_err() {
        late += 1;
    }
    assert!(late > 2);
    assert_eq!(writer.settle(LONG), Ok(()));
    scene.must_have(&[10, 11, 12, 20, 21, 30, 31]);
}

/// What becomes of one batch is no fault of the next one, and is tried again.
fn blame(scene: &Scene) {
    let mut writer = scene.writer();
    assert_eq!(writer.cursors(SPOOL), Ok(vec![]));
    // The spool gets its number.
    assert_eq!(write(&mut writer, 0), Ok(3));
    let (mut number, mut want) = (1, vec![0, 1, 2]);
    for acts in [
        vec![Act::Away],
        vec![Act::Full],
        vec![Act::Reject; 2],
        vec![Act::Panic],
        vec![Act::Full, Act::Panic, Act::Away],
    ] {
        let failures = if acts[0] == Act::Reject { 1 } else { acts.len() };
        scene.script.lock().unwrap().acts = acts;
        assert_eq!(take(&mut writer, number), Ok(Taken::Later));
        for _ in 0..failures {
            let failed = take(&mut writer, number + 1);
            assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        }
        assert_eq!(take(&mut writer, number + 1), Ok(Taken::Later));
        assert_eq!(writer.settle(LONG), Ok(()));
        want.extend([0, 1, 10, 11].map(|row| number * 10 + row));
        scene.must_have(&want);
        number += 2;
    }
    // Its own is its own.
    scene.script.lock().unwrap().acts = vec![Act::Full];
    assert_eq!(write(&mut writer, number), Err(Error::Full("full".into())));
    assert_eq!(write(&mut writer, number), Ok(0));
    let (mut activities, cursor) = batch(number + 1);
    activities[1].properties = Some("no JSON".into());
    assert_eq!(take(&mut writer, number + 2), Ok(Taken::Later));
    let refused = writer.take(&Batch { activities: &activities, sessions: &[], cursor });
    assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
    assert_eq!(writer.settle(LONG), Ok(()));
    want.extend([0, 1, 20, 21].map(|row| number * 10 + row));
    scene.must_have(&want);
}

/// The process ends while one is under way: before and after its cursor has moved, and while the next
/// one waits for it.
fn killed(scene: &Scene) {
    let mut writer = scene.writer();
    assert_eq!(write(&mut writer, 0), Ok(3));
    scene.away(true);
    assert_eq!(take(&mut writer, 1), Ok(Taken::Later));
    assert!(take(&mut writer, 2).is_err());
    drop(writer);
    scene.away(false);
    scene.must_be_at(&[0]);
    let mut writer = scene.writer();
    assert_eq!(writer.cursors(SPOOL).map(|it| it.len()), Ok(2));
    assert_eq!(take(&mut writer, 2), Ok(Taken::Later));
    scene.wait_until_frozen(2);
    // At once: what it has asked the servers for may come through yet.
    drop(writer);
    let (mut writer, start) = (scene.writer(), Instant::now());
    // While it does, a server that knows statements by their names takes no other one.
    while let Err(error @ Error::Unavailable(_)) = writer.cursors(SPOOL) {
        assert!(start.elapsed() < LONG, "{error}");
    }
    assert_eq!(writer.cursors(SPOOL).map(|it| it.len()), Ok(3));
    assert_eq!(take(&mut writer, 2), Ok(Taken::Stored));
    assert_eq!(write(&mut writer, 3), Ok(2));
    scene.must_have(&[0, 1, 2, 10, 11, 20, 21, 30, 31]);
    std::thread::sleep(Duration::from_millis(300));
    scene.must_have(&[0, 1, 2, 10, 11, 20, 21, 30, 31]);
}

/// What cannot be frozen is not tried, until it can be.
fn unfrozen(scene: &Scene) {
    let mut writer = scene.writer();
    assert_eq!(writer.cursors(SPOOL), Ok(vec![]));
    scene.memory.1.store(true, Ordering::Relaxed);
    assert_eq!(take(&mut writer, 1), Ok(Taken::Later));
    for _ in 0..2 {
        assert!(matches!(writer.settle(LONG), Err(Error::Unavailable(_))));
        assert!(take(&mut writer, 2).is_err());
    }
    scene.must_have(&[]);
    scene.must_be_at(&[]);
    scene.memory.1.store(false, Ordering::Relaxed);
    assert_eq!(writer.settle(LONG), Ok(()));
    scene.must_be_at(&[1]);
    scene.must_have(&[10, 11, 12]);
}

/// The process ends before the batch is frozen, or while it is: then the next one makes it again, or
/// finds it, but its thread, which goes on, gives none that the next one does not know.
fn killed_before(scene: &Scene) {
    let mut want = Vec::new();
    for (number, pause) in (1..).zip([0, 0, 1, 2, 5]) {
        let mut writer = scene.writer();
        while let Err(error @ Error::Unavailable(_)) = writer.cursors(SPOOL) {
            eprintln!("{error}");
        }
        assert_eq!(take(&mut writer, number), Ok(Taken::Later));
        std::thread::sleep(Duration::from_millis(pause));
        drop(writer);
        let mut writer = scene.writer();
        let start = Instant::now();
        while let Err(error @ Error::Unavailable(_)) = write(&mut writer, number) {
            assert!(start.elapsed() < LONG, "{error}");
        }
        drop(writer);
        want.extend([0, 1].map(|row| number * 10 + row));
        want.extend((number == 1).then_some(12));
        std::thread::sleep(Duration::from_millis(100));
        scene.must_have(&want);
    }
}

fn all(variable: &str) {
    for scenario in [in_turn, slow, blame, killed, killed_before, unfrozen] {
        scenario(&Scene::new(variable));
    }
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn later_18_16() {
    all("CLICKHOUSE_OLD");
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn later_today() {
    all("CLICKHOUSE_NEW");
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn later_in_a_cluster() {
    all("CLICKHOUSE_CLUSTER");
}
