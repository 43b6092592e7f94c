//! A batch as it is frozen before its first try: what each shard gets, byte by byte, and what the
//! site's database gets afterwards. Knows no servers, and files only as [`Freezer`].

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashSet;
use uuid::Uuid;

use super::{
    super::{Cursor, Error, NewSession},
    native::{self, Block},
    parking::Parking,
};

/// Keeps one frozen batch, durably: the spool's disk.
pub trait Freezer: Send {
    /// What was frozen last; none where that was not finished: then it was never tried.
    fn load(&mut self) -> Result<Option<Vec<u8>>, Error>;
    /// Keeps these bytes, in pieces, in place of those before. When it returns, they are on the disk.
    fn freeze(&mut self, pieces: &[Bytes]) -> Result<(), Error>;
    /// Where to park what one of several shards does not take; none: all wait for it.
    fn parking(&self) -> Option<Arc<dyn Parking>> {
        None
    }
}

/// What one shard gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// How many activities.
    pub(super) rows: u32,
    /// Whether the shard has said which of the event_ids it has, and those were left out.
    pub(super) asked: bool,
    /// The activities.
    pub(super) activities: Block,
    /// The infos of sessions that may be new; blank: none.
    pub(super) infos: Block,
    /// The event_ids; blank: none.
    pub(super) events: Block,
}

/// A batch that nothing can change any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frozen {
    /// Its name, in every row.
    pub(super) batch: Uuid,
    /// When it was frozen, in seconds since 1970; in every row.
    pub(super) stored_at: u32,
    /// The last row's id.
    pub(super) last_id: i64,
    /// How far the spool is stored afterwards.
    pub(super) cursor: Cursor,
    /// The sessions that the site's database gets.
    pub(super) sessions: Vec<NewSession>,
    /// One for each shard.
    pub(super) parts: Vec<Part>,
}

impl Part {
    /// Whether there is nothing to give.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 && self.infos.is_empty() && self.events.is_empty()
    }

    /// The same without the activities that the shard has.
    pub(super) fn without(mut self, known: &HashSet<Uuid>) -> Result<Part, Error> {
        if !known.is_empty() {
            let ids = native::uuids(&self.activities, "event_id")?;
            let keep: Vec<bool> = ids.iter().map(|id| id.is_nil() || !known.contains(id)).collect();
            let rows = keep.iter().filter(|keep| **keep).count();
            self.activities = native::only(&self.activities, &keep)?;
            self.rows = u32::try_from(rows).unwrap_or(u32::MAX);
        }
        Ok(self)
    }

    pub(super) fn encode(&self, out: &mut Out) {
        out.bytes.extend(self.rows.to_le_bytes());
        out.bytes.push(u8::from(self.asked));
        for block in [&self.activities, &self.infos, &self.events] {
            out.bytes.extend((block.len() as u64).to_le_bytes());
            out.pieces(block.pieces());
        }
    }

    pub(super) fn decode(data: &mut Reader<'_>, version: u32) -> Result<Part, Error> {
        let rows = u32::from_le_bytes(data.array()?);
        // The first version asked always.
        let asked = version < 2 || data.array()? != [0];
        let [activities, infos, events] =
            [data.block()?, data.block()?, data.block()?].map(|bytes| Block::from(bytes.to_vec()));
        // The first two versions had event_ids for a table with another type.
        let events = if version < 3 { native::with_plain_uuids(&events)? } else { events };
        Ok(Part { rows, asked, activities, infos, events })
    }
}

/// The version of the format.
pub(super) const VERSION: u32 = 3;

/// Bytes to be written: what is long stays in pieces of its own.
#[derive(Debug, Default)]
pub(super) struct Out {
    pieces: Vec<Bytes>,
    /// What comes after them.
    pub(super) bytes: Vec<u8>,
}

impl Out {
    fn pieces(&mut self, pieces: &[Bytes]) {
        self.pieces.push(std::mem::take(&mut self.bytes).into());
        self.pieces.extend_from_slice(pieces);
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.pieces(&[]);
        self.pieces
    }
}

impl Frozen {
    pub(super) fn encode(&self) -> Vec<Bytes> {
        let mut out = Out::default();
        self.encode_to(&mut out);
        out.finish()
    }

    pub(super) fn encode_to(&self, all: &mut Out) {
        let out = &mut all.bytes;
        out.extend(VERSION.to_le_bytes());
        let Cursor { spool, segment, position } = self.cursor;
        for id in [self.batch, spool, segment] {
            out.extend(id.as_bytes());
        }
        out.extend(position.to_le_bytes());
        out.extend(self.stored_at.to_le_bytes());
        out.extend(self.last_id.to_le_bytes());
        out.extend((self.sessions.len() as u64).to_le_bytes());
        for session in &self.sessions {
            bytes(out, session.key.as_bytes());
            bytes(out, session.data.as_bytes());
            out.extend(session.expires.to_le_bytes());
        }
        out.extend((self.parts.len() as u64).to_le_bytes());
        for part in &self.parts {
            part.encode(all);
        }
    }

    /// Reads what [`Frozen::encode`] wrote.
    pub(super) fn decode(data: &[u8]) -> Result<Frozen, Error> {
        let mut data = Reader(data);
        let version = data.version()?;
        let [batch, spool, segment] =
            [data.array()?, data.array()?, data.array()?].map(Uuid::from_bytes);
        let position = u64::from_le_bytes(data.array()?);
        let stored_at = u32::from_le_bytes(data.array()?);
        let last_id = i64::from_le_bytes(data.array()?);
        let mut sessions = Vec::new();
        for _ in 0..u64::from_le_bytes(data.array()?) {
            let (key, text) = (data.text()?, data.text()?);
            let expires = i64::from_le_bytes(data.array()?);
            sessions.push(NewSession { key, data: text, expires });
        }
        let mut parts = Vec::new();
        for _ in 0..u64::from_le_bytes(data.array()?) {
            parts.push(Part::decode(&mut data, version)?);
        }
        let cursor = Cursor { spool, segment, position };
        Ok(Frozen { batch, stored_at, last_id, cursor, sessions, parts })
    }
}

/// How far the spool is stored once this frozen batch is.
///
/// # Errors
/// [`Error::Schema`]: a newer version froze it.
pub fn end_of_frozen(data: &[u8]) -> Result<Cursor, Error> {
    Frozen::decode(data).map(|frozen| frozen.cursor)
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

/// Reads what was frozen.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The first number: how the others are written.
    pub(super) fn version(&mut self) -> Result<u32, Error> {
        let version = u32::from_le_bytes(self.array()?);
        if version == 0 || version > VERSION {
            return Err(Error::Schema(format!(
                "the spool holds a frozen batch of version {version}, made by a newer djaffar: \
                 start that one"
            )));
        }
        Ok(version)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let cut = || Error::Unavailable("the frozen batch is shorter than it says".into());
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn block(&mut self) -> Result<&'a [u8], Error> {
        let length = u64::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(self.block()?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let part = |rows| Part {
            rows,
            asked: rows == 0,
            activities: vec![1, 2, 3].into(),
            infos: Block::default(),
            events: Block::default(),
        };
        let session = NewSession { key: "k".into(), data: "ü".into(), expires: -1 };
        let frozen = Frozen {
            batch: ids[0],
            stored_at: 5,
            last_id: i64::MAX,
            cursor: Cursor { spool: ids[1], segment: ids[2], position: 77 },
            sessions: vec![session; 2],
            parts: vec![part(1), part(0)],
        };
        let bytes = frozen.encode().concat();
        assert_eq!(Frozen::decode(&bytes), Ok(frozen.clone()));
        for length in 0..bytes.len() {
            assert!(Frozen::decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut older = frozen.clone();
        let ids = [5, 6].map(Uuid::from_u128);
        let mut column = native::Column::new("event_id", "UUID");
        ids.iter().for_each(|id| column.uuid(*id));
        older.parts[0].events = native::block(2, [column]);
        let bytes = older.encode().concat();
        let read = Frozen::decode(&[&2_u32.to_le_bytes(), &bytes[4..]].concat()).unwrap();
        assert_eq!(native::uuids(&read.parts[0].events, "event_id"), Ok(ids.to_vec()));
        assert!(String::from_utf8_lossy(&read.encode().concat()).contains("FixedString(16)"));
        let newer = [&9_u32.to_le_bytes(), &bytes[4..]].concat();
        assert!(matches!(Frozen::decode(&newer), Err(Error::Schema(_))));
    }
}
