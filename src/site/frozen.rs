//! What goes to ClickHouse, on the disk of the spool: the store knows no files, and the spool no store.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    config::Config,
    failure::Failure,
    spool::{self, Frozen, Parked},
    store::{self, Database, Error, Place},
};

/// Keeps the batch that is under way.
pub(super) struct Freezer(pub(super) Frozen, pub(super) Arc<Parking>);

impl store::Freezer for Freezer {
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.load().map_err(|error| away(&error))
    }

    fn freeze(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        self.0.keep(pieces).map_err(|error| away(&error))
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
pub(super) fn nothing_may_be_left(
    config: &Config,
    site: &dyn Database,
    spool: Uuid,
) -> Result<(), Failure> {
    if !config.activity_database.is_empty() {
        return Ok(());
    }
    let left = |what: &str, place: &str| {
        Failure::Config(format!(
            "{what} in {}: run `djaffar drain` with the activity_database that {} for, then start \
             again",
            config.spool.join(place).display(),
            if place == "parked" { "they are" } else { "it is" },
        ))
    };
    if !Parked::new(&config.spool).list()?.is_empty() {
        return Err(left("blocks for a shard of ClickHouse are parked", "parked"));
    }
    let mut frozen = Frozen::new(&config.spool);
    let Some(bytes) = frozen.load()? else { return Ok(()) };
    let end = store::end_of_frozen(&bytes)?;
    let cursors = site.store().cursors(spool)?;
    let is_stored = |(segment, position): &(Uuid, u64)| {
        end.spool == spool && *segment == end.segment && *position >= end.position
    };
    if !cursors.iter().any(is_stored) {
        return Err(left("a batch that ClickHouse has perhaps is frozen", "frozen"));
    }
    // Its cursor is forgotten some day, and it must not be taken for one that waits then.
    Ok(frozen.keep::<Bytes>(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Cursor, Settings, SqliteDatabase, WithClickHouse, conformance};

    #[test]
    fn a_frozen_batch_is_for_clickhouse_until_its_cursor_has_moved() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::parse("").unwrap();
        config.spool = dir.path().join("spool");
        std::fs::create_dir(&config.spool).unwrap();
        let open = || SqliteDatabase::new(&dir.path().join("site.sqlite3"), Settings::default());
        let site = open();
        site.migrate().unwrap();
        let [spool, segment] = [1, 2].map(Uuid::from_u128);
        let check = |config: &Config| nothing_may_be_left(config, &site, spool);
        check(&config).unwrap();

        // Nobody listens there: it is frozen, and stays so.
        let url = "clickhouse://127.0.0.1:1/default";
        let place = config.spool.clone();
        let freezer = Arc::new(move || {
            let parking = Arc::new(Parking(Parked::new(&place)));
            Box::new(Freezer(Frozen::new(&place), parking)) as Box<_>
        });
        let clickhouse = WithClickHouse::new(Box::new(open()), url, None, freezer).unwrap();
        let mut activity = conformance::activity(1);
        activity.event_id = None;
        let cursor = Cursor { spool, segment, position: 8_192 };
        let batch = Batch { activities: &[activity], sessions: &[], cursor };
        assert!(matches!(clickhouse.store().write(&batch), Err(Error::Unavailable(_))));
        let stored_before = Cursor { position: 4_096, ..cursor };
        let move_to =
            |cursor| site.store().write(&Batch { activities: &[], sessions: &[], cursor });
        move_to(stored_before).unwrap();
        let Err(Failure::Config(said)) = check(&config) else { panic!("it is left") };
        for part in ["frozen", "djaffar drain", "activity_database"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        config.activity_database = url.into();
        check(&config).unwrap();
        config.activity_database.clear();

        // It is stored; nobody may take it for one that waits when its cursor is forgotten.
        move_to(cursor).unwrap();
        check(&config).unwrap();
        site.store().forget(spool, &[segment]).unwrap();
        check(&config).unwrap();
        assert_eq!(Frozen::new(&config.spool).load().unwrap(), None);
    }
}
