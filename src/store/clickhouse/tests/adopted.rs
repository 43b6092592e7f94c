//! What ZooKeeper has of a table that its server lacks.

use super::{
    carried::{answer, tell},
    *,
};

/// On the second replica of the first shard the table is only in ZooKeeper, as it is where making it was
/// broken off; `is_used`: another table is that replica.
fn broken_off(database: &WithClickHouse, is_used: bool) {
    let host = &database.address.shards[0][1];
    let columns =
        "(session_id String, user_agent String, visitor String, created_at Int64, version UInt64)";
    let path = format!("/djaffar/{}/djaffar_sessioninfo/1", database.address.database);
    tell(database, host, "DROP TABLE djaffar_sessioninfo_local");
    let engine = format!("ReplicatedReplacingMergeTree('{path}', '{host}', version)");
    tell(
        database,
        host,
        &format!(
            "CREATE TABLE other {columns} ENGINE = {engine} ORDER BY session_id \
             SETTINGS index_granularity = 1024"
        ),
    );
    if !is_used {
        tell(database, host, "DETACH TABLE other");
    }
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn a_replica_that_was_not_made_to_its_end_on_a_cluster() {
    let database = fresh("CLICKHOUSE_CLUSTER");
    let [first, second] = &*database.address.shards[0] else { panic!("two replicas") };
    let row = "INSERT INTO djaffar_sessioninfo_local VALUES ('a', 'b', 'c', 1, 2)";
    tell(&database, first, row);
    broken_off(&database, false);
    assert_eq!(database.migrate(), Ok(()));
    assert_eq!(database.check(), Ok(()));
    tell(&database, second, "SYSTEM SYNC REPLICA djaffar_sessioninfo_local");
    let count = "SELECT toUInt64(count()) FROM djaffar_sessioninfo_local";
    assert_eq!(answer(&database, second, count), [1]);
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn a_replica_that_another_table_is_on_a_cluster() {
    let database = fresh("CLICKHOUSE_CLUSTER");
    broken_off(&database, true);
    let said = database.migrate().unwrap_err().to_string();
    assert!(said.contains("a replica of this name is in use"), "{said}");
}
