//! What each database server drains from a full spool, beside its own bulk tool with the same rows:
//! `cargo bench --bench stores`.
//!
//! Starts real servers in folders of their own: PostgreSQL, MariaDB, ClickHouse 18.16 (which
//! `tests/clickhouse/run` unpacks). The rows are put into a spool; then `drain::run` empties it, as
//! `djaffar drain` does: reading, decoding, leaving out repeats, sessions and their infos, the
//! activities, the cursor, synced commits. The tool gets nothing but the same activities, from files of
//! as many rows as our batches have, one transaction each, into an empty table that was made like ours,
//! with all indexes. CPU: of this process (or the tool), and of the server.
//!
//! Arguments after `--`: databases (`postgres`, `maria`, `clickhouse`; default all); the number of
//! rows (default 500000); `ids=v7|v4|none`; `rounds=1`; `mib=24`, of a batch for ClickHouse; `tool=Native`:
//! this one only, right after the drain.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a bench that cannot run should stop")]

mod clickhouse;
mod rows;
mod sql;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use djaffar::{
    auth::{Auth, Settings, signing::Secret},
    drain,
    engine::Engine,
    spool::{self, Spool, record},
    store::Database,
};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server, and how it takes rows by its own tool.
trait Rival {
    fn name(&self) -> String;
    fn database(&self) -> &dyn Database;
    fn options(&self) -> drain::Options;
    /// The server's process and those that it has started.
    fn processes(&self) -> Vec<u32>;
    fn count(&self) -> u64;
    /// Its own tool, or the formats that it takes.
    fn tools(&self) -> &'static [&'static str];
    /// Writes what is stored into files of so many rows for a tool, and makes an empty table like ours.
    fn prepare(&self, tool: &str, folder: &Path, rows: usize) -> Vec<PathBuf>;
    /// Has the tool read the files. Its own CPU counts as our children's.
    fn load(&self, tool: &str, files: &[PathBuf]);
    /// How many rows the tool has stored.
    fn loaded(&self) -> u64;
}

/// What a way to store cost.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    client: Duration,
    server: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().find_map(|text| text.strip_prefix(name));
    let ids = option("ids=").unwrap_or("v7");
    let rounds: usize = option("rounds=").map_or(1, |text| text.parse().expect("rounds=NUMBER"));
    let rows: u64 = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(500_000);
    let all = ["postgres", "maria", "clickhouse"];
    let wanted = all.into_iter().filter(|name| {
        let named = all.iter().any(|name| arguments.iter().any(|it| it == name));
        !named || arguments.iter().any(|it| it == name)
    });
    println!(
        "{rows} rows, event ids {ids}; CPU in microseconds a row: ours (or the tool's) + server's"
    );
    for name in wanted {
        for _ in 0..rounds {
            let folder = tempfile::tempdir_in(".").expect("a folder here, on a real disk");
            let rival: Box<dyn Rival> = match name {
                "postgres" => Box::new(sql::Sql::postgres()),
                "maria" => Box::new(sql::Sql::maria()),
                _ => Box::new(clickhouse::ClickHouse::start(folder.path())),
            };
            let tools = rival.tools().iter().copied();
            let tools = tools.filter(|tool| option("tool=").is_none_or(|wanted| wanted == *tool));
            compare(&*rival, folder.path(), (rows, ids), tools);
        }
    }
}

fn compare(
    rival: &dyn Rival,
    folder: &Path,
    (rows, ids): (u64, &str),
    tools: impl Iterator<Item = &'static str>,
) {
    rival.database().migrate().expect("tables");
    fill(&folder.join("spool"), rows, ids);
    let ours = measure(rival, || empty(rival, &folder.join("spool")));
    assert_eq!(rival.count(), rows, "all rows are stored");
    let line = |cost: Cost| {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
        let rate = rows as f64 / cost.time.as_secs_f64();
        format!("{rate:>7.0} a second, {:.2} + {:.2} us", each(cost.client), each(cost.server))
    };
    println!("{}, {} records at a time", rival.name(), rival.options().max_records);
    println!("  {:12} {}", "the drain", line(ours));
    for tool in tools {
        let files = rival.prepare(tool, folder, rival.options().max_records);
        let theirs = measure(rival, || rival.load(tool, &files));
        assert_eq!(rival.loaded(), rows, "the tool stored all");
        let ratio = theirs.time.as_secs_f64() / ours.time.as_secs_f64();
        println!("  {tool:12} {}, ratio {ratio:.2}", line(theirs));
    }
}

fn measure(rival: &dyn Rival, work: impl FnOnce()) -> Cost {
    let server = || rival.processes().into_iter().map(|it| cpu(&it.to_string())).sum::<Duration>();
    let (start, client, servers) = (Instant::now(), cpu("self"), server());
    work();
    // Before it is waited for: what a tool used is among our children's.
    Cost {
        time: start.elapsed(),
        client: cpu("self").saturating_sub(client),
        server: server().saturating_sub(servers),
    }
}

/// User and system time of a process and the children that it has waited for, by hundredths of a
/// second.
fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

/// Puts the rows into a new spool.
fn fill(folder: &Path, rows: u64, ids: &str) {
    let (_spool, mut lanes, _reader) = Spool::open(spool::Options::new(folder)).expect("a spool");
    let lane = lanes.first_mut().expect("a lane");
    let mut source = rows::Source::new(ids);
    let mut bytes = Vec::new();
    for number in 1..=rows {
        bytes.clear();
        record::encode(&source.next(), &mut bytes);
        lane.append(&bytes).expect("room");
        if number.is_multiple_of(1_000) || number == rows {
            lane.commit().expect("a disk");
        }
    }
}

/// Stores all of it.
fn empty(rival: &dyn Rival, folder: &Path) {
    let (_spool, _lanes, reader) = Spool::open(spool::Options::new(folder)).expect("a spool");
    let database = rival.database();
    let settings = Settings::new(Secret::from("a secret key of the bench"));
    let auth = Arc::new(Auth::new(settings, database.directory()).expect("look-ups"));
    let (store, directory) = (database.store(), database.directory());
    let parts = drain::Parts { reader, store, directory, engine: Engine::Table, auth };
    let options = drain::Options { finish_within: Duration::from_secs(3_600), ..rival.options() };
    assert!(drain::run(parts, &options, &AtomicBool::new(true), |_| {}), "something is left");
}
