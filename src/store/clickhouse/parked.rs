//! What is parked for shards that are away: for each of them a queue and, while something is in it,
//! a thread with connections of its own that gives the oldest, again and again, until the shard
//! has it. Knows no batches: only what is cut from them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use uuid::Uuid;

use super::{
    super::Error,
    address::Address,
    insert::Try,
    parking::{Parcel, Parking, Place},
    runtime,
    shard::Shard,
};

/// The first pause after a failure; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a try looks whether it is to be broken off.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A block that is parked, and the bytes that it takes.
pub(super) type Kept = (Place, u64);

/// The queues of all shards.
pub(super) struct Parked {
    parking: Option<Arc<dyn Parking>>,
    address: Address,
    queues: Vec<Arc<Queue>>,
    threads: Vec<Option<JoinHandle<()>>>,
    next_number: u64,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Kept>,
    /// How often the oldest was tried in vain.
    failures: u64,
    error: Option<Error>,
    /// No pause: somebody waits.
    hurry: bool,
    stop: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    pub(super) fn new(address: &Address, parking: Option<Arc<dyn Parking>>) -> Parked {
        let count = address.shards.len();
        Parked {
            parking,
            address: address.clone(),
            queues: (0..count).map(|_| Arc::default()).collect(),
            threads: (0..count).map(|_| None).collect(),
            next_number: 0,
        }
    }

    /// Whether a shard that is away can be left behind: there is another, and a place.
    pub(super) fn is_possible(&self) -> bool {
        self.parking.is_some() && self.queues.len() > 1
    }

    /// Finds what an earlier process parked, and begins with it; but not what was cut from `held`.
    /// Tells the newest event_ids, up to `most`.
    pub(super) fn find(
        &mut self,
        held: Option<Uuid>,
        most: usize,
    ) -> Result<(Vec<Kept>, Vec<Uuid>), Error> {
        let Some(parking) = self.parking.clone() else { return Ok((Vec::new(), Vec::new())) };
        let mut found = parking.list()?;
        found.sort_by_key(|(place, _)| place.number);
        self.next_number = found.last().map_or(0, |(place, _)| place.number + 1);
        let mut events = Vec::new();
        for (place, _) in found.iter().rev() {
            if events.len() >= most {
                break;
            }
            // What is damaged is in quarantine now.
            let Some(bytes) = parking.load(place)? else { continue };
            events.extend(Parcel::decode(&bytes, self.queues.len())?.events()?);
        }
        let (held, ready) =
            found.into_iter().partition(|(place, _)| held.is_some_and(|held| place.batch == held));
        self.release(ready);
        Ok((held, events))
    }

    /// Whether something waits for this shard: then all that follows must, too.
    pub(super) fn waits(&self, shard: usize) -> bool {
        self.queues.get(shard).is_some_and(|queue| !queue.state().waiting.is_empty())
    }

    /// Puts a block on the disk; it is not tried before [`Parked::release`].
    pub(super) fn keep(&mut self, shard: usize, parcel: &Parcel) -> Result<Kept, Error> {
        let none = || Error::Unavailable("there is no place to park blocks".into());
        let parking = self.parking.as_ref().ok_or_else(none)?;
        let shard = u32::try_from(shard).unwrap_or(u32::MAX);
        let place = Place { shard, number: self.next_number, batch: parcel.stamp.batch };
        let bytes = parking.park(&place, &parcel.encode())?;
        self.next_number += 1;
        Ok((place, bytes))
    }

    /// Has the shards get these, behind what waits for them.
    pub(super) fn release(&mut self, kept: Vec<Kept>) {
        for (place, bytes) in kept {
            let shard = place.shard as usize;
            let Some(queue) = self.queues.get(shard) else {
                tracing::error!(?place, "parked for a shard that activity_database does not name");
                continue;
            };
            queue.state().waiting.push_back((place, bytes));
            queue.changed.notify_all();
            self.begin(shard);
        }
    }

    fn begin(&mut self, shard: usize) {
        let (Some(parking), Some(queue)) = (self.parking.clone(), self.queues.get(shard)) else {
            return;
        };
        let (queue, shards) = (Arc::clone(queue), Shard::all(&self.address, None));
        let Some(slot @ None) = self.threads.get_mut(shard) else { return };
        let work =
            move || Worker { shards: shards.len(), parking, queue, number: shard }.run(shards);
        match thread::Builder::new().name(format!("shard-{}", shard + 1)).spawn(work) {
            Ok(thread) => *slot = Some(thread),
            // The next block tries again.
            Err(error) => tracing::error!(%error, "cannot start a thread for parked blocks"),
        }
    }

    /// What all of it takes of the disk.
    pub(super) fn bytes(&self) -> u64 {
        let sum = |queue: &Arc<Queue>| queue.state().waiting.iter().map(|it| it.1).sum::<u64>();
        self.queues.iter().map(sum).sum()
    }

    /// Waits until nothing is parked. An error: after this time something still is, or a shard was
    /// tried once more in vain.
    pub(super) fn finish(&self, within: Duration) -> Result<(), Error> {
        let until = Instant::now().checked_add(within);
        for queue in &self.queues {
            let mut state = queue.state();
            let failures = state.failures;
            state.hurry = true;
            queue.changed.notify_all();
            while !state.waiting.is_empty() {
                let left = until.map_or(LONGEST_PAUSE, |it| it.duration_since(Instant::now()));
                if left.is_zero() || state.failures > failures {
                    state.hurry = false;
                    let away = || Error::Unavailable("blocks are parked".into());
                    return Err(state.error.clone().unwrap_or_else(away));
                }
                let waited = queue.changed.wait_timeout(state, left.min(LONGEST_PAUSE));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.hurry = false;
        }
        Ok(())
    }
}

/// What is not through is on the disk.
impl Drop for Parked {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.state().stop = true;
            queue.changed.notify_all();
        }
        for thread in self.threads.iter_mut().filter_map(Option::take) {
            drop(thread.join());
        }
    }
}

/// The thread of one shard.
struct Worker {
    shards: usize,
    parking: Arc<dyn Parking>,
    queue: Arc<Queue>,
    number: usize,
}

impl Worker {
    fn run(self, mut shards: Vec<Shard>) {
        let (shard, mut slot, mut pause) = (self.number + 1, None, FIRST_PAUSE);
        let Some(link) = shards.get_mut(self.number) else { return };
        while let Some(place) = self.oldest() {
            let tried = runtime(&mut slot).and_then(|runtime| {
                let work = Box::pin(self.deliver(link, &place));
                match runtime.block_on(select(work, Box::pin(self.stopped()))) {
                    Either::Left((result, _)) => result.map(Some),
                    Either::Right(_) => Ok(None),
                }
            });
            match tried {
                Ok(None) => return,
                Ok(Some(())) => {
                    pause = FIRST_PAUSE;
                    self.delivered(shard);
                }
                Err(error) => {
                    self.failed(shard, error, pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits for something to do; none: it is over.
    fn oldest(&self) -> Option<Place> {
        let mut state = self.queue.state();
        loop {
            if state.stop {
                return None;
            }
            if let Some((place, _)) = state.waiting.front() {
                return Some(*place);
            }
            let waited = self.queue.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    async fn stopped(&self) {
        while !self.queue.state().stop {
            tokio::time::sleep(LOOK_UP).await;
        }
    }

    /// Has the shard take a block, once; then forgets it.
    async fn deliver(&self, shard: &mut Shard, place: &Place) -> Result<(), Error> {
        let Some(bytes) = self.parking.load(place)? else {
            let (shard, number, batch) = (place.shard + 1, place.number, place.batch);
            tracing::error!(
                shard,
                number,
                %batch,
                "what was parked for the shard was damaged on the disk, and its activities are not stored: the \
                 file is in the spool's quarantine, all others go on. Look at the disk; for \
                 spool_retain_seconds the spool's segments have what came in then: copy them away"
            );
            return Ok(());
        };
        let mut parcel = Parcel::decode(&bytes, self.shards)?;
        // What an earlier process was about to try may have come through.
        let mut tried = true;
        if !parcel.part.asked {
            let wanted = parcel.events()?;
            let known =
                if wanted.is_empty() { Vec::new() } else { shard.known_surely(&wanted).await? };
            parcel = parcel.asked(&known.into_iter().collect())?;
            // From here on it cannot change: what is asked later would find the block itself.
            self.parking.park(place, &parcel.encode())?;
            tried = false;
        }
        shard.take(&parcel.part, parcel.stamp, Try::new(tried)).await?;
        self.parking.remove(place)
    }

    fn delivered(&self, shard: usize) {
        let mut state = self.queue.state();
        state.waiting.pop_front();
        state.error = None;
        if state.waiting.is_empty() {
            tracing::info!(shard, "the shard has all that was parked for it");
        }
        self.queue.changed.notify_all();
    }

    /// Takes down a failure, and waits.
    fn failed(&self, shard: usize, error: Error, pause: Duration) {
        let mut state = self.queue.state();
        if state.error.is_none() {
            tracing::warn!(shard, %error, "what is parked for the shard waits");
        }
        (state.error, state.failures) = (Some(error), state.failures + 1);
        self.queue.changed.notify_all();
        let until = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
        while !state.stop && !state.hurry {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.queue.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
