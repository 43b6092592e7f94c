//! PostgreSQL: rows of another database, taken as they are.

use jiff::civil::DateTime;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::link::Failure;
use super::rows::array_of;
use super::schema::columns;
use super::value::{Json, KeyColumn, Moment};
use super::{Postgres, cursors};
use crate::store::moving::{Door, Load, Moved, Mover, boundary, is_of_a_spool, progress, user};
use crate::store::rows::{check_properties, position};
use crate::store::{Cursor, Error, Moments, StoredActivity, StoredSession};

const ACTIVITIES: &str = "INSERT INTO djaffar_activity (id, user_id, session_id, ip_address, date, \
    path, referer, received_at, event_id, name, properties) \
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (event_id) WHERE event_id IS NOT NULL DO NOTHING";

const INFOS: &str = "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, browser, os, \
    device, bot, country, created_at) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) \
    ON CONFLICT (session_id) DO UPDATE SET user_agent = excluded.user_agent, \
    visitor = excluded.visitor, browser = excluded.browser, os = excluded.os, \
    device = excluded.device, bot = excluded.bot, country = excluded.country, \
    created_at = excluded.created_at";

/// What a writer of activities must be told, if anything. The writer has written its cursor before, and
/// who closes the door waits for all that have.
pub(super) async fn admit(client: &impl GenericClient) -> Result<(), Failure> {
    Ok(Door::admit_rows(door(client).await?)?)
}

/// The position of the door.
pub(super) async fn door(client: &impl GenericClient) -> Result<Option<u64>, Failure> {
    position_of(client, &Door::Open.cursor()).await
}

async fn position_of(client: &impl GenericClient, cursor: &Cursor) -> Result<Option<u64>, Failure> {
    let sql = "SELECT position FROM djaffar_spool_cursor WHERE spool = $1 AND segment = $2";
    find(client, sql, cursor).await
}

async fn find(
    client: &impl GenericClient,
    sql: &str,
    cursor: &Cursor,
) -> Result<Option<u64>, Failure> {
    let row = client.query_opt(sql, &[&cursor.spool, &cursor.segment]).await?;
    let at: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(at.and_then(|at| u64::try_from(at).ok()))
}

async fn set(client: &impl GenericClient, cursor: &Cursor) -> Result<(), Failure> {
    let sql = "INSERT INTO djaffar_spool_cursor (spool, segment, position) VALUES ($1, $2, $3) \
               ON CONFLICT (spool, segment) DO UPDATE SET position = excluded.position";
    let at = position(cursor.position)?;
    client.execute(sql, &[&cursor.spool, &cursor.segment, &at]).await?;
    Ok(())
}

impl Mover for Postgres {
    fn positions(&mut self, id: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.link.with(async |client| cursors(client, id).await)
    }

    fn spools(&mut self) -> Result<Option<Vec<Cursor>>, Error> {
        self.link.with(async |client| {
            if columns(client, "djaffar_spool_cursor").await?.is_empty() {
                return Ok(None);
            }
            let sql = "SELECT spool, segment, position FROM djaffar_spool_cursor";
            let mut found = Vec::new();
            for row in client.query(sql, &[]).await? {
                if let Ok(position) = u64::try_from(row.try_get::<_, i64>(2)?) {
                    let (spool, segment) = (row.try_get(0)?, row.try_get(1)?);
                    found.push(Cursor { spool, segment, position });
                }
            }
            found.retain(is_of_a_spool);
            Ok(Some(found))
        })
    }

    fn load(&mut self, load: &Load<'_>) -> Result<u64, Error> {
        let keys = self.keys()?;
        let Self { link, moments, .. } = self;
        link.with(async |client| {
            let transaction = client.transaction().await?;
            match take(&transaction, load, (&keys, moments)).await {
                Ok(stored) => {
                    transaction.commit().await?;
                    Ok(stored)
                }
                Err(failure) => {
                    // It matters only where the connection lives on.
                    drop(transaction.rollback().await);
                    Err(failure)
                }
            }
        })
    }

    fn set_door(&mut self, door: Door, id: Uuid) -> Result<(), Error> {
        self.link.with(async |client| {
            if columns(client, "djaffar_spool_cursor").await?.is_empty() {
                return Ok(());
            }
            let transaction = client.transaction().await?;
            // Waits for the end of every batch under way: its first statement writes a cursor.
            let lock = "LOCK TABLE djaffar_spool_cursor IN SHARE ROW EXCLUSIVE MODE";
            let done = async {
                transaction.batch_execute(lock).await?;
                for row in door.rows(id) {
                    set(&transaction, &row).await?;
                }
                Ok(())
            };
            match done.await {
                Ok(()) => Ok(transaction.commit().await?),
                Err(failure) => {
                    drop(transaction.rollback().await);
                    Err(failure)
                }
            }
        })
    }

    fn reserve(&mut self, boundary: i64) -> Result<(), Error> {
        self.link.with(async |client| {
            let sql = "SELECT setval(sequence, $1, false) FROM (SELECT \
                       pg_get_serial_sequence('djaffar_activity', 'id') AS sequence) AS it";
            client.execute(sql, &[&boundary]).await?;
            Ok(())
        })
    }

    fn moved(&mut self, id: Uuid) -> Result<Moved, Error> {
        Ok(boundary(&self.positions(id)?))
    }
}

async fn take(
    transaction: &Transaction<'_>,
    load: &Load<'_>,
    (keys, moments): (&KeyColumn, &Moments),
) -> Result<u64, Failure> {
    // The guard first: another process that does the same waits here, and ends.
    let guarded = "INSERT INTO djaffar_spool_cursor AS c (spool, segment, position) \
                   VALUES ($1, $2, $3) ON CONFLICT (spool, segment) \
                   DO UPDATE SET position = excluded.position WHERE c.position < excluded.position";
    let Cursor { spool, segment, position: at } = load.guard;
    if transaction.execute(guarded, &[&spool, &segment, &position(at)?]).await? == 0 {
        return Ok(0);
    }
    if let Some(owner) = &load.owner {
        // Who takes over waits for the end of this.
        let sql = "SELECT position FROM djaffar_spool_cursor WHERE spool = $1 AND segment = $2 \
                   FOR SHARE";
        load.admit(find(transaction, sql, owner).await?)?;
    }
    infos(transaction, load.infos, moments).await?;
    let stored = activities(transaction, load.activities, (keys, moments)).await?;
    let counter = Cursor { segment: progress::STORED, position: 0, ..load.guard };
    let before = position_of(transaction, &counter).await?.unwrap_or(0);
    set(transaction, &Cursor { position: before + stored, ..counter }).await?;
    for cursor in load.set {
        set(transaction, cursor).await?;
    }
    Ok(stored)
}

/// The moment of digits in any column but `date`.
fn moment(moments: &Moments, digits: DateTime) -> Result<Moment, Error> {
    let strange = || Error::Rejected(format!("{digits} is no moment"));
    moments.instant(digits).map(Moment).ok_or_else(strange)
}

async fn activities(
    transaction: &Transaction<'_>,
    rows: &[StoredActivity],
    (keys, moments): (&KeyColumn, &Moments),
) -> Result<u64, Failure> {
    if rows.is_empty() {
        return Ok(0);
    }
    let (text, moment_array) = (Type::TEXT_ARRAY, Type::TIMESTAMPTZ_ARRAY);
    let types = [
        Type::INT8_ARRAY,
        array_of(&keys.0),
        text.clone(),
        text.clone(),
        moment_array.clone(),
        text.clone(),
        text.clone(),
        moment_array,
        Type::UUID_ARRAY,
        text,
        Type::JSONB_ARRAY,
    ];
    let statement = transaction.prepare_typed(ACTIVITIES, &types).await?;
    let texts: Vec<_> = rows.iter().map(user).collect();
    let refused = || Error::Rejected(format!("the users' keys are of the type {}", keys.0));
    let mut users = Vec::with_capacity(rows.len());
    for text in &texts {
        let key = text.as_deref().map(|text| keys.value(text).ok_or_else(refused));
        users.push(key.transpose()?);
    }
    let mut dates = Vec::with_capacity(rows.len());
    let mut received = Vec::with_capacity(rows.len());
    for row in rows {
        check_properties(row.properties.as_deref())?;
        dates.push(moment(moments, row.date)?);
        received.push(row.received_at.map(|at| moment(moments, at)).transpose()?);
    }
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let sessions: Vec<_> = rows.iter().map(|row| row.session.as_deref()).collect();
    let addresses: Vec<_> = rows.iter().map(|row| row.ip_address.as_str()).collect();
    let paths: Vec<_> = rows.iter().map(|row| row.path.as_str()).collect();
    let referers: Vec<_> = rows.iter().map(|row| row.referer.as_str()).collect();
    let events: Vec<_> = rows.iter().map(|row| row.event_id).collect();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    let properties: Vec<_> = rows.iter().map(|row| row.properties.as_deref().map(Json)).collect();
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
        &ids,
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
    Ok(transaction.execute(&statement, &values).await?)
}

async fn infos(
    transaction: &Transaction<'_>,
    infos: &[StoredSession],
    moments: &Moments,
) -> Result<(), Failure> {
    if infos.is_empty() {
        return Ok(());
    }
    let text = Type::TEXT_ARRAY;
    let types = [
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        Type::BOOL_ARRAY,
        text,
        Type::TIMESTAMPTZ_ARRAY,
    ];
    let statement = transaction.prepare_typed(INFOS, &types).await?;
    let keys: Vec<_> = infos.iter().map(|it| it.session.as_str()).collect();
    let agents: Vec<_> = infos.iter().map(|it| it.user_agent.as_str()).collect();
    let visitors: Vec<_> = infos.iter().map(|it| it.visitor.as_str()).collect();
    let browsers: Vec<_> = infos.iter().map(|it| it.browser.as_deref()).collect();
    let systems: Vec<_> = infos.iter().map(|it| it.os.as_deref()).collect();
    let devices: Vec<_> = infos.iter().map(|it| it.device.as_deref()).collect();
    let bots: Vec<_> = infos.iter().map(|it| it.bot).collect();
    let countries: Vec<_> = infos.iter().map(|it| it.country.as_deref()).collect();
    let mut created = Vec::with_capacity(infos.len());
    for it in infos {
        created.push(it.created_at.map(|at| moment(moments, at)).transpose()?);
    }
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
        [&keys, &agents, &visitors, &browsers, &systems, &devices, &bots, &countries, &created];
    transaction.execute(&statement, &values).await?;
    Ok(())
}
