//! Random histories against a model: acknowledged means delivered, stored means never again.

use std::collections::{BTreeSet, HashMap};

use proptest::{prelude::*, sample::Index};
use uuid::Uuid;

use super::*;
use crate::spool::{page::PAGE, scan};

#[derive(Debug, Clone)]
enum Step {
    Append {
        lane: Index,
        size: usize,
    },
    Commit {
        lane: Index,
    },
    Read {
        records: usize,
    },
    Store,
    /// A clean restart.
    Reopen,
    /// A power cut in the middle of the next commit of a lane: each 512-byte sector that differs
    /// from the last sync is kept or not.
    Crash {
        lane: Index,
        kept: u64,
    },
    /// A bit changes while nobody looks.
    Flip {
        bit: Index,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![9 => 8_usize..600, 2 => 3_000_usize..20_000];
    let step = prop_oneof![
        20 => (any::<Index>(), size).prop_map(|(lane, size)| Step::Append { lane, size }),
        10 => any::<Index>().prop_map(|lane| Step::Commit { lane }),
        6 => (1_usize..9).prop_map(|records| Step::Read { records }),
        5 => Just(Step::Store),
        1 => Just(Step::Reopen),
        2 => (any::<Index>(), any::<u64>()).prop_map(|(lane, kept)| Step::Crash { lane, kept }),
        1 => any::<Index>().prop_map(|bit| Step::Flip { bit }),
    ];
    proptest::collection::vec(step, 1..120)
}

struct World {
    dir: TempDir,
    open: Option<(Spool, Vec<Lane>, Reader)>,
    next_id: u64,
    /// Appended and not committed, by lane.
    pending: Vec<Vec<u64>>,
    /// Acknowledged, with the lane of this life of the process.
    acked: BTreeSet<u64>,
    /// Appended to a commit that the power cut interrupted: may be delivered.
    maybe: BTreeSet<u64>,
    /// As the database: rows and cursors, always together.
    stored: BTreeSet<u64>,
    cursors: HashMap<Uuid, u64>,
    /// Delivered and not stored.
    read: Vec<Batch>,
    sizes: HashMap<u64, usize>,
}

const LANES: usize = 2;

fn payload(id: u64, size: usize) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.resize(size, u8::try_from(id % 251).unwrap());
    bytes
}

fn id(payload: &[u8]) -> u64 {
    u64::from_le_bytes(*payload.first_chunk().unwrap())
}

impl World {
    fn new() -> World {
        let mut world = World {
            dir: directory(),
            open: None,
            next_id: 0,
            pending: vec![Vec::new(); LANES],
            acked: BTreeSet::new(),
            maybe: BTreeSet::new(),
            stored: BTreeSet::new(),
            cursors: HashMap::new(),
            read: Vec::new(),
            sizes: HashMap::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let options = Options { lanes: LANES, ..options(self.dir.path()) };
        let (spool, lanes, mut reader) = Spool::open(options).unwrap();
        let cursors: Vec<_> = self.cursors.iter().map(|(uuid, at)| (*uuid, *at)).collect();
        reader.resume(&cursors);
        self.open = Some((spool, lanes, reader));
        self.read.clear();
        self.pending.iter_mut().for_each(Vec::clear);
    }

    fn run(&mut self, step: &Step) {
        let (_, lanes, reader) = self.open.as_mut().unwrap();
        match step {
            Step::Append { lane, size } => {
                let lane = lane.index(LANES);
                lanes[lane].append(&payload(self.next_id, *size)).unwrap();
                self.pending[lane].push(self.next_id);
                self.sizes.insert(self.next_id, *size);
                self.next_id += 1;
            }
            Step::Commit { lane } => {
                let lane = lane.index(LANES);
                lanes[lane].commit().unwrap();
                self.acked.extend(self.pending[lane].drain(..));
            }
            Step::Read { records } => {
                self.read.extend(reader.next(*records, 50_000).unwrap());
            }
            Step::Store => self.store(),
            Step::Reopen => {
                self.open = None;
                self.start();
            }
            Step::Crash { lane, kept } => self.crash(lane.index(LANES), *kept),
            Step::Flip { bit } => {
                self.open = None;
                self.flip(bit);
                self.start();
            }
        }
    }

    fn store(&mut self) {
        let (_, _, reader) = self.open.as_mut().unwrap();
        for batch in self.read.drain(..) {
            let mut last = None;
            for record in &batch.records {
                let id = id(&record.payload);
                assert_eq!(record.payload, payload(id, self.sizes[&id]), "altered");
                assert!(last < Some(id), "order within a lane");
                last = Some(id);
                assert!(self.acked.contains(&id) || self.maybe.contains(&id), "never sent");
                assert!(self.stored.insert(id), "{id} was stored already");
            }
            self.cursors.insert(batch.segment, batch.end);
            for gone in reader.stored(&batch).unwrap() {
                self.cursors.remove(&gone);
            }
        }
    }

    fn crash(&mut self, lane: usize, kept: u64) {
        let (before, after) = (directory(), directory());
        let (_, lanes, _) = self.open.as_mut().unwrap();
        // A roll is synced on its own and happens before the write.
        let bytes = lanes[lane].pending.page_bytes();
        lanes[lane].ready(bytes).unwrap();
        copy_tree(self.dir.path(), before.path());
        lanes[lane].commit().unwrap();
        self.maybe.extend(self.pending[lane].drain(..));
        for path in segment_files(self.dir.path()) {
            let name = path.file_name().unwrap();
            let synced = before.path().join("spool").join(name);
            if let (Ok(old), Ok(new)) = (fs::read(&synced), fs::read(&path))
                && old.len() == new.len()
            {
                fs::write(&synced, torn(&old, &new, kept)).unwrap();
            }
        }
        copy_tree(before.path(), after.path());
        self.open = None;
        self.dir = after;
        self.start();
    }

    /// One bit of what may still be read; records that touch its page may be lost from now on.
    fn flip(&mut self, bit: &Index) {
        let files = segment_files(self.dir.path());
        let images: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        let bits: usize = images.iter().map(|image| image.len() * 8).sum();
        if bits == 0 {
            return;
        }
        let mut bit = bit.index(bits);
        for (path, mut image) in files.iter().zip(images) {
            if bit >= image.len() * 8 {
                bit -= image.len() * 8;
                continue;
            }
            let at = bit / 8;
            let page = (at / PAGE * PAGE) as u64..((at / PAGE + 1) * PAGE) as u64;
            let records = scan(&image).records;
            let ends = records.iter().skip(1).map(|record| record.at).chain([image.len() as u64]);
            for (record, end) in records.iter().zip(ends) {
                if record.at < page.end && end > page.start {
                    let id = id(&record.payload);
                    self.acked.remove(&id);
                    self.maybe.insert(id);
                }
            }
            image[at] ^= 1 << (bit % 8);
            return fs::write(path, image).unwrap();
        }
    }

    /// Reads and stores all that is there.
    fn drain(&mut self) {
        loop {
            let (_, _, reader) = self.open.as_mut().unwrap();
            let Some(batch) = reader.next(100, 1 << 20).unwrap() else { break };
            self.read.push(batch);
            self.store();
        }
    }
}

/// Some sectors of `new` over `old`, as `kept` says.
fn torn(old: &[u8], new: &[u8], kept: u64) -> Vec<u8> {
    let mut image = old.to_vec();
    let mut changed = 0_u32;
    for (old, new) in image.chunks_mut(512).zip(new.chunks(512)) {
        if old != new {
            if kept.rotate_right(changed) & 1 == 1 {
                old.copy_from_slice(new);
            }
            changed += 1;
        }
    }
    image
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else if let Err(error) = fs::copy(entry.path(), &to) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "removed meanwhile");
        }
    }
}

proptest! {
    // PROPTEST_CASES sets another number than the default of 256.
    #[test]
    fn acknowledged_is_delivered_once(steps in steps(), lane in any::<Index>()) {
        let append = Step::Append { lane, size: 9 };
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.store();
        world.drain();
        let lost: Vec<_> = world.acked.difference(&world.stored).collect();
        prop_assert!(lost.is_empty(), "lost {lost:?}");
        world.run(&Step::Reopen);
        world.drain();
        world.run(&append);
        (0..LANES).for_each(|lane| {
            let (_, lanes, _) = world.open.as_mut().unwrap();
            lanes[lane].commit().unwrap();
            world.acked.extend(world.pending[lane].drain(..));
        });
        world.drain();
        prop_assert!(world.stored.contains(&(world.next_id - 1)), "a fresh one goes through");
    }
}
