//! MySQL and MariaDB: a batch as rows.
//!
//! All that servers beside us may insert too (sessions, infos) goes in by the order of its keys, so
//! that two batches seldom wait for each other crosswise. Activities go in many to a statement; where
//! the `event_id` of one is there already, the whole batch is tried again by statements that leave such
//! rows out. Repeats seldom come alone, so that for a while known `event_id`s are looked up first.

use std::collections::HashSet;

use mysql::prelude::Queryable;
use mysql::{Params, Transaction, Value};
use uuid::Uuid;

use super::link::Failure;
use super::value::{KeyColumn, datetime, unreadable, uuid};
use crate::activity::{Activity, Micros};
use crate::store::rows::{check_properties, new_events, out_of_range, unknown_infos};
use crate::store::{Batch, Error, Moments, NewSession};

/// So many rows a statement at most; each power of two below has a statement of its own.
const ROWS: usize = 256;

/// A table to insert into.
pub(super) struct Into {
    pub(super) start: &'static str,
    pub(super) columns: usize,
    /// A row that is there stays as it is: not `INSERT IGNORE`, which would cut what is too long.
    pub(super) end: &'static str,
}

const SESSIONS: Into = Into {
    start: "INSERT INTO django_session (session_key, session_data, expire_date) VALUES ",
    columns: 3,
    end: " ON DUPLICATE KEY UPDATE session_key = session_key",
};
const INFOS: Into = Into {
    start: "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, created_at) VALUES ",
    columns: 4,
    end: " ON DUPLICATE KEY UPDATE session_id = session_id",
};
const NEW_ACTIVITIES: Into = Into {
    start: "INSERT INTO djaffar_activity (user_id, session_id, ip_address, date, path, referer, \
            received_at, event_id, name, properties) VALUES ",
    columns: 10,
    end: "",
};
const ACTIVITIES: Into =
    Into { end: " ON DUPLICATE KEY UPDATE event_id = event_id", ..NEW_ACTIVITIES };

/// How activities are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Fails where one of them is stored.
    New,
    /// Leaves such activities out.
    Either,
}

/// Turns a batch into rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) moments: &'a Moments,
    pub(super) keys: KeyColumn,
    /// Sessions whose info is written.
    pub(super) known: &'a HashSet<String>,
    pub(super) way: Way,
    /// Whether to look first which are stored.
    pub(super) look: bool,
    /// `max_allowed_packet`, or less.
    pub(super) packet: usize,
}

impl Rows<'_> {
    /// Inserts all, within the caller's transaction. Returns how many activities are new.
    pub(super) fn insert(
        &self,
        transaction: &mut Transaction<'_>,
        batch: &Batch<'_>,
    ) -> Result<u64, Failure> {
        let mut sessions: Vec<&NewSession> = batch.sessions.iter().collect();
        sessions.sort_by(|one, other| one.key.cmp(&other.key));
        let sessions = sessions.into_iter().map(|new| {
            let expires = self.moment(new.expires)?;
            Ok(vec![Value::from(&new.key), Value::from(&new.data), expires])
        });
        self.fill(transaction, &SESSIONS, sessions.collect::<Result<_, Error>>()?)?;
        let infos = unknown_infos(batch.activities, self.known);
        let infos = infos.into_iter().map(|new| {
            let created_at = self.moment(new.created_at)?;
            let texts = [new.session, new.user_agent, new.visitor].map(Value::from);
            Ok(texts.into_iter().chain([created_at]).collect())
        });
        self.fill(transaction, &INFOS, infos.collect::<Result<_, Error>>()?)?;
        let ids: Vec<Uuid> = batch.activities.iter().filter_map(|it| it.event_id).collect();
        let stored = if self.look { stored(transaction, &ids)? } else { HashSet::new() };
        let rows = new_events(batch.activities, stored).map(|activity| self.values(activity));
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        match self.way {
            Way::New => self.fill(transaction, &NEW_ACTIVITIES, rows),
            Way::Either => self.fill(transaction, &ACTIVITIES, rows),
        }
    }

    /// Inserts rows, as many to a statement as fit. Returns how many are new.
    pub(super) fn fill(
        &self,
        transaction: &mut Transaction<'_>,
        into: &Into,
        rows: Vec<Vec<Value>>,
    ) -> Result<u64, Failure> {
        let mut new = 0;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let (mut values, mut count, mut bytes) = (Vec::new(), 0, 0);
            while count < ROWS
                && let Some(row) = rows.next_if(|row| count == 0 || bytes + size(row) < self.packet)
            {
                bytes += size(&row);
                values.extend(row);
                count += 1;
            }
            while count > 0 {
                let part = 1 << count.ilog2();
                let rest = values.split_off(part * into.columns);
                let row = format!("({})", vec!["?"; into.columns].join(", "));
                let sql = format!("{}{}{}", into.start, vec![row; part].join(", "), into.end);
                let statement = transaction.prep(&sql)?;
                transaction.exec_drop(&statement, Params::Positional(values))?;
                new += transaction.affected_rows();
                (values, count) = (rest, count - part);
            }
        }
        Ok(new)
    }

    fn values(&self, activity: &Activity) -> Result<Vec<Value>, Error> {
        let user = match &activity.user {
            None => Value::NULL,
            Some(user) => self.keys.value(user).ok_or_else(|| {
                Error::Rejected(format!("the users' keys are of the kind {:?}", self.keys))
            })?,
        };
        check_properties(activity.properties.as_deref())?;
        let date = self.moments.digits_of_date(activity.date);
        Ok(vec![
            user,
            Value::from(activity.session.as_ref().map(|session| session.key.as_str())),
            Value::from(activity.address.to_string()),
            datetime(date.ok_or_else(|| out_of_range(activity.date))?),
            Value::from(&activity.path),
            Value::from(&activity.referer),
            self.moment(activity.received_at)?,
            activity.event_id.map_or(Value::NULL, uuid),
            Value::from(&activity.name),
            Value::from(activity.properties.as_deref()),
        ])
    }

    fn moment(&self, at: Micros) -> Result<Value, Error> {
        self.moments.digits(at).map(datetime).ok_or_else(|| out_of_range(at))
    }
}

/// What a row takes on the wire, about.
fn size(row: &[Value]) -> usize {
    row.iter().map(|value| value.bin_len() as usize + 9).sum()
}

/// Those of these ids that are stored already.
fn stored(transaction: &mut Transaction<'_>, ids: &[Uuid]) -> Result<HashSet<Uuid>, Failure> {
    let mut found = HashSet::new();
    for ids in ids.chunks(ROWS * 4) {
        // Filled up, so that few statements are needed.
        let places = ids.len().next_power_of_two();
        let fill = ids.last().copied().into_iter().cycle();
        let values = ids.iter().copied().chain(fill).take(places).map(uuid).collect();
        let sql = format!(
            "SELECT event_id FROM djaffar_activity WHERE event_id IN ({})",
            vec!["?"; places].join(", ")
        );
        let statement = transaction.prep(&sql)?;
        let rows: Vec<String> = transaction.exec(&statement, Params::Positional(values))?;
        for id in rows {
            found.insert(Uuid::try_parse(&id).map_err(|_| unreadable())?);
        }
    }
    Ok(found)
}
