//! The rows of FROM that TO has not: those that were committed late, under a number that was passed.
//!
//! They are given to TO only where exactly as many are missing as FROM has (with what was deleted there)
//! more than TO has ever stored: then TO has all others, and none is doubled, also where a replica
//! shows less than there is.

use std::collections::{BTreeSet, HashMap};

use super::check::{Days, count};
use super::read::{Row, Which, is_heavy};
use super::{Error, Move};
use crate::store::{StoredActivity, progress};

/// So many hashes are held at a time.
const HELD: u64 = 2_000_000;
/// Rows that are given at once, and that are held from the first look.
const BATCH: usize = 4_096;

/// What is known afterwards.
pub(super) struct Known {
    /// What TO should have, by day.
    pub(super) from: Days,
    /// Rows whose `event_id` TO had already.
    pub(super) left_out: u64,
}

/// What differs.
#[derive(Clone, Copy)]
struct Where<'a> {
    days: &'a BTreeSet<i64>,
    from: &'a Days,
    to: &'a Days,
    /// TO has rows that FROM has not: deleted or changed there. What TO has under the same number is not
    /// missing then.
    by_number: bool,
}

/// Rows that are gathered to be given.
#[derive(Default)]
struct Gathered {
    rows: Vec<StoredActivity>,
    given: u64,
    stored: u64,
    /// How many of these are new.
    late: u64,
}

impl Move<'_> {
    /// Takes what is missing, where that is safe.
    pub(super) fn repair(&mut self, from: &Days, to: &Days) -> Result<Known, Error> {
        let days: BTreeSet<i64> = from.keys().chain(to.keys()).copied().collect();
        let days: BTreeSet<i64> =
            days.into_iter().filter(|day| from.get(day) != to.get(day)).collect();
        let mut place = Where { days: &days, from, to, by_number: false };
        let (mut missing, mut first) = (0, Vec::new());
        let extra = self.missing(place, |_, row| {
            missing += 1;
            if first.len() < BATCH && !is_heavy(&first) {
                first.push(row.row);
            }
            Ok(())
        })?;
        let mut found = Known { from: from.clone(), left_out: 0 };
        let lacking = (count(from) + extra).saturating_sub(self.state.stored);
        // Without numbers nothing tells a row that was changed from one that is missing.
        if missing == 0 || missing != lacking || extra > 0 && !self.keeps_numbers() {
            return Ok(found);
        }
        place.by_number = extra > 0;
        let late = (count(from) + extra).saturating_sub(self.state.given);
        if late > 0 && extra == 0 {
            let text = format!("{late} rows were committed late, under lower numbers: taking them");
            self.watcher.say(&text);
        }
        let mut gathered = Gathered { late, ..Gathered::default() };
        if first.len() as u64 == missing && extra == 0 {
            gathered.rows = first;
        } else {
            drop(first);
            self.missing(place, |it, row| {
                gathered.rows.push(row.row);
                match gathered.rows.len() >= BATCH || is_heavy(&gathered.rows) {
                    true => it.give_aside(&mut gathered),
                    false => Ok(()),
                }
            })?;
        }
        self.give_aside(&mut gathered)?;
        // What is not there now has an `event_id` that TO had: sent again after the switch.
        found.left_out = gathered.given - gathered.stored;
        if found.left_out > 0 {
            let days = &mut found.from;
            self.missing(place, |_, row| {
                if let Some(side) = days.get_mut(&row.day) {
                    side.take_away(row.hash);
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    fn give_aside(&mut self, gathered: &mut Gathered) -> Result<(), Error> {
        if gathered.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut gathered.rows);
        let count = rows.len() as u64;
        let infos = self.infos_of(&rows)?;
        let numbered = self.renumbered(&rows, self.state.given);
        // A number that was given to a row is not given again, also where TO left that one out.
        let new = if self.renumbers() { count } else { gathered.late.min(count) };
        gathered.late -= new.min(gathered.late);
        gathered.given += count;
        let given = self.cursor(progress::GIVEN, self.state.given + new);
        gathered.stored +=
            self.write_aside(numbered.as_deref().unwrap_or(&rows), &infos, &[given])?;
        Ok(())
    }

    /// Shows the rows of these days that TO has not. Returns how many it has that FROM has not.
    fn missing(
        &mut self,
        place: Where<'_>,
        mut show: impl FnMut(&mut Self, Row) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let Where { days, from, to, by_number } = place;
        let rows = |side: &Days| -> u64 {
            days.iter().filter_map(|day| side.get(day)).map(|side| side.rows).sum()
        };
        let parts = u128::from(rows(from).max(rows(to)) / HELD + 1);
        let mut extra = 0;
        for part in 0..parts {
            let is_here = |row: &Row| row.hash % parts == part && days.contains(&row.day);
            let mut there: HashMap<u128, u32> = HashMap::new();
            let mut reader = self.reader(Which::To)?;
            while let Some(rows) = self.read(&mut reader)? {
                for row in rows.iter().filter(|row| is_here(row)) {
                    *there.entry(row.hash).or_default() += 1;
                }
            }
            let mut reader = self.reader(Which::From)?;
            while let Some(rows) = self.read(&mut reader)? {
                for row in rows.into_iter().filter(is_here) {
                    match there.get_mut(&row.hash) {
                        Some(count) if *count > 0 => *count -= 1,
                        _ if by_number && self.has_number(row.row.id)? => {}
                        _ => show(self, row)?,
                    }
                }
            }
            extra += there.values().map(|count| u64::from(*count)).sum::<u64>();
        }
        Ok(extra)
    }

    /// Whether TO has a row with this number.
    fn has_number(&mut self, id: i64) -> Result<bool, Error> {
        let found = self.patient(|it| it.to.after(id - 1, 1))?;
        Ok(found.first().is_some_and(|row| row.id == id))
    }
}
