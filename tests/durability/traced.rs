//! System calls that fail, and kills at exactly one of them, by `strace`.
//!
//! `strace` counts by thread: `when=4` is the fourth call of each. The server's first three
//! `fdatasync`s measure the disk, in a thread that then makes no other; SQLite uses `fsync`.

use std::time::{Duration, Instant};

use super::{audit::Findings, fleet::Outcome, rig::Rig};
use crate::support::{DATE, Server};

/// Starts the server under `strace`; `None`: it ended before it was ready.
fn traced(rig: &Rig, calls: &str, inject: &str) -> Option<Server> {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{inject}"));
    // `-D`: the server is our child, and `strace` beside it.
    let tool = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let within = rig.traced_path.as_ref().map(|path| path.to_str().unwrap());
    let tool: Vec<&str> =
        tool.into_iter().chain(within.iter().flat_map(|path| ["-P", path])).collect();
    let found = std::process::Command::new("strace").arg("-V").output();
    assert!(
        found.is_ok(),
        "strace is missing: install it, or run ./test, which says what it skips"
    );
    Server::start(&mut rig.command(&tool)).ok()
}

#[test]
fn one_failed_sync_is_answered_503_and_service_goes_on() {
    let mut rig = Rig::new();
    let server = traced(&rig, "fdatasync", "error=EIO:when=4").unwrap();
    rig.load(&server, Duration::from_millis(1_500));
    assert!(rig.fleet.count(Outcome::Refused) > 0, "no sync failed");
    let findings = rig.must_be_clean(&server);
    assert_eq!(findings.refused, [], "stored by the process that refused it");
    drop(server);
    // The bytes of the failed commit may be on the disk all the same: then it is as after a
    // broken connection.
    let server = rig.serve();
    rig.must_be_clean_from_the_start(&server);
}

#[test]
fn when_every_sync_fails_it_ends_with_74_and_keeps_what_it_acknowledged() {
    let mut rig = Rig::new();
    let server = traced(&rig, "fdatasync", "error=EIO:when=40+").unwrap();
    let address = server.address;
    let status = rig.fleet.load(address, || {
        let start = Instant::now();
        let status = server.wait();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        status
    });
    assert_eq!(status.code(), Some(74));
    assert!(rig.fleet.count(Outcome::Refused) > 0);
    let server = rig.serve();
    let findings = rig.must_be_clean_from_the_start(&server);
    assert!(findings.acknowledged > 40);
}

/// A spool with a segment of many windows, no server, and the third read of that segment and those
/// after it failing in each thread: a start makes two, then the drain reads all.
fn reads_fail(rig: &mut Rig, inject: &str) -> Server {
    let server = rig.serve();
    let lock = rig.lock();
    // A window of 256 KiB holds two thousand, and there are two segments, one for each thread.
    while rig.fleet.count(Outcome::Acknowledged) < 12_000 {
        rig.load(&server, Duration::from_millis(500));
    }
    drop(server);
    drop(lock);
    let segments = rig.segments();
    let largest = segments.iter().find(|path| path.metadata().unwrap().len() >= 1 << 20).unwrap();
    rig.traced_path = Some(largest.canonicalize().unwrap());
    traced(rig, "pread64", inject).unwrap()
}

#[test]
fn reads_of_the_spool_that_fail_for_a_while_lose_nothing() {
    let mut rig = Rig::new();
    let server = reads_fail(&mut rig, "error=EIO:when=3..6");
    rig.must_be_clean_from_the_start(&server);
    assert!(rig.quarantine(".damaged").is_empty());
}

#[test]
fn what_can_never_be_read_is_counted_and_all_else_is_stored() {
    let mut rig = Rig::new();
    let server = reads_fail(&mut rig, "error=EIO:when=3+");
    let findings = rig.audit_when_quiet_for(Duration::from_secs(12));
    let Findings { acknowledged, lost, doubled, altered, .. } = &findings;
    println!("{} of {acknowledged} could not be read", lost.len());
    assert!(!lost.is_empty() && lost.len() < acknowledged / 2 && doubled.is_empty());
    assert!(altered.is_empty());
    let aside = rig.quarantine(".damaged").len() + rig.quarantine(".torn").len();
    assert_eq!(aside, 1);
    rig.must_take(&server);
}

/// Kills each thread that makes the call so often; the call itself is not made.
fn kill_at(rig: &mut Rig, call: &str, number: u32) -> bool {
    let inject = format!("error=EIO:signal=SIGKILL:when={number}");
    let Some(mut server) = traced(rig, call, &inject) else { return true };
    let clients = &mut rig.fleet;
    let start = Instant::now();
    // A busy machine makes calls more rarely, as the drain rests for up to two seconds; a kill ends the wait.
    let limit = Duration::from_secs(40);
    let killed = clients.load_until(server.address, limit, || server.is_gone());
    drop(server);
    println!("{call} {number}: killed {killed} after {:.2} s", start.elapsed().as_secs_f32());
    killed
}

/// Kills at these calls, one run each, and looks at the database.
fn kills_at(call: &str, numbers: impl IntoIterator<Item = u32>) {
    let mut rig = Rig::new();
    rig.fleet.pause(Duration::from_millis(1));
    let (mut runs, mut killed) = (0, 0);
    for number in numbers {
        runs += 1;
        killed += usize::from(kill_at(&mut rig, call, number));
    }
    let server = rig.serve();
    rig.must_be_clean_from_the_start(&server);
    println!("{killed} of {runs} runs were killed");
    assert_eq!(killed, runs, "the call is not made so often: adapt the numbers");
}

#[test]
fn kills_at_a_sync_of_the_spool() {
    kills_at("fdatasync", 1..=20);
}

#[test]
fn kills_at_another_sync() {
    kills_at("fsync", 1..=14);
}

/// The first hundred fill new segments with zeros; then they are commits and SQLite's pages.
#[test]
fn kills_at_a_write() {
    kills_at(
        "pwrite64",
        [1, 4, 5, 6, 10, 11, 13, 14, 50, 65, 66, 130].into_iter().chain(131..=145),
    );
}

/// A start removes at most four files that were never used; the next ones are removed because the
/// database holds all that is in them.
#[test]
fn kills_at_a_removal() {
    let mut rig = Rig::new();
    rig.fleet.pause(Duration::from_millis(1));
    for number in [1, 2, 5, 6, 7, 8] {
        for _ in 0..5 {
            let server = rig.serve();
            let lock = rig.lock();
            rig.load_and_kill(server, Duration::from_millis(30));
            drop(lock);
        }
        assert!(kill_at(&mut rig, "/^unlink", number), "{number} are not removed");
    }
    let server = rig.serve();
    rig.must_be_clean_from_the_start(&server);
}

#[test]
fn kills_at_an_allocation_and_at_a_cut() {
    kills_at("fallocate", 1..=3);
    kills_at("ftruncate", 1..=2);
}

#[test]
fn kills_while_a_row_goes_to_quarantine() {
    let mut rig = Rig::new();
    drop(rig.serve());
    rig.refuse_poison();
    let within = rig.dir.join("djaffar-spool/quarantine").canonicalize().unwrap();
    for (round, (call, within)) in
        [("/^rename", None), ("fsync", Some(within))].into_iter().enumerate()
    {
        let server = rig.serve();
        let lock = rig.lock();
        assert_eq!(server.post(&format!("date={DATE}&path=/test/poison"), &[]).status, 204);
        drop(server);
        drop(lock);
        rig.traced_path = within;
        assert!(kill_at(&mut rig, call, 1));
        let server = rig.serve();
        rig.must_be_clean(&server);
        assert_eq!(rig.quarantine(".refused").len(), round + 1);
    }
    assert_eq!(rig.stored("/test/poison"), 0);
}

/// The harness is tried: with the position of the spool outside of the transaction of the rows, a
/// kill between the two stores a batch again.
#[test]
fn a_cursor_outside_of_the_transaction_is_noticed() {
    let mut rig = Rig::new().breaking("cursor");
    rig.fleet.pause(Duration::from_millis(1));
    let mut doubled = 0;
    for number in 1..=12 {
        kill_at(&mut rig, "fsync", number);
        let _server = rig.serve();
        doubled = rig.audit().doubled.len();
        if doubled > 0 {
            println!("{doubled} doubled by a kill at fsync {number}");
            return;
        }
    }
    panic!("{doubled} doubled: the harness does not see it");
}
