//! How many activities a second a ClickHouse takes from the drain's writer, beside
//! `clickhouse-client` with the same rows: `cargo bench --bench clickhouse`.
//!
//! Starts Debian's 18.16 (which `tests/clickhouse/run` unpacks) in a folder of its own. The time of
//! ours is that of `Store::write`: leaving out repeats, encoding, freezing on the disk, inserting
//! three tables, moving the cursor in SQLite. The client's is that of one process that reads the same rows
//! from a file, into a table like ours, in its own large blocks.
//!
//! Arguments after `--`: the number of rows (default 1000000); `ids=v7|v4|none`; `batch=32768`.

#![expect(clippy::expect_used, reason = "a bench that cannot run should stop")]

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use djaffar::{
    activity::{Activity, Session, SessionState},
    spool::Frozen,
    store::{Batch, Cursor, Database, Error, Freezer, Settings, SqliteDatabase, WithClickHouse},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

const START: i64 = 1_780_000_000_000_000;
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

struct OnDisk(Frozen);

impl Freezer for OnDisk {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.load().map_err(|error| Error::Unavailable(error.to_string()))
    }

    fn freeze(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.keep(bytes).map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// The server; killed when dropped.
struct Server(Child, u16);

impl Server {
    fn start(dir: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        drop(listener);
        let script = format!("{ROOT}/tests/clickhouse/serve");
        let mut command = Command::new(script);
        command.arg("old").arg(dir.join("clickhouse")).arg(port.to_string());
        let child = command.stdout(Stdio::null()).spawn().expect("tests/clickhouse/serve");
        let server = Server(child, port);
        while server.client("SELECT 1", None).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// What `clickhouse-client` prints.
    fn client(&self, sql: &str, input: Option<&Path>) -> Result<Vec<u8>, String> {
        let program = format!("{ROOT}/.venvs/clickhouse-18.16/usr/bin/clickhouse-client");
        let mut command = Command::new(program);
        command.args(["--user=djaffar", "--password=se/cret", "--host=127.0.0.1"]);
        command.arg(format!("--port={}", self.1 + 1)).args(["--query", sql]);
        command.stdin(match input {
            Some(path) => File::open(path).expect("the rows").into(),
            None => Stdio::null(),
        });
        let output = command.output().expect("clickhouse-client: run tests/clickhouse/run once");
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// CPU of the server so far.
    fn cpu(&self) -> Duration {
        cpu(&self.0.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// User and system time of a process, by hundredths of a second.
fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("/proc");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().find_map(|text| text.strip_prefix(name));
    let size = option("batch=").map_or(32_768, |text| text.parse().expect("batch=NUMBER"));
    let ids = option("ids=").map_or(vec!["none", "v7", "v4"], |ids| vec![ids]);
    let rows = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(1_000_000);
    for ids in ids {
        run(rows, size, ids);
    }
}

fn run(rows: usize, size: usize, ids: &str) {
    let folder = tempfile::tempdir_in(ROOT).expect("a folder here, on a real disk");
    let server = Server::start(folder.path());
    let (spent, mine, theirs) = ours(folder.path(), &server, rows, size, ids);
    let counted = server.client("SELECT count() FROM djaffar_activity", None).expect("a count");
    assert_eq!(String::from_utf8_lossy(&counted).trim(), rows.to_string());
    let rate = rows as f64 / spent.as_secs_f64();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
    println!(
        "{rows} rows, ids {ids}, batches of {size}: {rate:.0} a second; CPU a row: {:.2} us ours, \
         {:.2} us the server's",
        each(mine),
        each(theirs)
    );
    for format in ["TabSeparated", "RowBinary", "Native"] {
        let (spent, client) = peer(folder.path(), &server, format);
        let other = rows as f64 / spent.as_secs_f64();
        println!(
            "  clickhouse-client, {format}: {other:.0} a second, {:.2} us the server's; ours is \
             {:.2} of it",
            each(client),
            rate / other
        );
    }
}

/// Our time, our CPU and the server's.
fn ours(
    dir: &Path,
    server: &Server,
    rows: usize,
    size: usize,
    ids: &str,
) -> (Duration, Duration, Duration) {
    let site = SqliteDatabase::new(&dir.join("site.sqlite3"), Settings::default());
    let spool = dir.to_owned();
    let freezer = Arc::new(move || Box::new(OnDisk(Frozen::new(&spool))) as Box<dyn Freezer>);
    let url = format!("clickhouse://djaffar:se%2Fcret@127.0.0.1:{}/default", server.1);
    let database = WithClickHouse::new(Box::new(site), &url, None, freezer).expect("an address");
    database.migrate().expect("tables");
    let mut store = database.store();
    let mut random = SmallRng::seed_from_u64(1);
    let (spool, segment) = (Uuid::new_v4(), Uuid::new_v4());
    let (mut spent, mut mine, before) = (Duration::ZERO, Duration::ZERO, server.cpu());
    for first in (0..rows).step_by(size) {
        let count = size.min(rows - first);
        let activities: Vec<_> = (first..first + count)
            .map(|number| activity(&mut random, number as i64, ids))
            .collect();
        let cursor = Cursor { spool, segment, position: (first + count) as u64 };
        let (start, used) = (Instant::now(), cpu("self"));
        let batch = Batch { activities: &activities, sessions: &[], cursor };
        assert_eq!(store.write(&batch).expect("stored"), count as u64);
        spent += start.elapsed();
        mine += cpu("self") - used;
    }
    (spent, mine, server.cpu() - before)
}

/// The client's time, and the server's CPU meanwhile.
fn peer(dir: &Path, server: &Server, format: &str) -> (Duration, Duration) {
    let query = |sql: &str| server.client(sql, None).expect("the client");
    let file = dir.join("rows");
    std::fs::write(&file, query(&format!("SELECT * FROM djaffar_activity FORMAT {format}")))
        .expect("a file");
    query("CREATE TABLE peer AS djaffar_activity");
    let (start, before) = (Instant::now(), server.cpu());
    let insert = format!("INSERT INTO peer FORMAT {format}");
    server.client(&insert, Some(&file)).expect("inserted");
    let took = (start.elapsed(), server.cpu() - before);
    query("DROP TABLE peer");
    took
}

fn activity(random: &mut SmallRng, number: i64, ids: &str) -> Activity {
    // 10,000 sessions at a time, five activities each.
    let session = number / 50_000 * 10_000 + random.random_range(0..10_000);
    let now = START + number * 10;
    let event_id = match ids {
        "none" => None,
        "v4" => Some(Uuid::from_u128(random.random())),
        _ => {
            let millis = (now / 1_000) as u128;
            let low: u128 = random.random();
            Some(Uuid::from_u128(millis << 80 | 7 << 76 | (low & ((1 << 76) - 1))))
        }
    };
    Activity {
        received_at: now,
        date: now - random.random_range(0..5_000_000),
        address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (session % 65_536) as u32)),
        session: Some(Session {
            key: format!(
                "{:032x}",
                (session as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            ),
            visitor: None,
            state: SessionState::Known,
        }),
        user: (session % 2 == 0).then(|| (session % 20_000).to_string()),
        path: format!(
            "/shop/{}/item/{}",
            random.random_range(0..50),
            random.random_range(0..5_000)
        ),
        referer: if number % 3 == 0 {
            "https://www.example.com/search".into()
        } else {
            String::new()
        },
        user_agent: format!(
            "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
            100 + session % 30
        ),
        event_id,
        name: String::new(),
        properties: None,
    }
}
