//! One shard: gives it a block exactly once, whichever of its replicas is there.
//!
//! A block is tried again until a server says that it has it, also when an earlier try may have
//! come through. How the server knows it again depends on what it can ([`super::insert`]).

use std::time::Duration;

use uuid::Uuid;

use super::{
    super::Error,
    address::Address,
    frozen::Part,
    http::Ask,
    native::Rows,
    replica::Replica,
    rows::{Stamp, ids},
};

/// A shard.
#[derive(Debug)]
pub(super) struct Shard {
    replicas: Vec<Replica>,
    /// The one that worked last.
    preferred: usize,
    /// How long to wait for one of them; none: as long as its connection does.
    patience: Option<Duration>,
    tables: Tables,
}

/// What they are called.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) activity: String,
    pub(super) sessioninfo: String,
    pub(super) event: String,
}

impl Shard {
    pub(super) fn all(address: &Address, patience: Option<Duration>) -> Vec<Shard> {
        let shard = |hosts: &Vec<String>| Shard {
            replicas: hosts.iter().map(|host| Replica::new(host, address)).collect(),
            preferred: 0,
            patience,
            tables: Tables {
                activity: address.local("djaffar_activity"),
                sessioninfo: address.local("djaffar_sessioninfo"),
                event: address.local("djaffar_event"),
            },
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
        Err(failed.unwrap_or_else(none))
    }

    async fn take_here(&mut self, part: &Part, stamp: Stamp, tried: bool) -> Result<(), Error> {
        let Self { replicas, preferred, tables, .. } = self;
        let replica = replicas.get_mut(*preferred).ok_or_else(none)?;
        replica.take(tables, part, stamp, tried).await
    }

    /// Whether one of its servers would take a block now.
    pub(super) async fn is_there(&mut self) -> bool {
        let table = self.tables.activity.clone();
        for replica in &mut self.replicas {
            if within(self.patience, replica.is_writable(&table)).await == Ok(true) {
                return true;
            }
        }
        false
    }

    fn replica(&mut self) -> Result<&mut Replica, Error> {
        self.replicas.get_mut(self.preferred).ok_or_else(none)
    }

    /// Which of these event_ids it has.
    pub(super) async fn known(&mut self, wanted: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        self.ask_known(wanted, false).await
    }

    /// The same of a replica that has fetched all from the others, which may take long after they were
    /// away.
    pub(super) async fn known_surely(&mut self, wanted: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        self.ask_known(wanted, true).await
    }

    async fn ask_known(&mut self, wanted: &[Uuid], surely: bool) -> Result<Vec<Uuid>, Error> {
        let sql = format!(
            "SELECT DISTINCT event_id FROM {} WHERE event_id IN (SELECT event_id FROM wanted) \
             FORMAT RowBinary",
            self.tables.event
        );
        let block = ids(wanted);
        let mut failed = None;
        for _ in 0..self.replicas.len() {
            let ask = Ask::query(&sql)
                .with("wanted_structure", "event_id UUID")
                .with("wanted_format", "Native")
                .table("wanted", &block);
            let (patience, event, activity) =
                (self.patience, self.tables.event.clone(), self.tables.activity.clone());
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
        Err(failed.unwrap_or_else(none))
    }
}

fn none() -> Error {
    Error::Unavailable("a shard without servers".into())
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
