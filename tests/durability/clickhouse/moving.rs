//! `djaffar move` to a ClickHouse and back, under load: it is killed, the ClickHouse is killed, requests
//! are cut and answers swallowed.

use std::{process::Stdio, thread, time::Duration};

use super::{
    super::{
        fleet::Outcome,
        moving::{Mover, keeping, kills, moments, under_load},
        rig::Rig,
    },
    Fort,
    servers::ask,
};
use crate::support::command_of;

fn site(rig: &Rig) -> String {
    format!("sqlite:///{}", rig.dir.join("djaffar.sqlite3").display())
}

/// Both are killed in turn; then the switch, and the server goes on there.
fn to_clickhouse(fort: &mut Fort, count: u64) {
    let mut rig = keeping(Rig::new());
    let (from, to) = (site(&rig), fort.url.clone());
    let mover = Mover { dir: rig.dir.clone(), from, to, rows: 4_000 };
    fort.harm(false);
    // What comes in while it is killed is to be little beside what one run takes over.
    rig.fleet.pause(Duration::from_millis(100));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(1_500));
    let times = moments(&mut rig.dice, count);
    fort.harm(true);
    rig.fleet.load(server.address, || {
        for (number, time) in times.iter().enumerate() {
            let more: &[&str] = if number * 2 >= times.len() { &["--finish"] } else { &[] };
            let mut command = mover.command(more);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(*time);
            if number % 3 == 2 {
                fort.servers[0].kill();
                thread::sleep(Duration::from_millis(100));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if number % 3 == 2 {
                fort.servers[0].restart();
            }
        }
    });
    drop(server);
    fort.harm(false);
    under_load(&mut rig, &mover, &format!("--activity-database={}", fort.url), 2);
    fort.must_be_clean(&mut rig);
    // Rows are numbered by the time at which they came in, so that they lie in their months.
    let sql = format!(
        "SELECT count() FROM {} WHERE abs(toInt64(toUInt32(stored_at)) - \
         intDiv(received_at, 1000000)) > 120",
        fort.table()
    );
    assert_eq!(ask(fort.servers[0].address(), &sql).as_deref(), Ok("0\n"), "months");
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn a_move_to_18_16_is_killed_under_load() {
    let mut fort = Fort::one("old");
    to_clickhouse(&mut fort, kills(6));
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn a_move_to_a_cluster_is_killed_under_load() {
    let mut fort = Fort::four();
    to_clickhouse(&mut fort, kills(3));
}

/// The way back: the servers are stopped and drained for the last step.
#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn a_move_from_18_16_back_to_the_site() {
    let fort = Fort::one("old");
    let mut rig = keeping(fort.rig());
    let (from, to) = (fort.url.clone(), site(&rig));
    let mover = Mover { dir: rig.dir.clone(), from, to, rows: 500 };
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(700));
    rig.fleet.load(server.address, || {
        assert!(mover.run(&[]).status.success());
        thread::sleep(Duration::from_millis(300));
    });
    drop(server);
    let mut drain = command_of(env!("CARGO_BIN_EXE_djaffar"), &rig.dir);
    let drained = drain.args(["drain", "--activity-database", &fort.url]).output().unwrap();
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    mover.be_killed(&moments(&mut rig.dice, 3));
    let moved = mover.must_finish();
    let stored = rig.fleet.count(Outcome::Acknowledged);
    assert!(moved as usize >= stored, "{moved} of {stored}");
    rig.replace("--activity-database=");
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(300));
    rig.must_be_clean_from_the_start(&server);
    let ids = "SELECT min(id) = 1 AND count(*) > 0 FROM djaffar_activity";
    assert!(rig.database().query_row(ids, [], |row| row.get::<_, bool>(0)).unwrap());
}

/// Servers come and go: 18.16, today's engine, a cluster. A server loads on each, and is stopped and
/// drained for each switch.
#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn a_move_from_18_16_to_todays_engine_to_a_cluster() {
    let mut forts = [Fort::one("old"), Fort::one("new"), Fort::four()];
    let mut rig = keeping(forts[0].rig());
    forts.iter().for_each(|fort| fort.harm(false));
    let site = site(&rig);
    let mut moved = 0;
    for pair in forts.windows(2) {
        let server = rig.serve();
        rig.fleet.pause(Duration::from_millis(10));
        rig.load(&server, Duration::from_millis(300));
        rig.fleet.pause(Duration::from_millis(200));
        let (from, to) = (pair[0].url.clone(), pair[1].url.clone());
        let mover = Mover { dir: rig.dir.clone(), from, to, rows: 2_000 };
        let database = ["--database", &site];
        rig.fleet.load(server.address, || {
            let done = mover.run(&database);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        });
        drop(server);
        let mut drain = command_of(env!("CARGO_BIN_EXE_djaffar"), &rig.dir);
        let drained = drain.args(["drain", "--activity-database", &pair[0].url]).output().unwrap();
        assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        for time in moments(&mut rig.dice, 2) {
            let mut command = mover.command(&["--database", &site, "--finish"]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(time);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let done = mover.run(&["--database", &site, "--finish", "--json"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let rows = report["rows"].as_u64().unwrap();
        assert!(report["equal"] == true && rows > moved, "{report}");
        moved = rows;
        rig.replace(&format!("--activity-database={}", pair[1].url));
    }
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(300));
    drop(server);
    forts[2].must_be_clean(&mut rig);
    println!("{moved} rows moved twice");
}
