//! Freezes a batch and gives it to the shards, then has the site's database take sessions and cursor: on a
//! thread of its own, so that the next batch can be made meanwhile ([`super::writer`]). One batch at a
//! time. Makes no batch, and knows no files.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::{
    super::{Batch, Error, Store},
    frozen::{Freezer, Part},
    shards::{Pending, Shards},
};

/// What a batch is given to, and the batch.
pub(super) struct Takers {
    pub(super) site: Box<dyn Store>,
    pub(super) shards: Shards,
    /// Where a batch is kept before it is tried.
    pub(super) freezer: Box<dyn Freezer>,
    /// What is frozen, or to be frozen, and not through everywhere. It is here until it is.
    pub(super) pending: Option<Pending>,
    /// What all have by now: its memory may be used again.
    pub(super) spent: Vec<Part>,
    pub(super) over: Over,
}

/// What became of it.
type Given = (Takers, Result<(), Error>);

/// Has the takers, but while the thread has them.
pub(super) struct Giver {
    takers: Option<Takers>,
    thread: Option<(Sender<Takers>, Receiver<Given>)>,
    /// How many bytes were parked when the takers were last seen.
    parked: u64,
    over: Over,
}

/// Whether nothing may be frozen any more. Held while something is.
pub(super) type Over = Arc<Mutex<bool>>;

/// The thread goes on. What is frozen is given twice at worst, by it and by the next process, under the
/// same name; what is not must not be frozen now, as the next process reads it from the spool again.
impl Drop for Giver {
    fn drop(&mut self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Giver {
    pub(super) fn new(takers: Takers) -> Giver {
        let over = Arc::clone(&takers.over);
        Giver { takers: Some(takers), thread: None, parked: 0, over }
    }

    /// Begins to give what is pending.
    pub(super) fn begin(&mut self) {
        let Some(takers) = self.takers.take() else { return };
        self.parked = takers.shards.parked().bytes();
        let thread = self.thread.take().map_or_else(start, Ok);
        self.takers = match thread {
            Ok((to, back)) => match to.send(takers) {
                Ok(()) => {
                    self.thread = Some((to, back));
                    None
                }
                // The next to come begins another one.
                Err(SendError(takers)) => Some(takers),
            },
            Err(error) => {
                tracing::error!(%error, "cannot start a thread that gives batches to ClickHouse");
                Some(takers)
            }
        };
    }

    /// Whether a batch is being given now.
    pub(super) fn is_busy(&self) -> bool {
        self.takers.is_none()
    }

    /// The takers, once they have what is pending.
    ///
    /// # Errors
    /// It is not through after this time, and goes on; or it failed, and is tried again with the next
    /// call.
    pub(super) fn settle(&mut self, within: Duration) -> Result<&mut Takers, Error> {
        if self.takers.as_ref().is_some_and(|takers| takers.pending.is_some()) {
            self.begin();
        }
        if self.takers.is_none() {
            self.wait(within)?;
        }
        let lost = || Error::Unavailable("the thread that gives batches is gone".into());
        let takers = self.takers.as_mut().ok_or_else(lost)?;
        match takers.pending {
            Some(_) => Err(Error::Unavailable("there is no thread to give a batch".into())),
            None => Ok(takers),
        }
    }

    fn wait(&mut self, within: Duration) -> Result<(), Error> {
        let lost = || Error::Unavailable("the thread that gives batches is gone".into());
        let (_, back) = self.thread.as_ref().ok_or_else(lost)?;
        match back.recv_timeout(within) {
            Ok((takers, given)) => {
                self.takers = Some(takers);
                given
            }
            Err(RecvTimeoutError::Timeout) => Err(Error::Unavailable(format!(
                "a batch is under way for more than {} ms",
                within.as_millis()
            ))),
            Err(RecvTimeoutError::Disconnected) => Err(lost()),
        }
    }

    /// How many bytes are parked, as far as is known while a batch is being given.
    pub(super) fn parked(&self) -> u64 {
        self.takers.as_ref().map_or(self.parked, |takers| takers.shards.parked().bytes())
    }
}

/// The thread ends when nobody sends any more. It is not waited for: what it was giving is frozen, and
/// given again by the next process.
fn start() -> std::io::Result<(Sender<Takers>, Receiver<Given>)> {
    let ((to, work), (done, back)) = (channel::<Takers>(), channel());
    let run = move || {
        for mut takers in work {
            let given = takers.give();
            if done.send((takers, given)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("giver".into()).spawn(run)?;
    Ok((to, back))
}

impl Takers {
    /// Has all take what is pending.
    fn give(&mut self) -> Result<(), Error> {
        let given = catch_unwind(AssertUnwindSafe(|| self.give_pending())).unwrap_or_else(|_| {
            tracing::error!("giving a batch panicked: this is a bug, please report it");
            Err(Error::Unavailable("giving a batch panicked".into()))
        });
        match (&given, &mut self.pending) {
            (Ok(()), pending) => {
                self.spent = pending.take().map(|it| it.frozen.parts).unwrap_or_default();
            }
            (Err(_), Some(pending)) => pending.tried = pending.is_frozen,
            (Err(_), None) => {}
        }
        given
    }

    /// Keeps on the disk what is pending. Meanwhile the servers may take down the rows for the statement
    /// that inserts them, which nobody sends before.
    fn freeze(&mut self) -> Result<(), Error> {
        let Takers { shards, freezer, over, pending: Some(pending), .. } = self else {
            return Ok(());
        };
        if pending.is_frozen {
            return Ok(());
        }
        let frozen = &pending.frozen;
        let (kept, staged) = thread::scope(|scope| {
            let keeping = scope.spawn(|| {
                let bytes = frozen.encode();
                match *over.lock().unwrap_or_else(PoisonError::into_inner) {
                    true => Err(Error::Unavailable("it is too late for another batch".into())),
                    false => freezer.freeze(&bytes),
                }
            });
            let staged = shards.stage(frozen);
            (keeping.join().unwrap_or_else(|panic| resume_unwind(panic)), staged)
        });
        if kept.is_err() {
            shards.unstage(&staged);
        }
        kept?;
        (pending.is_frozen, pending.staged) = (true, staged);
        Ok(())
    }

    /// Every shard takes its bytes, or has them parked; then the cursor moves.
    fn give_pending(&mut self) -> Result<(), Error> {
        self.freeze()?;
        let Takers { site, shards, pending: Some(pending), .. } = self else { return Ok(()) };
        shards.give(pending)?;
        let (sessions, cursor) = (&*pending.frozen.sessions, pending.frozen.cursor);
        let batch = Batch { activities: &[], sessions, cursor };
        match site.write(&batch) {
            // The activities are stored, so that no record may be blamed for it.
            Err(Error::Rejected(reason)) => {
                tracing::error!(reason, "the database refuses sessions: stored without them");
                site.write(&Batch { sessions: &[], ..batch })?;
            }
            result => drop(result?),
        }
        shards.release(std::mem::take(&mut pending.kept));
        Ok(())
    }
}
