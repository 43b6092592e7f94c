//! The disk of the database is full: PostgreSQL and MariaDB with their data on a file system of their
//! own, under load. 204 goes on; when there is space again, all is stored once.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        servers::{count, must_be_clean},
        setting,
    },
    Disk, Outcome, Rig,
};
use crate::support::databases::{Kind, Server as Database};

/// Enough for a new database, and little more.
const MEBIBYTES: u64 = 400;

fn start(kind: Kind, disk: &Disk) -> Database {
    match kind {
        Kind::Postgres => Database::postgres_in(
            &disk.dir,
            &["-c", "min_wal_size=32MB", "-c", "max_wal_size=48MB"],
        ),
        _ => Database::maria_in(&disk.dir, &["--innodb-log-file-size=8M"]),
    }
}

fn the_disk_of_the_database_is_full(kind: Kind) {
    let disk = Disk::new(MEBIBYTES);
    let mut database = start(kind, &disk);
    let name = database.create();
    let mut rig = Rig::new().on(&database.url(&name));
    rig.fleet.pause(Duration::from_millis(5));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(300));
    let (rounds, mut waited) = (2, 0);
    for _ in 0..rounds {
        let before = rig.fleet.count(Outcome::Acknowledged);
        rig.fleet.load(server.address, || {
            let until = Instant::now() + Duration::from_secs(setting("FULL_SECONDS", 2));
            while Instant::now() < until {
                // What the database frees meanwhile is taken from it as well.
                disk.fill();
                thread::sleep(Duration::from_millis(50));
            }
        });
        let during = rig.fleet.count(Outcome::Acknowledged) - before;
        assert!(during > 500, "{during}: 204 does not go on");
        // It says how many there are, or nothing any more.
        let stored = database.client("SELECT 1", None).map_or(0, |_| count(&database, &name));
        let acknowledged = rig.fleet.count(Outcome::Acknowledged);
        assert!(stored + during / 2 < acknowledged, "{stored} of {acknowledged}: it was not full");
        waited = waited.max(acknowledged - stored);
        disk.free();
        // PostgreSQL may have given up.
        database.start_if_gone();
    }
    assert_eq!(rig.fleet.count(Outcome::Refused), 0);
    let what = format!("{kind:?}, its disk full {rounds} times, up to {waited} waited");
    must_be_clean(&[&rig], &database, &name, &what);
}

#[test]
fn the_disk_of_the_database_is_full_postgres() {
    the_disk_of_the_database_is_full(Kind::Postgres);
}

#[test]
fn the_disk_of_the_database_is_full_maria() {
    the_disk_of_the_database_is_full(Kind::Maria);
}
