//! One shard of two is away for a while, under load, and we are killed meanwhile: the other's rows
//! keep coming in, and in the end nothing is lost or doubled.

use std::{
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use super::{super::rig::Rig, Fort, faults::kills, servers::ask};

/// Until the other shard goes on: five seconds, and what a busy machine adds.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

impl Fort {
    /// How many activities the second shard has.
    pub(super) fn other_shard(&self) -> u64 {
        let sql = "SELECT count() FROM djaffar_activity_local";
        ask(self.servers[2].address(), sql).unwrap().trim().parse().unwrap()
    }

    /// Both replicas of the first.
    pub(super) fn kill_first_shard(&mut self) {
        self.servers[..2].iter_mut().for_each(super::Server::kill);
    }

    fn djaffar(&self, rig: &Rig, arguments: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_djaffar"));
        let mut command = crate::support::command_of(program, &rig.dir);
        command.args(arguments).args(["--activity-database", &self.url]).output().unwrap()
    }
}

pub(super) fn parked(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("djaffar-spool/parked")).map_or(0, |entries| {
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".block")).count()
    })
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn faults_a_shard_of_a_cluster_is_away_and_the_other_goes_on() {
    let mut fort = Fort::four();
    let mut rig = fort.rig();
    // Every activity has an event_id, and is sent again until it is answered.
    rig.fleet.insist();
    rig.fleet.pause(Duration::from_millis(25));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(1_500));
    fort.kill_first_shard();
    // The other shard's rows come in again, and go on to.
    let (before, since) = (fort.other_shard(), Instant::now());
    let (address, dir) = (server.address, rig.dir.clone());
    let on = rig.fleet.load_until(address, PATIENCE, || parked(&dir) > 1);
    assert!(on, "nothing is parked");
    let after = fort.other_shard();
    assert!(after > before, "{after} rows, {before} before");
    println!("after {:?}: {before} rows, {after} now", since.elapsed());
    let on = rig.fleet.load_until(address, PATIENCE, || fort.other_shard() > after + 50);
    assert!(on, "the other shard stands still at {}", fort.other_shard());
    // Killed again and again while blocks are parked.
    drop(server);
    // This process does not know what the shard has, and gets some of it again.
    rig.fleet.doubt(20);
    for _ in 0..kills(3) {
        let server = rig.serve();
        let (before, time) = (fort.other_shard(), rig.dice.millis(300, 1_500));
        rig.load_and_kill(server, time);
        println!(
            "{} parked, the other shard from {before} to {}",
            parked(&rig.dir),
            fort.other_shard()
        );
    }
    // What there is is stored, and it says what waits.
    let drained = fort.djaffar(&rig, &["drain"]);
    let said = String::from_utf8_lossy(&drained.stderr);
    assert!(!drained.status.success() && said.contains("are parked in"), "{said}");
    // Without its ClickHouse it does not start: nobody would store them.
    let alone = crate::support::Server::start(&mut Rig::at(&rig.dir).command(&[]));
    assert!(alone.err().is_some_and(|text| text.contains("parked")));
    // Back; killed while it takes what was parked.
    fort.servers[..2].iter_mut().for_each(super::Server::restart);
    for _ in 0..kills(3) {
        let server = rig.serve();
        let time = rig.dice.millis(100, 1_500);
        rig.load_and_kill(server, time);
    }
    fort.must_be_clean(&mut rig);
    assert_eq!(parked(&rig.dir), 0);
}
