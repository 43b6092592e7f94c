//! What `djaffar move` takes from each database to each other: `cargo bench --bench moves`.
//!
//! Starts real servers in folders of their own (PostgreSQL, MariaDB, ClickHouse 18.16, which
//! `tests/clickhouse/run` unpacks), fills each source once, and runs the program itself: first `move`, then
//! `move --finish`, which closes FROM, compares both sides and opens TO. Said for each pair: rows a second
//! while copying, rows a second while both sides are compared, and the most memory that the process had.
//!
//! Arguments after `--`: sources (`sqlite`, `postgres`, `maria`, `clickhouse`; default all), targets as
//! `to=postgres`; the number of rows (default 200000); `properties=8000`: so many bytes of properties in each row.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a bench that cannot run should stop")]

mod places;
#[path = "../stores/rows.rs"]
mod rows;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use djaffar::store::{Batch, Cursor};
use places::{ALL, Place};
use uuid::Uuid;

/// What a run took.
struct Run {
    time: Duration,
    /// In KiB.
    memory: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().find_map(|text| text.strip_prefix(name));
    let rows: u64 = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(200_000);
    let properties = option("properties=").map_or(0, |text| text.parse().expect("a number"));
    let named = |name: &str| arguments.iter().any(|it| it == name);
    let any = ALL.iter().any(|name| named(name));
    println!("{rows} rows; a second: copied, compared; MiB at most");
    for from in ALL.into_iter().filter(|name| !any || named(name)) {
        let folder = tempfile::tempdir_in(".").expect("a folder here, on a real disk");
        let source = Place::start(from, &folder.path().join("from"), None);
        fill(&source, rows, properties);
        for to in ALL.into_iter().filter(|to| option("to=").is_none_or(|it| it == *to)) {
            let folder = tempfile::tempdir_in(".").expect("a folder here, on a real disk");
            // The way back from a ClickHouse goes to the database beside it.
            let target = Place::start(to, folder.path(), Some(&source));
            if from == "clickhouse" && to != "clickhouse" {
                target.take_positions();
            }
            let copied = run(folder.path(), (&source, &target), &[]);
            let finished = run(folder.path(), (&source, &target), &["--finish"]);
            source.open();
            let rate = |time: Duration| rows as f64 / time.as_secs_f64();
            println!(
                "{from:>10} -> {to:10} {:>8.0} {:>8.0} {:>5}",
                rate(copied.time),
                rate(finished.time),
                copied.memory.max(finished.memory) / 1_024
            );
        }
    }
}

/// Puts the rows into a database, as the drain would.
fn fill(place: &Place, rows: u64, properties: usize) {
    place.database.migrate().expect("tables");
    let mut store = place.database.store();
    let mut source = rows::Source::new("v7");
    let ids = [Uuid::from_u128(1 << 100), Uuid::from_u128(1 << 101)];
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(properties));
    let mut done = 0;
    while done < rows {
        let count = (rows - done).min(if properties > 0 { 1_000 } else { 20_000 });
        let mut activities: Vec<_> = (0..count).map(|_| source.next()).collect();
        if properties > 0 {
            activities.iter_mut().for_each(|it| it.properties = Some(text.clone()));
        }
        done += count;
        let cursor = Cursor { spool: ids[0], segment: ids[1], position: done };
        let batch = Batch { activities: &activities, sessions: &[], cursor };
        store.write(&batch).expect("written");
    }
}

/// Runs the program; it must end well.
fn run(folder: &Path, (from, to): (&Place, &Place), more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_djaffar"));
    command.args(["move", &from.url, &to.url]).args(more).current_dir(folder);
    command.env("DJAFFAR_DATABASE", &to.site).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().expect("the program");
    let mut memory = 0;
    while child.try_wait().expect("the program").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok());
        memory = memory.max(peak.unwrap_or(0));
        thread::sleep(Duration::from_millis(10));
    }
    let time = start.elapsed();
    let said = child.wait_with_output().expect("the program");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Run { time, memory }
}
