//! A batch that goes through a temporary table: whatever comes twice, or too late.

use super::{
    super::{
        frozen::Part,
        insert::{Try, conditional},
        native::Rows,
        replica::{Guard, Replica, count},
        rows::{Blocks, Stamp},
        shard::Tables,
        stage::{fill, in_session, stage},
    },
    *,
};

const TABLE: &str = "djaffar_activity";

/// A batch of as many rows as its number.
fn batch(number: u32) -> (Part, Stamp) {
    let stamp = Stamp { batch: uuid::Uuid::new_v4(), stored_at: 1_790_000_000 };
    let mut blocks = Blocks::new();
    let activities: Vec<_> = (0..number).map(conformance::activity).collect();
    let rows: Vec<_> = activities.iter().zip(i64::from(number * 1_000)..).collect();
    blocks.fill(&rows, stamp);
    (blocks.finish(), stamp)
}

#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn staged_18_16() {
    let database = fresh("CLICKHOUSE_OLD");
    let mut replica = Replica::new(database.address.hosts().next().unwrap(), &database.address);
    let mut slot = None;
    let talents = runtime(&mut slot).unwrap().block_on(replica.talents(TABLE)).unwrap();
    assert_eq!(talents.guard, Guard::Condition);
    runtime(&mut slot).unwrap().block_on(async {
        // The statement comes twice.
        let (part, stamp) = batch(3);
        let session = stage(&mut replica.link, &part, &talents).await.unwrap();
        for _ in 0..2 {
            let ask = conditional(TABLE, &part, stamp, Some(&session));
            assert_eq!(replica.link.ask(ask).await.map(|_| ()), Ok(()));
            assert_eq!(stored(&mut replica, stamp).await, 3);
        }
        // The same batch by another way, from another try.
        let again = stage(&mut replica.link, &part, &talents).await.unwrap();
        for session in [Some(&*again), None] {
            let ask = conditional(TABLE, &part, stamp, session);
            assert_eq!(replica.link.ask(ask).await.map(|_| ()), Ok(()));
        }
        assert_eq!(stored(&mut replica, stamp).await, 3);
        // The rows come twice: nothing is stored of them, until the next try.
        let (part, stamp) = batch(4);
        let session = stage(&mut replica.link, &part, &talents).await.unwrap();
        replica.link.ask(in_session(fill(&part), &session)).await.unwrap();
        let asked = replica.link.ask(conditional(TABLE, &part, stamp, Some(&session))).await;
        assert!(asked.is_err() && stored(&mut replica, stamp).await == 0, "{asked:?}");
        // No server knows the session.
        let asked = replica.link.ask(conditional(TABLE, &part, stamp, Some("lost"))).await;
        assert!(asked.is_err() && stored(&mut replica, stamp).await == 0, "{asked:?}");
        let ask = conditional(TABLE, &part, stamp, None);
        assert_eq!(replica.link.ask(ask).await.map(|_| ()), Ok(()));
        assert_eq!(stored(&mut replica, stamp).await, 4);
    });
}

/// Who may make no table, not even such a one: the block goes as a form.
#[test]
#[ignore = "tests/clickhouse/run starts the servers"]
fn staged_18_16_without_ddl() {
    let database = fresh("CLICKHOUSE_OLD");
    let mut address = database.address.clone();
    address.user = "no_ddl".into();
    let mut replica = Replica::new(address.hosts().next().unwrap(), &address);
    let name = |table| address.local(table);
    let tables = Tables {
        activity: name(TABLE),
        sessioninfo: name("djaffar_sessioninfo"),
        event: name("djaffar_event_id"),
    };
    runtime(&mut None).unwrap().block_on(async {
        let (part, stamp) = batch(5);
        let talents = replica.talents(TABLE).await.unwrap();
        assert_eq!(stage(&mut replica.link, &part, &talents).await, None);
        for tried in [false, true] {
            assert_eq!(replica.take(&tables, &part, stamp, Try::new(tried)).await, Ok(()));
            assert_eq!(stored(&mut replica, stamp).await, 5);
        }
    });
}

async fn stored(replica: &mut Replica, stamp: Stamp) -> u64 {
    let sql = format!("{} FORMAT RowBinary", count(TABLE, stamp));
    Rows(&replica.link.ask(Ask::query(sql)).await.unwrap()).u64().unwrap()
}
