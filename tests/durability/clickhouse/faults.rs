//! ClickHouse, its replicas, ZooKeeper, the network and we ourselves break, under load: nothing
//! that was acknowledged is lost or doubled.
//!
//! `KILLS`: more of each than the few that every run has time for.

use std::{sync::atomic::Ordering, thread, time::Duration};

use super::{super::setting, Fort};

pub(super) fn kills(default: u64) -> u64 {
    setting("KILLS", default)
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_clickhouse_is_killed_under_load() {
    let mut fort = Fort::one("old");
    let mut rig = fort.rig();
    let server = rig.serve();
    for _ in 0..kills(5) {
        let (up, down) = (rig.dice.millis(200, 2_500), rig.dice.millis(0, 1_000));
        let clickhouse = &mut fort.servers[0];
        rig.fleet.load(server.address, || {
            thread::sleep(up);
            clickhouse.kill();
            thread::sleep(down);
            clickhouse.restart();
        });
    }
    drop(server);
    fort.must_be_clean(&mut rig);
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_djaffar_is_killed_under_load() {
    let mut fort = Fort::one("old");
    let mut rig = fort.rig();
    for _ in 0..kills(5) {
        let server = rig.serve();
        let time = rig.dice.millis(50, 2_500);
        rig.load_and_kill(server, time);
    }
    fort.must_be_clean(&mut rig);
}

/// Requests are cut, answers swallowed, requests delivered late or twice, and we are killed meanwhile.
/// `stages`: rows go through a temporary table.
fn network(fort: &mut Fort, rounds: u64, stages: bool) {
    let mut rig = fort.rig();
    // Tables first.
    drop(rig.serve());
    fort.harm(true);
    let sum = |of: fn(&super::proxy::Counts) -> u32| {
        fort.proxies.iter().map(|proxy| of(&proxy.counts)).sum::<u32>()
    };
    let counts = || {
        [
            sum(|counts| counts.cut.load(Ordering::SeqCst)),
            sum(|counts| counts.swallowed.load(Ordering::SeqCst)),
            sum(|counts| counts.late.load(Ordering::SeqCst)),
            sum(|counts| counts.twice.load(Ordering::SeqCst)),
            sum(|counts| counts.through.load(Ordering::SeqCst)),
        ]
    };
    // Until each harm was done, also on a slow machine.
    let mut round = 0;
    while round < rounds || round < 10 * rounds && counts().contains(&0) {
        let server = rig.serve();
        let time = rig.dice.millis(1_000, 4_000);
        rig.load_and_kill(server, time);
        round += 1;
    }
    let [cut, swallowed, late, twice, through] = counts();
    let staged = sum(|counts| counts.staged.load(Ordering::SeqCst));
    fort.must_be_clean(&mut rig);
    println!(
        "inserts: {through} went through, {cut} cut, {swallowed} swallowed, {late} late, {twice} twice; \
         {staged} of these into a temporary table"
    );
    assert!(cut > 0 && swallowed > 0 && late > 0 && twice > 0, "no harm was done");
    assert_eq!(staged > 0, stages, "harm to temporary tables");
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_of_the_network_18_16() {
    network(&mut Fort::one("old"), kills(5), true);
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_of_the_network_today() {
    network(&mut Fort::one("new"), kills(5), false);
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_of_the_network_of_a_cluster() {
    network(&mut Fort::four(), kills(5), false);
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_todays_engine_is_killed_under_load() {
    let mut fort = Fort::one("new");
    let mut rig = fort.rig();
    let server = rig.serve();
    for _ in 0..kills(6) {
        let up = rig.dice.millis(200, 2_500);
        let engine = &mut fort.servers[0];
        rig.fleet.load(server.address, || {
            thread::sleep(up);
            engine.kill();
            engine.restart();
        });
    }
    drop(server);
    fort.must_be_clean(&mut rig);
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_replica_shard_and_zookeeper_of_a_cluster_are_killed() {
    let mut fort = Fort::four();
    let mut rig = fort.rig();
    let mut server = rig.serve();
    for round in 0..kills(6) {
        let (up, down) = (rig.dice.millis(300, 1_500), rig.dice.millis(500, 4_000));
        let Fort { servers, zookeeper, .. } = &mut fort;
        let zookeeper = zookeeper.as_mut().unwrap();
        // A replica, a whole shard, ZooKeeper.
        let mut victims: Vec<_> = match round % 3 {
            0 => servers.iter_mut().skip(round as usize % 4).take(1).collect(),
            1 => servers.iter_mut().skip(round as usize / 3 % 2 * 2).take(2).collect(),
            _ => vec![zookeeper],
        };
        rig.fleet.load(server.address, || {
            thread::sleep(up);
            victims.iter_mut().for_each(|victim| victim.kill());
            thread::sleep(down);
            victims.iter_mut().for_each(|victim| victim.restart());
        });
        if round % 2 == 1 {
            drop(server);
            server = rig.serve();
        }
    }
    thread::sleep(Duration::from_secs(1));
    drop(server);
    fort.must_be_clean(&mut rig);
}
