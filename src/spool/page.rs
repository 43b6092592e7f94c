//! The header of a page: the 64 bytes that let a reader find its way again after damage.
//!
//! The layout is in the module's documentation. Pure: no files.

use uuid::Uuid;

/// Bytes of a page.
pub(super) const PAGE: usize = 4_096;
/// The same, for offsets in files.
pub(super) const PAGE_BYTES: u64 = PAGE as u64;
/// Bytes of its header.
pub(super) const HEADER: usize = 64;
/// Bytes of it that hold records.
pub(super) const BODY: usize = PAGE - HEADER;

const MAGIC: &[u8; 4] = b"DjP\x01";

/// First page of its commit.
pub(super) const FIRST: u8 = 1;
/// Last page of its commit.
pub(super) const LAST: u8 = 2;
/// No records: the segment was closed and all before this page is whole.
pub(super) const SEAL: u8 = 4;

/// What a page says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) spool: Uuid,
    pub(super) segment: [u8; 8],
    pub(super) number: u64,
    pub(super) commit: u64,
    /// Where the first record that starts here starts; 0: none.
    pub(super) first: usize,
    /// Where the used bytes end.
    pub(super) used: usize,
    pub(super) flags: u8,
}

impl Header {
    /// The 64 bytes.
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut checked = Vec::with_capacity(HEADER);
        checked.extend_from_slice(self.spool.as_bytes());
        checked.extend_from_slice(&self.segment);
        checked.extend_from_slice(&self.number.to_le_bytes());
        checked.extend_from_slice(&self.commit.to_le_bytes());
        for offset in [self.first, self.used] {
            checked.extend_from_slice(&u16::try_from(offset).unwrap_or(0).to_le_bytes());
        }
        checked.push(self.flags);
        checked.resize(HEADER - 8, 0);
        let mut bytes = [0; HEADER];
        let crc = crc32c::crc32c(&checked).to_le_bytes();
        let all = MAGIC.iter().chain(&crc).chain(&checked);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The header at the start of `page`, if its magic and checksum are right and its offsets
    /// make sense.
    pub(super) fn decode(page: &[u8]) -> Option<Header> {
        let (magic, rest) = page.split_first_chunk::<4>()?;
        if magic != MAGIC {
            return None;
        }
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let checked = rest.get(..HEADER - 8)?;
        if !crc_holds(u32::from_le_bytes(*crc), crc32c::crc32c(checked)) {
            return None;
        }
        let (spool, rest) = checked.split_first_chunk::<16>()?;
        let (segment, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (commit, rest) = rest.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<2>()?;
        let (used, rest) = rest.split_first_chunk::<2>()?;
        let header = Header {
            spool: Uuid::from_bytes(*spool),
            segment: *segment,
            number: u64::from_le_bytes(*number),
            commit: u64::from_le_bytes(*commit),
            first: u16::from_le_bytes(*first).into(),
            used: u16::from_le_bytes(*used).into(),
            flags: *rest.first()?,
        };
        header.sensible().then_some(header)
    }

    fn sensible(&self) -> bool {
        let used = (HEADER..=PAGE).contains(&self.used);
        used && (self.first == 0 || (HEADER..self.used).contains(&self.first))
    }
}

/// Whether a checksum is right.
pub(super) fn crc_holds(stored: u32, computed: u32) -> bool {
    crate::broken("crc") || stored == computed
}

/// Where a commit goes, and what its pages say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) spool: Uuid,
    pub(super) segment: Uuid,
    pub(super) page: u64,
    pub(super) commit: u64,
}

impl Place {
    fn header(&self, number: u64) -> Header {
        let [segment @ .., _, _, _, _, _, _, _, _] = *self.segment.as_bytes();
        Header {
            spool: self.spool,
            segment,
            number,
            commit: self.commit,
            first: 0,
            used: HEADER,
            flags: 0,
        }
    }

    /// The page that says that the segment is closed.
    pub(super) fn seal(&self) -> Vec<u8> {
        let header = Header { flags: FIRST | LAST | SEAL, ..self.header(self.page) };
        let mut page = header.encode().to_vec();
        page.resize(PAGE, 0);
        page
    }

    /// Cuts a stream of records into pages, into `out`. `starts`: where in the stream each
    /// record starts.
    pub(super) fn lay_out(&self, stream: &[u8], starts: &[usize], out: &mut Vec<u8>) {
        out.clear();
        let mut starts = starts.iter().copied().peekable();
        let mut begin = 0;
        for (number, body) in (self.page..).zip(stream.chunks(BODY)) {
            let end = begin + body.len();
            let mut header = self.header(number);
            header.used = HEADER + body.len();
            header.flags = if begin == 0 { FIRST } else { 0 };
            header.flags |= if end == stream.len() { LAST } else { 0 };
            if let Some(start) = starts.next_if(|&start| start < end) {
                header.first = HEADER + start - begin;
            }
            while starts.next_if(|&start| start < end).is_some() {}
            out.extend_from_slice(&header.encode());
            out.extend_from_slice(body);
            out.resize(out.len().next_multiple_of(PAGE), 0);
            begin = end;
        }
    }
}
