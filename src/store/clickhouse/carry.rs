//! Carries over what an earlier version kept in another shape: `djaffar_event`, whose `event_id`s were
//! UUIDs, to `djaffar_event_id`. Knows nothing of what is made new.
//!
//! At first the old table gets another name: who still writes to it waits from then on, until it is of
//! this version, too. So nothing is added that was not copied. Then it is copied day by day, which may be
//! broken off; a row that is copied twice changes nothing.

use super::{
    super::Error,
    address::Address,
    http::{Ask, Link},
    native::Rows,
};

/// What it is called while it is copied.
const CLOSED: &str = "djaffar_event_before";

/// Copies and drops the older table of this server, if it has one.
pub(super) async fn events(link: &mut Link, address: &Address) -> Result<(), Error> {
    let older = address.local("djaffar_event");
    if address.cluster.is_some() {
        // It has no rows of its own.
        ask(link, "DROP TABLE IF EXISTS djaffar_event").await?;
    }
    if has(link, &older).await? {
        if has(link, CLOSED).await? {
            return Err(Error::Schema(format!(
                "ClickHouse at {} has {older} and {CLOSED}: an older djaffar made the first again; \
                 stop it, drop the one that is empty, and run `djaffar migrate` again",
                link.host()
            )));
        }
        ask(link, &format!("RENAME TABLE {older} TO {CLOSED}")).await?;
    }
    if !has(link, CLOSED).await? {
        return Ok(());
    }
    let newer = address.local("djaffar_event_id");
    let days = format!(
        "SELECT toUInt64(toUInt16(day)), toUInt64(count()) FROM {CLOSED} GROUP BY day ORDER BY day \
         FORMAT RowBinary"
    );
    let days = ask(link, &days).await?;
    let mut days = Rows(&days);
    while !days.is_empty() {
        let (day, count) = (days.u64()?, days.u64()?);
        let there = format!(
            "SELECT toUInt64(count()) FROM {newer} WHERE day = toDate({day}) FORMAT RowBinary"
        );
        if Rows(&ask(link, &there).await?).u64()? < count {
            // Sixteen bytes as they are written, not as a UUID is kept.
            let copy = format!(
                "INSERT INTO {newer} (event_id, day) \
                 SELECT UUIDStringToNum(toString(event_id)), day FROM {CLOSED} \
                 WHERE day = toDate({day})"
            );
            ask(link, &copy).await?;
        }
    }
    ask(link, &format!("DROP TABLE {CLOSED}")).await?;
    Ok(())
}

async fn has(link: &mut Link, table: &str) -> Result<bool, Error> {
    let sql = format!(
        "SELECT toUInt64(count()) FROM system.tables \
         WHERE database = currentDatabase() AND name = '{table}' FORMAT RowBinary"
    );
    Ok(Rows(&ask(link, &sql).await?).u64()? > 0)
}

async fn ask(link: &mut Link, sql: &str) -> Result<bytes::Bytes, Error> {
    link.ask(Ask::query(sql)).await
}
