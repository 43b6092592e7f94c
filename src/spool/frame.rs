//! Records as bytes, before they are cut into pages.
//!
//! The layout is in the module's documentation. Pure: no files.

use super::{Error, Full, page::BODY, page::PAGE, page::crc_holds};

/// The longest payload of a record, in bytes.
pub const MAX_PAYLOAD: usize = 256 << 10;

/// Bytes before the payload: length, checksum, type.
pub(super) const HEAD: usize = 9;

/// The only type so far: a payload that the caller gave.
const PAYLOAD: u8 = 1;

/// One commit may hold this many bytes; a lane waits for its commit before it takes more.
const MAX_COMMIT: usize = 16 << 20;

/// Records that wait for the next commit.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) stream: Vec<u8>,
    /// Where in `stream` each record starts.
    pub(super) starts: Vec<usize>,
}

impl Pending {
    /// Takes one more record.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Error> {
        let too_large = || Error::TooLarge(payload.len());
        if payload.len() > MAX_PAYLOAD {
            return Err(too_large());
        }
        if self.stream.len() + payload.len() > MAX_COMMIT {
            return Err(Full::Commit(MAX_COMMIT).into());
        }
        let length = u32::try_from(payload.len()).map_err(|_| too_large())?.to_le_bytes();
        self.starts.push(self.stream.len());
        self.stream.extend_from_slice(&length);
        self.stream.extend_from_slice(&checksum(length, PAYLOAD, payload).to_le_bytes());
        self.stream.push(PAYLOAD);
        self.stream.extend_from_slice(payload);
        Ok(())
    }

    /// Takes all of these records or none.
    pub(super) fn push_all(&mut self, payloads: &[impl AsRef<[u8]>]) -> Result<(), Error> {
        let (bytes, records) = (self.stream.len(), self.starts.len());
        let pushed = payloads.iter().try_for_each(|payload| self.push(payload.as_ref()));
        if pushed.is_err() {
            self.stream.truncate(bytes);
            self.starts.truncate(records);
        }
        pushed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Forgets the records and keeps the memory, up to what an ordinary commit needs.
    pub(super) fn clear(&mut self) {
        self.stream.clear();
        self.starts.clear();
        self.stream.shrink_to(MAX_COMMIT / 16);
        self.starts.shrink_to(MAX_COMMIT / 256);
    }

    /// How many bytes its pages take on disk.
    pub(super) fn page_bytes(&self) -> u64 {
        (self.stream.len().div_ceil(BODY) * PAGE) as u64
    }
}

/// The first bytes of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    length: [u8; 4],
    crc: u32,
    kind: u8,
}

impl Head {
    pub(super) fn decode(bytes: [u8; HEAD]) -> Head {
        let [a, b, c, d, e, f, g, h, kind] = bytes;
        Head { length: [a, b, c, d], crc: u32::from_le_bytes([e, f, g, h]), kind }
    }

    /// Length of the payload, if it can be one.
    pub(super) fn length(&self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.length)).ok().filter(|&len| len <= MAX_PAYLOAD)
    }

    /// Whether this head and `payload` are what was written.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        crc_holds(self.crc, checksum(self.length, self.kind, payload)) && self.kind == PAYLOAD
    }
}

fn checksum(length: [u8; 4], kind: u8, payload: &[u8]) -> u32 {
    let [a, b, c, d] = length;
    crc32c::crc32c_append(crc32c::crc32c(&[a, b, c, d, kind]), payload)
}
