//! `djaffar move` while a server takes activities down: killed at any moment, switched, and in the end
//! each activity that was answered 204 is in TO, once.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Dice, fleet::Outcome, rig::Rig, setting};
use crate::support::{command_of, databases::Server as Database};

/// What waits in the spool is being stored as long as rows come in shorter intervals than this.
const STANDSTILL: Duration = Duration::from_secs(20);
pub(super) const ROWS: u32 = 500;

/// A move, as a command.
pub(super) struct Mover {
    pub(super) dir: std::path::PathBuf,
    pub(super) from: String,
    pub(super) to: String,
    /// Rows of a batch: few, so that kills meet many of them.
    pub(super) rows: u32,
}

impl Mover {
    pub(super) fn command(&self, more: &[&str]) -> Command {
        let mut command = command_of(env!("CARGO_BIN_EXE_djaffar"), &self.dir);
        let rows = format!("--rows={}", self.rows);
        command.args(["move", &self.from, &self.to, &rows]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(super) fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    /// Runs it to its end: both sides are equal, and so many rows were moved.
    #[track_caller]
    pub(super) fn must_finish(&self) -> u64 {
        let done = self.run(&["--finish", "--json"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stdout));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["equal"], true, "{report}");
        report["rows"].as_u64().unwrap()
    }

    /// Begins, and kills it after these times; from the half on it is to finish.
    pub(super) fn be_killed(&self, times: &[Duration]) {
        for (number, time) in times.iter().enumerate() {
            let more: &[&str] = if number * 2 >= times.len() { &["--finish"] } else { &[] };
            let mut command = self.command(more);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(*time);
            drop(child.kill());
            child.wait().unwrap();
        }
    }
}

/// Moments at which a move is killed: soon, when it waits for young rows, when it compares.
pub(super) fn moments(dice: &mut Dice, count: u64) -> Vec<Duration> {
    (0..count).map(|_| dice.millis(10, 1_600)).collect()
}

/// How many kills; more where `MOVE_KILLS` says so.
pub(super) fn kills(default: u64) -> u64 {
    setting("MOVE_KILLS", default)
}

/// A server on FROM, whose spool keeps what is stored: it must not be stored again in TO.
pub(super) fn keeping(mut rig: Rig) -> Rig {
    rig.replace("--spool-retain-seconds=3600");
    rig.replace("--spool-retain-mib=1024");
    rig.fleet.pause(Duration::from_millis(10));
    rig
}

/// Loads, moves with kills, switches under load, restarts on TO, loads on.
pub(super) fn under_load(rig: &mut Rig, mover: &Mover, on_to: &str, kills: u64) {
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(1_500));
    let times = moments(&mut rig.dice, kills);
    let address = server.address;
    let moved = rig.fleet.load(address, || {
        mover.be_killed(&times);
        let moved = mover.must_finish();
        // What comes in now waits.
        thread::sleep(Duration::from_millis(300));
        moved
    });
    assert_eq!(rig.fleet.count(Outcome::Refused), 0, "204 does not go on");
    // As a crash: what waits is in the spool alone.
    drop(server);
    rig.replace(on_to);
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(300));
    println!(
        "{} rows moved under load with {} kills, {} acknowledged in all",
        moved,
        times.len(),
        rig.fleet.count(Outcome::Acknowledged)
    );
    drop(server);
}

/// Waits until all is stored in the database at this address, and compares.
#[track_caller]
pub(super) fn must_be_clean(rig: &mut Rig, url: &str, count: impl Fn() -> usize) {
    let server = rig.serve();
    let acknowledged = rig.fleet.count(Outcome::Acknowledged);
    let (mut rows, mut since) = (0, Instant::now());
    let quiet = Duration::from_millis(1_500);
    while since.elapsed() < if rows >= acknowledged { quiet } else { STANDSTILL } {
        let now = count();
        if now > rows {
            (rows, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(100));
    }
    drop(server);
    let found = rig.audit_at(url);
    found.must_be_clean();
    assert_eq!(found.acknowledged + found.unanswered, rows, "rows of nobody");
    assert!(rig.quarantine(".refused").is_empty());
    println!("{} acknowledged: 0 lost, 0 doubled, 0 altered", found.acknowledged);
}

pub(super) fn sqlite(dir: &Path, name: &str) -> String {
    format!("sqlite:///{}", dir.join(name).display())
}

pub(super) fn count_sqlite(path: &Path) -> usize {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let sql = "SELECT count(*) FROM djaffar_activity";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

pub(super) fn count_at(database: &Database, name: &str) -> usize {
    database.sql(name, "SELECT count(*) FROM djaffar_activity").parse().unwrap()
}

#[test]
fn from_sqlite_to_sqlite() {
    let mut rig = keeping(Rig::new());
    let dir = rig.dir.clone();
    let (from, to) = (sqlite(&dir, "djaffar.sqlite3"), sqlite(&dir, "to.sqlite3"));
    let mover = Mover { dir: dir.clone(), from, to: to.clone(), rows: ROWS };
    under_load(&mut rig, &mover, &format!("--database={to}"), kills(6));
    must_be_clean(&mut rig, &to, || count_sqlite(&dir.join("to.sqlite3")));
    // And it may be run again, whenever.
    mover.must_finish();
    must_be_clean(&mut rig, &to, || count_sqlite(&dir.join("to.sqlite3")));
}

#[test]
fn from_postgres_to_maria_with_two_servers() {
    let (postgres, maria) = (Database::postgres(), Database::maria(&[]));
    let (old, new) = (postgres.create(), maria.create());
    let (from, to) = (postgres.url(&old), maria.url(&new));
    let mut rig = keeping(Rig::new().on(&from));
    // Its batches meet those of the first, and its numbers lie between them.
    let mut other = keeping(Rig::new().on(&from));
    let mover = Mover { dir: rig.dir.clone(), from, to: to.clone(), rows: ROWS };
    let second = other.serve();
    let address = second.address;
    let on_to = format!("--database={to}");
    thread::scope(|scope| {
        let fleet = &mut other.fleet;
        let loading = scope.spawn(move || {
            fleet.load(address, || thread::sleep(Duration::from_secs(4)));
        });
        under_load(&mut rig, &mover, &on_to, kills(6));
        loading.join().unwrap();
    });
    drop(second);
    other.replace(&on_to);
    let count = || count_at(&maria, &new);
    let second = other.serve();
    let want = other.fleet.count(Outcome::Acknowledged) + rig.fleet.count(Outcome::Acknowledged);
    let first = rig.serve();
    let until = Instant::now() + STANDSTILL;
    while count() < want && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_millis(1_500));
    drop((first, second));
    let found = [rig.audit_at(&to), other.audit_at(&to)];
    found.iter().for_each(|found| found.must_be_clean());
    let rows: usize = found.iter().map(|found| found.acknowledged + found.unanswered).sum();
    assert_eq!(rows, count(), "rows of nobody");
}

#[test]
fn a_server_that_is_started_too_early_waits() {
    let mut rig = keeping(Rig::new());
    let dir = rig.dir.clone();
    let (from, to) = (sqlite(&dir, "djaffar.sqlite3"), sqlite(&dir, "to.sqlite3"));
    let mover = Mover { dir: dir.clone(), from, to: to.clone(), rows: ROWS };
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(300));
    rig.must_be_clean(&server);
    assert!(mover.run(&[]).status.success());
    drop(server);
    // Its spool keeps what FROM has, and TO knows nothing of that yet.
    rig.replace(&format!("--database={to}"));
    let moved = count_sqlite(&dir.join("to.sqlite3"));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(500));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(count_sqlite(&dir.join("to.sqlite3")), moved, "stored before it was opened");
    mover.must_finish();
    drop(server);
    // A test of the rig posts something of its own.
    let server = rig.serve();
    let acknowledged = rig.fleet.count(Outcome::Acknowledged);
    let until = Instant::now() + STANDSTILL;
    while count_sqlite(&dir.join("to.sqlite3")) < acknowledged && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(500));
    drop(server);
    rig.audit_at(&to).must_be_clean();
}

/// 0.1.10's tables, as its migration makes them: 32 bits, two columns less in one, four in the other.
fn old_tables(database: &Database, id: &str, moment: &str) -> String {
    let name = database.create();
    database.sql(
        &name,
        &format!(
            "CREATE TABLE djaffar_sessioninfo (session_id varchar(40) PRIMARY KEY, \
             user_agent varchar(1000) NOT NULL); \
             CREATE TABLE djaffar_activity (id {id}, ip_address varchar(45) NOT NULL, \
             date {moment} NOT NULL, path varchar(1000) NOT NULL, referer varchar(160) NOT NULL, \
             session_id varchar(40) NULL, user_id integer NULL); \
             INSERT INTO djaffar_sessioninfo VALUES ('abc', 'Firefox'); \
             INSERT INTO djaffar_activity VALUES \
             (3, '', '2016-12-29 07:35:22.571006', '/é', '', 'abc', 7), \
             (2000000000, '::1', '2016-12-29 07:35:22', '/', '/from', NULL, NULL)"
        ),
    );
    name
}

#[test]
fn from_0_1_10_of_postgres_and_maria() {
    let (postgres, maria) = (Database::postgres(), Database::maria(&[]));
    let old = [
        postgres.url(&old_tables(&postgres, "serial PRIMARY KEY", "timestamptz")),
        maria.url(&old_tables(&maria, "integer AUTO_INCREMENT PRIMARY KEY", "datetime(6)")),
    ];
    let dir = tempfile::tempdir().unwrap();
    let dump = |url: &str| {
        let arguments = ["dumpdata", "djaffar.Activity", "--database", url];
        let said =
            command_of(env!("CARGO_BIN_EXE_djaffar"), dir.path()).args(arguments).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let mut dumps = Vec::new();
    for (number, from) in old.into_iter().enumerate() {
        let to = match number {
            0 => sqlite(dir.path(), "one.sqlite3"),
            _ => postgres.url(&postgres.create()),
        };
        let dir = dir.path().to_owned();
        let mover = Mover { dir, from, to: to.clone(), rows: ROWS };
        assert!(mover.run(&[]).status.success());
        assert_eq!(mover.must_finish(), 2);
        dumps.push(dump(&to));
    }
    assert_eq!(dumps[0], dumps[1]);
    for part in [r#""pk": 2000000000"#, r#""received_at": null"#, r#""path": "/é""#] {
        assert!(dumps[0].contains(part), "{part}: {}", dumps[0]);
    }
}
