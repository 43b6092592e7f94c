//! One shard: gives it a block exactly once, whichever of its replicas is there.
//!
//! A block is tried again until a server says that it has it, also when an earlier try may have
//! come through. How the server knows it again depends on what it can ([`Guard`]).

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    super::Error,
    address::Address,
    frozen::Part,
    http::{Ask, Link},
    native::Rows,
    rows::{ACTIVITY, EVENT, SESSIONINFO, Stamp, ids, names, structure},
};

/// Servers forget blocks after a while: an hour where nothing else was said, thousands of blocks.
/// What was first tried longer ago than this is looked for, too.
const LATE: Duration = Duration::from_secs(120);

/// The rows of a block, as servers make them where nothing else is said.
const BLOCK: u32 = 65_536;

/// Settings that we insist on, where the server knows them.
const SETTINGS: [(&str, &str); 3] =
    [("async_insert", "0"), ("insert_deduplicate", "1"), ("deduplicate_insert", "enable")];

/// How a server knows a block again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
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
struct Talents {
    guard: Guard,
    replicated: bool,
    settings: Vec<(&'static str, &'static str)>,
}

#[derive(Debug)]
struct Replica {
    link: Link,
    /// Asked when first used, and again after an error: it may be another server by then.
    talents: Option<Talents>,
}

/// A shard.
#[derive(Debug)]
pub(super) struct Shard {
    replicas: Vec<Replica>,
    /// The one that worked last.
    preferred: usize,
    /// How long to wait for one of them; none: as long as its connection does.
    patience: Option<Duration>,
    activity: String,
    sessioninfo: String,
    event: String,
}

impl Shard {
    pub(super) fn all(address: &Address, patience: Option<Duration>) -> Vec<Shard> {
        let replica = |host: &String| Replica { link: Link::new(host, address), talents: None };
        let shard = |hosts: &Vec<String>| Shard {
            replicas: hosts.iter().map(replica).collect(),
            preferred: 0,
            patience,
            activity: address.local("djaffar_activity"),
            sessioninfo: address.local("djaffar_sessioninfo"),
            event: address.local("djaffar_event"),
        };
        address.shards.iter().map(shard).collect()
    }

    /// Has the shard take its part, once. `tried`: it may have it already.
    pub(super) async fn take(
        &mut self,
        part: &Part,
        stamp: Stamp,
        mut tried: bool,
    ) -> Result<(), Error> {
        let mut failed = None;
        for _ in 0..self.replicas.len() {
            match within(self.patience, self.take_here(part, stamp, tried)).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let replica = self.replicas.get_mut(self.preferred);
                    if let Some(replica) = replica {
                        replica.talents = None;
                    }
                    self.preferred = (self.preferred + 1) % self.replicas.len();
                    failed.get_or_insert(error);
                    tried = true;
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error::Unavailable("a shard without servers".into())))
    }

    async fn take_here(&mut self, part: &Part, stamp: Stamp, tried: bool) -> Result<(), Error> {
        let Self { activity, sessioninfo, event, .. } = self;
        let (activity, tables) = (activity.clone(), [sessioninfo.clone(), event.clone()]);
        let replica = self.replica()?;
        let talents = replica.talents(&activity).await?;
        let [sessioninfo, event] = &tables;
        // Before the activities: harmless when twice, and there when they are.
        for (table, columns, block) in
            [(sessioninfo, &SESSIONINFO[..], &part.infos), (event, &EVENT[..], &part.events)]
        {
            if !block.is_empty() {
                let sql = format!("INSERT INTO {table} ({}) FORMAT Native", names(columns));
                let ask = settings(Ask::query(sql), &talents).block(block.clone());
                replica.link.ask(ask).await?;
            }
        }
        if part.rows == 0 || (tried && replica.has(&activity, part, stamp, &talents).await?) {
            return Ok(());
        }
        replica.insert(&activity, part, stamp, &talents).await
    }

    /// Whether one of its servers would take a block now.
    pub(super) async fn is_there(&mut self) -> bool {
        let table = self.activity.clone();
        for replica in &mut self.replicas {
            if within(self.patience, replica.is_writable(&table)).await == Ok(true) {
                return true;
            }
        }
        false
    }

    fn replica(&mut self) -> Result<&mut Replica, Error> {
        let none = || Error::Unavailable("a shard without servers".into());
        self.replicas.get_mut(self.preferred).ok_or_else(none)
    }

    /// Which of these event_ids it has.
    pub(super) async fn known(&mut self, wanted: &HashSet<Uuid>) -> Result<Vec<Uuid>, Error> {
        self.ask_known(wanted, false).await
    }

    /// The same of a replica that has fetched all from the others, which may take long after they were
    /// away.
    pub(super) async fn known_surely(
        &mut self,
        wanted: &HashSet<Uuid>,
    ) -> Result<Vec<Uuid>, Error> {
        self.ask_known(wanted, true).await
    }

    async fn ask_known(
        &mut self,
        wanted: &HashSet<Uuid>,
        surely: bool,
    ) -> Result<Vec<Uuid>, Error> {
        let sql = format!(
            "SELECT DISTINCT event_id FROM {} WHERE event_id IN (SELECT event_id FROM wanted) \
             FORMAT RowBinary",
            self.event
        );
        let block = Bytes::from(ids(wanted));
        let mut failed = None;
        for _ in 0..self.replicas.len() {
            let ask = Ask::query(&sql)
                .with("wanted_structure", "event_id UUID")
                .with("wanted_format", "Native")
                .table("wanted", block.clone());
            let (patience, event, activity) =
                (self.patience, self.event.clone(), self.activity.clone());
            let replica = self.replica()?;
            let answer = within(patience, async {
                if surely && replica.talents(&activity).await?.replicated {
                    replica.must_have_all(&event).await?;
                }
                replica.link.ask(ask).await
            });
            match answer.await {
                Ok(answer) => {
                    let (mut rows, mut found) = (Rows(&answer), Vec::new());
                    while !rows.is_empty() {
                        found.push(rows.uuid()?);
                    }
                    return Ok(found);
                }
                Err(error) => {
                    self.preferred = (self.preferred + 1) % self.replicas.len();
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error::Unavailable("a shard without servers".into())))
    }
}

/// The work, for as long as there is patience.
async fn within<T>(
    patience: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(patience) = patience else { return work.await };
    let late = |_| Error::Unavailable(format!("no answer within {} s", patience.as_secs()));
    tokio::time::timeout(patience, work).await.map_err(late)?
}

fn settings(mut ask: Ask, talents: &Talents) -> Ask {
    for (name, value) in &talents.settings {
        ask = ask.with(name, *value);
    }
    ask
}

impl Replica {
    /// What this server can, and how its table is made.
    async fn talents(&mut self, table: &str) -> Result<Talents, Error> {
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
    async fn is_writable(&mut self, table: &str) -> Result<bool, Error> {
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
    async fn has(
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
    async fn must_have_all(&mut self, table: &str) -> Result<(), Error> {
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

    async fn insert(
        &mut self,
        table: &str,
        part: &Part,
        stamp: Stamp,
        talents: &Talents,
    ) -> Result<(), Error> {
        let columns = names(&ACTIVITY);
        let block = || part.activities.clone();
        let ask = match talents.guard {
            Guard::Token => Ask::query(format!("INSERT INTO {table} ({columns}) FORMAT Native"))
                .with("insert_deduplication_token", stamp.batch.to_string())
                .block(block()),
            Guard::Hash => {
                Ask::query(format!("INSERT INTO {table} ({columns}) FORMAT Native")).block(block())
            }
            Guard::Condition => Ask::query(format!(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM frozen \
                 WHERE ({}) = 0",
                count(table, stamp)
            ))
            .with("query_id", format!("djaffar-{}", stamp.batch))
            .with("frozen_structure", structure(&ACTIVITY))
            .with("frozen_format", "Native")
            // In one piece: a batch that is cut up would be copied together again.
            .with("max_block_size", part.rows.max(BLOCK).to_string())
            .table("frozen", block()),
        };
        self.link.ask(settings(ask, talents)).await?;
        Ok(())
    }
}

/// The batch's rows in a table, found by the parts' range of `stored_at`.
fn count(table: &str, Stamp { batch, stored_at }: Stamp) -> String {
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
