//! One server of a shard: what it can, whether it has a batch, whether others have what it lacks. How it
//! is given one is in [`super::insert`].

use std::time::Duration;

use super::{
    super::Error,
    address::Address,
    frozen::Part,
    http::{Ask, Link},
    native::Rows,
    rows::Stamp,
};

/// Servers forget blocks after a while: an hour where nothing else was said, thousands of blocks.
/// What was first tried longer ago than this is looked for, too.
const LATE: Duration = Duration::from_secs(120);

/// Settings that we insist on, where the server knows them.
const SETTINGS: [(&str, &str); 3] =
    [("async_insert", "0"), ("insert_deduplicate", "1"), ("deduplicate_insert", "enable")];

/// How a server knows a block again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// By the batch's name, given with the block (22.2 and later).
    Token,
    /// By the hash of the same bytes, which ZooKeeper keeps for all replicas.
    Hash,
    /// Not by itself: the statement that inserts asks whether the rows are there. Two of the same
    /// name never run at once.
    Condition,
}

/// What a server can.
#[derive(Debug, Clone)]
pub(super) struct Talents {
    pub(super) guard: Guard,
    pub(super) replicated: bool,
    pub(super) settings: Vec<(&'static str, &'static str)>,
}

/// A server, and connections to it.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) link: Link,
    /// For what is given at the same time.
    pub(super) beside: Link,
    /// Asked when first used, and again after an error: it may be another server by then.
    pub(super) talents: Option<Talents>,
}

pub(super) fn settings(mut ask: Ask, talents: &Talents) -> Ask {
    for (name, value) in &talents.settings {
        ask = ask.with(name, *value);
    }
    ask
}

impl Replica {
    pub(super) fn new(host: &str, address: &Address) -> Replica {
        let [link, beside] = [(); 2].map(|()| Link::new(host, address));
        Replica { link, beside, talents: None }
    }

    /// What this server can, and how its table is made.
    pub(super) async fn talents(&mut self, table: &str) -> Result<Talents, Error> {
        if let Some(talents) = &self.talents {
            return Ok(talents.clone());
        }
        let wanted = SETTINGS.map(|(name, _)| format!("'{name}'")).join(", ");
        let sql = format!(
            "SELECT name FROM system.settings \
             WHERE name IN ('insert_deduplication_token', {wanted}) FORMAT RowBinary"
        );
        let answer = self.link.ask(Ask::query(sql)).await?;
        let (mut rows, mut names) = (Rows(&answer), Vec::new());
        while !rows.is_empty() {
            names.push(rows.text()?);
        }
        let sql = format!(
            "SELECT engine, create_table_query FROM system.tables \
             WHERE database = currentDatabase() AND name = '{table}' FORMAT RowBinary"
        );
        let answer = self.link.ask(Ask::query(sql)).await?;
        if answer.is_empty() {
            return Err(Error::Schema(format!(
                "ClickHouse at {} has no table {table}: run `djaffar migrate` with this \
                 activity_database",
                self.link.host()
            )));
        }
        let mut rows = Rows(&answer);
        let (engine, made) = (rows.text()?, rows.text()?);
        let replicated = engine.starts_with("Replicated");
        let knows = |name: &str| names.iter().any(|known| known == name);
        let remembers = replicated || made.contains("non_replicated_deduplication_window");
        let talents = Talents {
            guard: match () {
                () if knows("insert_deduplication_token") && remembers => Guard::Token,
                () if replicated => Guard::Hash,
                () => Guard::Condition,
            },
            replicated,
            settings: SETTINGS.into_iter().filter(|(name, _)| knows(name)).collect(),
        };
        self.talents = Some(talents.clone());
        Ok(talents)
    }

    /// Whether it takes blocks: a replica without ZooKeeper takes none.
    pub(super) async fn is_writable(&mut self, table: &str) -> Result<bool, Error> {
        let Talents { replicated, .. } = self.talents(table).await?;
        let sql = match replicated {
            true => format!(
                "SELECT toUInt64(is_readonly) FROM system.replicas \
                 WHERE database = currentDatabase() AND table = '{table}' FORMAT RowBinary"
            ),
            false => "SELECT toUInt64(0) FORMAT RowBinary".to_owned(),
        };
        Ok(Rows(&self.link.ask(Ask::query(sql)).await?).u64()? == 0)
    }

    /// Whether the batch is there. An error where this server cannot tell, and would not notice
    /// either that another replica has it.
    pub(super) async fn has(
        &mut self,
        table: &str,
        part: &Part,
        stamp: Stamp,
        talents: &Talents,
    ) -> Result<bool, Error> {
        let sql = format!("{} FORMAT RowBinary", count(table, stamp));
        let count = Rows(&self.link.ask(Ask::query(sql)).await?).u64()?;
        if count == u64::from(part.rows) {
            return Ok(true);
        }
        if count > 0 {
            return Err(Error::Unavailable(format!(
                "ClickHouse at {} has {count} of {} rows of batch {}: were rows deleted, or is a \
                 part broken? Nothing is written until all or none are there",
                self.link.host(),
                part.rows,
                stamp.batch
            )));
        }
        if talents.replicated && age(stamp) > LATE {
            self.must_have_all(table).await?;
        }
        Ok(false)
    }

    /// An error where other replicas have rows of this table that it lacks.
    pub(super) async fn must_have_all(&mut self, table: &str) -> Result<(), Error> {
        // Nothing was ever logged where both are 0.
        let sql = format!(
            "SELECT toUInt64(is_readonly + inserts_in_queue \
             + (log_max_index > 0 AND log_pointer <= log_max_index)) FROM system.replicas \
             WHERE database = currentDatabase() AND table = '{table}' FORMAT RowBinary"
        );
        if Rows(&self.link.ask(Ask::query(sql)).await?).u64()? != 0 {
            return Err(Error::Unavailable(format!(
                "ClickHouse at {} has not fetched all of {table} from its replicas yet, and what is \
                 asked for may be among it",
                self.link.host()
            )));
        }
        Ok(())
    }
}

/// The batch's rows in a table, found by the parts' range of `stored_at`.
pub(super) fn count(table: &str, Stamp { batch, stored_at }: Stamp) -> String {
    format!(
        "SELECT count() FROM {table} WHERE stored_at = toDateTime({stored_at}) \
         AND batch = toUUID('{batch}')"
    )
}

/// How long ago the batch was frozen; long, where the clock went back.
fn age(stamp: Stamp) -> Duration {
    let frozen = std::time::UNIX_EPOCH + Duration::from_secs(stamp.stored_at.into());
    frozen.elapsed().unwrap_or(Duration::MAX)
}
