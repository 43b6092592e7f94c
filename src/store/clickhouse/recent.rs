//! The last event_ids that were frozen: what a shard that is away cannot be asked.

use std::collections::VecDeque;

use foldhash::HashSet;
use uuid::Uuid;

/// So many are remembered.
pub(super) const MOST: usize = 262_144;

/// Bounded: the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

impl Recent {
    pub(super) fn contains(&self, id: &Uuid) -> bool {
        self.ids.contains(id)
    }

    pub(super) fn extend(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        for id in ids {
            if self.ids.insert(id) {
                self.order.push_back(id);
            }
            if self.order.len() > MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut recent, id) = (Recent::default(), |number: usize| Uuid::from_u128(number as u128));
        recent.extend((0..MOST).map(id));
        recent.extend([id(0), id(MOST), id(MOST)]);
        assert!(
            !recent.contains(&id(0)) && (1..=MOST).step_by(999).all(|it| recent.contains(&id(it)))
        );
        assert_eq!((recent.ids.len(), recent.order.len()), (MOST, MOST));
    }
}
