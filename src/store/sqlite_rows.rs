//! SQLite: a batch as rows.

use std::collections::HashSet;

use rusqlite::{Connection, Statement, params};

use super::sqlite_key::KeyColumn;
use super::sqlite_link::Failure;
use super::{Batch, Error, Moments, NewSession};
use crate::activity::{Activity, Micros};

/// Turns a batch into rows.
pub(super) struct Rows<'a> {
    pub(super) moments: &'a Moments,
    pub(super) keys: KeyColumn,
    /// Sessions whose info was written before.
    pub(super) known: &'a HashSet<String>,
    /// Sessions whose info this batch writes; known once it is committed.
    pub(super) new: HashSet<String>,
}

impl Rows<'_> {
    /// Inserts all, within the caller's transaction. Returns how many activities are new.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        batch: &Batch<'_>,
    ) -> Result<u64, Failure> {
        for session in batch.sessions {
            self.session(connection, session)?;
        }
        // One row a statement: for several, SQLite keeps a journal of the statement, which costs
        // more than what it spares.
        let mut row = connection.prepare_cached(
            "INSERT INTO djaffar_activity (user_id, session_id, ip_address, date, path, referer, \
             received_at, event_id, name, properties) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT (event_id) WHERE event_id IS NOT NULL DO NOTHING",
        )?;
        let mut info = connection.prepare_cached(
            "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, created_at) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (session_id) DO NOTHING",
        )?;
        let mut stored = 0;
        for activity in batch.activities {
            let received_at = self.moment(activity.received_at)?;
            self.info(&mut info, activity, &received_at)?;
            stored += self.activity(&mut row, activity, &received_at)?;
        }
        Ok(stored)
    }

    fn session(&self, connection: &Connection, new: &NewSession) -> Result<(), Failure> {
        connection
            .prepare_cached(
                "INSERT INTO django_session (session_key, session_data, expire_date) \
                 VALUES (?1, ?2, ?3) ON CONFLICT (session_key) DO NOTHING",
            )?
            .execute(params![new.key, new.data, self.moment(new.expires)?])?;
        Ok(())
    }

    /// The first user agent and visitor that are seen with a session stay.
    fn info(
        &mut self,
        statement: &mut Statement<'_>,
        activity: &Activity,
        received_at: &str,
    ) -> Result<(), Failure> {
        let Some(session) = &activity.session else { return Ok(()) };
        if self.known.contains(&session.key) || self.new.contains(&session.key) {
            return Ok(());
        }
        let visitor = session.visitor.as_ref().unwrap_or(&session.key);
        statement.execute(params![session.key, activity.user_agent, visitor, received_at])?;
        self.new.insert(session.key.clone());
        Ok(())
    }

    fn activity(
        &self,
        statement: &mut Statement<'_>,
        activity: &Activity,
        received_at: &str,
    ) -> Result<u64, Failure> {
        let date =
            self.moments.text_of_date(activity.date).ok_or_else(|| out_of_range(activity.date))?;
        let stored = statement.execute(params![
            activity.user.as_ref().map(|user| self.keys.value(user)),
            activity.session.as_ref().map(|session| &session.key),
            activity.address.to_string(),
            date,
            activity.path,
            activity.referer,
            received_at,
            activity.event_id.map(|id| id.simple().to_string()),
            activity.name,
            activity.properties,
        ])?;
        Ok(stored as u64)
    }

    fn moment(&self, at: Micros) -> Result<String, Error> {
        self.moments.text(at).ok_or_else(|| out_of_range(at))
    }
}

fn out_of_range(at: Micros) -> Error {
    Error::Rejected(format!("{at} microseconds since 1970 is outside of the years 1 to 9999"))
}
