//! Which event_ids are stored, where others have stored many between those of a batch.

use uuid::Uuid;

use super::{
    super::super::{Batch, Cursor},
    *,
};

/// Eleven bytes, the moment first.
const BEGIN: &str = "01a0c2c8e4007000800000";

/// An id of the same moment as all of them: the last five bytes are digits.
fn id(number: u32) -> Uuid {
    let digits: String =
        format!("{number:05}").bytes().map(|digit| format!("{digit:02x}")).collect();
    Uuid::parse_str(&format!("{BEGIN}{digits}")).unwrap()
}

fn among_many(variable: &str) {
    let database = fresh(variable);
    let table = database.address.local("djaffar_event_id");
    ask(
        &database,
        format!(
            "INSERT INTO {table} (event_id, day) SELECT toFixedString(concat(unhex('{BEGIN}'), \
             substring(toString(number + 100000), 2, 5)), 16), toDate(20000) \
             FROM system.numbers LIMIT 10050"
        ),
    );
    let [spool, segment] = [5, 6].map(Uuid::from_u128);
    let mut store = database.store();
    assert_eq!(store.cursors(spool), Ok(vec![]));
    // Ranges that hold too much, then few; and again with a table, as that was so.
    for (position, ids, new) in
        [(1, [0, 5_000, 10_049, 20_000], 1), (2, [10_048, 10_049, 20_000, 20_001], 1)]
    {
        let mut activities: Vec<_> = (0..4).map(conformance::activity).collect();
        for (activity, number) in activities.iter_mut().zip(ids) {
            activity.event_id = Some(id(number));
        }
        let cursor = Cursor { spool, segment, position };
        let stored = store.write(&Batch { activities: &activities, sessions: &[], cursor });
        assert_eq!(stored, Ok(new), "{ids:?}");
    }
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn known_among_many_18_16() {
    among_many("CLICKHOUSE_OLD");
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn known_among_many_today() {
    among_many("CLICKHOUSE_NEW");
}
