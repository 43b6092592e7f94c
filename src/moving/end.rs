//! How a move ends: the switch, what is taken after it, and the way back before it.

use std::time::Instant;

use super::{Error, Move, Outcome, begin, copy};
use crate::store::{Door, progress};

impl Move<'_> {
    pub(super) fn finish(&mut self, accept_differences: bool) -> Result<Outcome, Error> {
        self.copy(copy::Until::CaughtUp)?;
        if self.renumbers() && !accept_differences {
            self.must_know_spools()?;
        }
        if self.has_door() {
            let id = self.parties.id;
            self.patient(|it| it.source.set_door(Door::Gone, id))?;
            self.is_closed = true;
            self.watcher.say("FROM is closed: its servers keep what comes in in their spools");
        }
        self.copy(copy::Until::End)?;
        let report = self.compare(accept_differences)?;
        let mut set = vec![self.cursor(progress::FINISHED, 1)];
        if self.hands_over() {
            set.extend(self.patient(|it| it.source.spools())?.unwrap_or_default());
        }
        if self.closes_to() {
            set.push(Door::Open.cursor());
        }
        self.step(&set)?;
        Ok(Outcome::Finished(report))
    }

    /// TO is open already: takes what came into FROM afterwards.
    pub(super) fn late(&mut self, accept_differences: bool) -> Result<Outcome, Error> {
        self.reserve()?;
        self.copy(copy::Until::End)?;
        self.compare(accept_differences).map(Outcome::Finished)
    }

    pub(super) fn cancel(&mut self) -> Result<Outcome, Error> {
        if self.state.finished {
            return Err(Error::Refused(
                "TO is open already, and may have activities that FROM has not: see \"Back\" in \
                 docs/moving.md"
                    .into(),
            ));
        }
        self.open_from()
    }

    /// TO is lost: what it remembers cannot be asked.
    pub(super) fn cancel_without_to(&mut self) -> Result<Outcome, Error> {
        self.first_until = Some(Instant::now() + begin::FIRST);
        self.has_spools = self.patient(|it| it.source.spools())?.is_some();
        self.look_at_doors()?;
        self.open_from()
    }

    fn open_from(&mut self) -> Result<Outcome, Error> {
        if self.has_door() {
            let id = self.parties.id;
            self.patient(|it| it.source.set_door(Door::Open, id))?;
            self.is_closed = false;
        }
        Ok(Outcome::Cancelled)
    }

    /// On the way back from a ClickHouse, positions stay where they are: in the site's database. Servers
    /// that do not find theirs would store again what their spools still hold.
    fn must_know_spools(&mut self) -> Result<(), Error> {
        if self.patient(|it| it.source.spools())?.is_some_and(|spools| !spools.is_empty()) {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{} knows no spool: the way back from a ClickHouse goes to the database that the servers have \
             beside it, where the positions of their spools are. If no server ever stored anything, say \
             --accept-differences",
            self.parties.to.name
        )))
    }
}
