//! Disks of their own: power cuts and full disks.

mod database;
mod disk;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use self::disk::Disk;
use super::{audit::Findings, fleet::Outcome, rig::Rig, setting};
use crate::support::{DATE, Server};

/// One round: load, power cut in the middle of it, and the disk as it comes back. Every other time
/// the database is locked, so that all that was acknowledged is in the spool alone.
fn cut(rig: &mut Rig, disk: &mut Disk, locked: bool) {
    let server = rig.serve();
    let lock = locked.then(|| rig.lock());
    let time = rig.dice.millis(20, 150);
    rig.fleet.load(server.address, || {
        thread::sleep(time);
        disk.cut_power();
        // What is answered from now on must not be 204.
        thread::sleep(Duration::from_millis(20));
        drop(server);
    });
    drop(lock);
    disk.mount_again();
}

#[test]
fn power_cut_loses_and_doubles_nothing() {
    let (cuts, start) = (setting("CUTS", 20), Instant::now());
    let mut disk = Disk::new(192);
    let mut rig = Rig::at(&disk.dir);
    for number in 1..=cuts {
        cut(&mut rig, &mut disk, number % 2 == 0);
        if rig.dice.between(0, 5) == 0 {
            rig.kill_while_starting();
            disk.cut_power();
            disk.mount_again();
        }
        if number % 20 == 0 {
            let server = rig.serve();
            rig.must_be_clean(&server);
        }
    }
    let server = rig.serve();
    let findings = rig.must_be_clean_from_the_start(&server);
    assert!(findings.acknowledged as u64 > 10 * cuts, "hardly any load");
    println!("{cuts} cuts in {:.1} s", start.elapsed().as_secs_f32());
}

/// The harness is tried: without the sync before the 204, a power cut loses what was acknowledged.
#[test]
fn power_cut_without_the_sync_is_noticed() {
    let mut disk = Disk::new(192);
    let mut rig = Rig::at(&disk.dir).breaking("fsync");
    for _ in 0..2 {
        cut(&mut rig, &mut disk, true);
    }
    let _server = rig.serve();
    let Findings { acknowledged, lost, .. } = rig.audit();
    println!("{} of {acknowledged} acknowledged are lost", lost.len());
    assert!(!lost.is_empty(), "nothing of {acknowledged} is lost: the harness does not see it");
}

/// Fills the disk until nothing is taken any more, frees it, and waits for a 204.
fn fill(rig: &mut Rig, disk: &Disk, server: &Server) {
    let (start, refused) = (Instant::now(), rig.fleet.count(Outcome::Refused));
    rig.load(server, Duration::from_millis(1_000));
    while rig.fleet.count(Outcome::Refused) < refused + 100 {
        assert!(start.elapsed() < Duration::from_secs(30), "it is not full");
        disk.fill();
        rig.load(server, Duration::from_millis(200));
    }
    let status = || server.post(&format!("date={DATE}&path=/test/again"), &[]).status;
    while status() == 204 {
        disk.fill();
    }
    disk.free();
    let freed = Instant::now();
    while status() != 204 {
        assert!(freed.elapsed() < Duration::from_secs(2), "still refused");
        thread::sleep(Duration::from_millis(20));
    }
    println!("204 again {:.2} s after there was space", freed.elapsed().as_secs_f32());
}

#[test]
fn disk_full_is_503_until_there_is_space() {
    // Not much more than SQLite's log may have: what is freed must go to the database first.
    let disk = Disk::new(192);
    let mut rig = Rig::at(&disk.dir);
    let server = rig.serve();
    for round in 0..4 {
        // Locked: the spool alone needs space. Not locked: the database lacks it as well.
        let lock = (round % 2 == 0).then(|| rig.lock());
        fill(&mut rig, &disk, &server);
        drop(lock);
        rig.must_be_clean(&server);
    }
    let findings = rig.must_be_clean_from_the_start(&server);
    assert_eq!(findings.refused, [], "stored after a 503");
}

/// Nobody frees anything: what the spool took is given back as the database takes it over.
#[test]
fn a_disk_that_the_spool_fills_empties_by_itself() {
    let disk = Disk::new(192);
    let mut rig = Rig::at(&disk.dir);
    let server = rig.serve();
    let lock = rig.lock();
    let start = Instant::now();
    while rig.fleet.count(Outcome::Refused) < 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "it is not full");
        rig.load(&server, Duration::from_millis(200));
    }
    println!("{} acknowledged until 503", rig.fleet.count(Outcome::Acknowledged));
    drop(lock);
    let findings = rig.must_be_clean_from_the_start(&server);
    assert!(findings.acknowledged > 10_000, "hardly any load");
    assert_eq!(findings.refused, [], "stored after a 503");
}

#[test]
fn disk_full_and_killed() {
    let mut disk = Disk::new(192);
    let mut rig = Rig::at(&disk.dir);
    for _ in 0..3 {
        let server = rig.serve();
        rig.must_be_clean(&server);
        let lock = rig.lock();
        fill(&mut rig, &disk, &server);
        let time = rig.dice.millis(5, 100);
        disk.fill();
        rig.load_and_kill(server, time);
        drop(lock);
        disk.cut_power();
        disk.mount_again();
        disk.free();
    }
    let server = rig.serve();
    rig.must_be_clean_from_the_start(&server);
}

#[test]
fn a_start_on_a_full_disk_empties_the_spool() {
    let disk = Disk::new(64);
    let spool = format!("--spool={}", disk.dir.join("spool").display());
    let mut rig = Rig::new().with(&spool);
    let server = rig.serve();
    let lock = rig.lock();
    rig.load(&server, Duration::from_millis(300));
    assert!(server.stop().success());
    disk.fill();
    drop(lock);
    let server = rig.serve();
    // The database has a disk of its own: what waits is stored without room for a new segment.
    rig.audit().must_be_clean();
    disk.fill();
    let status = || server.post(&format!("date={DATE}&path=/test/again"), &[]).status;
    assert_eq!(status(), 503);
    disk.free();
    let freed = Instant::now();
    while status() != 204 {
        assert!(freed.elapsed() < Duration::from_secs(2), "still refused");
        thread::sleep(Duration::from_millis(20));
    }
    rig.must_be_clean_from_the_start(&server);
}

#[test]
fn a_database_that_cannot_be_written_is_waited_for() {
    let disk = Disk::new(192);
    let mut rig = Rig::new().with_database("here/djaffar.sqlite3");
    let (here, home) = (rig.dir.join("here"), rig.dir.join("home"));
    let name = "djaffar.sqlite3";
    let point_to = |target: &std::path::Path| {
        let draft = home.with_file_name("draft");
        std::os::unix::fs::symlink(target, &draft).unwrap();
        fs::rename(&draft, &here).unwrap();
    };
    fs::create_dir(&home).unwrap();
    point_to(&home);
    rig.migrate();
    rig.fleet.pause(Duration::from_millis(2));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(200));
    rig.must_be_clean(&server);
    // A copy on a disk that is then mounted read-only.
    let copy = disk.dir.join(name);
    let into = format!("VACUUM INTO '{}'", copy.display());
    Connection::open(home.join(name)).unwrap().execute_batch(&into).unwrap();
    disk.remount("ro");
    let before = rig.fleet.count(Outcome::Acknowledged);
    rig.fleet.load(server.address, || {
        point_to(&disk.dir);
        thread::sleep(Duration::from_secs(2));
    });
    assert!(rig.fleet.count(Outcome::Acknowledged) > before + 500, "204 does not go on");
    assert_eq!(rig.fleet.count(Outcome::Refused), 0);
    point_to(&home);
    rig.must_be_clean_from_the_start(&server);
}
