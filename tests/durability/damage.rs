//! Bytes of a waiting spool change: what cannot be read is put aside, and all else is stored as it
//! was sent.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};

use super::{
    activity::Id,
    audit::Findings,
    rig::{Rig, SILENCE},
};

/// A page of the spool, and what stands in it before records (`src/spool/mod.rs`).
const PAGE: usize = 4_096;
const HEAD: usize = 64;

/// A rig whose activities all wait in the spool, and no server.
fn waiting(rig: Rig) -> Rig {
    let mut rig = rig;
    rig.fleet.pause(Duration::from_millis(1));
    let server = rig.serve();
    let lock = rig.lock();
    rig.load(&server, Duration::from_millis(500));
    assert!(server.stop().success());
    drop(lock);
    rig
}

/// Where activities are in the segments: by the start of their paths, counted without the heads
/// of the pages, over which records flow.
struct Map(Vec<(PathBuf, Vec<(usize, Id)>)>);

/// The offset in the file of a byte of the records.
fn offset(at: usize) -> usize {
    at / (PAGE - HEAD) * PAGE + HEAD + at % (PAGE - HEAD)
}

impl Map {
    fn of(rig: &Rig) -> Map {
        let segment = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap();
            let records: Vec<u8> =
                bytes.chunks(PAGE).flat_map(|page| &page[HEAD..]).copied().collect();
            let prefix = format!("/{:016x}/", rig.fleet.run);
            let starts = memchr::memmem::find_iter(&records, prefix.as_bytes());
            let ids = starts.filter_map(|at| {
                let end = records.len().min(at + 60);
                let text = String::from_utf8_lossy(&records[at..end]);
                Some((at, Id::of_path(rig.fleet.run, &text)?))
            });
            (path, ids.collect())
        };
        Map(rig.segments().into_iter().map(segment).collect())
    }

    /// The activities that may touch a page: those in it, and the ones next to it.
    fn near(&self, segment: usize, page: usize) -> impl Iterator<Item = Id> {
        let ids = &self.0[segment].1;
        let first = ids.partition_point(|(at, _)| offset(*at) < page * PAGE);
        let last = ids.partition_point(|(at, _)| offset(*at) < (page + 1) * PAGE);
        ids[first.saturating_sub(1)..ids.len().min(last + 1)].iter().map(|(_, id)| *id)
    }

    fn flip(&self, segment: usize, at: usize, bits: u8) {
        let file = File::options().read(true).write(true).open(&self.0[segment].0).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at as u64).unwrap();
        file.write_all_at(&[byte[0] ^ bits], at as u64).unwrap();
    }

    /// Changes letters of paths, each in another page; says in how many.
    fn flip_letters(&self, rig: &mut Rig) -> usize {
        let mut pages = BTreeSet::new();
        while pages.len() < 20 {
            let (segment, (at, id)) = self.any(rig);
            let marker = id.marker(rig.fleet.run).len();
            let letter = offset(at + marker);
            if rig.fleet.fields(id).path.len() > marker && pages.insert((segment, letter / PAGE)) {
                // 'x' to 'y': still a path.
                self.flip(segment, letter, 1);
            }
        }
        pages.len()
    }

    /// Any activity, and the number of its segment.
    fn any(&self, rig: &mut Rig) -> (usize, (usize, Id)) {
        let count: usize = self.0.iter().map(|(_, ids)| ids.len()).sum();
        let any = rig.dice.between(0, count as u64) as usize;
        let all = self.0.iter().enumerate();
        let mut all = all.flat_map(|(segment, (_, ids))| ids.iter().map(move |id| (segment, *id)));
        all.nth(any).unwrap()
    }
}

#[test]
fn flipped_bits_cost_their_pages_and_nothing_is_stored_altered() {
    let mut rig = waiting(Rig::new());
    let map = Map::of(&rig);
    let mut may_be_lost = HashSet::new();
    let mut damaged = BTreeSet::new();
    for _ in 0..40 {
        let (segment, (near, _)) = map.any(&mut rig);
        let page = offset(near) / PAGE;
        let at = page * PAGE + rig.dice.between(0, PAGE as u64) as usize;
        map.flip(segment, at, 1 << rig.dice.between(0, 8));
        may_be_lost.extend(map.near(segment, page));
        damaged.insert((segment, page));
    }
    let server = rig.serve();
    let findings = rig.audit_when_quiet_for(SILENCE);
    let Findings { acknowledged, lost, doubled, altered, unknown, .. } = &findings;
    println!("{} of {acknowledged} lost by {} damaged pages", lost.len(), damaged.len());
    assert_eq!((doubled.len(), altered.len(), unknown.len()), (0, 0, 0), "{findings:.2000?}");
    assert!(!lost.is_empty(), "the damage missed");
    for id in lost {
        assert!(may_be_lost.contains(id), "{id:?} was not damaged");
    }
    assert!(!rig.quarantine(".damaged").is_empty());
    rig.must_take(&server);
    rig.must_be_whole();
}

#[test]
fn flipped_letters_are_never_stored() {
    let mut rig = waiting(Rig::new());
    let pages = Map::of(&rig).flip_letters(&mut rig);
    let server = rig.serve();
    let findings = rig.audit_when_quiet_for(SILENCE);
    assert_eq!((findings.altered.len(), findings.doubled.len()), (0, 0), "{findings:.2000?}");
    assert!(!findings.lost.is_empty());
    let kept = rig.quarantine(".damaged").len();
    assert!(kept > 0 && kept <= 2 * pages, "{kept} of {pages}");
    rig.must_take(&server);
}

/// The harness is tried: without checksums, altered activities are stored.
#[test]
fn damage_without_checksums_is_noticed() {
    let mut rig = waiting(Rig::new().breaking("crc"));
    Map::of(&rig).flip_letters(&mut rig);
    let _server = rig.serve();
    let findings = rig.audit_when_quiet_for(SILENCE);
    println!("{} stored altered", findings.altered.len());
    assert!(!findings.altered.is_empty(), "nothing is altered: the harness does not see it");
}
