//! ClickHouse's formats, byte by byte: blocks in `Native` to write, rows in `RowBinary` to read.
//!
//! Blocks are written as `Native` because it says first how many rows follow: a body that is cut
//! short is refused by every version. Of `RowBinary` that breaks off behind a row, 18.16 stores
//! the rows that came, and says that all is well.

use bytes::Bytes;
use uuid::Uuid;

use super::{super::Error, rows::EVENT_ID};

/// A block in the pieces in which it was made: many megabytes, which are copied nowhere on their way to
/// the disk and the server. Nothing in it: no rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Block(Vec<Bytes>);

impl Block {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// The memory of its columns, emptied, where nobody else has it any more.
    pub(super) fn into_room(self) -> Vec<Vec<u8>> {
        // Each column comes behind what says its name.
        let columns = self.0.into_iter().skip(1).step_by(2);
        let emptied = columns.map(|piece| {
            // Not `Bytes::clear`, which gives the memory back.
            let mut room = if piece.is_unique() { Vec::from(piece) } else { Vec::new() };
            room.clear();
            room
        });
        emptied.collect()
    }

    /// In one piece.
    fn whole(&self) -> Bytes {
        match &*self.0 {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl From<Vec<u8>> for Block {
    fn from(bytes: Vec<u8>) -> Block {
        Block(if bytes.is_empty() { Vec::new() } else { vec![bytes.into()] })
    }
}

/// However they are cut.
impl PartialEq for Block {
    fn eq(&self, other: &Block) -> bool {
        self.whole() == other.whole()
    }
}

impl Eq for Block {}

/// A column of a block: its bytes grow row by row.
#[derive(Debug, Clone)]
pub(super) struct Column {
    name: &'static str,
    kind: &'static str,
    bytes: Vec<u8>,
}

impl Column {
    pub(super) fn new(name: &'static str, kind: &'static str) -> Column {
        Column { name, kind, bytes: Vec::new() }
    }

    /// So many bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Has room for so many.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    /// Has room for so many, in this memory if it is enough: new memory comes page by page.
    pub(super) fn reuse(&mut self, room: Vec<u8>, bytes: usize) {
        // A little more: a column of many megabytes that grows is copied.
        let more = bytes + bytes / 16;
        self.bytes = if room.capacity() < bytes { Vec::with_capacity(more) } else { room };
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Two integers of eight bytes, the higher one first.
    pub(super) fn uuid(&mut self, value: Uuid) {
        let (high, low) = value.as_u64_pair();
        self.bytes.extend_from_slice(&high.to_le_bytes());
        self.bytes.extend_from_slice(&low.to_le_bytes());
    }

    /// Byte by byte.
    pub(super) fn plain_uuid(&mut self, value: Uuid) {
        self.bytes.extend_from_slice(value.as_bytes());
    }

    pub(super) fn text(&mut self, value: &str) {
        text(&mut self.bytes, value.as_bytes());
    }
}

/// The columns as one block.
pub(super) fn block(rows: usize, columns: impl IntoIterator<Item = Column>) -> Block {
    let columns: Vec<Column> = columns.into_iter().collect();
    let mut head = Vec::new();
    number(&mut head, columns.len() as u64);
    number(&mut head, rows as u64);
    let mut pieces = Vec::with_capacity(2 * columns.len());
    for column in columns {
        text(&mut head, column.name.as_bytes());
        text(&mut head, column.kind.as_bytes());
        pieces.extend([std::mem::take(&mut head).into(), column.bytes.into()]);
    }
    Block(pieces)
}

/// A column of a block that is read again: a slice for each row.
struct Cells<'a> {
    name: &'a str,
    kind: &'a str,
    cells: Vec<&'a [u8]>,
}

/// Reads a block of ours; nothing in it: no columns.
fn columns(block: &[u8]) -> Result<Vec<Cells<'_>>, Error> {
    let mut bytes = Rows(block);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (count, rows) = (bytes.number()?, bytes.number()?);
    let mut columns = Vec::new();
    for _ in 0..count {
        let [name, kind] = [bytes.slice()?, bytes.slice()?].map(std::str::from_utf8);
        let broken = || Error::Unavailable("a block that is parked cannot be read".into());
        let (name, kind) = (name.map_err(|_| broken())?, kind.map_err(|_| broken())?);
        let mut cells = Vec::new();
        for _ in 0..rows {
            cells.push(match kind {
                "Int64" | "UInt64" => bytes.take(8)?,
                "UUID" | EVENT_ID => bytes.take(16)?,
                "DateTime" => bytes.take(4)?,
                "Date" => bytes.take(2)?,
                "String" => bytes.slice()?,
                _ => return Err(broken()),
            });
        }
        columns.push(Cells { name, kind, cells });
    }
    Ok(columns)
}

/// A column of UUIDs of a block.
pub(super) fn uuids(block: &Block, name: &str) -> Result<Vec<Uuid>, Error> {
    let whole = block.whole();
    let columns = columns(&whole)?;
    let Some(Cells { kind, cells, .. }) = columns.into_iter().find(|it| it.name == name) else {
        return Ok(Vec::new());
    };
    let is_plain = kind == EVENT_ID;
    let read = |mut cell: Rows<'_>| if is_plain { cell.plain_uuid() } else { cell.uuid() };
    cells.into_iter().map(|cell| read(Rows(cell))).collect()
}

/// A block with its UUIDs byte by byte.
pub(super) fn with_plain_uuids(block: &Block) -> Result<Block, Error> {
    let whole = block.whole();
    let columns = columns(&whole)?;
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let mut bytes = Vec::with_capacity(whole.len() + 16);
    if rows > 0 {
        number(&mut bytes, columns.len() as u64);
        number(&mut bytes, rows as u64);
    }
    for Cells { name, kind, cells } in columns {
        let is_uuid = kind == "UUID";
        text(&mut bytes, name.as_bytes());
        text(&mut bytes, if is_uuid { EVENT_ID } else { kind }.as_bytes());
        for cell in cells {
            match is_uuid {
                true => bytes.extend_from_slice(Rows(cell).uuid()?.as_bytes()),
                false => bytes.extend_from_slice(cell),
            }
        }
    }
    Ok(bytes.into())
}

/// The rows of a block that are to be kept; nothing where there are none.
pub(super) fn only(block: &Block, keep: &[bool]) -> Result<Block, Error> {
    let whole = block.whole();
    let (columns, rows) = (columns(&whole)?, keep.iter().filter(|keep| **keep).count());
    let mut bytes = Vec::with_capacity(whole.len());
    if rows == 0 {
        return Ok(Block::default());
    }
    number(&mut bytes, columns.len() as u64);
    number(&mut bytes, rows as u64);
    for Cells { name, kind, cells } in columns {
        text(&mut bytes, name.as_bytes());
        text(&mut bytes, kind.as_bytes());
        for (cell, _) in cells.into_iter().zip(keep).filter(|(_, keep)| **keep) {
            if kind == "String" { text(&mut bytes, cell) } else { bytes.extend(cell) }
        }
    }
    Ok(bytes.into())
}

/// With its length before it.
fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

/// Seven bits a byte, the lowest first.
fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Reads rows in `RowBinary`.
#[derive(Debug)]
pub(super) struct Rows<'a>(pub(super) &'a [u8]);

impl<'a> Rows<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let cut = || Error::Unavailable("the answer of ClickHouse is cut short".into());
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, Error> {
        Ok(Uuid::from_u64_pair(self.u64()?, self.u64()?))
    }

    /// Byte by byte.
    pub(super) fn plain_uuid(&mut self) -> Result<Uuid, Error> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(self.slice()?).into_owned())
    }

    fn slice(&mut self) -> Result<&'a [u8], Error> {
        let length = self.number()?;
        self.take(length)
    }

    fn number(&mut self) -> Result<usize, Error> {
        let (mut number, mut shift) = (0_usize, 0);
        loop {
            let byte = self.u8()?;
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 28 {
                return Ok(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block() {
        let mut id = Column::new("id", "Int64");
        let mut path = Column::new("path", "String");
        let long = "x".repeat(200);
        for (number, text) in [(1, "/"), (-1, &long)] {
            id.i64(number);
            path.text(text);
        }
        let bytes = block(2, [id, path]);
        let mut want = b"\x02\x02\x02id\x05Int64\x01\0\0\0\0\0\0\0".to_vec();
        want.extend(b"\xff\xff\xff\xff\xff\xff\xff\xff\x04path\x06String\x01/\xc8\x01");
        want.extend(long.as_bytes());
        assert_eq!(bytes.whole(), want);
        assert_eq!((bytes.len(), bytes.pieces().len()), (want.len(), 4));
        // Their memory once more.
        let mut path = Column::new("path", "String");
        path.reuse(Vec::new(), 1_000);
        path.text(&long);
        let (at, room) = (path.bytes.as_ptr(), block(1, [path]).into_room());
        let mut path = Column::new("path", "String");
        room.into_iter().for_each(|room| path.reuse(room, 900));
        assert_eq!((path.bytes.as_ptr(), path.len(), path.bytes.capacity()), (at, 0, 1_062));
    }

    #[test]
    fn uuids_of_older_blocks() {
        let ids = [3, 1, 2].map(|it: u128| Uuid::from_u128(it << 100 | 0xabcd));
        let (mut event_id, mut day) = (Column::new("event_id", "UUID"), Column::new("day", "Date"));
        let mut plain = Column::new("event_id", EVENT_ID);
        for id in ids {
            event_id.uuid(id);
            plain.plain_uuid(id);
            day.u16(7);
        }
        let older = block(3, [event_id, day.clone()]);
        assert_eq!(uuids(&older, "event_id"), Ok(ids.to_vec()));
        let newer = with_plain_uuids(&older).unwrap();
        assert_eq!(newer, block(3, [plain, day]));
        assert_eq!(uuids(&newer, "event_id"), Ok(ids.to_vec()));
        assert_eq!(with_plain_uuids(&Block::default()), Ok(Block::default()));
    }

    #[test]
    fn rows() {
        let id = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        let mut column = Column::new("", "");
        column.uuid(id);
        column.i64(-5);
        column.text(&"é".repeat(100));
        column.u32(7);
        assert_eq!(column.bytes[..2], [7, 6]);
        let mut rows = Rows(&column.bytes);
        assert_eq!((rows.uuid(), rows.i64()), (Ok(id), Ok(-5)));
        assert_eq!((rows.text(), rows.u32()), (Ok("é".repeat(100)), Ok(7)));
        assert!(rows.is_empty() && rows.u8().is_err());
    }
}
