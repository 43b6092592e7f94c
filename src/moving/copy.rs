//! Rows go over in the order of their numbers, as many at a time as TO likes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{
    Error, Move, Stage,
    read::{Which, is_heavy},
};
use crate::store::{self, Load, StoredActivity, StoredSession, progress};

/// Rows of a batch for an SQL database.
pub(super) const SMALL: usize = 8_192;
/// And for a ClickHouse, which makes a file of each batch.
pub(super) const LARGE: usize = 32_768;
/// How many sessions to remember as written.
const KNOWN_SESSIONS: usize = 200_000;
/// As long as others write, rows this young are left for later: one with a lower number may be
/// about to be committed.
const YOUNG: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1_000 });

/// What is left after a pass of less than this is little.
const SHORT: Duration = Duration::from_secs(4);

/// When to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Hardly anything is left.
    CaughtUp,
    /// Nothing is left. Nobody writes.
    End,
}

impl Move<'_> {
    pub(super) fn copy(&mut self, until: Until) -> Result<(), Error> {
        let mut longest = Duration::MAX;
        loop {
            let top = match until {
                Until::CaughtUp => {
                    self.patient(|it| it.from.last(1))?.last().map_or(0, |row| row.id)
                }
                Until::End => i64::MAX,
            };
            let seen = Instant::now();
            self.copy_to(top, seen, until)?;
            // What came in meanwhile takes as long at most, unless it comes in faster than it goes over:
            // then it is of no use to run after it.
            let time = seen.elapsed();
            if until == Until::End || time < SHORT || time > longest {
                return Ok(());
            }
            longest = time;
            self.total = self.patient(|it| it.from.count())?;
        }
    }

    /// Copies up to this number, which was the highest at that time.
    fn copy_to(&mut self, top: i64, seen: Instant, until: Until) -> Result<(), Error> {
        while self.state.passed < top {
            let passed = self.state.passed;
            let mut rows = self.page(Which::From, passed, self.batch)?;
            let is_short = rows.len() < self.batch && !is_heavy(&rows);
            rows.retain(|row| row.id <= top);
            let is_last = is_short || rows.last().is_some_and(|row| row.id >= top);
            if is_last && until == Until::CaughtUp && seen.elapsed() < YOUNG {
                self.sleep(YOUNG.saturating_sub(seen.elapsed()))?;
                continue;
            }
            if rows.is_empty() {
                return Ok(());
            }
            self.give(&rows)?;
            let total = self.total.max(self.state.given);
            self.watcher.progress(Stage::Copying, self.state.given, total);
            self.total = total;
        }
        Ok(())
    }

    /// Gives neighbouring rows to TO, once. What it refuses is halved until the guilty row stands
    /// alone.
    fn give(&mut self, rows: &[StoredActivity]) -> Result<(), Error> {
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(()) };
        let infos = self.infos_of(rows)?;
        let given = self.state.given + rows.len() as u64;
        let numbered = self.renumbered(rows, self.state.given);
        let load = Load {
            guard: self.cursor(progress::PASSED, last.unsigned_abs()),
            owner: self.owner,
            activities: numbered.as_deref().unwrap_or(rows),
            infos: &infos,
            set: &[self.cursor(progress::GIVEN, given)],
        };
        match self.patient(|it| it.target.load(&load)) {
            Ok(stored) => {
                if stored == 0 {
                    // Taken already: by the try before, or by another run.
                    self.remember()?;
                }
                self.state.passed = last;
                self.state.given = given;
                self.state.stored += stored;
                self.known.extend(infos.into_iter().map(|info| info.session));
                Ok(())
            }
            Err(Error::Store(store::Error::Rejected(reason))) => match rows {
                [row] => Err(Error::Refused(format!(
                    "TO does not take the activity {}: {reason}. Mend it in FROM or delete it, and \
                     go on",
                    row.id
                ))),
                rows => {
                    let (one, other) = rows.split_at(rows.len() / 2);
                    self.give(one)?;
                    self.give(other)
                }
            },
            Err(error) => Err(error),
        }
    }

    /// The rows with numbers from 1, where they do not keep theirs.
    pub(super) fn renumbered(
        &self,
        rows: &[StoredActivity],
        before: u64,
    ) -> Option<Vec<StoredActivity>> {
        let first = i64::try_from(before + 1).unwrap_or(i64::MAX);
        self.renumbers().then(|| {
            let numbers = first..;
            rows.iter().zip(numbers).map(|(row, id)| StoredActivity { id, ..row.clone() }).collect()
        })
    }

    /// The infos that TO is to get with these rows.
    pub(super) fn infos_of(
        &mut self,
        rows: &[StoredActivity],
    ) -> Result<Vec<StoredSession>, Error> {
        if self.known.len() > KNOWN_SESSIONS {
            self.known.clear();
        }
        // A ClickHouse needs those of all rows.
        let all = self.parties.to.is_clickhouse;
        let keys: BTreeSet<&str> = rows.iter().filter_map(|row| row.session.as_deref()).collect();
        let keys: Vec<&str> =
            keys.into_iter().filter(|key| all || !self.known.contains(*key)).collect();
        let mut infos = match keys[..] {
            [] => Vec::new(),
            _ => self.patient(|it| it.from.infos(&keys))?,
        };
        if self.state.finished && !all {
            // TO is in use: what it has seen itself stays.
            let there = self.patient(|it| it.to.infos(&keys))?;
            infos.retain(|info| there.iter().all(|it| it.session != info.session));
        }
        Ok(infos)
    }
}
