//! SQLite: a batch as rows.

use std::collections::HashSet;
use std::sync::LazyLock;

use rusqlite::{Connection, Statement, params};
use uuid::fmt::Simple;

use super::key::KeyColumn;
use super::link::Failure;
use crate::activity::{Activity, Micros};
use crate::store::rows::{check_properties, out_of_range};
use crate::store::{Batch, Error, Moments, NewSession};

/// What a row of an activity needs; [`Rows::bind`] follows this order.
const COLUMNS: usize = 10;

/// So many rows a statement: what a statement costs by itself is half of what a row costs.
const ROWS: usize = 32;

/// In microseconds.
const HOUR: Micros = 3_600_000_000;

static ONE: LazyLock<String> = LazyLock::new(|| insert(1));
static MANY: LazyLock<String> = LazyLock::new(|| insert(ROWS));

/// `OR FAIL`, as everything is rolled back with the first failure anyway: that, and no CHECK to
/// evaluate, spares the journal that SQLite otherwise keeps of a statement with many rows. It costs
/// more than they spare.
fn insert(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS].join(", "));
    format!(
        "INSERT OR FAIL INTO djaffar_activity (user_id, session_id, ip_address, date, path, \
         referer, received_at, event_id, name, properties) VALUES {} \
         ON CONFLICT (event_id) WHERE event_id IS NOT NULL DO NOTHING",
        vec![row; rows].join(", ")
    )
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
        for session in batch.sessions {
            self.session(connection, session)?;
        }
        let mut info = connection.prepare_cached(
            "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, created_at) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (session_id) DO NOTHING",
        )?;
        for activity in batch.activities {
            self.info(&mut info, activity)?;
        }
        // In their order, unless dates are far apart: then by the hour, so that a batch goes through
        // the index on dates once and not all over it for each row.
        let mut activities: Vec<&Activity> = batch.activities.iter().collect();
        activities.sort_by_key(|activity| activity.date.div_euclid(HOUR));
        let (many, rest) = activities.as_chunks::<ROWS>();
        let mut stored = 0;
        if !many.is_empty() {
            let mut statement = connection.prepare_cached(&MANY)?;
            for activities in many {
                stored += self.activities(&mut statement, activities)?;
            }
        }
        let mut statement = connection.prepare_cached(&ONE)?;
        for activity in rest {
            stored += self.activities(&mut statement, std::slice::from_ref(activity))?;
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
    fn info(&mut self, statement: &mut Statement<'_>, activity: &Activity) -> Result<(), Failure> {
        let Some(session) = &activity.session else { return Ok(()) };
        if self.known.contains(&session.key) {
            return Ok(());
        }
        let visitor = session.visitor.as_ref().unwrap_or(&session.key);
        let received_at = self.moment(activity.received_at)?;
        statement.execute(params![session.key, activity.user_agent, visitor, received_at])?;
        self.known.insert(session.key.clone());
        Ok(())
    }

    /// As many activities as the statement takes.
    fn activities(
        &self,
        statement: &mut Statement<'_>,
        activities: &[&Activity],
    ) -> Result<u64, Failure> {
        for (row, activity) in activities.iter().enumerate() {
            self.bind(statement, row * COLUMNS, activity)?;
        }
        Ok(statement.raw_execute()? as u64)
    }

    /// Binds an activity to the parameters after the first `before`.
    fn bind(
        &self,
        statement: &mut Statement<'_>,
        before: usize,
        activity: &Activity,
    ) -> Result<(), Failure> {
        let user = activity.user.as_ref().map(|user| self.keys.value(user));
        let date =
            self.moments.text_of_date(activity.date).ok_or_else(|| out_of_range(activity.date))?;
        // The table's CHECK, which our connection leaves out.
        check_properties(activity.properties.as_deref())?;
        let mut digits = [0; Simple::LENGTH];
        let event_id = activity.event_id.map(|id| &*id.simple().encode_lower(&mut digits));
        statement.raw_bind_parameter(before + 1, user)?;
        statement
            .raw_bind_parameter(before + 2, activity.session.as_ref().map(|it| it.key.as_str()))?;
        statement.raw_bind_parameter(before + 3, activity.address.to_string())?;
        statement.raw_bind_parameter(before + 4, date)?;
        statement.raw_bind_parameter(before + 5, &activity.path)?;
        statement.raw_bind_parameter(before + 6, &activity.referer)?;
        statement.raw_bind_parameter(before + 7, self.moment(activity.received_at)?)?;
        statement.raw_bind_parameter(before + 8, event_id)?;
        statement.raw_bind_parameter(before + 9, &activity.name)?;
        statement.raw_bind_parameter(before + COLUMNS, &activity.properties)?;
        Ok(())
    }

    fn moment(&self, at: Micros) -> Result<String, Error> {
        self.moments.text(at).ok_or_else(|| out_of_range(at))
    }
}
