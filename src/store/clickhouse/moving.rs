//! ClickHouse: rows of another database. What a move remembers stays in the site's database.
//!
//! As in the writer, nothing is tried before its bytes are on a disk ([`Freezer`]), and what was tried
//! is only finished. Simpler, as there is no hurry: all shards must be there.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::civil::DateTime;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{
    super::{
        Cursor, Error, Moments, Store, StoredActivity, StoredSession,
        moving::{Door, Load, Moved, Mover, progress, user},
        rows::check_properties,
    },
    address::Address,
    frozen::{Freezer, Frozen, Out, Part},
    insert::Try,
    number::{self, COUNT_BITS, Numbers, SPOOL_BITS},
    rows::{Blocks, Row, Stamp},
    runtime,
    shard::Shard,
};
use crate::activity::Micros;

/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 65_536;
/// Stands for a moment that is not known: NULL.
const UNKNOWN: Micros = Micros::MIN;

/// Takes rows of another database.
pub(super) struct ClickHouseMover {
    site: Box<dyn Mover>,
    store: Box<dyn Store>,
    shards: Vec<Shard>,
    freezer: Box<dyn Freezer>,
    moments: Moments,
    runtime: Option<Runtime>,
    /// Whether what was frozen by the process before was looked at.
    thawed: bool,
    pending: Option<Pending>,
    numbers: Option<Numbers>,
    /// Sessions whose info was written. Emptied when full.
    written: HashSet<String>,
}

/// A batch on its way.
struct Pending {
    frozen: Frozen,
    /// What the site's database gets with the guard.
    set: Vec<Cursor>,
    /// Who may.
    owner: Option<Cursor>,
    done: Vec<bool>,
    /// Whether a shard may have it unknown to us.
    tried: bool,
}

impl ClickHouseMover {
    pub(super) fn new(
        (site, store): (Box<dyn Mover>, Box<dyn Store>),
        address: &Address,
        freezer: Box<dyn Freezer>,
        moments: Moments,
    ) -> ClickHouseMover {
        ClickHouseMover {
            site,
            store,
            shards: Shard::all(address, None),
            freezer,
            moments,
            runtime: None,
            thawed: false,
            pending: None,
            numbers: None,
            written: HashSet::new(),
        }
    }

    /// Finishes what is frozen.
    fn settle(&mut self) -> Result<(), Error> {
        if !self.thawed {
            if let Some(bytes) = self.freezer.load()? {
                let (set, frozen) = thaw(&bytes)?;
                // Of a move that is over, and was forgotten: not ours.
                let is_ours = self.position(&frozen.cursor)?.is_some();
                if is_ours && !self.is_taken(&frozen.cursor)? {
                    let done = vec![false; frozen.parts.len()];
                    self.pending = Some(Pending { frozen, set, owner: None, done, tried: true });
                }
            }
            self.thawed = true;
        }
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        let settled = self.finish(&mut pending);
        if settled.is_err() {
            pending.tried = true;
            self.pending = Some(pending);
        }
        settled
    }

    fn finish(&mut self, pending: &mut Pending) -> Result<(), Error> {
        let Pending { frozen, set, owner, done, tried } = pending;
        if frozen.parts.len() != self.shards.len() {
            return Err(Error::Schema(format!(
                "a batch for {} shards is under way, and the address names {}: finish it with the \
                 address as it was",
                frozen.parts.len(),
                self.shards.len()
            )));
        }
        let stamp = Stamp { batch: frozen.batch, stored_at: frozen.stored_at };
        let (shards, tried) = (&mut self.shards, *tried);
        let tries = shards.iter_mut().zip(&frozen.parts).zip(done).filter(|(_, done)| !**done).map(
            |((shard, part), done)| async move {
                shard.take(part, stamp, Try::new(tried)).await?;
                *done = true;
                Ok(())
            },
        );
        let results: Vec<Result<(), Error>> = runtime(&mut self.runtime)?.block_on(join_all(tries));
        results.into_iter().collect::<Result<(), Error>>()?;
        let (guard, owner) = (frozen.cursor, *owner);
        self.site.load(&Load { guard, owner, activities: &[], infos: &[], set })?;
        Ok(())
    }

    fn position(&mut self, cursor: &Cursor) -> Result<Option<u64>, Error> {
        let known = self.site.positions(cursor.spool)?;
        let found = known.into_iter().find(|(segment, _)| *segment == cursor.segment);
        Ok(found.map(|(_, position)| position))
    }

    fn is_taken(&mut self, guard: &Cursor) -> Result<bool, Error> {
        Ok(self.position(guard)?.is_some_and(|position| position >= guard.position))
    }

    /// The rows whose `event_id` is neither stored nor that of an earlier one.
    fn fresh<'a>(&mut self, rows: &'a [StoredActivity]) -> Result<Vec<&'a StoredActivity>, Error> {
        let wanted: Vec<Uuid> = rows.iter().filter_map(|row| row.event_id).collect();
        let mut known = HashSet::new();
        if !wanted.is_empty() {
            let asked = self.shards.iter_mut().map(|shard| shard.known(&wanted));
            for found in runtime(&mut self.runtime)?.block_on(join_all(asked)) {
                known.extend(found?);
            }
        }
        let is_fresh = |row: &&StoredActivity| row.event_id.is_none_or(|id| known.insert(id));
        Ok(rows.iter().filter(is_fresh).collect())
    }

    /// Numbers by the time at which the rows came in, so that they lie in the partitions of their months.
    fn number(&mut self, id: Uuid, rows: &[&StoredActivity]) -> Result<Vec<i64>, Error> {
        if self.numbers.is_none() {
            let spool = number::of_spool(&mut *self.store, id)?;
            let last = Cursor { spool: id, segment: progress::NUMBERED, position: 0 };
            let last = self.position(&last)?.unwrap_or(0);
            self.numbers = Some(Numbers::new(spool, i64::try_from(last).unwrap_or(0)));
        }
        let came_in = |row: &&StoredActivity| match row.received_at {
            Some(at) => self.moments.instant(at),
            None => self.moments.instant_of_date(row.date),
        };
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        // The first of all: a client's clock that is ahead must not move the others.
        let first = rows.iter().filter_map(came_in).min().map_or(now, |at| at.div_euclid(1_000));
        Ok(self.numbers.as_mut().map_or(Vec::new(), |it| it.take(rows.len(), first.min(now))))
    }

    fn freeze(&mut self, load: &Load<'_>) -> Result<(), Error> {
        let fresh = self.fresh(load.activities)?;
        let id = load.guard.spool;
        let ids = self.number(id, &fresh)?;
        let stored_at = number::second_of(ids.first().copied().unwrap_or_default());
        let stamp = Stamp { batch: Uuid::new_v4(), stored_at };
        let infos: HashMap<&str, &StoredSession> =
            load.infos.iter().map(|info| (info.session.as_str(), info)).collect();
        let mut blocks: Vec<Blocks> = self.shards.iter().map(|_| Blocks::new()).collect();
        for (row, number) in fresh.iter().zip(&ids) {
            let info = row.session.as_deref().and_then(|key| infos.get(key)).copied();
            self.push(&mut blocks, (row, info), (*number, stamp))?;
        }
        if self.written.len() > KNOWN_SESSIONS {
            self.written.clear();
        }
        for info in load.infos.iter().filter(|info| !self.written.contains(&info.session)) {
            let shard = crc32c::crc32c(info.visitor.as_bytes()) as usize % blocks.len().max(1);
            let Some(block) = blocks.get_mut(shard) else { continue };
            let names = [&info.session, &info.user_agent, &info.visitor].map(String::as_str);
            block.push_info(names, self.moment(info.created_at)?);
        }
        let counter = Cursor { segment: progress::STORED, position: 0, ..load.guard };
        let before = self.position(&counter)?.unwrap_or(0);
        let last = ids.last().copied();
        let mut set = load.set.to_vec();
        set.push(Cursor { position: before + fresh.len() as u64, ..counter });
        set.extend(last.map(|last| Cursor {
            segment: progress::NUMBERED,
            position: last.unsigned_abs(),
            ..counter
        }));
        let frozen = Frozen {
            batch: stamp.batch,
            stored_at,
            last_id: last.unwrap_or_default(),
            cursor: load.guard,
            sessions: Vec::new(),
            parts: blocks.into_iter().map(Blocks::finish).collect(),
        };
        self.freezer.freeze(&freeze(&set, &frozen))?;
        self.written.extend(load.infos.iter().map(|info| info.session.clone()));
        let done = frozen.parts.iter().map(Part::is_empty).collect();
        self.pending = Some(Pending { frozen, set, owner: load.owner, done, tried: false });
        Ok(())
    }

    fn push(
        &self,
        blocks: &mut [Blocks],
        (row, info): (&StoredActivity, Option<&StoredSession>),
        (number, stamp): (i64, Stamp),
    ) -> Result<(), Error> {
        check_properties(row.properties.as_deref())?;
        let strange = || Error::Rejected(format!("{} is no date", row.date));
        let user = user(row);
        let session = row.session.as_deref().unwrap_or_default();
        let row = Row {
            user: user.as_deref().unwrap_or_default(),
            session,
            visitor: info.map_or(session, |info| &info.visitor),
            address: &row.ip_address,
            date: self.moments.instant_of_date(row.date).ok_or_else(strange)?,
            path: &row.path,
            referer: &row.referer,
            received_at: self.moment(row.received_at)?,
            event_id: row.event_id,
            name: &row.name,
            properties: row.properties.as_deref().unwrap_or_default(),
            user_agent: info.map_or("", |info| &info.user_agent),
        };
        if let Some(block) = blocks.get_mut(row.shard(self.shards.len())) {
            block.push_row(&row, number, stamp);
            row.event_id.into_iter().for_each(|id| block.event(id, stamp));
        }
        Ok(())
    }

    fn moment(&self, digits: Option<DateTime>) -> Result<Micros, Error> {
        let Some(digits) = digits else { return Ok(UNKNOWN) };
        let strange = || Error::Rejected(format!("{digits} is no moment"));
        self.moments.instant(digits).ok_or_else(strange)
    }
}

impl Mover for ClickHouseMover {
    fn positions(&mut self, id: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.settle()?;
        self.site.positions(id)
    }

    fn spools(&mut self) -> Result<Option<Vec<Cursor>>, Error> {
        self.site.spools()
    }

    fn load(&mut self, load: &Load<'_>) -> Result<u64, Error> {
        self.settle()?;
        if self.is_taken(&load.guard)? {
            return Ok(0);
        }
        if load.activities.is_empty() && load.infos.is_empty() {
            return self.site.load(load);
        }
        if let Some(owner) = &load.owner {
            load.admit(self.position(owner)?)?;
        }
        self.freeze(load)?;
        let stored = self
            .pending
            .as_ref()
            .map_or(0, |it| it.frozen.parts.iter().map(|part| u64::from(part.rows)).sum());
        self.settle()?;
        Ok(stored)
    }

    /// Servers find their positions in the site's database, before and after: nothing need be closed.
    fn set_door(&mut self, _: Door, _: Uuid) -> Result<(), Error> {
        Ok(())
    }

    /// Each writer has numbers of its own.
    fn reserve(&mut self, _: i64) -> Result<(), Error> {
        Ok(())
    }

    fn moved(&mut self, id: Uuid) -> Result<Moved, Error> {
        let spool = number::of_spool(&mut *self.store, id)?;
        let mask = (1 << SPOOL_BITS) - 1;
        let value = i64::try_from(spool).unwrap_or(0) << COUNT_BITS;
        Ok(Moved { mask: mask << COUNT_BITS, value, below: i64::MAX })
    }
}

/// A batch and the cursors that are set with it, as bytes.
fn freeze(set: &[Cursor], frozen: &Frozen) -> Vec<Bytes> {
    let mut out = Out::default();
    let bytes = &mut out.bytes;
    bytes.extend((set.len() as u64).to_le_bytes());
    for cursor in set {
        bytes.extend(cursor.spool.as_bytes());
        bytes.extend(cursor.segment.as_bytes());
        bytes.extend(cursor.position.to_le_bytes());
    }
    frozen.encode_to(&mut out);
    out.finish()
}

/// Reads what [`freeze`] wrote.
fn thaw(bytes: &[u8]) -> Result<(Vec<Cursor>, Frozen), Error> {
    let cut = || Error::Unavailable("the batch under way is shorter than it says".into());
    let (count, mut rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let mut set = Vec::new();
    for _ in 0..u64::from_le_bytes(*count) {
        let (spool, after) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
        let (segment, after) = after.split_first_chunk::<16>().ok_or_else(cut)?;
        let (position, after) = after.split_first_chunk::<8>().ok_or_else(cut)?;
        let (spool, segment) = (Uuid::from_bytes(*spool), Uuid::from_bytes(*segment));
        set.push(Cursor { spool, segment, position: u64::from_le_bytes(*position) });
        rest = after;
    }
    Ok((set, Frozen::decode(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let cursor = Cursor { spool: ids[0], segment: ids[1], position: 9 };
        let frozen = Frozen {
            batch: ids[2],
            stored_at: 1,
            last_id: 2,
            cursor,
            sessions: Vec::new(),
            parts: Vec::new(),
        };
        let bytes = freeze(&[cursor, cursor], &frozen).concat();
        assert_eq!(thaw(&bytes), Ok((vec![cursor, cursor], frozen)));
        for length in 0..bytes.len() {
            assert!(thaw(&bytes[..length]).is_err(), "{length}");
        }
    }
}
