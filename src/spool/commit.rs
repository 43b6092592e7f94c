//! Group commit for a current-thread runtime: everyone who appends while a sync is under way, or else
//! in the same turn of the event loop, waits for the next one, and is woken on the same thread.
//!
//! The sync is done by a thread of the lane, while the event loop reads what comes next and writes the
//! answers of the sync before. Syncing on the thread of the event loop was measured beside it: a tenth
//! slower (docs/performance.md).
//!
//! Nothing here is `Send`, so that waiting and waking cost no lock. Knows nothing of bytes.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{Error, Lane, Spool, frame::Pending};

/// From so many records on the next sync begins before the answers of the last one are written. Fewer wait until
/// a turn of the event loop brings no more: a sync takes two threads' time, an interrupt and a flush of the disk, whatever is in it.
const ENOUGH: usize = 64;
/// After a sync of so many records, or more, the next one waits for as many, [`ENOUGH`] at most. After fewer it does
/// not: who posts alone would wait for each answer.
const MANY: usize = 8;
/// How long it waits for them at most. Tokio's timer may make three milliseconds of it.
const PATIENCE: Duration = Duration::from_millis(2);

/// The asynchronous end of a lane. Clones are handles on the same lane.
#[derive(Debug, Clone)]
pub struct Committer(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    spool: Spool,
    gathering: RefCell<(Pending, Rc<Batch>)>,
    /// The records of an earlier batch, for their memory.
    emptied: RefCell<Pending>,
    work: Notify,
    closing: Cell<bool>,
    sink: RefCell<Option<Sink>>,
    /// Done when the lane is closed.
    closed: Rc<Batch>,
}

/// The thread that does the syncs.
#[derive(Debug)]
struct Sink {
    jobs: mpsc::Sender<Job>,
    /// Its word that the lane is closed.
    ended: oneshot::Receiver<()>,
}

/// Work for the thread of a lane.
#[derive(Debug)]
struct Job {
    pending: Pending,
    answer: oneshot::Sender<Outcome>,
}

/// The records, for their memory, and how their commit went.
type Outcome = (Pending, Result<(), Error>);

/// Those who wait for the same sync.
#[derive(Debug, Default)]
struct Batch {
    result: RefCell<Option<Result<(), Error>>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Batch {
    /// Wakes all, in the order in which they came.
    fn finish(&self, result: Result<(), Error>) {
        self.result.replace(Some(result));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    async fn done(&self) -> Result<(), Error> {
        let mut place = None;
        poll_fn(|context| {
            if let Some(result) = &*self.result.borrow() {
                return Poll::Ready(result.clone());
            }
            let mut waiting = self.waiting.borrow_mut();
            match place.and_then(|place: usize| waiting.get_mut(place)) {
                Some(waker) => waker.clone_from(context.waker()),
                None => {
                    place = Some(waiting.len());
                    waiting.push(context.waker().clone());
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Committer {
    /// Takes over a lane. [`Committer::run`] must run for anything to be committed, on a runtime that has time.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the thread cannot be started.
    pub fn new(lane: Lane) -> Result<Committer, Error> {
        let spool = lane.spool();
        let sink = start(lane)?;
        Ok(Committer(Rc::new(Inner {
            spool,
            gathering: RefCell::default(),
            emptied: RefCell::default(),
            work: Notify::new(),
            closing: Cell::new(false),
            sink: RefCell::new(Some(sink)),
            closed: Rc::default(),
        })))
    }

    /// Appends a record at once, and then waits until it is durable. Whoever stops waiting does not
    /// take the record back.
    ///
    /// # Errors
    ///
    /// The record was not acknowledged and will not be: send it again after [`Error::Full`] and
    /// [`Error::Io`]; [`Error::TooLarge`] is for ever, [`Error::Poisoned`] until restart.
    pub fn append(&self, payload: &[u8]) -> impl Future<Output = Result<(), Error>> + use<> {
        self.appended(self.push(&[payload]))
    }

    /// Appends records that belong together, all in one commit or none.
    ///
    /// # Errors
    ///
    /// As [`Committer::append`], and for all of them.
    pub fn append_all<P: AsRef<[u8]>>(
        &self,
        payloads: &[P],
    ) -> impl Future<Output = Result<(), Error>> + use<P> {
        self.appended(self.push(payloads))
    }

    /// Needs nothing of what was appended.
    fn appended(
        &self,
        batch: Result<Rc<Batch>, Error>,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        if batch.is_ok() {
            self.0.work.notify_one();
        }
        async move { batch?.done().await }
    }

    fn push(&self, payloads: &[impl AsRef<[u8]>]) -> Result<Rc<Batch>, Error> {
        if self.0.closing.get() {
            return Err(Error::Closed);
        }
        let mut gathering = self.0.gathering.borrow_mut();
        let (pending, batch) = &mut *gathering;
        self.0.spool.0.admit(pending.page_bytes())?;
        pending.push_all(payloads)?;
        Ok(Rc::clone(batch))
    }

    /// Commits until [`Committer::close`]. To be spawned once on the runtime of the lane, with
    /// `spawn_local`.
    pub async fn run(self) {
        loop {
            self.0.work.notified().await;
            self.gather().await;
            let mut begun = self.begin();
            while let Some((batch, answer)) = begun {
                let closed = || (Pending::default(), Err(Error::Closed));
                let (mut pending, result) = match answer {
                    Some(answer) => answer.await.unwrap_or_else(|_| closed()),
                    None => closed(),
                };
                let last = pending.starts.len();
                pending.clear();
                self.0.emptied.replace(pending);
                if self.gathered() >= ENOUGH {
                    // Before those who wait are woken: the next sync is under way while they answer.
                    begun = self.begin();
                    batch.finish(result);
                } else {
                    batch.finish(result);
                    self.gather().await;
                    if last >= MANY {
                        self.gather_for_a_while(last.min(ENOUGH)).await;
                    }
                    begun = self.begin();
                }
            }
            if self.0.closing.get() && self.0.gathering.borrow().0.is_empty() {
                break;
            }
        }
        if let Some(Sink { jobs, ended }) = self.0.sink.take() {
            drop(jobs);
            // An error means that the thread has ended as well.
            let _ = ended.await;
        }
        self.0.closed.finish(Ok(()));
    }

    /// Has what is ready join the batch until it is enough, or a turn of the event loop brings no more.
    async fn gather(&self) {
        let mut before = None;
        while before != Some(self.gathered()) && self.gathered() < ENOUGH {
            before = Some(self.gathered());
            tokio::task::yield_now().await;
        }
    }

    /// Has what comes join the batch until there are so many, or [`PATIENCE`] ends.
    async fn gather_for_a_while(&self, wanted: usize) {
        let mut end = pin!(tokio::time::sleep(PATIENCE));
        while self.gathered() < wanted {
            tokio::select! {
                () = end.as_mut() => break,
                () = self.0.work.notified() => {}
            }
        }
    }

    fn gathered(&self) -> usize {
        self.0.gathering.borrow().0.starts.len()
    }

    /// Takes nothing more, commits what is there and closes the lane. Waits for
    /// [`Committer::run`] to do it.
    pub async fn close(&self) {
        self.0.closing.set(true);
        self.0.work.notify_one();
        // How the last commit went is told to those who wait for it.
        let _ = self.0.closed.done().await;
    }

    /// Has what is gathered committed, if there is anything: who waits for it, and the answer.
    fn begin(&self) -> Option<(Rc<Batch>, Option<oneshot::Receiver<Outcome>>)> {
        if self.0.gathering.borrow().0.is_empty() {
            return None;
        }
        let (pending, batch) = self.0.gathering.replace((self.0.emptied.take(), Rc::default()));
        Some((batch, self.hand_over(pending)))
    }

    /// Asks the thread of the lane for a commit; nothing when it has ended.
    fn hand_over(&self, pending: Pending) -> Option<oneshot::Receiver<Outcome>> {
        let (answer, answered) = oneshot::channel();
        self.0.sink.borrow().as_ref()?.jobs.send(Job { pending, answer }).ok()?;
        Some(answered)
    }
}

/// The thread that commits for a lane; it ends, and closes the lane, with the channel.
fn start(mut lane: Lane) -> Result<Sink, Error> {
    let (jobs, inbox) = mpsc::channel::<Job>();
    let (end, ended) = oneshot::channel();
    let spool = lane.spool();
    std::thread::Builder::new()
        .name(format!("spool-lane-{}", lane.number))
        .spawn(move || {
            for Job { pending, answer } in inbox {
                let result = lane.commit_pending(&pending);
                // Nobody listens when the runtime is gone; the records are durable all the same.
                let _ = answer.send((pending, result));
            }
            drop(lane);
            let _ = end.send(());
        })
        .map_err(Error::io("start a thread for", &spool.0.disk.directory.path))?;
    Ok(Sink { jobs, ended })
}
