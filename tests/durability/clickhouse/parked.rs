//! What is parked for a shard: one that hangs and does not refuse, a file that the disk has damaged, and a
//! spool that is full of what is parked.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    Fort,
    away::{PATIENCE, parked},
    servers::ask,
};
use crate::support::DATE;

impl Fort {
    fn first_shard_hangs(&self, hangs: bool) {
        self.servers[..2].iter().for_each(|server| server.hang(hangs));
    }
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_a_shard_of_a_cluster_hangs_and_a_parked_file_is_damaged() {
    let mut fort = Fort::four();
    let mut rig = fort.rig();
    rig.fleet.insist();
    rig.fleet.pause(Duration::from_millis(100));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(500));
    fort.first_shard_hangs(true);
    let (since, dir, address) = (Instant::now(), rig.dir.clone(), server.address);
    let on = rig.fleet.load_until(address, PATIENCE, || parked(&dir) > 1);
    assert!(on, "nothing is parked for a shard that hangs");
    let before = fort.other_shard();
    let on = rig.fleet.load_until(address, PATIENCE, || fort.other_shard() > before + 50);
    assert!(on, "the other shard stands still at {before}");
    println!("the other goes on {:?} after the shard hangs", since.elapsed());
    // It answers again: what was tried meanwhile may have come through.
    fort.first_shard_hangs(false);
    let on = rig.fleet.load_until(address, PATIENCE, || parked(&dir) == 0);
    assert!(on, "{} are parked yet", parked(&dir));
    // Before it stops, which it may do with a full spool.
    fort.audit(&rig).must_be_clean();
    drop(server);

    // A file of several is damaged while nobody looks.
    fort.kill_first_shard();
    let server = rig.serve();
    let on = rig.fleet.load_until(server.address, PATIENCE, || parked(&dir) > 3);
    assert!(on, "nothing is parked");
    drop(server);
    let folder = dir.join("djaffar-spool/parked");
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut bytes = fs::read(&files[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    fort.servers[..2].iter_mut().for_each(super::Server::restart);
    let server = rig.serve();
    let until = Instant::now() + PATIENCE;
    while parked(&dir) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(parked(&dir), 0, "it holds up the others");
    let said = server.stop_and_tell();
    for part in ["damaged on the disk", "quarantine", "spool_retain_seconds"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let name = files[1].file_name().unwrap().to_string_lossy().into_owned();
    let put_aside = dir.join(format!("djaffar-spool/quarantine/parked-{name}.damaged"));
    assert!(put_aside.exists(), "{}", put_aside.display());
    let found = fort.audit(&rig);
    let (lost, all) = (found.lost.len(), found.acknowledged);
    assert!(lost > 0 && lost * 2 < all, "{lost} of {all}: more than was in the one file");
    assert!(found.doubled.is_empty() && found.altered.is_empty() && found.unknown.is_empty());
    println!("{lost} of {all} were in the file that was damaged; all others are stored");
}

fn parked_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("djaffar-spool/parked")).into_iter().flatten().flatten();
    files.map(|file| file.metadata().map_or(0, |it| it.len())).sum()
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_a_spool_full_of_what_is_parked_for_a_shard_of_a_cluster() {
    let mut fort = Fort::four();
    let mut rig = fort.rig();
    rig.replace("--spool-limit-mib=32");
    let server = rig.serve();
    let form =
        format!("date={DATE}&path=/full&properties=%7B%22text%22%3A%22{}%22%7D", "x".repeat(7_000));
    let post = || server.post(&form, &[]).status;
    assert_eq!(post(), 204);
    fort.kill_first_shard();
    let (mut taken, since, dir) = (1_u64, Instant::now(), rig.dir.clone());
    // Until all that waits is parked: what is for the other shard makes room again.
    let (mut calm, limit) = (0, 3 * PATIENCE);
    while calm < 3 {
        let before = taken;
        taken += thread::scope(|scope| {
            let posting = || (0..50).take_while(|_| post() == 204).count() as u64;
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(posting)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>()
        });
        let is_full = taken == before && parked_bytes(&dir) > 28 << 20;
        calm = if is_full { calm + 1 } else { 0 };
        if taken == before {
            thread::sleep(Duration::from_millis(100));
        }
        assert!(since.elapsed() < limit, "{taken} were taken, {} are parked", parked(&dir));
    }
    assert_eq!(post(), 503);
    let bytes = parked_bytes(&dir);
    println!("503 after {taken}, {:?}; {} files, {bytes} bytes", since.elapsed(), parked(&dir));
    fort.servers[..2].iter_mut().for_each(super::Server::restart);
    let back = Instant::now();
    while post() != 204 {
        assert!(back.elapsed() < PATIENCE, "503 does not end");
        thread::sleep(Duration::from_millis(50));
    }
    taken += 1;
    println!("204 again {:?} after the shard was started", back.elapsed());
    let count = |place: usize| -> u64 {
        let sql = "SELECT count() FROM djaffar_activity_local";
        ask(fort.servers[place].address(), sql).map_or(0, |it| it.trim().parse().unwrap())
    };
    while count(0) + count(2) < taken && back.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_millis(500));
    assert_eq!((count(0) + count(2), parked(&rig.dir)), (taken, 0), "not each of them once");
}
