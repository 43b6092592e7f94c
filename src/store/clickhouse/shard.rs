//! One shard: gives it a block exactly once, whichever of its replicas is there.
//!
//! A block is tried again until a server says that it has it, also when an earlier try may have
//! come through. How the server knows it again depends on what it can ([`super::insert`]). Which
//! event_ids it has is asked in [`super::known`].

use std::time::Duration;

use super::{
    super::Error, address::Address, frozen::Part, insert::Try, replica::Replica, rows::Stamp,
    stage::unstage,
};

/// A shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) replicas: Vec<Replica>,
    /// The one that worked last.
    pub(super) preferred: usize,
    /// How long to wait for one of them; none: as long as its connection does.
    pub(super) patience: Option<Duration>,
    pub(super) tables: Tables,
    /// So many questions for event_ids to come are asked with a table.
    pub(super) crowded: u32,
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
                event: address.local("djaffar_event_id"),
            },
            crowded: 0,
        };
        address.shards.iter().map(shard).collect()
    }

    /// Has the shard take its part, once.
    pub(super) async fn take(
        &mut self,
        part: &Part,
        stamp: Stamp,
        mut attempt: Try,
    ) -> Result<(), Error> {
        let mut failed = None;
        for _ in 0..self.replicas.len() {
            let this = std::mem::replace(&mut attempt, Try::Again);
            match within(self.patience, self.take_here(part, stamp, this)).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let replica = self.replicas.get_mut(self.preferred);
                    if let Some(replica) = replica {
                        replica.talents = None;
                    }
                    self.preferred = (self.preferred + 1) % self.replicas.len();
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(none))
    }

    async fn take_here(&mut self, part: &Part, stamp: Stamp, attempt: Try) -> Result<(), Error> {
        let Self { replicas, preferred, tables, .. } = self;
        let replica = replicas.get_mut(*preferred).ok_or_else(none)?;
        replica.take(tables, part, stamp, attempt).await
    }

    /// Puts the activities where the first try finds them; the name of the session.
    pub(super) async fn stage(&mut self, part: &Part) -> Option<String> {
        let Self { replicas, preferred, tables, patience, .. } = self;
        let replica = replicas.get_mut(*preferred)?;
        within(*patience, async { Ok(replica.stage(tables, part).await) }).await.ok()?
    }

    /// Drops what was staged in vain.
    pub(super) async fn unstage(&mut self, session: &str) {
        if let Some(replica) = self.replicas.get_mut(self.preferred) {
            let dropping = async {
                unstage(&mut replica.link, session).await;
                Ok(())
            };
            drop(within(self.patience, dropping).await);
        }
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

    pub(super) fn replica(&mut self) -> Result<&mut Replica, Error> {
        self.replicas.get_mut(self.preferred).ok_or_else(none)
    }
}

pub(super) fn none() -> Error {
    Error::Unavailable("a shard without servers".into())
}

/// The work, for as long as there is patience.
pub(super) async fn within<T>(
    patience: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(patience) = patience else { return work.await };
    let late = |_| Error::Unavailable(format!("no answer within {} s", patience.as_secs()));
    tokio::time::timeout(patience, work).await.map_err(late)?
}
