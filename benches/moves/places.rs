//! Databases of a move, each started where it is needed.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use djaffar::{
    spool::Frozen,
    store::{self, Cursor, Database, Door, Error, Freezer, Load, Settings, WithClickHouse},
};
use uuid::Uuid;

use databases::Server;

#[path = "../../tests/support/databases/mod.rs"]
#[allow(dead_code, clippy::panic, reason = "it is the tests' own, and has more than this needs")]
mod databases;

/// Their names.
pub(crate) const ALL: [&str; 4] = ["sqlite", "postgres", "maria", "clickhouse"];
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Caches and logs as on a machine of its own that is small.
const POSTGRES: [&str; 6] =
    ["-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "checkpoint_timeout=15min"];
const MARIA: [&str; 2] = ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=512M"];

struct OnDisk(Frozen);

impl Freezer for OnDisk {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.load().map_err(|error| Error::Unavailable(error.to_string()))
    }

    fn freeze(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        self.0.keep(pieces).map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// A ClickHouse; killed when dropped.
struct ClickHouse(Child);

impl Drop for ClickHouse {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// A database, empty.
pub(crate) struct Place {
    pub(crate) url: String,
    /// What is beside it, where it is a ClickHouse.
    pub(crate) site: String,
    pub(crate) database: Box<dyn Database>,
    is_clickhouse: bool,
    _server: Option<Server>,
    _clickhouse: Option<ClickHouse>,
}

impl Place {
    /// One of [`ALL`] in this folder, to be moved to from another.
    pub(crate) fn start(name: &str, folder: &Path, from: Option<&Place>) -> Place {
        std::fs::create_dir_all(folder).expect("a folder");
        let folder = folder.canonicalize().expect("the folder");
        let file = format!("sqlite:///{}", folder.join("site.sqlite3").display());
        let server = match name {
            "postgres" => {
                let versions = databases::postgres_versions();
                let debian = versions.iter().rfind(|bin| bin.starts_with("/usr/lib/postgresql"));
                let bin = debian.or(versions.last()).expect("PostgreSQL: run ./test databases");
                Some(Server::postgres_at(bin, &POSTGRES))
            }
            "maria" => Some(Server::maria(&MARIA)),
            _ => None,
        };
        let sql = server.as_ref().map_or(file.clone(), |server| server.url(&server.create()));
        let open = |url: &str| store::open(url, Settings::default()).expect("an address");
        if name != "clickhouse" {
            let database = open(&sql);
            let site = sql.clone();
            let (is_clickhouse, _clickhouse) = (false, None);
            return Place { url: sql, site, database, is_clickhouse, _server: server, _clickhouse };
        }
        let site = from.map_or(file, |from| from.site.clone());
        let (url, clickhouse) = start_clickhouse(&folder);
        let freezer = Arc::new(move || Box::new(OnDisk(Frozen::new(&folder))) as Box<dyn Freezer>);
        let database = WithClickHouse::new(open(&site), &url, None, freezer).expect("an address");
        Place {
            url,
            site,
            database: Box::new(database),
            is_clickhouse: true,
            _server: None,
            _clickhouse: Some(clickhouse),
        }
    }

    /// As if the move from here were gone back.
    pub(crate) fn open(&self) {
        if !self.is_clickhouse {
            self.database.mover().set_door(Door::Open, Uuid::from_u128(1)).expect("opened");
        }
    }

    /// As if servers had stored beside a ClickHouse here.
    pub(crate) fn take_positions(&self) {
        self.database.migrate().expect("tables");
        let id = |number: u128| Uuid::from_u128(number << 100);
        let guard = Cursor { spool: id(1), segment: id(2), position: 1 };
        let load = Load { guard, owner: None, activities: &[], infos: &[], set: &[] };
        self.database.mover().load(&load).expect("taken");
    }
}

fn start_clickhouse(folder: &Path) -> (String, ClickHouse) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    drop(listener);
    let mut command = Command::new(format!("{ROOT}/tests/clickhouse/serve"));
    command.arg("old").arg(folder.join("clickhouse")).arg(port.to_string());
    let child = command.stdout(Stdio::null()).spawn().expect("tests/clickhouse/serve");
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(100));
    }
    let url = format!("clickhouse://djaffar:se%2Fcret@127.0.0.1:{port}/default");
    (url, ClickHouse(child))
}
