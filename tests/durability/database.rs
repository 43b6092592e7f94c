//! The database is away, or refuses a row: 204 goes on, and all is stored once when it is back.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{fleet::Outcome, rig::Rig};
use crate::support::DATE;

#[test]
fn locked_by_another_program() {
    let mut rig = Rig::new();
    rig.fleet.pause(Duration::from_millis(2));
    let server = rig.serve();
    rig.load(&server, Duration::from_millis(100));
    let before = rig.audit().acknowledged;
    let lock = rig.lock();
    rig.load(&server, Duration::from_secs(4));
    let during = rig.fleet.count(Outcome::Acknowledged);
    assert!(during > before + 1_000, "{before} before, {during} then: 204 does not go on");
    assert_eq!(rig.fleet.count(Outcome::Refused), 0);
    drop(lock);
    let findings = rig.must_be_clean_from_the_start(&server);
    assert_eq!(findings.acknowledged, during);
}

#[test]
fn locked_now_and_then_and_killed() {
    let mut rig = Rig::new();
    for _ in 0..6 {
        let server = rig.serve();
        let lock = rig.lock();
        let time = rig.dice.millis(50, 300);
        rig.load_and_kill(server, time);
        drop(lock);
    }
    let server = rig.serve();
    rig.must_be_clean_from_the_start(&server);
}

#[test]
fn moved_away_and_put_back() {
    let mut rig = Rig::new();
    rig.fleet.pause(Duration::from_millis(2));
    let server = rig.serve();
    let files = ["djaffar.sqlite3", "djaffar.sqlite3-wal", "djaffar.sqlite3-shm"];
    let dir = rig.dir.clone();
    let rename = |from: &str, to: &str| {
        for file in files {
            let _ = fs::rename(dir.join(format!("{from}{file}")), dir.join(format!("{to}{file}")));
        }
    };
    rig.fleet.load(server.address, || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            rename("", "away-");
            thread::sleep(Duration::from_millis(700));
            assert!(!dir.join(files[0]).exists(), "it made a new one");
            rename("away-", "");
        }
    });
    assert_eq!(rig.fleet.count(Outcome::Refused), 0);
    rig.must_be_clean_from_the_start(&server);
}

#[test]
fn a_row_that_it_refuses_goes_to_quarantine() {
    let mut rig = Rig::new();
    let server = rig.serve();
    rig.refuse_poison();
    let address = server.address;
    rig.fleet.load(address, || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(50));
            let answer = server.post(&format!("date={DATE}&path=/test/poison"), &[]);
            assert_eq!(answer.status, 204);
        }
    });
    rig.must_be_clean_from_the_start(&server);
    let refused = rig.quarantine(".refused");
    assert_eq!(refused.len(), 3, "{refused:?}");
    for path in &refused {
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let (reason, payload) = text.split_once('\n').unwrap();
        assert!(reason.contains("not this one"), "{reason}");
        assert!(payload.contains("/test/poison"));
    }
    // It stays there, once, and nothing waits for it.
    drop(server);
    let server = rig.serve();
    rig.must_be_clean(&server);
    assert_eq!(rig.quarantine(".refused"), refused);
    assert_eq!(rig.stored("/test/poison"), 0);
}

#[test]
fn a_batch_is_refused_as_a_whole() {
    let rig = Rig::new().with("--spool-limit-mib=32");
    let server = rig.serve();
    let lock = rig.lock();
    let item = json!({ "date": DATE, "path": format!("/test/{}", "x".repeat(500)) });
    let batch = Value::Array(vec![item.clone(); 90]).to_string();
    let kind = [("Content-Type", "application/json")];
    let mut accepted = 0;
    // The limit is no multiple of what a batch takes: it is met within one.
    while server.post(&batch, &kind).status == 200 {
        accepted += 90;
    }
    assert!(accepted > 900, "{accepted}");
    drop(lock);
    let path = item["path"].as_str().unwrap();
    while rig.stored(path) < accepted {
        thread::sleep(Duration::from_millis(100));
    }
    // What is stored after this one was taken after the batches.
    while server.post(&format!("date={DATE}&path=/test/last"), &[]).status != 204 {}
    while rig.stored("/test/last") == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rig.stored(path), accepted);
    let log = server.stop_and_tell();
    assert!(log.contains("refused with 503") && log.contains("raise the limit"), "{log}");
}

#[test]
fn when_too_much_waits_the_answer_is_503_until_it_is_stored() {
    let mut rig = Rig::new().with("--spool-limit-mib=32");
    let server = rig.serve();
    let lock = rig.lock();
    let start = Instant::now();
    while rig.fleet.count(Outcome::Refused) < 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "no limit");
        rig.load(&server, Duration::from_millis(500));
    }
    // To the last page.
    let status = || server.post(&format!("date={DATE}&path=/test/again"), &[]).status;
    while status() == 204 {}
    drop(lock);
    let freed = Instant::now();
    while status() != 204 {
        // The drain tries again every few seconds.
        assert!(freed.elapsed() < Duration::from_secs(10), "still refused");
        thread::sleep(Duration::from_millis(20));
    }
    println!("204 again after {:.1} s", freed.elapsed().as_secs_f32());
    let findings = rig.must_be_clean_from_the_start(&server);
    assert!(findings.acknowledged > 1_000);
    assert_eq!(findings.refused, [], "stored after a 503");
}
