//! The rows of FROM that TO has not: those that were committed late, under a number that was passed.
//!
//! They are given to TO only where exactly as many are missing as FROM has more than TO has ever
//! stored: then TO has all others, and none is doubled, also where a replica shows less than there is.

use std::collections::{BTreeSet, HashMap};

use super::check::{Days, Which, count};
use super::{Error, Move};
use crate::store::{StoredActivity, progress};

/// So many hashes are held at a time.
const HELD: u64 = 2_000_000;
/// More rows than this are no stragglers.
const MOST: usize = 100_000;
/// Rows that are given at once.
const BATCH: usize = 4_096;

/// A row with its day and its hash.
type Row = (i64, u128, StoredActivity);

/// What is known afterwards.
pub(super) struct Known {
    /// What TO should have, by day.
    pub(super) from: Days,
    /// Rows whose `event_id` TO had already.
    pub(super) left_out: u64,
}

impl Move<'_> {
    /// Takes what is missing, where that is safe.
    pub(super) fn repair(&mut self, from: &Days, to: &Days) -> Result<Known, Error> {
        let days: BTreeSet<i64> = from.keys().chain(to.keys()).copied().collect();
        let days: BTreeSet<i64> =
            days.into_iter().filter(|day| from.get(day) != to.get(day)).collect();
        let (missing, extra) = self.missing(&days, from, to)?;
        let mut found = Known { from: from.clone(), left_out: 0 };
        let lacking = count(from).saturating_sub(self.state.stored);
        if missing.is_empty() || missing.len() as u64 != lacking || extra > 0 {
            return Ok(found);
        }
        let mut late = count(from).saturating_sub(self.state.given);
        if late > 0 {
            let text = format!("{late} rows were committed late, under lower numbers: taking them");
            self.watcher.say(&text);
        }
        let mut stored = 0;
        for rows in missing.chunks(BATCH) {
            let rows: Vec<StoredActivity> = rows.iter().map(|(_, _, row)| row.clone()).collect();
            let infos = self.infos_of(&rows)?;
            let numbered = self.renumbered(&rows, self.state.given);
            let rows = numbered.as_deref().unwrap_or(&rows);
            let new = late.min(rows.len() as u64);
            late -= new;
            let given = self.cursor(progress::GIVEN, self.state.given + new);
            stored += self.write_aside(rows, &infos, &[given])?;
        }
        // What is not there now has an `event_id` that TO had: sent again after the switch.
        found.left_out = missing.len() as u64 - stored;
        if found.left_out > 0 {
            let (missing, _) = self.missing(&days, from, to)?;
            for (day, hash, _) in missing {
                if let Some(side) = found.from.get_mut(&day) {
                    side.take_away(hash);
                }
            }
        }
        Ok(found)
    }

    /// The rows of these days that TO has not, and how many it has that FROM has not.
    fn missing(
        &mut self,
        days: &BTreeSet<i64>,
        from: &Days,
        to: &Days,
    ) -> Result<(Vec<Row>, u64), Error> {
        let rows = |side: &Days| -> u64 {
            days.iter().filter_map(|day| side.get(day)).map(|side| side.rows).sum()
        };
        let parts = u128::from(rows(from).max(rows(to)) / HELD + 1);
        let (mut missing, mut extra) = (Vec::new(), 0);
        for part in 0..parts {
            let mut there: HashMap<u128, u32> = HashMap::new();
            self.each(Which::To, |day, hash, _| {
                if hash % parts == part && days.contains(&day) {
                    *there.entry(hash).or_default() += 1;
                }
                true
            })?;
            self.each(Which::From, |day, hash, row| {
                if hash % parts == part && days.contains(&day) {
                    match there.get_mut(&hash) {
                        Some(count) if *count > 0 => *count -= 1,
                        _ => missing.push((day, hash, row.clone())),
                    }
                }
                missing.len() < MOST
            })?;
            extra += there.values().map(|count| u64::from(*count)).sum::<u64>();
        }
        Ok((missing, extra))
    }
}
