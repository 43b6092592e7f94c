//! TO is made ready: its tables, its door, the numbers that are kept for the move.

use super::{Error, Move};
use crate::store::{self, Database, Door, Owner, progress};

/// New rows of TO are numbered from so far above those of FROM.
const AHEAD: i64 = 10_000_000;
/// Makes the tables of TO, unless Django does.
pub(super) fn prepare(to: &dyn Database) -> Result<(), store::Error> {
    if to.owner()? != Owner::DjangoApp || to.check().is_err() {
        to.migrate()?;
    }
    to.check()
}

impl Move<'_> {
    /// Makes TO ready to be filled.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        if self.is_fresh {
            let names = (&self.parties.from.name, &self.parties.to.name);
            if !self.patient(|it| it.to.after(i64::MIN, 1))?.is_empty() {
                return Err(Error::Refused(format!(
                    "{} has activities that this move did not put there: move to an empty \
                     database (or write both addresses as they were when the move was begun)",
                    names.1
                )));
            }
            if self.closes_to() {
                self.patient(|it| it.target.set_door(Door::Filling))?;
            }
            if self.has_spools && !self.parties.from.is_clickhouse {
                // From now on every batch looks at it.
                let door = self.patient(|it| it.source.positions(Door::ID))?;
                if Door::of(&door).is_none() {
                    self.patient(|it| it.source.set_door(Door::Open))?;
                }
            }
            let set = [progress::PASSED, progress::GIVEN].map(|segment| self.cursor(segment, 0));
            self.step(&set)?;
        }
        self.reserve()
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
