//! Activities as blocks, one for each shard. Everything that a store may refuse is refused here,
//! before the batch is frozen: nothing later can be a row's fault.

use serde::de::IgnoredAny;
use uuid::Uuid;

use super::{
    super::{Error, Moments},
    frozen::Part,
    native::{Block, Column, block},
    order,
};
use crate::activity::{Activity, Micros, Session, SessionState};

const DAY: Micros = 86_400_000_000;

/// The columns of an activity, in the order of [`Block::push`].
pub(super) const ACTIVITY: [(&str, &str); 16] = [
    ("id", "Int64"),
    ("stored_at", "DateTime"),
    ("batch", "UUID"),
    ("user_id", "String"),
    ("session_id", "String"),
    ("visitor", "String"),
    ("ip_address", "String"),
    ("date", "Int64"),
    ("day", "Date"),
    ("path", "String"),
    ("referer", "String"),
    ("received_at", "Int64"),
    ("event_id", "UUID"),
    ("name", "String"),
    ("properties", "String"),
    ("user_agent", "String"),
];
/// Those of a session's info.
pub(super) const SESSIONINFO: [(&str, &str); 5] = [
    ("session_id", "String"),
    ("user_agent", "String"),
    ("visitor", "String"),
    ("created_at", "Int64"),
    ("version", "UInt64"),
];
/// Those of an event_id.
pub(super) const EVENT: [(&str, &str); 2] = [("event_id", "UUID"), ("day", "Date")];

/// The names of columns, as a list.
pub(super) fn names(columns: &[(&str, &str)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Names and types of columns, as a list.
pub(super) fn structure(columns: &[(&str, &str)]) -> String {
    columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
}

/// What all rows of a batch share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) batch: Uuid,
    /// Seconds since 1970.
    pub(super) stored_at: u32,
}

/// Which shard an activity belongs to: that of its visitor, so that a visitor's history lies
/// together; without one, that of its address. This must never change.
pub(super) fn shard(activity: &Activity, shards: usize) -> usize {
    if shards < 2 {
        return 0;
    }
    let hash = match &activity.session {
        Some(session) => crc32c::crc32c(visitor(session).as_bytes()),
        None => crc32c::crc32c(activity.address.to_string().as_bytes()),
    };
    hash as usize % shards
}

pub(super) fn visitor(session: &Session) -> &str {
    session.visitor.as_deref().unwrap_or(&session.key)
}

/// Whether the same browser may have sent the same before under another visitor: its answer, with
/// the cookie, may have been lost.
pub(super) fn is_newcomer(activity: &Activity) -> bool {
    activity.session.as_ref().is_none_or(|session| session.state != SessionState::Known)
}

/// Refuses what no store takes.
pub(super) fn check(activity: &Activity, moments: &Moments) -> Result<(), Error> {
    for (at, digits) in [
        (activity.date, moments.digits_of_date(activity.date)),
        (activity.received_at, moments.digits(activity.received_at)),
    ] {
        if digits.is_none() {
            return Err(Error::Rejected(format!(
                "{at} microseconds since 1970 is outside of the years 1 to 9999"
            )));
        }
    }
    if let Some(properties) = &activity.properties {
        serde_json::from_str::<IgnoredAny>(properties)
            .map_err(|error| Error::Rejected(format!("the properties are no JSON: {error}")))?;
    }
    Ok(())
}

/// The values of one activity; blank text means NULL.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) user: &'a str,
    pub(super) session: &'a str,
    pub(super) visitor: &'a str,
    pub(super) address: &'a str,
    pub(super) date: Micros,
    pub(super) path: &'a str,
    pub(super) referer: &'a str,
    pub(super) received_at: Micros,
    pub(super) event_id: Option<Uuid>,
    pub(super) name: &'a str,
    pub(super) properties: &'a str,
    pub(super) user_agent: &'a str,
}

impl Row<'_> {
    /// The shard that [`shard`] names for such an activity.
    pub(super) fn shard(&self, shards: usize) -> usize {
        let text = if self.session.is_empty() { self.address } else { self.visitor };
        crc32c::crc32c(text.as_bytes()) as usize % shards.max(1)
    }
}

/// What one shard gets, growing row by row.
#[derive(Debug)]
pub(super) struct Blocks {
    activities: Table<16>,
    infos: Table<5>,
    /// The event_ids, and the day on which all of them are stored.
    events: (Vec<Uuid>, u16),
}

/// How large the columns of activities were.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes([usize; 16]);

impl Blocks {
    pub(super) fn new() -> Blocks {
        let (activities, infos) = (Table::new(ACTIVITY), Table::new(SESSIONINFO));
        Blocks { activities, infos, events: (Vec::new(), 0) }
    }

    /// With room for as much and a little more: columns of many megabytes that grow are copied.
    pub(super) fn with_room(Sizes(activities): &Sizes) -> Blocks {
        let mut blocks = Blocks::new();
        blocks.activities.reserve(activities);
        blocks
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes(self.activities.sizes())
    }

    /// Adds an activity, under this number.
    pub(super) fn push(&mut self, activity: &Activity, id: i64, stamp: Stamp) {
        let session = activity.session.as_ref();
        let row = Row {
            user: activity.user.as_deref().unwrap_or_default(),
            session: session.map_or("", |session| &session.key),
            visitor: session.map_or("", visitor),
            address: &activity.address.to_string(),
            date: activity.date,
            path: &activity.path,
            referer: &activity.referer,
            received_at: activity.received_at,
            event_id: activity.event_id,
            name: &activity.name,
            properties: activity.properties.as_deref().unwrap_or_default(),
            user_agent: &activity.user_agent,
        };
        self.push_row(&row, id, stamp);
    }

    /// Adds a row, under this number.
    pub(super) fn push_row(&mut self, row: &Row<'_>, id: i64, stamp: Stamp) {
        let [number, stored_at, batch, user, key, first, address, date, rest @ ..] =
            self.activities.row();
        number.i64(id);
        stored_at.u32(stamp.stored_at);
        batch.uuid(stamp.batch);
        user.text(row.user);
        key.text(row.session);
        first.text(row.visitor);
        address.text(row.address);
        date.i64(row.date);
        let [day, path, referer, received_at, event_id, name, properties, agent] = rest;
        day.u16(day_of(row.date));
        path.text(row.path);
        referer.text(row.referer);
        received_at.i64(row.received_at);
        event_id.uuid(row.event_id.unwrap_or_default());
        name.text(row.name);
        properties.text(row.properties);
        agent.text(row.user_agent);
        if let Some(id) = row.event_id {
            self.events.0.push(id);
            self.events.1 = day_of(Micros::from(stamp.stored_at) * 1_000_000);
        }
    }

    /// Adds the info of an activity's session.
    pub(super) fn info(&mut self, session: &Session, activity: &Activity) {
        let (agent, created_at) = (&activity.user_agent, activity.received_at);
        self.push_info([&session.key, agent, visitor(session)], created_at);
    }

    /// Adds an info: session, user agent and visitor.
    pub(super) fn push_info(&mut self, [session, agent, visitor]: [&str; 3], at: Micros) {
        let [key, user_agent, first, created_at, version] = self.infos.row();
        key.text(session);
        user_agent.text(agent);
        first.text(visitor);
        created_at.i64(at);
        version.i64(Micros::MAX - at.max(0));
    }

    /// As bytes.
    pub(super) fn finish(self) -> Part {
        Part {
            rows: self.activities.rows,
            asked: false,
            activities: self.activities.finish(),
            infos: self.infos.finish(),
            events: events(self.events),
        }
    }
}

/// Days since 1970, as far as 18.16 knows them; dates before and after count as the first and the
/// last.
pub(super) fn day_of(at: Micros) -> u16 {
    const LAST: Micros = 49_709; // 2106-02-06
    u16::try_from(at.div_euclid(DAY).clamp(0, LAST)).unwrap_or(0)
}

/// UUIDs as a block of one column, to look for.
pub(super) fn ids(ids: &[Uuid]) -> Block {
    let mut ids = ids.to_vec();
    order::events(&mut ids);
    let mut column = Column::new("event_id", "UUID");
    column.reserve(ids.len() * size_of::<Uuid>());
    ids.iter().for_each(|id| column.uuid(*id));
    block(ids.len(), [column])
}

fn events((mut ids, day): (Vec<Uuid>, u16)) -> Block {
    order::events(&mut ids);
    let mut table = Table::new(EVENT);
    for id in ids {
        let [event_id, stored] = table.row();
        event_id.uuid(id);
        stored.u16(day);
    }
    table.finish()
}

#[derive(Debug)]
struct Table<const N: usize> {
    rows: u32,
    columns: [Column; N],
}

impl<const N: usize> Table<N> {
    fn new(columns: [(&'static str, &'static str); N]) -> Table<N> {
        Table { rows: 0, columns: columns.map(|(name, kind)| Column::new(name, kind)) }
    }

    fn reserve(&mut self, sizes: &[usize; N]) {
        for (column, size) in self.columns.iter_mut().zip(sizes) {
            column.reserve(size + size / 16);
        }
    }

    fn sizes(&self) -> [usize; N] {
        self.columns.each_ref().map(Column::len)
    }

    fn row(&mut self) -> &mut [Column; N] {
        self.rows += 1;
        &mut self.columns
    }

    /// As bytes; nothing where there are no rows.
    fn finish(self) -> Block {
        if self.rows == 0 { Block::default() } else { block(self.rows as usize, self.columns) }
    }
}
