//! Activities as blocks, one for each shard. Everything that a store may refuse is refused here,
//! before the batch is frozen: nothing later can be a row's fault.

use std::{iter, net::IpAddr, thread};

use serde::de::IgnoredAny;
use uuid::Uuid;

use super::{
    super::{Error, Moments},
    frozen::Part,
    native::{Block, Column, block},
    order::{self, Numbered},
};
use crate::activity::{Activity, Micros, Session, SessionState};

const DAY: Micros = 86_400_000_000;
/// So many columns say who did something and when, and so many what it was.
const WHO: usize = 9;
const WHAT: usize = ACTIVITY.len() - WHO;
/// From so many rows on, a second thread pays.
const MANY: usize = 4_096;

/// The columns of an activity, in the order of [`put_who`] and [`put_what`].
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
pub(super) const EVENT: [(&str, &str); 2] = [("event_id", EVENT_ID), ("day", "Date")];
/// The type of an event_id that is kept to be known again. 18.16 sorts a `UUID` by its second half, which
/// is random; by their bytes those lie together that are made at the same time.
pub(super) const EVENT_ID: &str = "FixedString(16)";

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

impl<'a> Row<'a> {
    /// Of an activity, whose address this is.
    fn of(activity: &'a Activity, address: &'a str) -> Row<'a> {
        let session = activity.session.as_ref();
        Row {
            user: activity.user.as_deref().unwrap_or_default(),
            session: session.map_or("", |session| &session.key),
            visitor: session.map_or("", visitor),
            address,
            date: activity.date,
            path: &activity.path,
            referer: &activity.referer,
            received_at: activity.received_at,
            event_id: activity.event_id,
            name: &activity.name,
            properties: activity.properties.as_deref().unwrap_or_default(),
            user_agent: &activity.user_agent,
        }
    }

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

    /// With room for as much, in the memory of a block that is not needed any more.
    pub(super) fn with_room(Sizes(activities): &Sizes, spent: Block) -> Blocks {
        let mut blocks = Blocks::new();
        let room = spent.into_room().into_iter().chain(iter::repeat_with(Vec::new));
        let columns = blocks.activities.columns.iter_mut().zip(activities);
        columns.zip(room).for_each(|((column, size), room)| column.reuse(room, *size));
        blocks
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes(self.activities.sizes())
    }

    /// Adds activities without their event_ids, under their numbers. Many by two threads, each with half of
    /// the columns: they read texts from all over the memory, and wait for it.
    pub(super) fn fill(&mut self, rows: &[Numbered<'_>], stamp: Stamp) {
        self.activities.rows += u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let Some((who, what)) = self.activities.halves() else { return };
        let mut fill_who = || {
            let mut address = String::new();
            for (activity, id) in rows {
                write_out(activity.address, &mut address);
                put_who(who, &Row::of(activity, &address), (*id, stamp));
            }
        };
        let mut fill_what = || rows.iter().for_each(|(it, _)| put_what(what, &Row::of(it, "")));
        if rows.len() < MANY {
            fill_who();
            fill_what();
            return;
        }
        thread::scope(|scope| {
            scope.spawn(fill_who);
            fill_what();
        });
    }

    /// Adds a row without its event_id, under this number.
    pub(super) fn push_row(&mut self, row: &Row<'_>, id: i64, stamp: Stamp) {
        self.activities.rows += 1;
        let Some((who, what)) = self.activities.halves() else { return };
        put_who(who, row, (id, stamp));
        put_what(what, row);
    }

    /// Adds the event_id of a row.
    pub(super) fn event(&mut self, id: Uuid, stamp: Stamp) {
        self.events.0.push(id);
        self.events.1 = day_of(Micros::from(stamp.stored_at) * 1_000_000);
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

/// Who did it, and when.
fn put_who(columns: &mut [Column; WHO], row: &Row<'_>, (id, stamp): (i64, Stamp)) {
    let [number, stored_at, batch, user, key, first, address, date, day] = columns;
    number.i64(id);
    stored_at.u32(stamp.stored_at);
    batch.uuid(stamp.batch);
    user.text(row.user);
    key.text(row.session);
    first.text(row.visitor);
    address.text(row.address);
    date.i64(row.date);
    day.u16(day_of(row.date));
}

/// What it was.
fn put_what(columns: &mut [Column; WHAT], row: &Row<'_>) {
    let [path, referer, received_at, event_id, name, properties, agent] = columns;
    path.text(row.path);
    referer.text(row.referer);
    received_at.i64(row.received_at);
    event_id.uuid(row.event_id.unwrap_or_default());
    name.text(row.name);
    properties.text(row.properties);
    agent.text(row.user_agent);
}

/// Days since 1970, as far as 18.16 knows them; dates before and after count as the first and the
/// last.
pub(super) fn day_of(at: Micros) -> u16 {
    const LAST: Micros = 49_709; // 2106-02-06
    u16::try_from(at.div_euclid(DAY).clamp(0, LAST)).unwrap_or(0)
}

/// An address as text. Every row has one: for most without the machinery of formatting.
fn write_out(address: IpAddr, out: &mut String) {
    out.clear();
    match address {
        IpAddr::V4(address) => {
            for (place, number) in address.octets().into_iter().enumerate() {
                out.push_str(if place > 0 { "." } else { "" });
                out.push_str(itoa::Buffer::new().format(number));
            }
        }
        IpAddr::V6(address) => out.push_str(&address.to_string()),
    }
}

/// UUIDs, sorted, as a block of one column, to look for.
pub(super) fn ids(ids: &[Uuid]) -> Block {
    let mut column = Column::new("event_id", EVENT_ID);
    column.reserve(size_of_val(ids));
    ids.iter().for_each(|id| column.plain_uuid(*id));
    block(ids.len(), [column])
}

fn events((mut ids, day): (Vec<Uuid>, u16)) -> Block {
    order::events(&mut ids);
    let mut table = Table::new(EVENT);
    for id in ids {
        let [event_id, stored] = table.row();
        event_id.plain_uuid(id);
        stored.u16(day);
    }
    table.finish()
}

#[derive(Debug)]
struct Table<const N: usize> {
    rows: u32,
    columns: [Column; N],
}

impl Table<16> {
    /// The columns that say who, and those that say what.
    fn halves(&mut self) -> Option<(&mut [Column; WHO], &mut [Column; WHAT])> {
        let (who, what) = self.columns.split_first_chunk_mut()?;
        Some((who, what.first_chunk_mut()?))
    }
}

impl<const N: usize> Table<N> {
    fn new(columns: [(&'static str, &'static str); N]) -> Table<N> {
        Table { rows: 0, columns: columns.map(|(name, kind)| Column::new(name, kind)) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let mut out = "before".to_owned();
        for text in ["0.0.0.0", "255.10.9.100", "::1", "2001:db8::7:0"] {
            write_out(text.parse().unwrap(), &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn many_rows_are_as_one_by_one() {
        let all: Vec<_> = (0..MANY as u32).map(crate::store::conformance::activity).collect();
        let rows: Vec<Numbered<'_>> = all.iter().zip(7..).collect();
        let stamp = Stamp { batch: Uuid::from_u128(7), stored_at: 1_790_000_000 };
        let (mut together, mut alone) = (Blocks::new(), Blocks::new());
        together.fill(&rows, stamp);
        rows.iter().for_each(|row| alone.fill(&[*row], stamp));
        let (together, alone) = (together.finish(), alone.finish());
        assert_eq!((together.rows, alone.rows), (4_096, 4_096));
        assert!(together.activities == alone.activities && together.activities.len() > 500_000);
    }
}
