//! A full spool, where one batch is given to ClickHouse while the next one is made: we are killed all
//! the while, and ClickHouse hangs.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use djaffar::{
    activity::{Activity, Session, SessionState},
    spool::{self, Frozen, Spool, record},
    store::{self, Database, Settings, SqliteDatabase},
};
use uuid::Uuid;

use super::{super::rig::Rig, Fort, servers::ask};

/// Many batches, as none is of two segments: about 3,500 activities each.
const SEGMENT: u64 = 1 << 20;
const COUNT: u64 = 120_000;
const HITS: u64 = 4;
/// Of a stop.
const IN_TIME: Duration = Duration::from_secs(10);

/// One in three has an event_id.
fn activity(number: u64) -> Activity {
    let key = format!("{:032x}", number / 7);
    Activity {
        received_at: 1_780_000_000_000_000 + number.cast_signed(),
        date: 1_780_000_000_000_000,
        address: [127, 0, 0, 1].into(),
        session: Some(Session { key, visitor: None, state: SessionState::Known }),
        user: None,
        path: format!("/path/{number}/"),
        referer: "https://www.example.org/a-page-of-some-length/".into(),
        user_agent: "A browser with a name of usual length ".repeat(3),
        event_id: number.is_multiple_of(3).then(|| Uuid::from_u128(number.into())),
        name: String::new(),
        properties: None,
    }
}

fn fill(folder: &Path) {
    let options = spool::Options { segment_bytes: SEGMENT, ..spool::Options::new(folder) };
    let (_spool, mut lanes, _reader) = Spool::open(options).unwrap();
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        bytes.clear();
        record::encode(&activity(number), &mut bytes);
        lanes[0].append(&bytes).unwrap();
        if number % 1_000 == 999 {
            lanes[0].commit().unwrap();
        }
    }
}

fn drain(fort: &Fort, rig: &Rig) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_djaffar"));
    let mut command = crate::support::command_of(program, &rig.dir);
    command.args(["drain", "--activity-database", &fort.url]);
    command
}

/// Whether a batch is frozen and its cursor has not moved.
fn is_under_way(rig: &Rig) -> bool {
    let bytes = Frozen::new(rig.dir.join("djaffar-spool")).load().unwrap();
    let Some(bytes) = bytes else { return false };
    let end = store::end_of_frozen(&bytes).unwrap();
    let site = SqliteDatabase::new(&rig.dir.join("djaffar.sqlite3"), Settings::default());
    let cursors = site.store().cursors(end.spool).unwrap();
    !cursors.iter().any(|(segment, at)| *segment == end.segment && *at >= end.position)
}

fn stored(fort: &Fort) -> u64 {
    let said = ask(fort.servers[0].address(), "SELECT count() FROM djaffar_activity").unwrap();
    said.trim().parse().unwrap()
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_a_full_spool_is_drained_and_we_are_killed() {
    let fort = Fort::one("old");
    let mut rig = fort.rig();
    // Tables first.
    drop(rig.serve());
    fill(&rig.dir.join("djaffar-spool"));
    // Until as many have hit a batch that was under way: when that is depends on the machine.
    let (mut hits, mut tries) = (0, 0);
    while hits < HITS && tries < 8 * HITS {
        let mut child = drain(&fort, &rig).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(rig.dice.millis(300, 1_200));
        tries += 1;
        let in_time = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        hits += u64::from(in_time && is_under_way(&rig));
    }
    println!("{} stored; of {tries} kills {hits} hit a batch that was under way", stored(&fort));
    assert_eq!(hits, HITS, "of {tries} kills");

    // ClickHouse hangs: a stop is in time all the same.
    let server = rig.serve();
    let (before, since) = (stored(&fort), Instant::now());
    while stored(&fort) < before + 5_000 && since.elapsed() < IN_TIME {
        thread::sleep(Duration::from_millis(20));
    }
    fort.servers[0].hang(true);
    thread::sleep(rig.dice.millis(0, 1_000));
    let start = Instant::now();
    let status = server.stop();
    let took = start.elapsed();
    fort.servers[0].hang(false);
    println!("a stop while ClickHouse hangs takes {took:?}");
    assert!(status.success() && took < IN_TIME + Duration::from_secs(1), "{status}, {took:?}");

    let output = drain(&fort, &rig).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sql = "SELECT count(), uniqExact(path), uniqExact(id) FROM djaffar_activity";
    let said = ask(fort.servers[0].address(), sql);
    assert_eq!(said, Ok(format!("{COUNT}\t{COUNT}\t{COUNT}\n")), "stored, paths, numbers");
}
