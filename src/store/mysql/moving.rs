//! MySQL and MariaDB: rows of another database, taken as they are.

use mysql::prelude::Queryable;
use mysql::{Transaction, TxOpts, Value};
use uuid::Uuid;

use super::link::Failure;
use super::rows::{Into, Rows, Way};
use super::schema::columns;
use super::value::{KeyColumn, datetime, uuid};
use super::{Mysql, cursors, held};
use crate::store::moving::{Door, Load, Moved, Mover, boundary, is_of_a_spool, progress, user};
use crate::store::rows::{check_properties, position};
use crate::store::{Cursor, Error, StoredActivity, StoredSession};

const ACTIVITIES: Into = Into {
    start: "INSERT INTO djaffar_activity (id, user_id, session_id, ip_address, date, path, referer, \
            received_at, event_id, name, properties) VALUES ",
    columns: 11,
    end: " ON DUPLICATE KEY UPDATE event_id = event_id",
};
const INFOS: Into = Into {
    start: "INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, browser, os, device, \
            bot, country, created_at) VALUES ",
    columns: 9,
    end: " ON DUPLICATE KEY UPDATE user_agent = VALUES(user_agent), visitor = VALUES(visitor), \
          browser = VALUES(browser), os = VALUES(os), device = VALUES(device), bot = VALUES(bot), \
          country = VALUES(country), created_at = VALUES(created_at)",
};

/// What a writer of activities must be told, if anything. Who closes the door waits for all that have
/// read it here, as it is there from the begin of a move.
pub(super) fn admit(transaction: &mut Transaction<'_>) -> Result<(), Failure> {
    let sql = "SELECT position FROM djaffar_spool_cursor WHERE spool = ? AND segment = ? \
               LOCK IN SHARE MODE";
    Ok(Door::admit_rows(find(transaction, sql, &Door::Open.cursor())?)?)
}

/// The position of a cursor.
pub(super) fn position_of(
    connection: &mut impl Queryable,
    cursor: &Cursor,
) -> Result<Option<u64>, Failure> {
    let sql = "SELECT position FROM djaffar_spool_cursor WHERE spool = ? AND segment = ?";
    find(connection, sql, cursor)
}

fn find(
    connection: &mut impl Queryable,
    sql: &str,
    cursor: &Cursor,
) -> Result<Option<u64>, Failure> {
    let found: Option<i64> =
        connection.exec_first(sql, (uuid(cursor.spool), uuid(cursor.segment)))?;
    Ok(found.and_then(|at| u64::try_from(at).ok()))
}

fn set(transaction: &mut Transaction<'_>, cursor: &Cursor) -> Result<(), Failure> {
    let sql = "INSERT INTO djaffar_spool_cursor (spool, segment, position) VALUES (?, ?, ?) \
               ON DUPLICATE KEY UPDATE position = VALUES(position)";
    let at = position(cursor.position)?;
    Ok(transaction.exec_drop(sql, (uuid(cursor.spool), uuid(cursor.segment), at))?)
}

impl Mover for Mysql {
    fn positions(&mut self, id: Uuid) -> Result<Vec<(Uuid, u64)>, Error> {
        self.link.with(|connection| cursors(connection, id))
    }

    fn spools(&mut self) -> Result<Option<Vec<Cursor>>, Error> {
        self.link.with(|connection| {
            if columns(connection, "djaffar_spool_cursor")?.is_empty() {
                return Ok(None);
            }
            let sql = "SELECT spool, segment, position FROM djaffar_spool_cursor";
            let rows: Vec<(String, String, i64)> = connection.query(sql)?;
            let cursors = rows.into_iter().filter_map(|(spool, segment, position)| {
                Some(Cursor {
                    spool: Uuid::try_parse(&spool).ok()?,
                    segment: Uuid::try_parse(&segment).ok()?,
                    position: u64::try_from(position).ok()?,
                })
            });
            Ok(Some(cursors.filter(is_of_a_spool).collect()))
        })
    }

    fn load(&mut self, load: &Load<'_>) -> Result<u64, Error> {
        let shape = self.shape()?;
        let Self { link, moments, known, .. } = self;
        link.with(|connection| {
            let (keys, packet) = (shape.keys, shape.packet);
            let rows = Rows { moments, keys, known, way: Way::Either, look: true, packet };
            let mut transaction = connection.start_transaction(TxOpts::default())?;
            let stored = take(&mut transaction, rows, (load, shape.native_uuid))?;
            transaction.commit()?;
            Ok(stored)
        })
    }

    fn set_door(&mut self, door: Door, id: Uuid) -> Result<(), Error> {
        self.link.with(|connection| {
            if columns(connection, "djaffar_spool_cursor")?.is_empty() {
                return Ok(());
            }
            let mut transaction = connection.start_transaction(TxOpts::default())?;
            // Waits for the end of every batch under way: each has written its cursor, and read the
            // door so that it cannot change.
            let lock = "SELECT position FROM djaffar_spool_cursor FOR UPDATE";
            let _: Vec<i64> = transaction.query(lock)?;
            for row in door.rows(id) {
                set(&mut transaction, &row)?;
            }
            Ok(transaction.commit()?)
        })
    }

    fn reserve(&mut self, boundary: i64) -> Result<(), Error> {
        self.link.with(|connection| {
            let sql = format!("ALTER TABLE djaffar_activity AUTO_INCREMENT = {boundary}");
            Ok(connection.query_drop(sql)?)
        })
    }

    fn moved(&mut self, id: Uuid) -> Result<Moved, Error> {
        Ok(boundary(&self.positions(id)?))
    }
}

fn take(
    transaction: &mut Transaction<'_>,
    rows: Rows<'_>,
    (load, native_uuid): (&Load<'_>, bool),
) -> Result<u64, Failure> {
    let Cursor { spool, segment, position: at } = load.guard;
    // The guard first: another process that does the same waits here, and ends.
    transaction.exec_drop(
        "INSERT INTO djaffar_spool_cursor (spool, segment, position) VALUES (?, ?, ?) \
         ON DUPLICATE KEY UPDATE position = greatest(position, VALUES(position))",
        (uuid(spool), uuid(segment), position(at)?),
    )?;
    if transaction.affected_rows() == 0 {
        return Ok(0);
    }
    if let Some(owner) = &load.owner {
        // Not as it was when the transaction began: as it is.
        let sql = "SELECT position FROM djaffar_spool_cursor WHERE spool = ? AND segment = ? \
                   LOCK IN SHARE MODE";
        load.admit(find(transaction, sql, owner)?)?;
    }
    rows.fill(transaction, &INFOS, load.infos.iter().map(info).collect())?;
    let mut values = Vec::with_capacity(load.activities.len());
    for row in load.activities {
        values.push(activity(row, rows.keys, native_uuid)?);
    }
    let stored = rows.fill(transaction, &ACTIVITIES, values)?;
    let counter = Cursor { segment: progress::STORED, position: 0, ..load.guard };
    let before = position_of(transaction, &counter)?.unwrap_or(0);
    set(transaction, &Cursor { position: before + stored, ..counter })?;
    for cursor in load.set {
        set(transaction, cursor)?;
    }
    Ok(stored)
}

fn activity(row: &StoredActivity, keys: KeyColumn, native_uuid: bool) -> Result<Vec<Value>, Error> {
    check_properties(row.properties.as_deref())?;
    let refused = || Error::Rejected(format!("the users' keys are of the kind {keys:?}"));
    let user = match user(row) {
        None => Value::NULL,
        Some(user) => keys.value(&user).ok_or_else(refused)?,
    };
    let event_id = row.event_id.map(|id| if native_uuid { held(id) } else { id });
    Ok(vec![
        Value::from(row.id),
        user,
        Value::from(row.session.as_deref()),
        Value::from(&row.ip_address),
        datetime(row.date),
        Value::from(&row.path),
        Value::from(&row.referer),
        row.received_at.map_or(Value::NULL, datetime),
        event_id.map_or(Value::NULL, uuid),
        Value::from(&row.name),
        Value::from(row.properties.as_deref()),
    ])
}

fn info(it: &StoredSession) -> Vec<Value> {
    vec![
        Value::from(&it.session),
        Value::from(&it.user_agent),
        Value::from(&it.visitor),
        Value::from(it.browser.as_deref()),
        Value::from(it.os.as_deref()),
        Value::from(it.device.as_deref()),
        Value::from(it.bot),
        Value::from(it.country.as_deref()),
        it.created_at.map_or(Value::NULL, datetime),
    ]
}
