//! How many activities a second SQLite takes: `cargo bench --bench sqlite`.
//!
//! Rows as a busy site makes them: 10,000 sessions at a time with five activities each; half of
//! the sessions belong to one of 20,000 users and have a random key of Django's, the others are
//! newcomers with a key and a row of ours; dates near now that arrive a little out of order; an
//! `event_id` each. The time is that of `Store::write` alone, from the first batch to the last. Then all activities of one user or of one
//! session are looked up.
//!
//! Arguments after `--`: the number of rows (default 100000 and 1000000); `batch=16384`;
//! `ids=v7|v4|none`.

#![expect(clippy::expect_used, reason = "a bench that cannot run should stop")]
#![expect(clippy::indexing_slicing, reason = "the same")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use djaffar::activity::{Activity, Session, SessionState};
use djaffar::store::{Batch, Cursor, Database, NewSession, Settings, SqliteDatabase};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use rusqlite::types::Value;
use uuid::Uuid;

const START: i64 = 1_780_000_000_000_000;

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
    for rows in sizes {
        run(rows, batch, ids);
    }
}

fn run(rows: u64, size: usize, ids: &str) {
    let folder = tempfile::tempdir_in(".").expect("a folder here, on a real disk");
    let database = SqliteDatabase::new(&folder.path().join("db.sqlite3"), Settings::default());
    database.migrate().expect("tables");
    let mut store = database.store();
    let random = SmallRng::seed_from_u64(1);
    let mut source = Source { random, made: 0, ids: ids.into(), seen: HashSet::new() };
    let (spool, segment) = (Uuid::new_v4(), Uuid::new_v4());
    let (mut spent, mut slowest, mut busy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut late, mut late_rows) = (Duration::ZERO, 0);
    while source.made < rows {
        let (activities, sessions) = source.batch(size.min((rows - source.made) as usize));
        let cursor = Cursor { spool, segment, position: source.made };
        let (start, before) = (Instant::now(), cpu());
        let stored = store
            .write(&Batch { activities: &activities, sessions: &sessions, cursor })
            .expect("stored");
        let took = start.elapsed();
        assert_eq!(stored, activities.len() as u64);
        spent += took;
        busy += cpu() - before;
        slowest = slowest.max(took);
        if source.made > rows - rows / 10 {
            late += took;
            late_rows += stored;
        }
    }
    drop(store);
    let (user, session) = look_ups(&folder.path().join("db.sqlite3"), &mut source.random);
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

/// What this thread, which does all of it, has had of a processor: for machines that are busy.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

struct Source {
    random: SmallRng,
    made: u64,
    ids: String,
    seen: HashSet<u64>,
}

impl Source {
    fn batch(&mut self, size: usize) -> (Vec<Activity>, Vec<NewSession>) {
        let mut activities = Vec::with_capacity(size);
        let mut sessions = Vec::new();
        for _ in 0..size {
            let number = (self.made + self.random.random_range(0..50_000)) / 5;
            let activity = self.activity(number);
            if let Some(session) = &activity.session
                && activity.user.is_none()
                && self.seen.insert(number)
            {
                sessions.push(NewSession {
                    key: session.key.clone(),
                    data: "e30:1wAbCd:0123456789012345678901234567890123456789012".into(),
                    expires: activity.received_at + 1_209_600_000_000,
                });
            }
            activities.push(activity);
            self.made += 1;
        }
        (activities, sessions)
    }

    fn activity(&mut self, number: u64) -> Activity {
        // 2,000 activities a second; clients' clocks and ways differ by up to two seconds.
        let received_at = START + self.made as i64 * 500;
        let jitter = self.random.random_range(0..2_000_000);
        let session = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let is_user = session.is_multiple_of(2);
        // Our own keys begin with the minute that they were made in.
        let minute = if is_user { session >> 44 } else { number * 5 / 120_000 };
        Activity {
            received_at,
            date: received_at - jitter,
            address: IpAddr::V4(Ipv4Addr::from_bits(session as u32)),
            session: Some(Session {
                key: format!("{minute:05x}{session:016x}{:011x}", session.rotate_left(17) >> 20),
                visitor: None,
                state: SessionState::Known,
            }),
            user: is_user.then(|| (session % 20_000 + 1).to_string()),
            path: format!(
                "/articles/2026/{:02}/a-piece-of-news-{:06}/",
                number % 12,
                jitter % 5_000
            ),
            referer: format!("https://www.example.org/search?q={:06}", session % 90_000),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                         Chrome/140.0.0.0 Safari/537.36"
                .into(),
            event_id: self.event_id(received_at),
            name: String::new(),
            properties: None,
        }
    }

    fn event_id(&mut self, at: i64) -> Option<Uuid> {
        let random: u128 = self.random.random();
        match self.ids.as_str() {
            "v7" => {
                let millis = (at / 1_000) as u128;
                Some(Uuid::from_u128(millis << 80 | 7 << 76 | random & ((1 << 76) - 1)))
            }
            "v4" => Some(Uuid::from_u128(random)),
            _ => None,
        }
    }
}
