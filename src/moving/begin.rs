//! What has to be so before rows go over: both sides answer, no other move is in the way, and TO is
//! made ready: its tables, its door, the numbers that are kept for the move.

use std::time::{Duration, Instant};

use super::{Error, Move};
use crate::store::{self, Database, Door, Owner, progress};

/// New rows of TO are numbered from so far above those of FROM.
const AHEAD: i64 = 10_000_000;
/// A side that has not answered yet is waited for so long: its address may be wrong.
pub(super) const FIRST: Duration = Duration::from_secs(15);

/// Makes the tables of TO, unless Django does.
fn prepare(to: &dyn Database) -> Result<(), store::Error> {
    if to.owner()? != Owner::DjangoApp || to.check().is_err() {
        to.migrate()?;
    }
    to.check()
}

impl Move<'_> {
    /// Looks at both sides. FROM first: where its address is wrong, nothing is made.
    pub(super) fn look(&mut self, makes_tables: bool) -> Result<(), Error> {
        self.first_until = Some(Instant::now() + FIRST);
        self.total = self.patient(|it| it.from.count())?;
        self.has_spools = self.patient(|it| it.source.spools())?.is_some();
        let both = self.parties.from.is_clickhouse && self.parties.to.is_clickhouse;
        if both && !self.has_spools {
            return Err(Error::Refused(
                "the site's database has no djaffar_spool_cursor: it keeps what is remembered of a move \
                 between two ClickHouses. Name it by --database (or run `djaffar migrate` there)"
                    .into(),
            ));
        }
        self.look_at_doors()?;
        if makes_tables {
            self.patient(|it| prepare(&*it.parties.to.database))?;
        }
        self.remember()?;
        self.first_until = None;
        let folder = self.parties.folder;
        if !self.is_fresh && folder.is_some() && folder != Some(self.state.folder) {
            return Err(Error::Refused(
                "this move was begun from another folder, and a batch may be under way there: run \
                 it where it was begun, or name that folder by --folder"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Whether another move has FROM.
    pub(super) fn look_at_doors(&mut self) -> Result<(), Error> {
        if !self.has_door() {
            return Ok(());
        }
        let doors = self.patient(|it| it.source.positions(Door::ID))?;
        let (is_ours, name) = (Door::is_of(&doors, self.parties.id), &self.parties.from.name);
        match Door::of(&doors) {
            Some(Door::Filling) => Err(Error::Refused(format!(
                "{name} is being filled by a move that has not come to its end: finish that one first. If \
                 it was given up, {name} is not the database that the servers write to: empty all its \
                 djaffar_ tables, djaffar_spool_cursor too"
            ))),
            Some(Door::Gone) if !is_ours => Err(Error::Refused(format!(
                "{name} was closed by a move to another database. If that one has finished, the \
                 activities are there now: move from there. If it has not, finish it or end it with \
                 --cancel (both addresses as they were written then)"
            ))),
            door => {
                self.is_closed = door == Some(Door::Gone);
                Ok(())
            }
        }
    }

    /// From here on only this run writes to TO.
    pub(super) fn take_over(&mut self) -> Result<(), Error> {
        let run = rand::random_range(1..i64::MAX.unsigned_abs());
        self.step(&[self.cursor(progress::RUN, run)])?;
        self.owner = Some(self.cursor(progress::RUN, run));
        if self.state.run == run {
            return Ok(());
        }
        Err(Error::Refused(
            "another `djaffar move` between these two databases was started at the same time: let it end, \
             then run this again"
                .into(),
        ))
    }

    /// Makes TO ready to be filled.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        if self.is_fresh {
            self.must_be_empty()?;
            if self.closes_to() {
                self.close_to()?;
            }
            let (from, id) = (&self.parties.from.database, self.parties.id);
            if self.has_door() {
                // From now on every batch looks at it.
                let door = self.patient(|it| it.source.positions(Door::ID))?;
                if Door::of(&door).is_none() {
                    self.patient(|it| it.source.set_door(Door::Open, id))?;
                }
            }
            if self.has_spools {
                // The way here is over when that back is begun, and may be gone again one day.
                let (mut store, back) = (from.store(), self.parties.back);
                self.patient(|_| store.forget(back, &progress::ALL))?;
            }
            let mut set = [progress::PASSED, progress::GIVEN].map(|it| self.cursor(it, 0)).to_vec();
            set.extend(self.parties.folder.map(|folder| self.cursor(progress::FOLDER, folder)));
            self.step(&set)?;
        }
        self.reserve()
    }

    pub(super) fn must_be_empty(&mut self) -> Result<(), Error> {
        if self.patient(|it| it.to.after(i64::MIN, 1))?.is_empty() {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{} has activities that this move did not put there: move to an empty database (or write \
             both addresses as they were when the move was begun)",
            self.parties.to.name
        )))
    }

    /// Closes TO to servers. What is there after that is nobody's but ours.
    fn close_to(&mut self) -> Result<(), Error> {
        let id = self.parties.id;
        let doors = self.patient(|it| it.target.positions(Door::ID))?;
        let before = Door::of(&doors);
        if before == Some(Door::Filling) && !Door::is_of(&doors, id) {
            return Err(Error::Refused(format!(
                "{0} is being filled by another move. If that one was given up, empty all djaffar_ tables \
                 of {0}, djaffar_spool_cursor too, and begin again",
                self.parties.to.name
            )));
        }
        self.patient(|it| it.target.set_door(Door::Filling, id))?;
        let is_same = self.has_spools && {
            let seen = self.patient(|it| it.source.positions(Door::ID))?;
            Door::of(&seen) == Some(Door::Filling)
        };
        let result = match is_same {
            true => Err(Error::Refused(SAME.into())),
            false => self.must_be_empty(),
        };
        if result.is_err() {
            let door = before.unwrap_or(Door::Open);
            self.patient(|it| it.target.set_door(door, id))?;
        }
        result
    }

    /// Sees to it that TO's own rows get numbers that FROM's never reach.
    pub(super) fn reserve(&mut self) -> Result<(), Error> {
        if self.parties.to.is_clickhouse {
            return Ok(());
        }
        let highest = match self.renumbers() {
            true => i64::try_from(self.total).unwrap_or(i64::MAX),
            false => self.patient(|it| it.from.last(1))?.last().map_or(0, |row| row.id),
        };
        let boundary = self.state.boundary;
        if boundary > 0 && highest < boundary - AHEAD / 2 {
            return Ok(());
        }
        let own = boundary > 0 && !self.patient(|it| it.to.after(boundary - 1, 1))?.is_empty();
        if own && highest >= boundary - 1 {
            return Err(Error::Refused(format!(
                "FROM has reached number {highest}, and TO has given numbers from {boundary} on to \
                 rows of its own: too much came into FROM after the switch"
            )));
        }
        if !own {
            let boundary = highest.saturating_add(AHEAD);
            self.patient(|it| it.target.reserve(boundary))?;
            let set = [self.cursor(progress::BOUNDARY, boundary.unsigned_abs())];
            self.step(&set)?;
        }
        Ok(())
    }
}

/// What is said where both addresses name one database.
pub const SAME: &str = "FROM and TO are the same database: nothing to move";
