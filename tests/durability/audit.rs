//! Compares the database with what was answered.

use std::collections::HashMap;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{
    activity::{Id, Sent},
    fleet::{Fleet, Outcome},
};

/// What is in the database, as far as it was read; later rows are read when asked again.
#[derive(Default)]
pub(super) struct Audit {
    last_row: i64,
    stored: HashMap<Id, u32>,
    altered: Vec<String>,
    unknown: Vec<String>,
}

/// What an audit found. All but `acknowledged` and `unanswered` must be empty.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Answered 204.
    pub(super) acknowledged: usize,
    /// Stored although no answer came, or 503: allowed, once.
    pub(super) unanswered: usize,
    /// Acknowledged, and not stored when nothing more came for a while (it may wait in the spool).
    pub(super) lost: Vec<Id>,
    /// Stored more than once.
    pub(super) doubled: Vec<Id>,
    /// Stored otherwise than it was sent.
    pub(super) altered: Vec<String>,
    /// Stored and never sent.
    pub(super) unknown: Vec<String>,
    /// Stored after a 503.
    pub(super) refused: Vec<Id>,
}

impl Findings {
    /// Nothing lost, doubled, altered, invented.
    #[track_caller]
    pub(super) fn must_be_clean(&self) {
        let Findings { lost, doubled, altered, unknown, .. } = self;
        let faults = lost.len() + doubled.len() + altered.len() + unknown.len();
        let few = |ids: &[Id]| format!("{} ({:?} …)", ids.len(), &ids[..ids.len().min(5)]);
        let texts = |texts: &[String]| {
            format!("{} ({:.2000?} …)", texts.len(), &texts[..texts.len().min(2)])
        };
        assert!(
            faults == 0,
            "of {} acknowledged, lost {}, doubled {}, altered {}, never sent {}",
            self.acknowledged,
            few(lost),
            few(doubled),
            texts(altered),
            texts(unknown),
        );
    }
}

impl Audit {
    /// Reads the rows that came since the last time.
    pub(super) fn read(&mut self, fleet: &Fleet, database: &Connection) -> rusqlite::Result<()> {
        let mut rows = database.prepare_cached(
            "SELECT id, date, path, referer, name, properties, event_id \
             FROM djaffar_activity WHERE id > ?1 ORDER BY id",
        )?;
        let mut rows = rows.query([self.last_row])?;
        while let Some(row) = rows.next()? {
            self.last_row = row.get(0)?;
            let found = Sent {
                date: row.get(1)?,
                path: row.get(2)?,
                referer: row.get(3)?,
                name: row.get(4)?,
                properties: row.get(5)?,
                event_id: row.get(6)?,
            };
            self.compare(fleet, &found);
        }
        Ok(())
    }

    /// Reads a fixture of all rows, as `dumpdata` prints it; those of other runs are left out.
    pub(super) fn read_fixture(&mut self, fleet: &Fleet, fixture: &Value) {
        let ours = format!("/{:016x}/", fleet.run);
        for row in fixture.as_array().unwrap() {
            let field = |name: &str| row["fields"][name].as_str().map(str::to_owned);
            let text = |name: &str| field(name).unwrap();
            if !text("path").starts_with(&ours) {
                continue;
            }
            let properties = row["fields"]["properties"].as_object().map(|object| {
                // In the order in which it was sent.
                json!({ "number": object["number"], "filler": object["filler"] }).to_string()
            });
            let date = text("date").replace('T', " ");
            let found = Sent {
                date: format!("{}000", date.strip_suffix('Z').unwrap()),
                path: text("path"),
                referer: text("referer"),
                name: text("name"),
                properties,
                event_id: field("event_id").map(|id| id.replace('-', "")),
            };
            self.compare(fleet, &found);
        }
    }

    pub(super) fn compare(&mut self, fleet: &Fleet, found: &Sent) {
        let id = Id::of_path(fleet.run, &found.path);
        let sent = |id: &Id| {
            fleet.clients.get(id.client).is_some_and(|client| id.number < client.outcomes.len())
        };
        let Some(id) = id.filter(sent) else {
            // Posted by a test itself.
            if !found.path.starts_with("/test/") {
                self.unknown.push(format!("{found:?}"));
            }
            return;
        };
        *self.stored.entry(id).or_default() += 1;
        let expected = fleet.fields(id);
        if expected != *found {
            self.altered.push(format!("sent {expected:?}, stored {found:?}"));
        }
    }

    /// Whether all that was acknowledged is there.
    pub(super) fn is_complete(&self, fleet: &Fleet) -> bool {
        outcomes(fleet)
            .all(|(id, outcome)| outcome != Outcome::Acknowledged || self.stored.contains_key(&id))
    }

    /// The last row that was read.
    pub(super) fn last_row(&self) -> i64 {
        self.last_row
    }

    /// What there is to say.
    pub(super) fn findings(&self, fleet: &Fleet) -> Findings {
        let mut findings = Findings {
            altered: self.altered.clone(),
            unknown: self.unknown.clone(),
            ..Findings::default()
        };
        for (id, outcome) in outcomes(fleet) {
            let stored = self.stored.get(&id).copied().unwrap_or(0);
            match outcome {
                Outcome::Acknowledged => findings.acknowledged += 1,
                Outcome::Unanswered if stored > 0 => findings.unanswered += 1,
                Outcome::Refused if stored > 0 => findings.refused.push(id),
                _ => (),
            }
            if outcome == Outcome::Acknowledged && stored == 0 {
                findings.lost.push(id);
            }
            if stored > 1 {
                findings.doubled.push(id);
            }
        }
        findings
    }
}

fn outcomes(fleet: &Fleet) -> impl Iterator<Item = (Id, Outcome)> {
    fleet.clients.iter().enumerate().flat_map(|(client, outcomes)| {
        let outcomes = outcomes.outcomes.iter().enumerate();
        outcomes.map(move |(number, outcome)| (Id { client, number }, *outcome))
    })
}
