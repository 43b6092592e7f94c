//! How many activities a second SQLite takes: `cargo bench --bench sqlite`.
//!
//! Rows as `stores/rows.rs` makes them, an `event_id` each. The time is that of `Store::write` alone,
//! from the first batch to the last; its CPU is that of the thread that calls it. Then all activities
//! of one user or of one session are looked up. With `spool`, a full spool is emptied instead, as
//! `djaffar drain` does: reading, decoding and the rows of sessions are in the time, and the CPU is
//! that of the whole process.
//!
//! Arguments after `--`: the number of rows (default 100000 and 1000000); `batch=16384`;
//! `ids=v7|v4|none`; `spool`.

#![expect(clippy::expect_used, reason = "a bench that cannot run should stop")]
#![expect(clippy::indexing_slicing, reason = "the same")]

#[path = "stores/rows.rs"]
mod rows;

use std::path::Path;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::{Duration, Instant};

use djaffar::activity::{Activity, SessionState};
use djaffar::auth::{self, Auth, signing::Secret};
use djaffar::spool::{self, Spool, record};
use djaffar::store::{Batch, Cursor, Database, NewSession, Settings, SqliteDatabase};
use djaffar::{drain, engine::Engine};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rows::Source;
use rusqlite::Connection;
use rusqlite::types::Value;
use uuid::Uuid;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().find_map(|text| text.strip_prefix(name));
    let batch = option("batch=").map_or(16_384, |text| text.parse().expect("batch=NUMBER"));
    let ids = option("ids=").unwrap_or("v7");
    let mut sizes: Vec<u64> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    println!("SQLite {}, batches of {batch}, event ids {ids}", rusqlite::version());
    let is_spool = arguments.iter().any(|text| text == "spool");
    for rows in sizes {
        if is_spool { empty_spool(rows, batch, ids) } else { write(rows, batch, ids) }
    }
}

/// Fills a spool, then empties it.
fn empty_spool(rows: u64, max_records: usize, ids: &str) {
    let folder = tempfile::tempdir_in(".").expect("a folder here, on a real disk");
    let database = SqliteDatabase::new(&folder.path().join("db.sqlite3"), Settings::default());
    database.migrate().expect("tables");
    let open = || Spool::open(spool::Options::new(folder.path().join("spool"))).expect("a spool");
    {
        let (_spool, mut lanes, _reader) = open();
        let (mut source, mut bytes) = (Source::new(ids), Vec::new());
        for number in 1..=rows {
            bytes.clear();
            record::encode(&source.next(), &mut bytes);
            lanes[0].append(&bytes).expect("room");
            if number.is_multiple_of(1_000) || number == rows {
                lanes[0].commit().expect("a disk");
            }
        }
    }
    let (_spool, _lanes, reader) = open();
    let settings = auth::Settings::new(Secret::from("a secret key of the bench"));
    let auth = Arc::new(Auth::new(settings, database.directory()).expect("look-ups"));
    let (store, directory) = (database.store(), database.directory());
    let parts = drain::Parts { reader, store, directory, engine: Engine::Table, auth };
    let finish_within = Duration::from_secs(3_600);
    let options = drain::Options { finish_within, max_records, ..drain::Options::default() };
    let (start, before) = (Instant::now(), of_the_process());
    assert!(drain::run(parts, &options, &AtomicBool::new(true), |_| {}), "something is left");
    let (took, busy) = (start.elapsed(), of_the_process() - before);
    assert_eq!(database.history().count(), Ok(rows), "all rows are stored");
    println!(
        "{rows:>9} rows from a full spool: {:>7.0} rows/s, {:.2} us of CPU a row",
        rows as f64 / took.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / rows as f64,
    );
}

fn write(rows: u64, size: usize, ids: &str) {
    let folder = tempfile::tempdir_in(".").expect("a folder here, on a real disk");
    let database = SqliteDatabase::new(&folder.path().join("db.sqlite3"), Settings::default());
    database.migrate().expect("tables");
    let mut store = database.store();
    let (mut source, mut made) = (Source::new(ids), 0);
    let (spool, segment) = (Uuid::new_v4(), Uuid::new_v4());
    let (mut spent, mut slowest, mut busy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut late, mut late_rows) = (Duration::ZERO, 0);
    while made < rows {
        let activities: Vec<_> = (made..rows).take(size).map(|_| source.next()).collect();
        let sessions = new_sessions(&activities);
        made += activities.len() as u64;
        let cursor = Cursor { spool, segment, position: made };
        let (start, before) = (Instant::now(), of_this_thread());
        let stored = store
            .write(&Batch { activities: &activities, sessions: &sessions, cursor })
            .expect("stored");
        let took = start.elapsed();
        assert_eq!(stored, activities.len() as u64);
        spent += took;
        busy += of_this_thread() - before;
        slowest = slowest.max(took);
        if made > rows - rows / 10 {
            late += took;
            late_rows += stored;
        }
    }
    drop(store);
    let (user, session) =
        look_ups(&folder.path().join("db.sqlite3"), &mut SmallRng::seed_from_u64(1));
    let bytes = std::fs::metadata(folder.path().join("db.sqlite3")).map_or(0, |file| file.len());
    println!(
        "{rows:>9} rows: {:>7.0} rows/s (last tenth {:>7.0}), {:.2} us of CPU a row, slowest batch {:>4} ms, {} bytes a \
         row; \
         all of one user in {user}, of one session in {session}",
        rows as f64 / spent.as_secs_f64(),
        late_rows as f64 / late.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / rows as f64,
        slowest.as_millis(),
        bytes / rows,
    );
}

/// How long it takes to find all activities of a user or a session that is among them, as Django
/// asks: median and longest of 200 different ones.
fn look_ups(path: &Path, random: &mut SmallRng) -> (String, String) {
    let connection = Connection::open(path).expect("the file");
    let last: i64 = connection
        .query_row("SELECT max(id) FROM djaffar_activity", [], |row| row.get(0))
        .expect("rows");
    let mut time = |column: &str| {
        let pick =
            format!("SELECT {column} FROM djaffar_activity WHERE id > ?1 AND {column} IS NOT NULL");
        let find = format!("SELECT * FROM djaffar_activity WHERE {column} = ?1 ORDER BY id DESC");
        let mut times: Vec<f64> = (0..200)
            .map(|_| {
                let at = random.random_range(0..last * 9 / 10);
                let key: Value = connection.query_row(&pick, [at], |row| row.get(0)).expect("one");
                let start = Instant::now();
                let mut statement = connection.prepare_cached(&find).expect("a statement");
                let mut rows = statement.query([key]).expect("rows");
                while rows.next().expect("a row").is_some() {}
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        format!("{:.1} ms (at most {:.1})", times[100], times[199])
    };
    (time("user_id"), time("session_id"))
}

/// Rows of the sessions that we minted.
fn new_sessions(activities: &[Activity]) -> Vec<NewSession> {
    let sessions = activities.iter().filter_map(|activity| {
        let session = activity.session.as_ref().filter(|it| it.state == SessionState::Minted)?;
        Some(NewSession {
            key: session.key.clone(),
            data: "e30:1wAbCd:0123456789012345678901234567890123456789012".into(),
            expires: activity.received_at + 1_209_600_000_000,
        })
    });
    sessions.collect()
}

/// What this thread has had of a processor: for machines that are busy.
fn of_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// What all threads have had, those that have ended included: by hundredths of a second.
fn of_the_process() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
