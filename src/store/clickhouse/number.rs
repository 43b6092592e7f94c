//! Numbers of rows: growing, and different on every server, without asking anybody for each.
//!
//! A number is 41 bits of milliseconds since 2020, 12 of the spool's number and 10 that count. The
//! spool's number is kept in the site's database, as a cursor of a spool that does not exist.

use std::collections::HashSet;

use uuid::Uuid;

use super::super::{Batch, Cursor, Error, Store};

/// The "spool" whose "segments" are spools, and whose "positions" are their numbers.
const NUMBERS: Uuid = Uuid::from_u128(0x6a61_6666_6172_4e75_6d62_6572_7331_0001);
/// 2020-01-01T00:00:00Z in milliseconds.
const EPOCH: i64 = 1_577_836_800_000;
pub(super) const SPOOL_BITS: u32 = 12;
pub(super) const COUNT_BITS: u32 = 10;

/// The second (since 1970) in which a number was given.
pub(super) fn second_of(id: i64) -> u32 {
    let second = ((id.max(0) >> (SPOOL_BITS + COUNT_BITS)) + EPOCH).div_euclid(1_000);
    u32::try_from(second).unwrap_or(u32::MAX)
}

/// [`second_of`] the column `id`, in ClickHouse's SQL.
pub(super) const SECOND: &str = "toUInt32(intDiv(intDiv(id, 4194304) + 1577836800000, 1000))";

/// The last number that can be given in a second (since 1970).
pub(super) fn last_of(second: u32) -> i64 {
    let next = (i64::from(second) + 1) * 1_000 - EPOCH;
    let numbers = next.max(0).checked_mul(1 << (SPOOL_BITS + COUNT_BITS));
    numbers.map_or(i64::MAX, |first| first - 1)
}

/// Gives numbers to the rows of one spool.
#[derive(Debug)]
pub(super) struct Numbers {
    spool: i64,
    /// The last one that was given.
    last: i64,
}

impl Numbers {
    /// For a spool with this number. `last`: as far as is known.
    pub(super) fn new(spool: u64, last: i64) -> Numbers {
        Numbers { spool: i64::try_from(spool).unwrap_or(0), last }
    }

    /// The next ones, at this time in milliseconds since 1970.
    pub(super) fn take(&mut self, count: usize, now: i64) -> Vec<i64> {
        let last = self.last >> (SPOOL_BITS + COUNT_BITS);
        let mut millis = (now - EPOCH).max(last + 1);
        let mut numbers = Vec::with_capacity(count);
        let mut within = 0;
        for _ in 0..count {
            if within == 1 << COUNT_BITS {
                (millis, within) = (millis + 1, 0);
            }
            let at = (millis << SPOOL_BITS | self.spool) << COUNT_BITS | within;
            numbers.push(at);
            within += 1;
        }
        self.last = numbers.last().copied().unwrap_or(self.last);
        numbers
    }
}

/// The number of a spool: the one that it has, or a free one.
pub(super) fn of_spool(site: &mut dyn Store, spool: Uuid) -> Result<u64, Error> {
    for _ in 0..20 {
        let known = site.cursors(NUMBERS)?;
        let mine = known.iter().find(|(it, _)| *it == spool).map(|(_, number)| *number);
        let others: HashSet<u64> =
            known.iter().filter(|(it, _)| *it != spool).map(|(_, number)| *number).collect();
        if let Some(number) = mine
            && !others.contains(&number)
        {
            return Ok(number);
        }
        // Another took the same at the same time, or none was taken yet. It only grows, and by
        // chance, so that two do not run after each other.
        let highest = known.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let number = highest + rand::random_range(1..=3);
        if number >> SPOOL_BITS != 0 {
            return Err(Error::Schema(
                "over four thousand spools have written to this database: delete those that are \
                 gone from djaffar_spool_cursor"
                    .into(),
            ));
        }
        let cursor = Cursor { spool: NUMBERS, segment: spool, position: number };
        site.write(&Batch { activities: &[], sessions: &[], cursor })?;
    }
    Err(Error::Unavailable("no number for this spool yet: others take them as well".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_in_sql_is_one_here() {
        let milliseconds = 1_i64 << (SPOOL_BITS + COUNT_BITS);
        for number in [milliseconds, EPOCH] {
            assert!(SECOND.contains(&number.to_string()), "{number}");
        }
    }

    #[test]
    fn they_grow_and_differ() {
        let now = 1_764_150_000_000;
        let (mut one, mut other) = (Numbers::new(1, 0), Numbers::new(4_095, 0));
        let mut all = Vec::new();
        for (count, now) in [(3, now), (5_000, now), (1, now - 50), (1, now + 100)] {
            all.extend(one.take(count, now));
        }
        assert!(all.is_sorted_by(|a, b| a < b), "also when the clock goes back");
        assert_eq!(second_of(all[0]), 1_764_150_000);
        let theirs = other.take(5_000, now);
        let distinct: HashSet<i64> = all.iter().chain(&theirs).copied().collect();
        assert_eq!(distinct.len(), all.len() + theirs.len());
        let again = Numbers::new(1, *all.last().unwrap()).take(1, now);
        assert!(again[0] > *all.last().unwrap());
        assert_eq!(second_of(i64::MIN), 1_577_836_800);
        let last = last_of(1_764_150_000);
        assert_eq!((second_of(last), second_of(last + 1)), (1_764_150_000, 1_764_150_001));
        assert_eq!(last_of(u32::MAX), i64::MAX);
    }
}
