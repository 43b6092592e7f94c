//! What an earlier version kept in another shape.

use uuid::Uuid;

use super::{
    super::{
        super::{Batch, Cursor},
        native::Rows,
    },
    *,
};

/// Ids whose halves sort in different orders.
fn id(number: u128) -> Uuid {
    Uuid::from_u128((1_790_000_000_000 + number) << 80 | 7 << 76 | 2 << 62 | (1_000 - number))
}

pub(super) fn answer(database: &WithClickHouse, host: &str, sql: &str) -> Vec<u64> {
    let mut link = Link::new(host, &database.address);
    let asked = link.ask(Ask::query(format!("{sql} FORMAT RowBinary")));
    let answer = runtime(&mut None).unwrap().block_on(asked).unwrap();
    let (mut rows, mut found) = (Rows(&answer), Vec::new());
    while !rows.is_empty() {
        found.push(rows.u64().unwrap());
    }
    found
}

pub(super) fn tell(database: &WithClickHouse, host: &str, sql: &str) {
    let mut link = Link::new(host, &database.address);
    runtime(&mut None).unwrap().block_on(link.ask(Ask::query(sql))).unwrap();
}

/// The tables as they were, with 40 ids of two days on each shard.
fn make_older(database: &WithClickHouse) {
    let address = &database.address;
    let older = address.local("djaffar_event");
    for (shard, replicas) in address.shards.iter().enumerate() {
        for host in replicas {
            let engine = match address.is_replicated() {
                true => format!(
                    "ReplicatedMergeTree('/djaffar/{}/djaffar_event/{}', '{host}')",
                    address.database,
                    shard + 1
                ),
                false => "MergeTree()".to_owned(),
            };
            tell(database, host, &format!("DROP TABLE {}", address.local("djaffar_event_id")));
            let table = "(event_id UUID, day Date) ENGINE =";
            let rest =
                "PARTITION BY toYYYYMM(day) ORDER BY event_id SETTINGS index_granularity = 256";
            tell(database, host, &format!("CREATE TABLE {older} {table} {engine} {rest}"));
            if let Some(cluster) = &address.cluster {
                tell(database, host, "DROP TABLE djaffar_event_id");
                let of = format!("Distributed({cluster}, {}, {older})", address.database);
                tell(
                    database,
                    host,
                    &format!("CREATE TABLE djaffar_event AS {older} ENGINE = {of}"),
                );
            }
        }
        let rows = (0..40).map(|it| format!("('{}', {})", id(it), 20_000 + 40 * (it % 2)));
        let rows = rows.collect::<Vec<_>>().join(", ");
        tell(database, &replicas[0], &format!("INSERT INTO {older} VALUES {rows}"));
    }
}

fn carried(variable: &str) {
    let database = fresh(variable);
    let address = &database.address;
    make_older(&database);
    let said = database.check().unwrap_err().to_string();
    let needs =
        "djaffar_event_id.event_id must be FixedString(16) and is not there; run `djaffar migrate`";
    assert!(said.contains(needs), "{said}");
    // A migrate was killed when it had copied one of the days.
    let (host, older) = (&address.shards[0][0], address.local("djaffar_event"));
    tell(&database, host, &format!("RENAME TABLE {older} TO djaffar_event_before"));
    assert_eq!(database.migrate(), Ok(()));
    for host in address.hosts() {
        let newer = address.local("djaffar_event_id");
        let sql = format!("SELECT toUInt64(count()), toUInt64(uniqExact(event_id)) FROM {newer}");
        let there = std::iter::repeat_with(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            answer(&database, host, &sql)
        });
        // Replicas fetch them from each other, or have copied their own.
        let all = there.take(50).find(|it| it[0] >= 40 && it[1] == 40);
        assert!(all.is_some_and(|it| address.is_replicated() || it[0] == 40), "{host}");
        let before = answer(
            &database,
            host,
            "SELECT toUInt64(count()) FROM system.tables WHERE database = currentDatabase() \
             AND name LIKE 'djaffar_event%' AND name NOT LIKE 'djaffar_event_id%'",
        );
        assert_eq!(before, [0]);
    }
    assert_eq!((database.migrate(), database.check()), (Ok(()), Ok(())));
    // They are known: but one, all that are sent again are stored already.
    let mut activities: Vec<_> = (0..40).map(conformance::activity).collect();
    for (activity, number) in activities.iter_mut().zip(1..) {
        activity.event_id = Some(id(number));
    }
    let [spool, segment] = [5, 6].map(Uuid::from_u128);
    let cursor = Cursor { spool, segment, position: 9 };
    let mut store = database.store();
    assert_eq!(store.cursors(spool), Ok(vec![]));
    let stored = store.write(&Batch { activities: &activities, sessions: &[], cursor });
    assert_eq!(stored, Ok(1));
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn carried_over_18_16() {
    carried("CLICKHOUSE_OLD");
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn carried_over_today() {
    carried("CLICKHOUSE_NEW");
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn carried_over_in_a_cluster() {
    carried("CLICKHOUSE_CLUSTER");
}
