//! The infos of sessions: most came with the activities; what is missing or differs is written here.

use std::collections::HashMap;

use super::report::Sessions;
use super::{Error, Move, Stage, row};
use crate::store::{Moments, StoredSession};

/// Sessions of a page.
const PAGE: usize = 2_000;
/// How often a ClickHouse is asked again whose replicas may be behind.
const AGAIN: usize = 30;

impl Move<'_> {
    pub(super) fn compare_infos(&mut self) -> Result<Sessions, Error> {
        let mut sessions = Sessions::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.patient(|it| it.from.sessions(after.as_deref(), PAGE))?;
            let Some(last) = page.last() else { return Ok(sessions) };
            after = Some(last.session.clone());
            let mut there = self.hashes(&page)?;
            let moments = self.parties.from.database.moments().clone();
            let wanted: Vec<u128> =
                page.iter().map(|info| row::of_session(info, self.form(&moments))).collect();
            let differs = |there: &HashMap<String, u128>, (info, hash): (&StoredSession, &u128)| {
                match there.get(&info.session) {
                    None => true,
                    // What TO has seen itself stays.
                    Some(other) => other != hash && !self.state.finished,
                }
            };
            let new: Vec<StoredSession> = page
                .iter()
                .zip(&wanted)
                .filter(|pair| differs(&there, *pair))
                .map(|(info, _)| info.clone())
                .collect();
            if !new.is_empty() {
                self.write_aside(&[], &new, &[])?;
                there = self.hashes(&page)?;
                let clickhouse = self.parties.to.is_clickhouse;
                let mut tries = if clickhouse { AGAIN } else { 0 };
                while tries > 0 && new.iter().any(|it| !there.contains_key(&it.session)) {
                    self.sleep(std::time::Duration::from_secs(1))?;
                    there = self.hashes(&page)?;
                    tries -= 1;
                }
            }
            for (info, hash) in page.iter().zip(wanted) {
                sessions.add(hash, there.get(&info.session).copied());
            }
            let done = sessions.from.rows;
            self.watcher.progress(Stage::Sessions, done, 0);
        }
    }

    /// What TO has of these sessions.
    fn hashes(&mut self, page: &[StoredSession]) -> Result<HashMap<String, u128>, Error> {
        let keys: Vec<&str> = page.iter().map(|info| info.session.as_str()).collect();
        let found = self.patient(|it| it.to.infos(&keys))?;
        let moments: Moments = self.parties.to.database.moments().clone();
        let form = self.form(&moments);
        let pairs = found.iter().map(|info| (info.session.clone(), row::of_session(info, form)));
        Ok(pairs.collect())
    }
}
