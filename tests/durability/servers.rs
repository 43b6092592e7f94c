//! PostgreSQL, MariaDB and MySQL: the server or its database is killed at any moment, a commit's answer is
//! swallowed, tables are locked. Real servers, each in a folder of its own.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{audit::Findings, fleet::Outcome, rig::Rig, setting};
use crate::support::databases::{Kind, Server as Database};

/// What waits in the spool is being stored as long as rows come in shorter intervals than this.
const STANDSTILL: Duration = Duration::from_secs(20);

fn start(kind: Kind) -> Database {
    match kind {
        Kind::Postgres => Database::postgres(),
        Kind::Maria => Database::maria(&[]),
        Kind::Mysql => Database::mysql(&[]),
    }
}

pub(super) fn count(database: &Database, name: &str) -> usize {
    database.sql(name, "SELECT count(*) FROM djaffar_activity").parse().unwrap()
}

/// Waits until all that the rigs had acknowledged is stored, or nothing more is, and compares.
pub(super) fn must_be_clean(rigs: &[&Rig], database: &Database, name: &str, what: &str) {
    let acknowledged: usize = rigs.iter().map(|rig| rig.fleet.count(Outcome::Acknowledged)).sum();
    let (mut rows, mut since) = (0, Instant::now());
    loop {
        let now = count(database, name);
        if now > rows {
            (rows, since) = (now, Instant::now());
        }
        // What had no answer may come after all that had one: it is to come once as well.
        let quiet = Duration::from_millis(1_500);
        if since.elapsed() > if rows >= acknowledged { quiet } else { STANDSTILL } {
            break;
        }
        thread::sleep(Duration::from_millis(300));
    }
    for rig in rigs {
        let refused = rig.quarantine(".refused");
        let reason = refused.first().map(|path| std::fs::read(path).unwrap());
        let reason = reason.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(reason, None, "of {}", refused.len());
    }
    let url = database.url(name);
    let found: Vec<Findings> = rigs.iter().map(|rig| rig.audit_at(&url)).collect();
    found.iter().for_each(Findings::must_be_clean);
    let unanswered: usize = found.iter().map(|found| found.unanswered).sum();
    let refused: usize = found.iter().map(|found| found.refused.len()).sum();
    assert_eq!(refused, 0, "stored after a 503");
    assert_eq!(acknowledged + unanswered, count(database, name), "rows of nobody");
    println!(
        "{what}: {acknowledged} acknowledged: 0 lost, 0 doubled, 0 altered; {unanswered} stored \
         without an answer"
    );
}

fn the_server_is_killed(kind: Kind) {
    let database = start(kind);
    let name = database.create();
    let mut rig = Rig::new().on(&database.url(&name));
    let kills = setting("SERVER_KILLS", 10);
    for _ in 0..kills {
        let server = rig.serve();
        let time = rig.dice.millis(5, 400);
        rig.load_and_kill(server, time);
    }
    let _server = rig.serve();
    must_be_clean(&[&rig], &database, &name, &format!("{kind:?}, server killed {kills} times"));
}

#[test]
fn the_server_is_killed_on_postgres() {
    the_server_is_killed(Kind::Postgres);
}

#[test]
fn the_server_is_killed_on_maria() {
    the_server_is_killed(Kind::Maria);
}

fn the_database_is_killed(kind: Kind) {
    let mut database = start(kind);
    let name = database.create();
    let mut rig = Rig::new().on(&database.url(&name));
    rig.fleet.pause(Duration::from_millis(5));
    let server = rig.serve();
    // MySQL takes its time to come back.
    let kills = setting("SERVER_KILLS", if kind == Kind::Mysql { 2 } else { 6 });
    let times: Vec<_> =
        (0..kills).map(|_| (rig.dice.millis(20, 900), rig.dice.millis(0, 300))).collect();
    rig.fleet.load(server.address, || {
        for (before, away) in times {
            thread::sleep(before);
            database.crash_and_restart(away);
        }
        thread::sleep(Duration::from_millis(200));
    });
    assert_eq!(rig.fleet.count(Outcome::Refused), 0, "204 does not go on");
    must_be_clean(&[&rig], &database, &name, &format!("{kind:?}, database killed {kills} times"));
}

#[test]
fn the_database_is_killed_postgres() {
    the_database_is_killed(Kind::Postgres);
}

#[test]
fn the_database_is_killed_maria() {
    the_database_is_killed(Kind::Maria);
}

#[test]
fn the_database_is_killed_on_mysql() {
    the_database_is_killed(Kind::Mysql);
}

/// Two servers with a spool each, killed in turn; each finishes its own.
fn two_servers_are_killed_in_turn(kind: Kind) {
    let database = start(kind);
    let name = database.create();
    let url = database.url(&name);
    let (mut one, mut other) = (Rig::new().on(&url), Rig::new().on(&url));
    let (mut first, mut second) = (one.serve(), other.serve());
    let kills = setting("SERVER_KILLS", 6);
    for number in 0..kills {
        let time = one.dice.millis(50, 400);
        let (a, b) = (first.address, second.address);
        thread::scope(|scope| {
            let (one, other) = (&mut one.fleet, &mut other.fleet);
            scope.spawn(move || one.load(a, || thread::sleep(time)));
            scope.spawn(move || other.load(b, || thread::sleep(time)));
            thread::sleep(time / 2);
            match number % 2 {
                0 => first.signal(rustix::process::Signal::KILL),
                _ => second.signal(rustix::process::Signal::KILL),
            }
        });
        match number % 2 {
            0 => {
                drop(first);
                first = one.serve();
            }
            _ => {
                drop(second);
                second = other.serve();
            }
        }
    }
    let what = format!("{kind:?}, two servers killed {kills} times in turn");
    must_be_clean(&[&one, &other], &database, &name, &what);
}

#[test]
fn two_servers_are_killed_in_turn_on_postgres() {
    two_servers_are_killed_in_turn(Kind::Postgres);
}

#[test]
fn two_servers_are_killed_in_turn_on_maria() {
    two_servers_are_killed_in_turn(Kind::Maria);
}

/// Between the server and its database: swallows the answer to each third commit, and cuts.
struct Proxy {
    port: u16,
    cuts: Arc<AtomicU32>,
}

impl Proxy {
    fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, commits) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&cuts);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let (cuts, commits) = (Arc::clone(&counted), Arc::clone(&commits));
                thread::spawn(move || between(&client, &server, &cuts, &commits));
            }
        });
        Proxy { port, cuts }
    }
}

fn between(client: &TcpStream, server: &TcpStream, cuts: &AtomicU32, commits: &AtomicU32) {
    let swallow = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            forward(server, client, |_| !swallow.load(Ordering::Relaxed));
            drop(client.shutdown(Shutdown::Both));
        });
        forward(client, server, |bytes| {
            let commit = bytes.windows(6).any(|part| part == b"COMMIT");
            if commit && commits.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                swallow.store(true, Ordering::Relaxed);
            }
            true
        });
        if swallow.load(Ordering::Relaxed) {
            cuts.fetch_add(1, Ordering::Relaxed);
        }
        drop(server.shutdown(Shutdown::Both));
    });
}

/// Passes on what `may` lets through, until either side ends; what it does not ends it all.
fn forward(mut from: &TcpStream, mut to: &TcpStream, may: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !may(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn the_answer_to_a_commit_is_swallowed(kind: Kind) {
    let database = start(kind);
    let name = database.create();
    let proxy = Proxy::start(database.port);
    // TLS would hide the commits.
    let plain = match kind {
        Kind::Postgres => "?sslmode=disable",
        Kind::Maria | Kind::Mysql => "?ssl-mode=DISABLED",
    };
    let url = database.url_at(proxy.port, &name);
    let mut rig = Rig::new().with(&format!("--database={url}{plain}"));
    rig.migrate_at(&database.url(&name));
    rig.fleet.pause(Duration::from_millis(5));
    let server = rig.serve();
    rig.load(&server, Duration::from_secs(setting("SERVER_KILLS", 5)));
    let cuts = proxy.cuts.load(Ordering::Relaxed);
    assert!(cuts > 0, "no commit was met");
    let what = format!("{kind:?}, {cuts} commits without an answer");
    must_be_clean(&[&rig], &database, &name, &what);
}

#[test]
fn the_answer_to_a_commit_is_swallowed_postgres() {
    the_answer_to_a_commit_is_swallowed(Kind::Postgres);
}

#[test]
fn the_answer_to_a_commit_is_swallowed_maria() {
    the_answer_to_a_commit_is_swallowed(Kind::Maria);
}

#[test]
fn the_answer_to_a_commit_is_swallowed_on_mysql() {
    the_answer_to_a_commit_is_swallowed(Kind::Mysql);
}

/// As long as it is locked, 204 goes on.
fn the_table_is_locked(kind: Kind) {
    let database = start(kind);
    let name = database.create();
    let mut rig = Rig::new().on(&database.url(&name));
    rig.fleet.pause(Duration::from_millis(5));
    let server = rig.serve();
    let seconds = setting("LOCKED_SECONDS", 4);
    let lock = match kind {
        Kind::Postgres => format!(
            "BEGIN; LOCK TABLE djaffar_activity IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT"
        ),
        Kind::Maria | Kind::Mysql => {
            format!("LOCK TABLES djaffar_activity WRITE; SELECT sleep({seconds})")
        }
    };
    rig.load(&server, Duration::from_millis(200));
    let mut during = 0;
    thread::scope(|scope| {
        let locked = scope.spawn(|| database.sql(&name, &lock));
        thread::sleep(Duration::from_millis(200));
        let before = rig.fleet.count(Outcome::Acknowledged);
        rig.fleet.load(server.address, || drop(locked.join().unwrap()));
        during = rig.fleet.count(Outcome::Acknowledged) - before;
    });
    assert!(during > 500, "{during}: 204 does not go on");
    assert_eq!(rig.fleet.count(Outcome::Refused), 0);
    must_be_clean(&[&rig], &database, &name, &format!("{kind:?}, locked for {seconds} s"));
}

#[test]
fn the_table_is_locked_postgres() {
    the_table_is_locked(Kind::Postgres);
}

#[test]
fn the_table_is_locked_maria() {
    the_table_is_locked(Kind::Maria);
}
