//! What all databases do with a batch before they write it.

use std::collections::{BTreeMap, HashSet};

use serde::de::IgnoredAny;
use uuid::Uuid;

use super::Error;
use crate::activity::{Activity, Micros};

/// What is first known of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewInfo<'a> {
    pub(super) session: &'a str,
    pub(super) user_agent: &'a str,
    pub(super) visitor: &'a str,
    pub(super) created_at: Micros,
}

/// Whether to look for known `event_id`s before a batch is written. Looking costs every batch something,
/// and a repeat that was not looked for costs its batch a second try: so only for a while after
/// one was met.
#[derive(Debug, Default)]
pub(super) struct Caution(u32);

impl Caution {
    /// A repeat was met.
    pub(super) fn begin(&mut self) {
        self.0 = 100;
    }

    /// Whether to look before the next batch.
    pub(super) fn next(&mut self) -> bool {
        let look = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        look
    }
}

/// The infos to write, each session once, by the order of their keys: two servers that write the
/// same sessions in the same order never wait for each other crosswise.
pub(super) fn unknown_infos<'a>(
    activities: &'a [Activity],
    known: &HashSet<String>,
) -> Vec<NewInfo<'a>> {
    let mut infos = BTreeMap::new();
    for activity in activities {
        let Some(session) = &activity.session else { continue };
        if known.contains(&session.key) {
            continue;
        }
        // The first user agent and visitor that are seen with a session stay.
        infos.entry(session.key.as_str()).or_insert_with(|| NewInfo {
            session: &session.key,
            user_agent: &activity.user_agent,
            visitor: session.visitor.as_ref().unwrap_or(&session.key),
            created_at: activity.received_at,
        });
    }
    infos.into_values().collect()
}

/// The activities whose `event_id` is neither stored nor that of an earlier one.
pub(super) fn new_events(
    activities: &[Activity],
    mut seen: HashSet<Uuid>,
) -> impl Iterator<Item = &Activity> {
    activities.iter().filter(move |activity| activity.event_id.is_none_or(|id| seen.insert(id)))
}

/// What the databases would refuse, in words of one kind.
pub(super) fn check_properties(properties: Option<&str>) -> Result<(), Error> {
    properties.map_or(Ok(()), |text| {
        serde_json::from_str::<IgnoredAny>(text)
            .map(drop)
            .map_err(|error| Error::Rejected(format!("the properties are no JSON: {error}")))
    })
}

/// What a date gets that no Django could read.
pub(super) fn out_of_range(at: Micros) -> Error {
    Error::Rejected(format!("{at} microseconds since 1970 is outside of the years 1 to 9999"))
}

/// A position in a file as databases count.
pub(super) fn position(at: u64) -> Result<i64, Error> {
    i64::try_from(at).map_err(|_| Error::Rejected(format!("no file has a byte {at}")))
}
