//! Reading a segment: from any position to its end, whatever its bytes are.
//!
//! Never panics, never loops, never takes more memory than one record. Reads only; knows nothing
//! of cursors and quarantine.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use super::{
    Record,
    frame::{HEAD, Head},
    page::{FIRST, HEADER, Header, LAST, PAGE, PAGE_BYTES, SEAL},
    segment::Identity,
};

/// Bytes that are read from a file at a time.
const WINDOW: u64 = 256 << 10;

/// A read that fails is tried again before what it should give is taken for lost: with the pauses
/// of the drain that is some seconds.
const FAILURES: u32 = 7;

/// Where pages come from.
pub(super) enum Pages<'a> {
    /// A whole segment in memory.
    Bytes(&'a [u8]),
    /// A file, read in large pieces.
    File {
        file: File,
        base: u64,
        window: Vec<u8>,
        /// Reads in a row that the disk failed; from [`FAILURES`] on it is taken at its word.
        failures: u32,
    },
}

impl Pages<'_> {
    pub(super) fn file(file: File) -> Pages<'static> {
        Pages::File { file, base: 0, window: Vec::new(), failures: 0 }
    }

    /// The page with this number, short (or empty) where the segment ends or cannot be read.
    /// Nothing from `limit` on is read, as it may be written at this moment.
    fn page(&mut self, number: u64, limit: u64) -> io::Result<&[u8]> {
        let at = number.saturating_mul(PAGE_BYTES);
        let (bytes, from) = match self {
            Pages::Bytes(bytes) => (*bytes, usize::try_from(at).unwrap_or(usize::MAX)),
            Pages::File { file, base, window, failures } => {
                if at < *base || at.saturating_add(PAGE_BYTES) > *base + window.len() as u64 {
                    *base = at;
                    read_window(file, at..limit.min(at.saturating_add(WINDOW)), window, failures)?;
                }
                (window.as_slice(), usize::try_from(at - *base).unwrap_or(usize::MAX))
            }
        };
        let rest = bytes.get(from..).unwrap_or_default();
        Ok(rest.get(..PAGE).unwrap_or(rest))
    }
}

/// Fills `window` from the file. A sector that the disk cannot read, however often it is asked,
/// counts as damaged bytes, not as an error that would hold up everything behind it.
fn read_window(
    file: &File,
    range: Range<u64>,
    window: &mut Vec<u8>,
    failures: &mut u32,
) -> io::Result<()> {
    let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
    window.clear();
    window.resize(length, 0);
    let failed = match read_full(file, window, range.start) {
        Ok(read) => {
            window.truncate(read);
            if *failures < FAILURES {
                *failures = 0;
            }
            return Ok(());
        }
        Err(error) => error,
    };
    let of_disk = failed.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    *failures += u32::from(of_disk && *failures < FAILURES);
    if !of_disk || *failures < FAILURES {
        window.clear();
        return Err(failed);
    }
    for (page, at) in window.chunks_mut(PAGE).zip((range.start..).step_by(PAGE)) {
        if read_full(file, page, at).is_err() {
            // Not zeros: they would look like the end.
            page.fill(u8::MAX);
        }
    }
    Ok(())
}

fn read_full(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<usize> {
    let asked = bytes.len();
    while !bytes.is_empty() {
        match file.read_at(bytes, at) {
            Ok(0) => break,
            Ok(read) => {
                bytes = bytes.get_mut(read..).unwrap_or_default();
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(asked - bytes.len())
}

/// What the end of the readable bytes means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// A commit may have been cut short here: what is bad up to the end was not acknowledged.
    Torn,
    /// All up to the end was committed: what is bad is damage.
    Whole,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Step {
    Record(Record),
    /// These bytes cannot be read; records that touch them are lost.
    Damage(Range<u64>),
    /// The last commit, and it is not whole: most likely cut short, and acknowledged to nobody.
    Torn(Range<u64>),
    /// Nothing more up to the limit.
    End,
}

/// What is at a position.
enum Look {
    /// A record, and the position behind it.
    Record { record: Record, next: u64 },
    /// No record starts from here on in this page.
    Empty { next: u64 },
    /// Something else than what was written; the page to go on with.
    Bad { next: u64 },
    /// The end of a segment that was closed in good order.
    Seal,
}

/// A place in a segment, going forward.
#[derive(Debug)]
pub(super) struct Scanner {
    segment: [u8; 8],
    position: u64,
    /// The good page that was looked at last.
    current: Option<Header>,
}

impl Scanner {
    /// Starts at `position`; `segment` is what the pages must say.
    pub(super) fn new(segment: [u8; 8], position: u64) -> Scanner {
        Scanner { segment, position: position.max(PAGE_BYTES), current: None }
    }

    /// Where the next record is looked for: a cursor.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Goes to the next record, over at most one damaged place.
    pub(super) fn step(&mut self, pages: &mut Pages, limit: u64, tail: Tail) -> io::Result<Step> {
        // Where bad bytes began. They are damage only once something good is found behind them.
        let mut bad = None;
        while self.position < limit {
            let found = self.look(pages, limit)?;
            match (found, bad) {
                (Look::Bad { next }, _) => {
                    bad.get_or_insert(self.position);
                    self.position = self.good_page(pages, next, limit)?;
                }
                (Look::Empty { next }, _) => self.position = next * PAGE_BYTES,
                (Look::Record { record, .. }, Some(from)) => {
                    // The record is found again in the next step.
                    self.position = record.at;
                    return Ok(Step::Damage(from..record.at));
                }
                (Look::Record { record, next }, None) => {
                    self.position = next;
                    return Ok(Step::Record(record));
                }
                (Look::Seal, Some(from)) => return Ok(Step::Damage(from..self.position)),
                (Look::Seal, None) => return Ok(Step::End),
            }
        }
        match bad {
            Some(from) if tail == Tail::Whole => Ok(Step::Damage(from..limit)),
            Some(from) => self.tail(pages, from, limit),
            None => Ok(Step::End),
        }
    }

    /// Nothing whole follows: what part of it is the last commit? All before was synced, as a
    /// commit is written only after the sync of the one before.
    fn tail(&mut self, pages: &mut Pages, from: u64, limit: u64) -> io::Result<Step> {
        let (mut commit, mut start, mut behind, mut end) = (None, from, from, from);
        for number in from / PAGE_BYTES..limit.div_ceil(PAGE_BYTES) {
            let at = number * PAGE_BYTES;
            if let Some(header) = self.header(pages, number, limit)? {
                if commit.is_some_and(|commit| commit != header.commit) {
                    start = if header.flags & FIRST == 0 { behind } else { at };
                }
                commit = Some(header.commit);
                behind = at + PAGE_BYTES;
            }
            let page = pages.page(number, limit)?;
            if [0; PAGE].get(..page.len()) != Some(page) {
                end = at + page.len() as u64;
            }
        }
        if start > from {
            self.position = start;
            return Ok(Step::Damage(from..start));
        }
        self.position = limit;
        Ok(if end > from { Step::Torn(from..end) } else { Step::End })
    }

    /// What is at the position, which moves to the first byte of the record there.
    fn look(&mut self, pages: &mut Pages, limit: u64) -> io::Result<Look> {
        let number = self.position / PAGE_BYTES;
        let Some(header) = self.header(pages, number, limit)? else {
            return Ok(Look::Bad { next: number + 1 });
        };
        if header.flags & SEAL != 0 {
            return Ok(Look::Seal);
        }
        let inner = usize::try_from(self.position % PAGE_BYTES).unwrap_or(0);
        let inner = if inner < HEADER { header.first } else { inner };
        if inner == 0 || inner >= header.used {
            return Ok(Look::Empty { next: number + 1 });
        }
        self.position = number * PAGE_BYTES + inner as u64;
        let found = Flow { scanner: self, pages, header, inner, limit }.record()?;
        Ok(found.unwrap_or(Look::Bad { next: number + 1 }))
    }

    /// The first page from `number` on where reading can go on, as a position; else the limit.
    fn good_page(&mut self, pages: &mut Pages, number: u64, limit: u64) -> io::Result<u64> {
        for number in number..limit.div_ceil(PAGE_BYTES) {
            if let Some(header) = self.header(pages, number, limit)?
                && (header.first != 0 || header.flags & FIRST != 0)
            {
                return Ok(number * PAGE_BYTES);
            }
        }
        Ok(limit)
    }

    fn header(&mut self, pages: &mut Pages, number: u64, limit: u64) -> io::Result<Option<Header>> {
        if let Some(current) = self.current
            && current.number == number
        {
            return Ok(Some(current));
        }
        let found = Header::decode(pages.page(number, limit)?)
            .filter(|header| header.segment == self.segment && header.number == number);
        if found.is_some() {
            self.current = found;
        }
        Ok(found)
    }
}

/// The bytes of one commit as they flow from page to page.
struct Flow<'a, 'b, 'c> {
    scanner: &'a mut Scanner,
    pages: &'b mut Pages<'c>,
    header: Header,
    inner: usize,
    limit: u64,
}

impl Flow<'_, '_, '_> {
    /// The record that starts here; `None`: it is damaged.
    fn record(mut self) -> io::Result<Option<Look>> {
        let at = self.scanner.position;
        let mut bytes = Vec::with_capacity(HEAD);
        if !self.take(HEAD, &mut bytes)? {
            return Ok(None);
        }
        let Some(head) = bytes.first_chunk().map(|bytes| Head::decode(*bytes)) else {
            return Ok(None);
        };
        let fits = |length: &usize| at.saturating_add(*length as u64) <= self.limit;
        let Some(length) = head.length().filter(fits) else {
            return Ok(None);
        };
        let mut payload = Vec::with_capacity(length);
        if !self.take(length, &mut payload)? || !head.holds(&payload) {
            return Ok(None);
        }
        let number = self.header.number;
        let next = match self.inner < self.header.used {
            true => number * PAGE_BYTES + self.inner as u64,
            false => (number + 1) * PAGE_BYTES,
        };
        Ok(Some(Look::Record { record: Record { at, payload }, next }))
    }

    /// Moves the next `count` bytes to `out`; false: they are not all there.
    fn take(&mut self, count: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        let wanted = out.len() + count;
        loop {
            let end = self.header.used.min(self.inner + wanted - out.len());
            let page = self.pages.page(self.header.number, self.limit)?;
            let Some(bytes) = page.get(self.inner..end) else { return Ok(false) };
            out.extend_from_slice(bytes);
            self.inner = end;
            if out.len() == wanted {
                return Ok(true);
            }
            if !self.turn()? {
                return Ok(false);
            }
        }
    }

    /// Turns to the next page of the commit; false: there is none.
    fn turn(&mut self) -> io::Result<bool> {
        let next = self.scanner.header(self.pages, self.header.number + 1, self.limit)?;
        let Some(next) = next.filter(|next| {
            self.header.flags & LAST == 0
                && next.flags & FIRST == 0
                && next.commit == self.header.commit
        }) else {
            return Ok(false);
        };
        self.header = next;
        self.inner = HEADER;
        Ok(true)
    }
}

/// All that is readable in the bytes of a segment file, as a restart would read it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Damaged ranges of the file.
    pub damaged: Vec<Range<u64>>,
    /// The last commit, where it is not whole.
    pub torn: Option<Range<u64>>,
}

/// Reads a segment from memory. Any bytes will do: for tests and fuzzing.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scan {
    let mut pages = Pages::Bytes(bytes);
    let limit = bytes.len() as u64;
    let mut scan = Scan::default();
    let known = Identity::of_header(bytes).map(|found| prefix(*found.segment.as_bytes()));
    let Some(segment) = known.or_else(|| Some(any_page(&mut pages, limit).ok()??.segment)) else {
        return scan;
    };
    let mut scanner = Scanner::new(segment, 0);
    loop {
        match scanner.step(&mut pages, limit, Tail::Torn) {
            Ok(Step::Record(record)) => scan.records.push(record),
            Ok(Step::Damage(range)) => scan.damaged.push(range),
            Ok(Step::Torn(range)) => scan.torn = Some(range),
            Ok(Step::End) | Err(_) => return scan,
        }
    }
}

/// The first good page of a segment whose header is lost.
pub(super) fn any_page(pages: &mut Pages, limit: u64) -> io::Result<Option<Header>> {
    for number in 1..limit.div_ceil(PAGE_BYTES) {
        let found = Header::decode(pages.page(number, limit)?);
        if found.is_some_and(|found| found.number == number) {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What a page holds of its segment's UUID.
pub(super) fn prefix(uuid: [u8; 16]) -> [u8; 8] {
    let [prefix @ .., _, _, _, _, _, _, _, _] = uuid;
    prefix
}
