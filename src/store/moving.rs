//! What `djaffar move` asks of a database beyond reading it: to take rows as they are, and to be
//! closed to servers for a while. Knows no SQL and not in which order things are moved.
//!
//! All that a move remembers are rows of `djaffar_spool_cursor`, written in the transaction of the
//! rows: the move stands for a spool, and what is remembered for a segment.

use uuid::Uuid;

use super::{Cursor, Error, StoredActivity, StoredSession};

/// The "spool" of doors.
const DOORS: Uuid = Uuid::from_u128(0x6a61_6666_6172_446f_6f72_7331_0000_0001);
/// The "segment" of the door to the activities.
const ACTIVITIES: Uuid = Uuid::from_u128(1);
/// And of the move that has set it last.
const MOVE: Uuid = Uuid::from_u128(2);

/// What a move remembers, each as a segment of its own.
pub mod progress {
    use uuid::Uuid;

    /// The last id of FROM that was passed.
    pub const PASSED: Uuid = Uuid::from_u128(1);
    /// How many rows were given to TO.
    pub const GIVEN: Uuid = Uuid::from_u128(2);
    /// How many of these it stored: the others' `event_id` it had.
    pub const STORED: Uuid = Uuid::from_u128(3);
    /// TO gives this number and later ones to rows of its own.
    pub const BOUNDARY: Uuid = Uuid::from_u128(4);
    /// How often something else was written: counts up, so that no step is taken twice.
    pub const STEP: Uuid = Uuid::from_u128(5);
    /// TO was opened.
    pub const FINISHED: Uuid = Uuid::from_u128(6);
    /// The last number that a ClickHouse gave.
    pub(in crate::store) const NUMBERED: Uuid = Uuid::from_u128(7);
    /// The run that may write: each takes over from the one before.
    pub const RUN: Uuid = Uuid::from_u128(8);
    /// The folder that holds the batch under way to a ClickHouse.
    pub const FOLDER: Uuid = Uuid::from_u128(9);
    /// What is forgotten before the same way is gone once more. A ClickHouse's numbers go on.
    pub const ALL: [Uuid; 8] = [PASSED, GIVEN, STORED, BOUNDARY, STEP, FINISHED, RUN, FOLDER];
    /// Segments of spools are random; ours are not.
    pub(super) const LAST: u128 = 64;
}

/// Whether servers may write activities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// They may.
    Open,
    /// They wait: a move fills this database.
    Filling,
    /// They wait for a new address: the activities are elsewhere now.
    Gone,
}

impl Door {
    /// What doors are kept under.
    pub const ID: Uuid = DOORS;

    fn position(self) -> u64 {
        match self {
            Door::Open => 0,
            Door::Filling => 1,
            Door::Gone => 2,
        }
    }

    /// How it stands, by [`Mover::positions`] of [`Door::ID`].
    pub fn of(positions: &[(Uuid, u64)]) -> Option<Door> {
        let found = positions.iter().find(|(segment, _)| *segment == ACTIVITIES)?;
        Some(match found.1 {
            0 => Door::Open,
            1 => Door::Filling,
            _ => Door::Gone,
        })
    }

    /// Whether this move has set it, by the same positions.
    pub fn is_of(positions: &[(Uuid, u64)], id: Uuid) -> bool {
        positions.iter().any(|(segment, by)| *segment == MOVE && *by == Door::by(id))
    }

    /// The rows that say how it stands, and by whom.
    pub(super) fn rows(self, id: Uuid) -> [Cursor; 2] {
        [self.cursor(), Cursor { spool: DOORS, segment: MOVE, position: Door::by(id) }]
    }

    /// Of a move as much as a position holds.
    fn by(id: Uuid) -> u64 {
        (id.as_u128() >> 65) as u64
    }

    /// The row that says so.
    pub fn cursor(self) -> Cursor {
        Cursor { spool: DOORS, segment: ACTIVITIES, position: self.position() }
    }

    /// What a writer of activities is told, at this position.
    pub(super) fn admit_rows(position: Option<u64>) -> Result<(), Error> {
        match position {
            None | Some(0) => Ok(()),
            Some(1) => Door::admit_resuming(position),
            Some(_) => Err(Error::Unavailable(
                "closed: `djaffar move` takes the activities to another database. They wait in the \
                 spool; when it has finished, start this server with the new address"
                    .into(),
            )),
        }
    }

    /// What a server is told that asks where it stands.
    pub(super) fn admit_resuming(position: Option<u64>) -> Result<(), Error> {
        match position {
            Some(1) => Err(Error::Unavailable(
                "closed: `djaffar move` is filling this database. Activities wait in the spool \
                 until it has finished"
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether a cursor belongs to a spool, and not to a move or a door.
pub(super) fn is_of_a_spool(cursor: &Cursor) -> bool {
    cursor.spool != DOORS && cursor.segment.as_u128() > progress::LAST
}

/// Rows to take in one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// A load whose guard is not beyond the stored one changes nothing.
    pub guard: Cursor,
    /// Where another run has taken over, nothing is written: this position must hold.
    pub owner: Option<Cursor>,
    /// Rows of another database. An SQL database keeps their ids; whose `event_id` is stored
    /// already is left out.
    pub activities: &'a [StoredActivity],
    /// Infos that replace those of the same sessions. A ClickHouse has visitor and user agent in
    /// each activity, and takes them from here: of all sessions.
    pub infos: &'a [StoredSession],
    /// Positions that are to hold afterwards, also lower ones.
    pub set: &'a [Cursor],
}

/// What a run is told when another goes on.
pub const TAKEN_OVER: &str = "another `djaffar move` between these two databases was started after this \
    one and goes on with it: this one ends. Where that was a mistake, let it end, then run this again";

impl Load<'_> {
    /// Whether its run may write, by what is stored of the owner.
    pub(super) fn admit(&self, stored: Option<u64>) -> Result<(), Error> {
        match self.owner {
            Some(owner) if stored != Some(owner.position) => Err(Error::Schema(TAKEN_OVER.into())),
            _ => Ok(()),
        }
    }
}

/// Which rows of a database a move has put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub(super) mask: i64,
    pub(super) value: i64,
    pub(super) below: i64,
}

impl Moved {
    /// The rows with numbers below this one.
    pub fn below(boundary: i64) -> Moved {
        Moved { mask: 0, value: 0, below: boundary }
    }

    /// Whether this number is one of these.
    pub fn has(&self, id: i64) -> bool {
        id & self.mask == self.value && id < self.below
    }

    /// Whether none of these comes after this number.
    pub fn ends(&self, id: i64) -> bool {
        id >= self.below - 1
    }
}

/// Takes rows, and keeps what a move remembers; on a connection of its own.
pub trait Mover: Send {
    /// What is remembered of a move (or a spool), however the door stands.
    fn positions(&mut self, id: Uuid) -> Result<Vec<(Uuid, u64)>, Error>;
    /// The cursors of all spools; `None` where there is no table of them (0.1.10).
    fn spools(&mut self) -> Result<Option<Vec<Cursor>>, Error>;
    /// Takes rows. Adds how many are new to [`progress::STORED`] of the guard's move, and returns
    /// it.
    fn load(&mut self, load: &Load<'_>) -> Result<u64, Error>;
    /// Opens or closes, for this move. When it returns, no server writes activities that would not be
    /// let in now.
    fn set_door(&mut self, door: Door, id: Uuid) -> Result<(), Error>;
    /// Sees to it that rows of its own get this number or later ones.
    fn reserve(&mut self, boundary: i64) -> Result<(), Error>;
    /// Which rows this move has put here, or puts.
    fn moved(&mut self, id: Uuid) -> Result<Moved, Error>;
}

/// The boundary that a move remembers.
pub(super) fn boundary(positions: &[(Uuid, u64)]) -> Moved {
    let found = positions.iter().find(|(segment, _)| *segment == progress::BOUNDARY);
    let found = found.map(|(_, position)| i64::try_from(*position).unwrap_or(i64::MAX));
    Moved::below(found.unwrap_or(i64::MAX))
}

/// The user's key as Python's `str()` has it.
pub(super) fn user(row: &StoredActivity) -> Option<std::borrow::Cow<'_, str>> {
    use super::Key;
    row.user.as_ref().map(|key| match key {
        Key::Integer(number) => number.to_string().into(),
        Key::Text(text) => text.as_str().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors() {
        let at = |door: Door| Some(door.cursor().position);
        assert!(Door::admit_rows(None).is_ok() && Door::admit_rows(at(Door::Open)).is_ok());
        assert!(Door::admit_rows(at(Door::Filling)).is_err());
        assert!(Door::admit_rows(at(Door::Gone)).is_err());
        assert!(Door::admit_resuming(at(Door::Filling)).is_err());
        // Cursors stay readable: sessions and positions go on beside a ClickHouse.
        assert!(Door::admit_resuming(at(Door::Gone)).is_ok());
    }

    #[test]
    fn cursors_of_spools() {
        let cursor = |spool, segment| Cursor { spool, segment, position: 1 };
        assert!(is_of_a_spool(&cursor(Uuid::new_v4(), Uuid::new_v4())));
        assert!(!is_of_a_spool(&cursor(Uuid::new_v4(), progress::PASSED)));
        assert!(!is_of_a_spool(&Door::Gone.cursor()));
    }

    #[test]
    fn rows_of_a_move() {
        assert!(Moved::below(10).has(9) && !Moved::below(10).has(10));
        let numbered = Moved { mask: 4095 << 10, value: 7 << 10, below: i64::MAX };
        assert!(numbered.has(1 << 40 | 7 << 10 | 5) && !numbered.has(1 << 40 | 8 << 10 | 5));
    }
}
