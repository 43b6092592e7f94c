//! SQLite: a batch as rows.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use rusqlite::Connection;
use uuid::fmt::Simple;

use super::insert::{Insert, Values};
use super::key::KeyColumn;
use super::link::Failure;
use crate::activity::{Activity, Micros};
use crate::store::moment::Printed;
use crate::store::rows::{NewInfo, check_properties, out_of_range, unknown_infos};
use crate::store::{Batch, Error, Moments, NewSession};

static SESSIONS: LazyLock<Insert> = LazyLock::new(|| {
    let columns = ["session_key", "session_data", "expire_date"];
    Insert::new("django_session", &columns, "(session_key) DO NOTHING")
});

static INFOS: LazyLock<Insert> = LazyLock::new(|| {
    let columns = ["session_id", "user_agent", "visitor", "created_at"];
    Insert::new("djaffar_sessioninfo", &columns, "(session_id) DO NOTHING")
});

static ACTIVITIES: LazyLock<Insert> = LazyLock::new(|| into_activities(&[]));

/// Into the activities, with more columns in front. Whose `event_id` is there already is left out.
pub(super) fn into_activities(more: &[&str]) -> Insert {
    let columns = [
        "user_id",
        "session_id",
        "ip_address",
        "date",
        "path",
        "referer",
        "received_at",
        "event_id",
        "name",
        "properties",
    ];
    let conflict = "(event_id) WHERE event_id IS NOT NULL DO NOTHING";
    Insert::new("djaffar_activity", &[more, &columns].concat(), conflict)
}

/// Turns a batch into rows.
pub(super) struct Rows<'a> {
    pub(super) moments: &'a Moments,
    pub(super) keys: KeyColumn,
    /// Sessions whose info is written, those of this batch included.
    pub(super) known: HashSet<String>,
}

impl Rows<'_> {
    /// Inserts all, within the caller's transaction. Returns how many activities are new.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        batch: &Batch<'_>,
    ) -> Result<u64, Failure> {
        // By their keys, as their index has them.
        let mut sessions: Vec<&NewSession> = batch.sessions.iter().collect();
        sessions.sort_by_key(|session| &session.key);
        SESSIONS.all(connection, &sessions, |row, session| self.session(row, session))?;
        let infos = unknown_infos(batch.activities, &self.known);
        INFOS.all(connection, &infos, |row, info| self.info(row, info))?;
        self.known.extend(infos.iter().map(|info| info.session.to_owned()));
        // By their dates, so that a batch goes through the index on dates once, and through that on
        // ids as well, which pages make with their date in front (UUIDv7).
        let mut activities: Vec<&Activity> = batch.activities.iter().collect();
        activities.sort_by_key(|activity| activity.date);
        let mut address = String::new();
        ACTIVITIES.all(connection, &activities, |row, activity| {
            print_address(activity.address, &mut address);
            self.activity(row, activity, &address)
        })
    }

    fn session(&self, row: &mut Values<'_, '_>, new: &NewSession) -> Result<(), Failure> {
        row.bind(&new.key)?;
        row.bind(&new.data)?;
        row.bind(self.moment(new.expires)?)
    }

    fn info(&self, row: &mut Values<'_, '_>, new: &NewInfo<'_>) -> Result<(), Failure> {
        row.bind(new.session)?;
        row.bind(new.user_agent)?;
        row.bind(new.visitor)?;
        row.bind(self.moment(new.created_at)?)
    }

    fn activity(
        &self,
        row: &mut Values<'_, '_>,
        activity: &Activity,
        address: &str,
    ) -> Result<(), Failure> {
        let date =
            self.moments.text_of_date(activity.date).ok_or_else(|| out_of_range(activity.date))?;
        // The table's CHECK, which our connection leaves out.
        check_properties(activity.properties.as_deref())?;
        let mut digits = [0; Simple::LENGTH];
        let event_id = activity.event_id.map(|id| &*id.simple().encode_lower(&mut digits));
        row.bind(activity.user.as_ref().map(|user| self.keys.value(user)))?;
        row.bind(activity.session.as_ref().map(|session| session.key.as_str()))?;
        row.bind(address)?;
        row.bind(date)?;
        row.bind(&activity.path)?;
        row.bind(&activity.referer)?;
        row.bind(self.moment(activity.received_at)?)?;
        row.bind(event_id)?;
        row.bind(&activity.name)?;
        row.bind(&activity.properties)
    }

    fn moment(&self, at: Micros) -> Result<Printed, Error> {
        self.moments.text(at).ok_or_else(|| out_of_range(at))
    }
}

/// As `Display` has it, which takes a twentieth of all that storing a row does.
fn print_address(address: IpAddr, text: &mut String) {
    text.clear();
    match address {
        IpAddr::V4(address) => {
            let mut digits = itoa::Buffer::new();
            for (place, octet) in address.octets().into_iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "." });
                text.push_str(digits.format(octet));
            }
        }
        IpAddr::V6(address) => text.push_str(&address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_anybody_does() {
        let mut text = String::from("left from the row before");
        for address in ["0.0.0.0", "10.200.3.255", "::1", "2001:db8::ff00:42:8329"] {
            print_address(address.parse().unwrap(), &mut text);
            assert_eq!(text, address);
        }
    }
}
