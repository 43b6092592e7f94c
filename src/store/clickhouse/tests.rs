//! The conformance suite against real servers: those that `tests/clickhouse/run` starts and names
//! in the environment.

use std::{
    sync::{Arc, Mutex},
    time::UNIX_EPOCH,
};

use super::{super::conformance, *};
use crate::store::{Settings, open};

/// In memory, for as long as the database of a test.
#[derive(Default, Clone)]
struct Memory(Arc<Mutex<Option<Vec<u8>>>>);

impl Freezer for Memory {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn freeze(&mut self, bytes: &[u8]) -> Result<(), Error> {
        *self.0.lock().unwrap() = (!bytes.is_empty()).then(|| bytes.to_vec());
        Ok(())
    }
}

/// An empty, migrated database on the servers of this variable: `{}` stands for its name.
fn fresh(variable: &str) -> Box<dyn Database> {
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
    Box::new(database)
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn conformance_18_16() {
    conformance::all(|| fresh("CLICKHOUSE_OLD"));
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn conformance_of_todays() {
    conformance::all(|| fresh("CLICKHOUSE_NEW"));
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn conformance_of_a_cluster() {
    conformance::all(|| fresh("CLICKHOUSE_CLUSTER"));
}
