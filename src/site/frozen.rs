//! What goes to ClickHouse, on the disk of the spool: the store knows no files, and the spool no store.

use std::sync::Arc;

use crate::{
    config::Config,
    failure::Failure,
    spool::{self, Frozen, Parked},
    store::{self, Error, Place},
};

/// Keeps the batch that is under way.
pub(super) struct Freezer(pub(super) Frozen, pub(super) Arc<Parking>);

impl store::Freezer for Freezer {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.load().map_err(|error| away(&error))
    }

    fn freeze(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.keep(bytes).map_err(|error| away(&error))
    }

    fn parking(&self) -> Option<Arc<dyn store::Parking>> {
        Some(Arc::clone(&self.1) as Arc<_>)
    }
}

/// Keeps what shards that are away would get.
pub(super) struct Parking(pub(super) Parked);

impl store::Parking for Parking {
    fn list(&self) -> Result<Vec<(Place, u64)>, Error> {
        let found = self.0.list().map_err(|error| away(&error))?;
        let place = |it: spool::Place| Place { shard: it.lane, number: it.number, batch: it.name };
        Ok(found.into_iter().map(|(it, bytes)| (place(it), bytes)).collect())
    }

    fn park(&self, place: &Place, bytes: &[u8]) -> Result<u64, Error> {
        self.0.keep(&at(place), bytes).map_err(|error| away(&error))
    }

    fn load(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        self.0.load(&at(place)).map_err(|error| away(&error))
    }

    fn remove(&self, place: &Place) -> Result<(), Error> {
        self.0.remove(&at(place)).map_err(|error| away(&error))
    }
}

fn at(place: &Place) -> spool::Place {
    spool::Place { lane: place.shard, number: place.number, name: place.batch }
}

fn away(error: &spool::Error) -> Error {
    Error::Unavailable(error.to_string())
}

/// Refuses a spool with blocks for a ClickHouse that no option names: nobody would store them.
pub(super) fn nothing_may_be_left(config: &Config) -> Result<(), Failure> {
    if config.activity_database.is_empty() && !Parked::new(&config.spool).list()?.is_empty() {
        return Err(Failure::Config(format!(
            "blocks for a shard of ClickHouse are parked in {}: run `djaffar drain` with the \
             activity_database that they are for, then start again",
            config.spool.join("parked").display()
        )));
    }
    Ok(())
}
