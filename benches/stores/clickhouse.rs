//! ClickHouse 18.16 beside `clickhouse-client`: with rows, as text like the other tools' and in the form that
//! is read fastest (`RowBinary`), and with columns that are ready-made (`Native`); the last also in the order of
//! the table, which nothing that comes in has.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use djaffar::{
    drain,
    spool::Frozen,
    store::{Database, Error, Freezer, Settings, SqliteDatabase, WithClickHouse},
};

use crate::Rival;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `Native` in the order of the table.
const SORTED: &str = "sorted";

fn format(tool: &str) -> &str {
    if tool == SORTED { "Native" } else { tool }
}

struct OnDisk(Frozen);

impl Freezer for OnDisk {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.load().map_err(|error| Error::Unavailable(error.to_string()))
    }

    fn freeze(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        self.0.keep(pieces).map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// The server; killed when dropped.
pub(crate) struct ClickHouse {
    child: Child,
    port: u16,
    site: WithClickHouse,
}

impl ClickHouse {
    pub(crate) fn start(folder: &Path) -> ClickHouse {
        let port = free_port();
        let folder = folder.canonicalize().expect("the folder");
        let mut command = Command::new(format!("{ROOT}/tests/clickhouse/serve"));
        command.arg("old").arg(folder.join("clickhouse")).arg(port.to_string());
        let child = command.stdout(Stdio::null()).spawn().expect("tests/clickhouse/serve");
        let site = SqliteDatabase::new(&folder.join("site.sqlite3"), Settings::default());
        let freezer = Arc::new(move || Box::new(OnDisk(Frozen::new(&folder))) as Box<dyn Freezer>);
        let url = format!("clickhouse://djaffar:se%2Fcret@127.0.0.1:{port}/default");
        let site = WithClickHouse::new(Box::new(site), &url, None, freezer).expect("an address");
        let mut server = ClickHouse { child, port, site };
        while server.client("SELECT 1", None).is_err() {
            thread::sleep(Duration::from_millis(100));
            let ended = server.child.try_wait().expect("a process");
            assert!(ended.is_none(), "the server has ended: {ended:?}");
        }
        server
    }

    /// What `clickhouse-client` prints.
    fn client(&self, sql: &str, input: Option<&Path>) -> Result<Vec<u8>, String> {
        let program = format!("{ROOT}/.venvs/clickhouse-18.16/usr/bin/clickhouse-client");
        let mut command = Command::new(program);
        command.args(["--user=djaffar", "--password=se/cret", "--host=127.0.0.1"]);
        command.arg(format!("--port={}", self.port + 1)).args(["--query", sql]);
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

    fn ask(&self, sql: &str) -> String {
        let said = self.client(sql, None).unwrap_or_else(|error| panic!("{sql}: {error}"));
        String::from_utf8_lossy(&said).trim().to_owned()
    }
}

/// A port that nobody uses, with its two neighbours.
fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = first.local_addr().expect("a port").port();
        let is_free = |number: u16| TcpListener::bind(("127.0.0.1", number)).is_ok();
        if port < u16::MAX - 2 && is_free(port + 1) && is_free(port + 2) {
            return port;
        }
    }
}

impl Rival for ClickHouse {
    fn name(&self) -> String {
        format!("ClickHouse {}", self.ask("SELECT version()"))
    }

    fn database(&self) -> &dyn Database {
        &self.site
    }

    fn options(&self) -> drain::Options {
        let options = drain::Options::for_large_batches();
        let mib =
            std::env::args().find_map(|text| text.strip_prefix("mib=")?.parse::<usize>().ok());
        drain::Options { max_bytes: mib.map_or(options.max_bytes, |mib| mib << 20), ..options }
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.child.id()]
    }

    fn count(&self) -> u64 {
        self.ask("SELECT count() FROM djaffar_activity").parse().expect("a number")
    }

    fn tools(&self) -> &'static [&'static str] {
        &["TabSeparated", "RowBinary", "Native", SORTED]
    }

    /// One file, which the client cuts up as it likes best.
    fn prepare(&self, tool: &str, folder: &Path, _: usize) -> Vec<PathBuf> {
        let path = folder.join("rows");
        let order = if tool == SORTED { "day, visitor, date, id" } else { "id" };
        let format = format(tool);
        let select = format!("SELECT * FROM djaffar_activity ORDER BY {order} FORMAT {format}");
        std::fs::write(&path, self.client(&select, None).expect("rows")).expect("a file");
        self.ask("DROP TABLE IF EXISTS peer");
        self.ask("CREATE TABLE peer AS djaffar_activity");
        vec![path]
    }

    fn load(&self, tool: &str, files: &[PathBuf]) {
        for file in files {
            let insert = format!("INSERT INTO peer FORMAT {}", format(tool));
            self.client(&insert, Some(file)).expect("inserted");
        }
    }

    fn loaded(&self) -> u64 {
        self.ask("SELECT count() FROM peer").parse().expect("a number")
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}
