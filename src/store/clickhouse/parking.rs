//! What one shard gets while it is away: its part of a batch as a block of bytes of its own. Knows no
//! servers, and files only as [`Parking`].

use foldhash::HashSet;
use uuid::Uuid;

use super::{
    super::Error,
    frozen::{Out, Part, Reader, VERSION},
    native,
    rows::Stamp,
};

/// Where a part is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// For which shard, from 0.
    pub shard: u32,
    /// Its place in the order.
    pub number: u64,
    /// The batch that it was cut from.
    pub batch: Uuid,
}

/// Keeps blocks for shards that are away, durably: the spool's disk.
pub trait Parking: Send + Sync {
    /// What is parked, in order, each with the bytes that it takes.
    fn list(&self) -> Result<Vec<(Place, u64)>, Error>;
    /// Parks a block, in place of one that is there. When it returns, it is on the disk; and takes
    /// so many bytes of it.
    fn park(&self, place: &Place, bytes: &[u8]) -> Result<u64, Error>;
    /// What is parked there; none: it is damaged and was put aside.
    fn load(&self, place: &Place) -> Result<Option<Vec<u8>>, Error>;
    /// Forgets it, durably.
    fn remove(&self, place: &Place) -> Result<(), Error>;
}

/// One shard's part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parcel {
    /// For how many shards the batch was cut up.
    pub(super) shards: u32,
    pub(super) stamp: Stamp,
    pub(super) part: Part,
}

impl Parcel {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Parcel { shards, stamp, part } = self;
        let mut out = Out::default();
        out.bytes.extend(VERSION.to_le_bytes());
        out.bytes.extend(shards.to_le_bytes());
        out.bytes.extend(stamp.batch.as_bytes());
        out.bytes.extend(stamp.stored_at.to_le_bytes());
        part.encode(&mut out);
        out.finish().concat()
    }

    /// Reads what [`Parcel::encode`] wrote, for so many shards.
    pub(super) fn decode(data: &[u8], count: usize) -> Result<Parcel, Error> {
        let mut data = Reader(data);
        let version = data.version()?;
        let shards = u32::from_le_bytes(data.array()?);
        if shards as usize != count {
            return Err(Error::Schema(format!(
                "blocks for one of {shards} shards are parked in the spool, and activity_database \
                 names {count}: start once with the address as it was, until they are stored"
            )));
        }
        let batch = Uuid::from_bytes(data.array()?);
        let stored_at = u32::from_le_bytes(data.array()?);
        let part = Part::decode(&mut data, version)?;
        Ok(Parcel { shards, stamp: Stamp { batch, stored_at }, part })
    }

    /// Its event_ids.
    pub(super) fn events(&self) -> Result<Vec<Uuid>, Error> {
        native::uuids(&self.part.events, "event_id")
    }

    /// The same without the activities that the shard has.
    pub(super) fn asked(self, known: &HashSet<Uuid>) -> Result<Parcel, Error> {
        let part = Part { asked: true, ..self.part.without(known)? };
        Ok(Parcel { part, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rows::Blocks, *};
    use crate::store::conformance::activity;

    #[test]
    fn what_a_shard_has_is_left_out() {
        let stamp = Stamp { batch: Uuid::from_u128(7), stored_at: 1_790_000_000 };
        let ids = [1, 2, 3, 4].map(Uuid::from_u128);
        let cut = |numbers: &[u32]| {
            let mut blocks = Blocks::new();
            for number in numbers {
                let mut activity = activity(*number);
                activity.path = "/é".repeat(100 * *number as usize);
                activity.event_id = ids.get(*number as usize).copied();
                blocks.fill(&[(&activity, i64::from(*number))], stamp);
                activity.event_id.into_iter().for_each(|id| blocks.event(id, stamp));
            }
            blocks.finish()
        };
        let parcel = Parcel { shards: 2, stamp, part: cut(&[0, 1, 2, 3, 4]) };
        assert_eq!(Parcel::decode(&parcel.encode(), 2), Ok(parcel.clone()));
        assert!(matches!(Parcel::decode(&parcel.encode(), 3), Err(Error::Schema(_))));
        assert_eq!(parcel.events(), Ok(ids.to_vec()));
        let asked = parcel.clone().asked(&HashSet::default()).unwrap();
        assert_eq!(asked.part, Part { asked: true, ..parcel.part.clone() });
        let asked = parcel.clone().asked(&[ids[1], ids[3]].into_iter().collect()).unwrap();
        let want = cut(&[0, 2, 4]);
        assert_eq!((asked.part.rows, asked.part.asked), (3, true));
        assert_eq!(asked.part.activities, want.activities);
        // A row without an id is never left out.
        let none = parcel.asked(&ids.into_iter().collect()).unwrap();
        assert_eq!(none.part.activities, cut(&[4]).activities);
        let all = Parcel { shards: 2, stamp, part: cut(&[0, 1]) };
        let all = all.asked(&ids.into_iter().collect()).unwrap();
        assert!(all.part.rows == 0 && all.part.activities.is_empty());
        assert_eq!(Parcel::decode(&all.encode(), 2), Ok(all));
    }
}
