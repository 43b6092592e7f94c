//! The conformance suite against real servers: those that `tests/clickhouse/run` starts and names
//! in the environment.

mod adopted;
mod carried;
mod known;
mod later;
mod staged;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::UNIX_EPOCH,
};

use bytes::Bytes;

use super::{
    super::conformance,
    http::{Ask, Link},
    *,
};
use crate::store::{Settings, open};

/// In memory, for as long as the database of a test; and whether there is no room.
#[derive(Default, Clone)]
struct Memory(Arc<Mutex<Option<Vec<u8>>>>, Arc<AtomicBool>);

impl Freezer for Memory {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn freeze(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        if self.1.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("no room".into()));
        }
        *self.0.lock().unwrap() = (!pieces.is_empty()).then(|| pieces.concat());
        Ok(())
    }
}

/// An empty, migrated database on the servers of this variable: `{}` stands for its name.
fn fresh(variable: &str) -> WithClickHouse {
    #[expect(clippy::disallowed_methods, reason = "the runner of the tests says it there")]
    let url = std::env::var(variable).expect("tests/clickhouse/run starts the servers");
    let name = format!("test_{}", UNIX_EPOCH.elapsed().unwrap().as_nanos());
    let path = tempfile::tempdir().unwrap().keep().join("site.sqlite3");
    let site = open(&format!("sqlite:///{}", path.display()), Settings::default()).unwrap();
    let memory = Memory::default();
    let freezer: MakeFreezer = Arc::new(move || Box::new(memory.clone()));
    let url = url.replace("{}", &name);
    let database = WithClickHouse::new(site, &url, None, freezer).unwrap();
    assert_eq!(database.migrate(), Ok(()));
    database
}

fn ask(database: &WithClickHouse, sql: impl Into<String>) {
    let host = database.address.hosts().next().unwrap();
    let mut link = Link::new(host, &database.address);
    runtime(&mut None).unwrap().block_on(link.ask(Ask::query(sql.into()))).unwrap();
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn a_table_that_is_away_for_a_moment_18_16() {
    let database = fresh("CLICKHOUSE_OLD");
    std::thread::scope(|scope| {
        ask(&database, "DETACH TABLE djaffar_sessioninfo");
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_secs(1));
            ask(&database, "ATTACH TABLE djaffar_sessioninfo");
        });
        assert_eq!(database.check(), Ok(()));
    });
    ask(&database, "DROP TABLE djaffar_sessioninfo");
    let said = database.check().unwrap_err().to_string();
    assert!(
        said.contains("djaffar_sessioninfo.session_id must be String and is not there"),
        "{said}"
    );
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn conformance_18_16() {
    conformance::all(|| Box::new(fresh("CLICKHOUSE_OLD")));
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn conformance_of_todays() {
    conformance::all(|| Box::new(fresh("CLICKHOUSE_NEW")));
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn conformance_of_a_cluster() {
    conformance::all(|| Box::new(fresh("CLICKHOUSE_CLUSTER")));
}

/// A batch whose numbers run over the end of the second in which it was stored: what comes after it
/// is not the end.
fn read_over_the_end_of_a_second(variable: &str) {
    let database = fresh(variable);
    let second = 1_790_000_000;
    let sql = format!(
        "INSERT INTO djaffar_activity (id, stored_at) SELECT toInt64({} + number), \
         toDateTime({second}) FROM system.numbers LIMIT 30000",
        number::last_of(second) - 5_000
    );
    ask(&database, sql);
    let (mut history, mut last, mut count) = (database.history(), 0, 0);
    while let page = history.after(last, 1_000).unwrap()
        && let Some(row) = page.last()
    {
        (last, count) = (row.id, count + page.len());
    }
    assert_eq!(count, 30_000);
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn read_over_the_end_of_a_second_18_16() {
    read_over_the_end_of_a_second("CLICKHOUSE_OLD");
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn read_over_the_end_of_a_second_today() {
    read_over_the_end_of_a_second("CLICKHOUSE_NEW");
}
