//! `djaffar move`: the history of one database into another, while activities keep coming in.
//!
//! Knows no SQL and no command line. docs/moving.md tells what it promises; this is how:
//!
//! 1. What was passed is remembered in TO, in the transaction of the rows (`copy`).
//! 2. FROM is closed: its servers go on answering, and their spools keep what comes in. Only then is
//!    everything known that FROM will ever have.
//! 3. Both sides are read and compared (`check`). A row that was committed late, under a number that
//!    was passed, is found here and taken (`repair`).
//! 4. In one transaction of TO, it gets the cursors of all spools and is opened. A server that asks for
//!    its cursors before that waits. So whatever a spool still holds is stored from where FROM had it:
//!    in FROM before, in TO after, in both never.

mod begin;
mod check;
mod copy;
mod end;
mod infos;
mod read;
mod repair;
mod report;
mod row;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::store::{self, Cursor, Database, History, Moments, Mover, progress};
pub use begin::SAME;
pub use report::{Day, Report, Side as Totals};
use row::Form;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a move ended before its end. It can always go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database says so.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It was told to.
    #[error("stopped: run the same command again, and it goes on from here")]
    Stopped,
    /// It must not be done; the sentence says what to do.
    #[error("{0}")]
    Refused(String),
    /// The sides differ.
    #[error("the two sides differ; {0}")]
    Differs(String, Box<Report>),
}

/// One of the two databases.
pub struct Side {
    /// How it is called in messages: the address without its password.
    pub name: String,
    /// It.
    pub database: Box<dyn Database>,
    /// Whether the activities are in a ClickHouse.
    pub is_clickhouse: bool,
}

/// What to move.
pub struct Parties {
    /// Where the rows are.
    pub from: Side,
    /// Where they go.
    pub to: Side,
    /// What this move is remembered under.
    pub id: Uuid,
    /// And the one in the other direction.
    pub back: Uuid,
    /// The name of the folder for batches under way to a ClickHouse.
    pub folder: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Copy until it has caught up.
    Copy,
    /// Copy, close FROM, compare, open TO.
    Finish {
        /// Also where the sides differ.
        accept_differences: bool,
    },
    /// Open FROM again.
    Cancel {
        /// TO is lost, and cannot be asked whether it was opened.
        without_to: bool,
    },
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Rows go over.
    Copying,
    /// All rows of FROM are read.
    ReadingFrom,
    /// All rows of TO are read.
    ReadingTo,
    /// The infos of sessions are compared.
    Sessions,
}

/// Who is told how it goes.
pub trait Watcher {
    /// So many rows are done, of about so many (0: of nobody knows how many).
    fn progress(&mut self, stage: Stage, done: u64, total: u64);
    /// Something that happened.
    fn say(&mut self, text: &str);
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// All that FROM has is in TO; TO is not open.
    CaughtUp {
        /// So many rows.
        rows: u64,
        /// FROM is closed already.
        is_closed: bool,
    },
    /// The sides are equal, and TO is open.
    Finished(Report),
    /// FROM is open again.
    Cancelled,
}

/// Does it. `rows`: at most so many in a transaction. `stop`: ends it after the batch under way.
///
/// # Errors
/// See [`Error`].
pub fn run(
    parties: &Parties,
    task: Task,
    rows: Option<usize>,
    (watcher, stop): (&mut dyn Watcher, &AtomicBool),
) -> Result<Outcome, Error> {
    let mut this = Move::new(parties, watcher, stop);
    this.batch = rows.unwrap_or(this.batch);
    let result = this.run(task);
    if result.is_err() && this.is_closed && !this.state.finished {
        this.watcher.say(
            "FROM is closed, TO is not open: servers answer, and their spools fill. Go on with --finish, or \
             open FROM with --cancel",
        );
    }
    result
}

/// What is remembered in TO.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    passed: i64,
    given: u64,
    stored: u64,
    boundary: i64,
    step: u64,
    run: u64,
    folder: u64,
    finished: bool,
}

struct Move<'a> {
    parties: &'a Parties,
    watcher: &'a mut dyn Watcher,
    stop: &'a AtomicBool,
    from: Box<dyn History>,
    source: Box<dyn Mover>,
    to: Box<dyn History>,
    target: Box<dyn Mover>,
    /// FROM (or the site's database beside it) has spools, and a door.
    has_spools: bool,
    /// FROM's door was closed by this move.
    is_closed: bool,
    /// Until when a side that has not answered yet is waited for.
    first_until: Option<Instant>,
    /// What holds as long as no other run has taken over.
    owner: Option<Cursor>,
    state: State,
    is_fresh: bool,
    /// Sessions whose info was given to an SQL database. Emptied when full.
    known: HashSet<String>,
    /// So many rows go over at once.
    batch: usize,
    /// Rows that FROM has, about.
    total: u64,
}

impl<'a> Move<'a> {
    fn new(parties: &'a Parties, watcher: &'a mut dyn Watcher, stop: &'a AtomicBool) -> Move<'a> {
        let (from, to) = (&parties.from.database, &parties.to.database);
        Move {
            parties,
            watcher,
            stop,
            from: from.history(),
            source: from.mover(),
            to: to.history(),
            target: to.mover(),
            has_spools: false,
            is_closed: false,
            first_until: None,
            owner: None,
            state: State::default(),
            is_fresh: true,
            known: HashSet::new(),
            batch: if parties.to.is_clickhouse { copy::LARGE } else { copy::SMALL },
            total: 0,
        }
    }

    fn run(&mut self, task: Task) -> Result<Outcome, Error> {
        if let Task::Cancel { without_to: true } = task {
            return self.cancel_without_to();
        }
        let cancels = matches!(task, Task::Cancel { .. });
        self.look(!cancels)?;
        if cancels && self.is_fresh {
            return Err(Error::Refused(
                "no move between these two was begun: write both addresses as they were then"
                    .into(),
            ));
        }
        if self.is_fresh {
            self.must_be_empty()?;
        }
        self.take_over()?;
        match task {
            Task::Cancel { .. } => self.cancel(),
            Task::Copy if self.state.finished => self.late(false),
            Task::Finish { accept_differences } if self.state.finished => {
                self.late(accept_differences)
            }
            Task::Copy => {
                self.fill()?;
                self.copy(copy::Until::CaughtUp)?;
                let (rows, is_closed) = (self.state.given, self.is_closed);
                Ok(Outcome::CaughtUp { rows, is_closed })
            }
            Task::Finish { accept_differences } => {
                self.fill()?;
                self.finish(accept_differences)
            }
        }
    }

    /// Reads what TO remembers.
    fn remember(&mut self) -> Result<(), Error> {
        let id = self.parties.id;
        let known = self.patient(|it| it.target.positions(id))?;
        let of = |what| known.iter().find(|(it, _)| *it == what).map_or(0, |(_, at)| *at);
        let number = |what| i64::try_from(of(what)).unwrap_or(i64::MAX);
        self.is_fresh = known.iter().all(|(it, _)| *it != progress::PASSED);
        self.state = State {
            passed: number(progress::PASSED),
            given: of(progress::GIVEN),
            stored: of(progress::STORED),
            boundary: number(progress::BOUNDARY),
            step: of(progress::STEP),
            run: of(progress::RUN),
            folder: of(progress::FOLDER),
            finished: of(progress::FINISHED) > 0,
        };
        // A step that another run has taken under the same number was not ours.
        match self.owner {
            Some(owner) if owner.position != self.state.run => {
                Err(store::Error::Schema(store::TAKEN_OVER.into()))?
            }
            _ => Ok(()),
        }
    }

    /// Whether FROM can be closed.
    fn has_door(&self) -> bool {
        self.has_spools && !self.parties.from.is_clickhouse
    }

    /// Whether spools have to find their positions in TO.
    fn hands_over(&self) -> bool {
        self.has_door() && !self.parties.to.is_clickhouse
    }

    /// Whether servers of TO must wait: beside a ClickHouse they have their positions already.
    fn closes_to(&self) -> bool {
        self.keeps_numbers()
    }

    /// Whether rows get numbers from 1 in their order.
    fn renumbers(&self) -> bool {
        self.parties.from.is_clickhouse && !self.parties.to.is_clickhouse
    }

    /// What the rows have in common on both sides.
    fn form<'b>(&self, moments: &'b Moments) -> Form<'b> {
        let same = self.keeps_numbers();
        Form { moments, ids: same, derived: same }
    }

    /// Whether rows have the same numbers on both sides.
    fn keeps_numbers(&self) -> bool {
        !self.parties.from.is_clickhouse && !self.parties.to.is_clickhouse
    }

    fn cursor(&self, segment: Uuid, position: u64) -> Cursor {
        Cursor { spool: self.parties.id, segment, position }
    }

    /// Sets what is remembered, in one transaction.
    fn step(&mut self, set: &[Cursor]) -> Result<(), Error> {
        self.write_aside(&[], &[], set)?;
        Ok(())
    }

    /// Writes beside the copying, once.
    fn write_aside(
        &mut self,
        activities: &[store::StoredActivity],
        infos: &[store::StoredSession],
        set: &[Cursor],
    ) -> Result<u64, Error> {
        let guard = self.cursor(progress::STEP, self.state.step + 1);
        let load = store::Load { guard, owner: self.owner, activities, infos, set };
        self.patient(|it| it.target.load(&load))?;
        let before = self.state.stored;
        self.remember()?;
        Ok(self.state.stored - before)
    }

    /// Tries until it works: a database that is away is waited for.
    fn patient<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, store::Error>,
    ) -> Result<T, Error> {
        let mut pause = Duration::from_millis(200);
        let mut told = None;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            match work(self) {
                Err(store::Error::Unavailable(text) | store::Error::Full(text)) => {
                    if self.first_until.is_some_and(|until| Instant::now() > until) {
                        return Err(store::Error::Unavailable(text).into());
                    }
                    if told.as_ref() != Some(&text) {
                        self.watcher.say(&format!("waiting: {text}"));
                        told = Some(text);
                    }
                    self.sleep(pause)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return Ok(result?),
            }
        }
    }

    fn sleep(&self, time: Duration) -> Result<(), Error> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            thread::sleep(Duration::from_millis(20).min(time));
        }
        Ok(())
    }
}
