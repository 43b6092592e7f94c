//! Both sides are read and compared: for each day the number of rows and the sum of their hashes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::read::Which;
use super::report::{Day, Report, Side};
use super::{Error, Move};

/// How often a ClickHouse is read again whose replicas may be behind.
const AGAIN: usize = 30;
const BETWEEN: Duration = Duration::from_secs(2);

/// Days since 1970, and what each has.
pub(super) type Days = BTreeMap<i64, Side>;

impl Move<'_> {
    /// Compares, and takes what was committed late. Says what there is to say.
    pub(super) fn compare(&mut self, accept_differences: bool) -> Result<Report, Error> {
        // What an answer that was lost has left unknown.
        self.remember()?;
        let mut report = self.compare_rows()?;
        report.sessions = self.compare_infos()?;
        if report.is_clean() || accept_differences {
            return Ok(report);
        }
        let advice = match self.state.finished {
            true => "the days are listed".to_owned(),
            false => {
                "TO is not opened. Look at the days that are listed; then mend what differs and run \
                 this again, or go back with --cancel, or take it as it is with \
                 --accept-differences"
                    .to_owned()
            }
        };
        Err(Error::Differs(advice, Box::new(report)))
    }

    fn compare_rows(&mut self) -> Result<Report, Error> {
        let from = self.sums(Which::From)?;
        let to = self.sums_of_to()?;
        if from == to {
            return Ok(self.report(&from, &to, 0));
        }
        let known = self.repair(&from, &to)?;
        let (from, to) = (known.from, self.sums_of_to()?);
        Ok(self.report(&from, &to, known.left_out))
    }

    /// What TO has, as soon as it shows all that it has stored.
    fn sums_of_to(&mut self) -> Result<Days, Error> {
        let mut to = self.sums(Which::To)?;
        for _ in 0..AGAIN {
            if !self.parties.to.is_clickhouse || count(&to) >= self.state.stored {
                break;
            }
            self.watcher.say("ClickHouse does not show all rows yet: reading again");
            self.sleep(BETWEEN)?;
            to = self.sums(Which::To)?;
        }
        Ok(to)
    }

    fn report(&self, from: &Days, to: &Days, left_out: u64) -> Report {
        let keys: std::collections::BTreeSet<i64> = from.keys().chain(to.keys()).copied().collect();
        let of = |days: &Days, day| days.get(day).copied().unwrap_or_default();
        let days = keys.iter().map(|day| Day { day: *day, from: of(from, day), to: of(to, day) });
        let is_in_use = self.state.finished;
        Report { days: days.collect(), left_out, is_in_use, ..Report::default() }
    }

    /// What each day of a side has.
    fn sums(&mut self, which: Which) -> Result<Days, Error> {
        let mut days = Days::new();
        let mut reader = self.reader(which)?;
        while let Some(rows) = self.read(&mut reader)? {
            rows.iter().for_each(|it| days.entry(it.day).or_default().add(it.hash));
        }
        Ok(days)
    }
}

pub(super) fn count(days: &Days) -> u64 {
    days.values().map(|side| side.rows).sum()
}
