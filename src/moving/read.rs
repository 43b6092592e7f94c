//! Rows are read in pages that are bounded by what they weigh, too.

use super::{
    Error, Move, Stage,
    row::{self, Form},
};
use crate::store::{Moments, Moved, StoredActivity};

/// Rows that are read at once: of the heaviest, some ten MiB.
const READ: usize = 1_024;
/// Where the rows of a page take more bytes than this, it is at its end.
const PAGE_BYTES: usize = 16 << 20;

/// Which side is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    From,
    To,
}

/// A row that is to be equal on both sides.
pub(super) struct Row {
    /// Since 1970, in UTC.
    pub(super) day: i64,
    pub(super) hash: u128,
    pub(super) row: StoredActivity,
}

/// How far a side is read.
pub(super) struct Reader {
    which: Which,
    after: i64,
    done: u64,
    moved: Moved,
    moments: Moments,
}

impl Move<'_> {
    /// The next rows of a side after this number, so many at most; fewer where they are heavy. None:
    /// there is no more.
    pub(super) fn page(
        &mut self,
        which: Which,
        mut after: i64,
        most: usize,
    ) -> Result<Vec<StoredActivity>, Error> {
        let mut page = Vec::new();
        while page.len() < most && !is_heavy(&page) {
            let count = READ.min(most - page.len());
            let rows = self.patient(|it| match which {
                Which::From => it.from.after(after, count),
                Which::To => it.to.after(after, count),
            })?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            page.extend(rows);
        }
        Ok(page)
    }

    /// Reads a side from its begin.
    pub(super) fn reader(&mut self, which: Which) -> Result<Reader, Error> {
        let id = self.parties.id;
        let moved = self.patient(|it| it.target.moved(id))?;
        let database = match which {
            Which::From => &self.parties.from.database,
            Which::To => &self.parties.to.database,
        };
        let moments = database.moments().clone();
        Ok(Reader { which, after: i64::MIN, done: 0, moved, moments })
    }

    /// The next rows that are to be equal. None: there is no more.
    pub(super) fn read(&mut self, reader: &mut Reader) -> Result<Option<Vec<Row>>, Error> {
        let (which, passed, moved) = (reader.which, self.state.passed, reader.moved);
        let is_over = match which {
            Which::From => reader.after >= passed,
            Which::To => moved.ends(reader.after),
        };
        if is_over {
            return Ok(None);
        }
        let mut rows = self.page(which, reader.after, READ)?;
        let Some(last) = rows.last() else { return Ok(None) };
        reader.after = last.id;
        rows.retain(|row| match which {
            Which::From => row.id <= passed,
            Which::To => moved.has(row.id),
        });
        reader.done += rows.len() as u64;
        let stage = match which {
            Which::From => Stage::ReadingFrom,
            Which::To => Stage::ReadingTo,
        };
        self.watcher.progress(stage, reader.done, self.state.given.max(reader.done));
        let form: Form<'_> = self.form(&reader.moments);
        let hashed = rows.into_iter().map(|row| {
            let (day, hash) = row::of_activity(&row, form);
            Row { day, hash, row }
        });
        Ok(Some(hashed.collect()))
    }
}

/// Whether these are enough for a batch.
pub(super) fn is_heavy(rows: &[StoredActivity]) -> bool {
    rows.iter().map(size).sum::<usize>() >= PAGE_BYTES
}

/// What a row takes, about.
fn size(row: &StoredActivity) -> usize {
    let properties = row.properties.as_ref().map_or(0, String::len);
    let session = row.session.as_ref().map_or(0, String::len);
    row.path.len() + row.referer.len() + row.name.len() + properties + session + 200
}
