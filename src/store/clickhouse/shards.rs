//! All shards together: what they have already, what each of them takes, and which is left behind
//! when it is away, so that the others go on. Knows no site's database and no cursor.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::{HashSet, HashSetExt};
use futures_util::future::join_all;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{
    super::Error,
    address::Address,
    frozen::{Frozen, Part},
    insert::Try,
    parked::{Kept, Parked},
    parking::{Parcel, Parking},
    recent::{self, Recent},
    rows::{self, Stamp},
    runtime,
    shard::Shard,
};
use crate::activity::Activity;

/// For so long the others wait for a shard.
const PATIENCE: Duration = Duration::from_secs(5);

/// The shards, and what is parked for them.
pub(super) struct Shards {
    shards: Vec<Shard>,
    /// Since when each of them fails.
    failing: Vec<Option<Instant>>,
    parked: Parked,
    /// What was frozen last, to be known again while a shard cannot be asked.
    recent: Recent,
    runtime: Option<Runtime>,
}

/// A batch on its way.
pub(super) struct Pending {
    pub(super) frozen: Frozen,
    /// The shards that have it, or have it parked.
    pub(super) done: Vec<bool>,
    /// What of it is parked, and may be given once the cursor has moved: before, the next process
    /// may still find the batch frozen and ask for all of its rows.
    pub(super) kept: Vec<Kept>,
    /// Whether a shard may have it unknown to us.
    pub(super) tried: bool,
    /// Whether it is on the disk: only then it is tried.
    pub(super) is_frozen: bool,
    /// The sessions of the shards that have the activities in a temporary table.
    pub(super) staged: Vec<Option<String>>,
}

impl Pending {
    /// That is to be frozen.
    pub(super) fn new(frozen: Frozen) -> Pending {
        let done = frozen.parts.iter().map(|part| part.asked && part.is_empty()).collect();
        let (kept, staged) = (Vec::new(), Vec::new());
        Pending { frozen, done, kept, tried: false, is_frozen: false, staged }
    }

    /// That may have been tried by the process before.
    pub(super) fn found(frozen: Frozen, kept: Vec<Kept>) -> Pending {
        let has = |shard| kept.iter().any(|(place, _)| place.shard as usize == shard);
        let done = (0..frozen.parts.len()).map(has).collect();
        Pending { frozen, done, kept, tried: true, is_frozen: true, staged: Vec::new() }
    }
}

/// What the shards have of a batch.
pub(super) struct Known {
    /// The event_ids that are stored already.
    pub(super) ids: HashSet<Uuid>,
    /// The shards that said what they have.
    pub(super) asked: Vec<bool>,
}

impl Shards {
    pub(super) fn new(address: &Address, parking: Option<Arc<dyn Parking>>) -> Shards {
        let parked = Parked::new(address, parking);
        Shards {
            shards: Shard::all(address, parked.is_possible().then_some(PATIENCE)),
            failing: vec![None; address.shards.len()],
            parked,
            recent: Recent::default(),
            runtime: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shards.len()
    }

    /// What is parked.
    pub(super) fn parked(&self) -> &Parked {
        &self.parked
    }

    /// Finds what an earlier process parked, and returns what of it was cut from the batch that is
    /// `held`: that is not given yet.
    pub(super) fn find(&mut self, held: Option<Uuid>) -> Result<Vec<Kept>, Error> {
        let (kept, events) = self.parked.find(held, recent::MOST)?;
        self.remember(events);
        Ok(kept)
    }

    /// These event_ids are on the disk by now.
    pub(super) fn remember(&mut self, events: impl IntoIterator<Item = Uuid>) {
        if self.shards.len() > 1 {
            self.recent.extend(events);
        }
    }

    /// The cursor is behind what these were cut from: the shards may get them.
    pub(super) fn release(&mut self, kept: Vec<Kept>) {
        self.parked.release(kept);
    }

    /// Puts the activities of a batch where the first try finds them; the sessions, where that worked.
    /// Nothing is tried by that.
    pub(super) fn stage(&mut self, frozen: &Frozen) -> Vec<Option<String>> {
        let parked = &self.parked;
        let shards = self.shards.iter_mut().zip(&frozen.parts).enumerate();
        let staging = shards.map(|(number, (shard, part))| async move {
            let is_next = part.asked && !parked.waits(number);
            if is_next { shard.stage(part).await } else { None }
        });
        let Ok(runtime) = runtime(&mut self.runtime) else { return Vec::new() };
        runtime.block_on(join_all(staging))
    }

    /// Drops what was staged and is not tried.
    pub(super) fn unstage(&mut self, staged: &[Option<String>]) {
        let staged = self.shards.iter_mut().zip(staged);
        let dropping = staged.filter_map(|(shard, it)| Some(shard.unstage(it.as_deref()?)));
        if let Ok(runtime) = runtime(&mut self.runtime) {
            runtime.block_on(join_all(dropping));
        }
    }

    /// Has every shard take its part of a batch, or have it parked.
    pub(super) fn give(&mut self, pending: &mut Pending) -> Result<(), Error> {
        let Pending { frozen, done, kept, tried, staged, .. } = pending;
        if frozen.parts.len() != self.shards.len() {
            return Err(Error::Schema(format!(
                "a batch for {} shards is frozen in the spool, and activity_database names {}: \
                 start once with the address as it was, until the spool is empty",
                frozen.parts.len(),
                self.shards.len()
            )));
        }
        let stamp = Stamp { batch: frozen.batch, stored_at: frozen.stored_at };
        let behind = |shard, part: &Part| !part.asked || self.parked.waits(shard);
        let now = |shard| frozen.parts.get(shard).is_some_and(|part| !behind(shard, part));
        let (parts, tried, start) = (&frozen.parts, *tried, Instant::now());
        let tries = self.shards.iter_mut().zip(parts).zip(&mut *done).enumerate();
        let tries = tries.filter(|(shard, (_, done))| !**done && now(*shard)).map(
            |(number, ((shard, part), done))| {
                let staged = staged.get_mut(number).and_then(Option::take);
                let attempt = if tried { Try::Again } else { Try::First(staged) };
                async move {
                    let taken = shard.take(part, stamp, attempt).await;
                    *done = taken.is_ok();
                    (number, taken)
                }
            },
        );
        let results = runtime(&mut self.runtime)?.block_on(join_all(tries));
        self.must_go_on(results, start)?;
        for (number, part) in parts.iter().enumerate() {
            let Some(done @ false) = done.get_mut(number) else { continue };
            // An empty block asks again and again whether the shard is back.
            if !part.is_empty() || !self.parked.waits(number) {
                let shards = u32::try_from(parts.len()).unwrap_or(u32::MAX);
                let parcel = Parcel { shards, stamp, part: part.clone() };
                kept.push(self.parked.keep(number, &parcel)?);
            }
            *done = true;
        }
        Ok(())
    }

    /// Which event_ids of these activities are stored already, and which shards said so.
    pub(super) fn known(&mut self, activities: &[Activity]) -> Result<Known, Error> {
        let mut answered = vec![false; self.shards.len()];
        let wanted = wanted(activities, answered.len());
        let (start, parked) = (Instant::now(), &self.parked);
        let asked = self.shards.iter_mut().zip(&wanted).enumerate();
        let asked = asked.filter(|(shard, (_, ids))| !ids.is_empty() && !parked.waits(*shard));
        let asked =
            asked.map(|(number, (shard, ids))| async move { (number, shard.known(ids).await) });
        let mut known = HashSet::new();
        let mut results = Vec::new();
        for (shard, found) in runtime(&mut self.runtime)?.block_on(join_all(asked)) {
            if let Some(answered) = answered.get_mut(shard) {
                *answered = found.is_ok();
            }
            results.push((shard, found.map(|found| known.extend(found))));
        }
        self.must_go_on(results, start)?;
        for (answered, wanted) in answered.iter_mut().zip(&wanted) {
            *answered |= wanted.is_empty();
        }
        if answered.contains(&false) {
            let ids = activities.iter().filter_map(|activity| activity.event_id);
            known.extend(ids.filter(|id| self.recent.contains(id)));
        }
        Ok(Known { ids: known, asked: answered })
    }

    /// Whether it is no matter that some of these shards failed: they have for a while, and another
    /// one is there. Else the first error.
    fn must_go_on(
        &mut self,
        results: Vec<(usize, Result<(), Error>)>,
        start: Instant,
    ) -> Result<(), Error> {
        let mut failed = Vec::new();
        for (shard, result) in results {
            let Some(since) = self.failing.get_mut(shard) else { continue };
            match result {
                Ok(()) => *since = None,
                Err(error) => failed.push((since.get_or_insert(start).elapsed(), shard, error)),
            }
        }
        let is_long = failed.iter().all(|(since, ..)| *since >= PATIENCE);
        let Some((_, _, error)) = failed.first() else { return Ok(()) };
        if !is_long || !self.parked.is_possible() || !self.is_one_there(&failed)? {
            return Err(error.clone());
        }
        for (_, shard, error) in failed {
            let shard = shard + 1;
            tracing::warn!(shard, %error, "the shard is away: what is its is parked, others go on");
        }
        Ok(())
    }

    /// Whether a shard takes blocks that is not among these.
    fn is_one_there(&mut self, failed: &[(Duration, usize, Error)]) -> Result<bool, Error> {
        let away = |shard| failed.iter().any(|it| it.1 == shard) || self.parked.waits(shard);
        let others = self.shards.iter_mut().enumerate().filter(|(shard, _)| !away(*shard));
        let asked = join_all(others.map(|(_, shard)| shard.is_there()));
        Ok(runtime(&mut self.runtime)?.block_on(asked).contains(&true))
    }
}

/// Asks shards on connections of its own while they take a batch.
pub(super) struct Asker {
    shards: Vec<Shard>,
    runtime: Option<Runtime>,
}

impl Asker {
    /// None where shards have replicas: another one may lack what was just written.
    pub(super) fn new(address: &Address) -> Option<Asker> {
        let is_alone = address.shards.iter().all(|replicas| replicas.len() == 1);
        is_alone.then(|| Asker { shards: Shard::all(address, Some(PATIENCE)), runtime: None })
    }

    /// As [`Shards::known`]; all must answer.
    pub(super) fn known(&mut self, activities: &[Activity]) -> Result<Known, Error> {
        let wanted = wanted(activities, self.shards.len());
        let asked = self.shards.iter_mut().zip(&wanted).filter(|(_, ids)| !ids.is_empty());
        let asked = asked.map(|(shard, ids)| shard.known(ids));
        let mut ids = HashSet::new();
        for found in runtime(&mut self.runtime)?.block_on(join_all(asked)) {
            ids.extend(found?);
        }
        Ok(Known { ids, asked: vec![true; wanted.len()] })
    }
}

/// The event_ids that each shard is to be asked for; some of them more than once.
fn wanted(activities: &[Activity], shards: usize) -> Vec<Vec<Uuid>> {
    let mut wanted = vec![Vec::with_capacity(activities.len() / shards.max(1)); shards];
    let mut elsewhere = Vec::new();
    for activity in activities {
        let Some(id) = activity.event_id else { continue };
        if let Some(wanted) = wanted.get_mut(rows::shard(activity, shards)) {
            wanted.push(id);
        }
        if shards > 1 && rows::is_newcomer(activity) {
            elsewhere.push(id);
        }
    }
    for wanted in &mut wanted {
        wanted.extend(&elsewhere);
    }
    wanted
}
