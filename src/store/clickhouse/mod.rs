//! ClickHouse for the activities, beside the site's own database for everything else.
//!
//! Sessions, users, tokens and the spool's cursors stay where they are; activities, the infos of
//! their sessions and the event_ids go to ClickHouse, from 18.16 on: one server, or shards and
//! their replicas. There are no transactions across the two, so that a batch is frozen on the
//! spool's disk before it is tried ([`Freezer`]) and from then on only finished: the same bytes
//! under the same name, until every shard has them; then the cursor moves. What one of several
//! shards does not take is parked there ([`Parking`]), and the others go on.
//!
//! Our own client, over HTTP: it must speak to servers of eight years, give them the very same
//! bytes again, and name settings only where they are known.

mod address;
mod carry;
mod frozen;
mod giver;
mod history;
mod http;
mod insert;
mod known;
mod moving;
mod native;
mod number;
mod order;
mod parked;
mod parking;
mod recent;
mod replica;
mod rows;
mod schema;
mod shard;
mod shards;
mod stage;
#[cfg(test)]
mod tests;
mod writer;

use std::{path::Path, sync::Arc};

use address::Address;
pub use frozen::{Freezer, end_of_frozen};
use history::ClickHouseHistory;
use moving::ClickHouseMover;
pub use parking::{Parking, Place};
use tokio::runtime::{Builder, Runtime};
use writer::Writer;

use super::{Database, Directory, Error, History, Moments, Mover, Owner, Store, Superuser};

/// Makes what keeps frozen batches.
pub type MakeFreezer = Arc<dyn Fn() -> Box<dyn Freezer> + Send + Sync>;

/// The site's database, with the activities in a ClickHouse.
pub struct WithClickHouse {
    site: Box<dyn Database>,
    address: Address,
    freezer: MakeFreezer,
}

impl WithClickHouse {
    /// The ClickHouse at this URL. Connects to nothing yet.
    ///
    /// # Errors
    /// A URL that is none, with the syntax.
    pub fn new(
        site: Box<dyn Database>,
        url: &str,
        password: Option<&str>,
        freezer: MakeFreezer,
    ) -> Result<WithClickHouse, String> {
        Ok(WithClickHouse { site, address: Address::parse(url, password)?, freezer })
    }
}

impl Database for WithClickHouse {
    fn owner(&self) -> Result<Owner, Error> {
        self.site.owner()
    }

    /// A ClickHouse that is away is no reason not to start: what comes in waits in the spool.
    fn check(&self) -> Result<(), Error> {
        self.site.check()?;
        match runtime(&mut None)?.block_on(schema::check(&self.address)) {
            Err(Error::Unavailable(reason)) => {
                tracing::warn!(reason, "ClickHouse cannot be looked at for now");
                Ok(())
            }
            result => result,
        }
    }

    fn migrate(&self) -> Result<(), Error> {
        // Where Django makes the site's tables, these are ours all the same.
        if self.site.owner()? != Owner::DjangoApp {
            self.site.migrate()?;
        }
        runtime(&mut None)?.block_on(schema::migrate(&self.address))
    }

    fn legacy_sessions(&self) -> Result<bool, Error> {
        self.site.legacy_sessions()
    }

    fn create_superuser(&self, user: &Superuser<'_>) -> Result<(), Error> {
        self.site.create_superuser(user)
    }

    fn file(&self) -> Option<&Path> {
        self.site.file()
    }

    fn store(&self) -> Box<dyn Store> {
        let (site, moments) = (self.site.store(), self.moments().clone());
        Box::new(Writer::new(site, &self.address, (self.freezer)(), moments))
    }

    fn directory(&self) -> Box<dyn Directory> {
        self.site.directory()
    }

    fn history(&self) -> Box<dyn History> {
        Box::new(ClickHouseHistory::new(&self.address, self.moments().clone()))
    }

    fn mover(&self) -> Box<dyn Mover> {
        let (site, store) = (self.site.mover(), self.site.store());
        let moments = self.moments().clone();
        Box::new(ClickHouseMover::new((site, store), &self.address, (self.freezer)(), moments))
    }

    fn moments(&self) -> &Moments {
        self.site.moments()
    }
}

/// Made when first used: the connections live on it.
fn runtime(slot: &mut Option<Runtime>) -> Result<&Runtime, Error> {
    let made = match slot.take() {
        Some(runtime) => runtime,
        None => Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Unavailable(format!("no event loop: {error}")))?,
    };
    Ok(slot.insert(made))
}
