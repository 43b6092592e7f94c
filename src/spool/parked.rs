//! Blocks of bytes that wait for a part of the database that is away: each a file of its own beside
//! the segments, in order. Knows nothing of what is in them.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{Error, Full, directory::make, frozen};

const MAGIC: &[u8; 8] = b"DJPARKD\x01";
/// What a parked block leaves free of the disk; of a small one, a quarter.
const LEAVE: u64 = 64 << 20;
/// What files take of a disk comes in such pieces.
const CLUSTER: u64 = 4_096;

/// Where a block is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// For which part of the database.
    pub lane: u32,
    /// Its place among all blocks, in the order in which they were parked.
    pub number: u64,
    /// Its name.
    pub name: Uuid,
}

impl Place {
    fn file_name(&self) -> String {
        format!("{:04}-{:012}-{}.block", self.lane, self.number, self.name)
    }

    fn parse(name: &str) -> Option<Place> {
        let mut parts = name.strip_suffix(".block")?.splitn(3, '-');
        Some(Place {
            lane: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
            name: parts.next()?.parse().ok()?,
        })
    }
}

/// The folder `parked` of a spool's directory; only the owner of the directory may change it.
#[derive(Debug)]
pub struct Parked {
    spool: PathBuf,
    folder: PathBuf,
}

impl Parked {
    /// Of this directory of a spool. Makes nothing yet.
    pub fn new(spool: impl Into<PathBuf>) -> Parked {
        let spool = spool.into();
        Parked { folder: spool.join("parked"), spool }
    }

    /// What is parked, each with the bytes that it takes of the disk: by part, then in order.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(Place, u64)>, Error> {
        let failed = |error: io::Error| Error::io("list", &self.folder)(error);
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if let Some(place) = entry.file_name().to_str().and_then(Place::parse) {
                found.push((place, size(entry.metadata().map_err(failed)?.len())));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes what was not finished: to be called before anything else is done here.
    pub(super) fn clean(&self) -> Result<(), Error> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Ok(()) };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|ending| ending == "draft") {
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Parks a block, in place of one that is there already; when it returns, it is on the disk.
    /// Returns how many bytes of it that takes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Full`]: what was there before is there.
    pub fn keep(&self, place: &Place, bytes: &[u8]) -> Result<u64, Error> {
        // Of its own: each part of the database has a thread.
        let path = self.path(place);
        let draft = path.with_extension("draft");
        let length = (frozen::HEAD + bytes.len()) as u64;
        if !self.folder.is_dir() {
            make(&self.folder).map_err(Error::io("make", &self.folder))?;
        }
        if !has_room(&self.folder, length) {
            return Err(Full::Disk(self.folder.clone()).into());
        }
        let written = frozen::replace(&path, &draft, |file| frozen::write(file, MAGIC, &[bytes]));
        written.map_err(Error::io("write", &path))?;
        Ok(size(length))
    }

    /// What is parked there. `None`: it is damaged, and in quarantine now; or it is gone.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, or not be moved.
    pub fn load(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(place);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let bytes = frozen::contents(MAGIC, &file).map_err(Error::io("read", &path))?;
        if bytes.is_none() {
            let quarantine = self.spool.join("quarantine");
            let move_away = || {
                if !quarantine.is_dir() {
                    make(&quarantine)?;
                }
                let name = format!("parked-{}.damaged", place.file_name());
                std::fs::rename(&path, quarantine.join(name))?;
                File::open(&quarantine)?.sync_all()?;
                File::open(&self.folder)?.sync_all()
            };
            move_away().map_err(Error::io("move to quarantine", &path))?;
        }
        Ok(bytes)
    }

    /// Removes a block, durably; one that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::Io`]: it is there, or may come back by a power cut.
    pub fn remove(&self, place: &Place) -> Result<(), Error> {
        let path = self.path(place);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(Error::io("remove", &path))?,
        }
        let sync = || File::open(&self.folder)?.sync_all();
        sync().map_err(Error::io("sync", &self.folder))
    }

    fn path(&self, place: &Place) -> PathBuf {
        self.folder.join(place.file_name())
    }
}

fn size(bytes: u64) -> u64 {
    bytes.next_multiple_of(CLUSTER)
}

/// What cannot be asked is taken for endless: then the disk itself says when it is full.
fn has_room(folder: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(folder).map_or(true, |found| {
        let [free, total] = [found.f_bavail, found.f_blocks].map(|it| it * found.f_frsize);
        free >= bytes.saturating_add(LEAVE.min(total / 4))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lane: u32, number: u64) -> Place {
        Place { lane, number, name: Uuid::from_u128(number.into()) }
    }

    #[test]
    fn in_order_until_removed() {
        let dir = tempfile::tempdir().unwrap();
        let parked = Parked::new(dir.path());
        assert_eq!(parked.list().unwrap(), []);
        let places = [place(0, 2), place(0, 10), place(1, 1), place(1, 3)];
        for (step, at) in [3, 0, 2, 1].into_iter().enumerate() {
            parked.keep(&places[at], &vec![at as u8; 5_000 * (step + 1)]).unwrap();
        }
        let found = Parked::new(dir.path()).list().unwrap();
        assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), places);
        assert_eq!(found[3].1, 8_192, "as the disk counts");
        assert_eq!(parked.load(&places[2]).unwrap(), Some(vec![2; 15_000]));
        parked.keep(&places[2], b"other").unwrap();
        assert_eq!(parked.load(&places[2]).unwrap().as_deref(), Some(&b"other"[..]));
        for again in 0..2 {
            parked.remove(&places[2]).unwrap();
            assert_eq!(parked.load(&places[2]).unwrap(), None, "{again}");
        }
        assert_eq!(parked.list().unwrap().len(), 3);
    }

    #[test]
    fn by_several_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let parked = Parked::new(dir.path());
        parked.keep(&place(9, 0), b"makes the folder").unwrap();
        std::thread::scope(|scope| {
            for lane in 0..4 {
                let parked = &parked;
                scope.spawn(move || {
                    for number in 0..20 {
                        let bytes = vec![lane as u8 * 20 + number as u8; 3_000];
                        parked.keep(&place(lane, number), &bytes).unwrap();
                        assert_eq!(parked.load(&place(lane, number)).unwrap(), Some(bytes));
                    }
                });
            }
        });
        std::fs::write(dir.path().join("parked/0000-1.draft"), "").unwrap();
        parked.clean().unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("parked")).unwrap().count(), 81);
    }

    #[test]
    fn damage_goes_to_quarantine() {
        let dir = tempfile::tempdir().unwrap();
        let parked = Parked::new(dir.path());
        let (place, path) = (place(1, 1), dir.path().join("parked").join(place(1, 1).file_name()));
        parked.keep(&place, &[7; 300]).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(5) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(parked.load(&place).unwrap(), None, "{at}");
            assert!(parked.list().unwrap().is_empty() && !path.exists(), "{at}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 1);
        for length in (0..good.len()).step_by(7) {
            std::fs::write(&path, &good[..length]).unwrap();
            assert_eq!(parked.load(&place).unwrap(), None, "{length}");
        }
    }
}
