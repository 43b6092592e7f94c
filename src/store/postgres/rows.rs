//! PostgreSQL: a batch as rows.
//!
//! All that servers beside us may insert too (sessions, infos) goes in by the order of its keys, so
//! that two batches never wait for each other crosswise. Activities go in by `COPY`; where the
//! `event_id` of one is there already, the whole batch is tried again by an `INSERT` that leaves such
//! rows out. Repeats seldom come alone, so that for a while known `event_id`s are looked up first.

use std::collections::HashSet;
use std::pin::pin;

use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::link::Failure;
use super::value::{Json, KeyColumn, Moment, UserKey};
use crate::activity::{Activity, Micros};
use crate::store::rows::{check_properties, new_events, out_of_range, unknown_infos};
use crate::store::{Batch, Error, Moments, NewSession};

const COLUMNS: &str = "user_id, session_id, ip_address, date, path, referer, received_at, event_id, \
                       name, properties";

/// How activities are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Fails where one of them is stored.
    Copy,
    /// Leaves such activities out.
    Insert,
}

/// Turns a batch into rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) moments: &'a Moments,
    pub(super) keys: &'a KeyColumn,
    /// Sessions whose info is written.
    pub(super) known: &'a HashSet<String>,
    pub(super) way: Way,
    /// Whether to look first which are stored.
    pub(super) look: bool,
}

/// The values of one activity, in the order of [`COLUMNS`].
struct Values<'a> {
    user: Option<UserKey<'a>>,
    session: Option<&'a str>,
    address: String,
    date: Moment,
    path: &'a str,
    referer: &'a str,
    received_at: Moment,
    event_id: Option<Uuid>,
    name: &'a str,
    properties: Option<Json<'a>>,
}

impl Rows<'_> {
    /// Inserts all, within the caller's transaction. Returns how many activities are new.
    pub(super) async fn insert(
        &self,
        transaction: &Transaction<'_>,
        batch: &Batch<'_>,
    ) -> Result<u64, Failure> {
        self.sessions(transaction, batch.sessions).await?;
        self.infos(transaction, batch.activities).await?;
        let ids: Vec<Uuid> = batch.activities.iter().filter_map(|it| it.event_id).collect();
        let stored = match self.look && !ids.is_empty() {
            true => stored(transaction, &ids).await?,
            false => HashSet::new(),
        };
        let mut values = Vec::with_capacity(batch.activities.len());
        for activity in new_events(batch.activities, stored) {
            values.push(self.values(activity)?);
        }
        match self.way {
            _ if values.is_empty() => Ok(0),
            Way::Copy => self.copy(transaction, &values).await,
            Way::Insert => self.insert_new(transaction, &values).await,
        }
    }

    async fn sessions(
        &self,
        transaction: &Transaction<'_>,
        sessions: &[NewSession],
    ) -> Result<(), Failure> {
        if sessions.is_empty() {
            return Ok(());
        }
        let mut sessions: Vec<&NewSession> = sessions.iter().collect();
        sessions.sort_by(|one, other| one.key.cmp(&other.key));
        let keys: Vec<&str> = sessions.iter().map(|it| it.key.as_str()).collect();
        let data: Vec<&str> = sessions.iter().map(|it| it.data.as_str()).collect();
        let expires: Vec<Moment> =
            sessions.iter().map(|it| self.moment(it.expires)).collect::<Result<_, _>>()?;
        let statement = transaction
            .prepare_typed(
                "INSERT INTO django_session (session_key, session_data, expire_date) \
                 SELECT * FROM unnest($1, $2, $3) ON CONFLICT (session_key) DO NOTHING",
                &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::TIMESTAMPTZ_ARRAY],
            )
            .await?;
        transaction.execute(&statement, &[&keys, &data, &expires]).await?;
        Ok(())
    }

    /// The first user agent and visitor that are seen with a session stay.
    async fn infos(
        &self,
        transaction: &Transaction<'_>,
        activities: &[Activity],
    ) -> Result<(), Failure> {
        let infos = unknown_infos(activities, self.known);
        if infos.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = infos.iter().map(|it| it.session).collect();
        let agents: Vec<&str> = infos.iter().map(|it| it.user_agent).collect();
        let visitors: Vec<&str> = infos.iter().map(|it| it.visitor).collect();
        let seen: Vec<Moment> =
            infos.iter().map(|it| self.moment(it.created_at)).collect::<Result<_, _>>()?;
        let texts = Type::TEXT_ARRAY;
        let statement = transaction
            .prepare_typed(
                "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, created_at) \
                 SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (session_id) DO NOTHING",
                &[texts.clone(), texts.clone(), texts, Type::TIMESTAMPTZ_ARRAY],
            )
            .await?;
        transaction.execute(&statement, &[&keys, &agents, &visitors, &seen]).await?;
        Ok(())
    }

    async fn copy(
        &self,
        transaction: &Transaction<'_>,
        values: &[Values<'_>],
    ) -> Result<u64, Failure> {
        let sql = format!("COPY djaffar_activity ({COLUMNS}) FROM STDIN (FORMAT binary)");
        let sink = transaction.copy_in(&sql).await?;
        let user = self.keys.0.clone();
        let text = Type::VARCHAR;
        let types = [
            user,
            text.clone(),
            text.clone(),
            Type::TIMESTAMPTZ,
            text.clone(),
            text.clone(),
            Type::TIMESTAMPTZ,
            Type::UUID,
            text,
            Type::JSONB,
        ];
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in values {
            let row: [&(dyn ToSql + Sync); 10] = [
                &row.user,
                &row.session,
                &row.address,
                &row.date,
                &row.path,
                &row.referer,
                &row.received_at,
                &row.event_id,
                &row.name,
                &row.properties,
            ];
            writer.as_mut().write(&row).await?;
        }
        Ok(writer.finish().await?)
    }

    async fn insert_new(
        &self,
        transaction: &Transaction<'_>,
        values: &[Values<'_>],
    ) -> Result<u64, Failure> {
        let sql = format!(
            "INSERT INTO djaffar_activity ({COLUMNS}) SELECT * FROM unnest($1, $2, $3, $4, $5, \
             $6, $7, $8, $9, $10) ON CONFLICT (event_id) WHERE event_id IS NOT NULL DO NOTHING"
        );
        let texts = Type::TEXT_ARRAY;
        let types = [
            array_of(&self.keys.0),
            texts.clone(),
            texts.clone(),
            Type::TIMESTAMPTZ_ARRAY,
            texts.clone(),
            texts.clone(),
            Type::TIMESTAMPTZ_ARRAY,
            Type::UUID_ARRAY,
            texts,
            Type::JSONB_ARRAY,
        ];
        let statement = transaction.prepare_typed(&sql, &types).await?;
        let users: Vec<_> = values.iter().map(|it| it.user).collect();
        let sessions: Vec<_> = values.iter().map(|it| it.session).collect();
        let addresses: Vec<_> = values.iter().map(|it| it.address.as_str()).collect();
        let dates: Vec<_> = values.iter().map(|it| it.date).collect();
        let paths: Vec<_> = values.iter().map(|it| it.path).collect();
        let referers: Vec<_> = values.iter().map(|it| it.referer).collect();
        let received: Vec<_> = values.iter().map(|it| it.received_at).collect();
        let events: Vec<_> = values.iter().map(|it| it.event_id).collect();
        let names: Vec<_> = values.iter().map(|it| it.name).collect();
        let properties: Vec<_> = values.iter().map(|it| &it.properties).collect();
        let columns: [&(dyn ToSql + Sync); 10] = [
            &users,
            &sessions,
            &addresses,
            &dates,
            &paths,
            &referers,
            &received,
            &events,
            &names,
            &properties,
        ];
        Ok(transaction.execute(&statement, &columns).await?)
    }

    fn values<'a>(&self, activity: &'a Activity) -> Result<Values<'a>, Error> {
        let user = match &activity.user {
            None => None,
            Some(user) => Some(self.keys.value(user).ok_or_else(|| {
                Error::Rejected(format!("the users' keys are of the type {}", self.keys.0))
            })?),
        };
        check_properties(activity.properties.as_deref())?;
        let date = self
            .moments
            .moment_of_date(activity.date)
            .ok_or_else(|| out_of_range(activity.date))?;
        Ok(Values {
            user,
            session: activity.session.as_ref().map(|session| session.key.as_str()),
            address: activity.address.to_string(),
            date: Moment(date),
            path: &activity.path,
            referer: &activity.referer,
            received_at: self.moment(activity.received_at)?,
            event_id: activity.event_id,
            name: &activity.name,
            properties: activity.properties.as_deref().map(Json),
        })
    }

    fn moment(&self, at: Micros) -> Result<Moment, Error> {
        // What Python could not read would be of no use.
        self.moments.digits(at).map(|_| Moment(at)).ok_or_else(|| out_of_range(at))
    }
}

pub(super) fn array_of(kind: &Type) -> Type {
    match *kind {
        Type::INT2 => Type::INT2_ARRAY,
        Type::INT4 => Type::INT4_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::UUID => Type::UUID_ARRAY,
        _ => Type::TEXT_ARRAY,
    }
}

/// Those of these ids that are stored already.
async fn stored(transaction: &Transaction<'_>, ids: &[Uuid]) -> Result<HashSet<Uuid>, Failure> {
    // The second condition is what the index is of.
    let sql = "SELECT event_id FROM djaffar_activity \
               WHERE event_id = ANY($1) AND event_id IS NOT NULL";
    let rows = transaction.query(sql, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
