//! One block of bytes that outlives its process, beside the segments: what the drain is about to
//! do to a database without transactions. Knows nothing of what is in it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Error;

const MAGIC: &[u8; 8] = b"DJFROZE\x01";
pub(super) const HEAD: usize = 24;
/// Far more than a batch takes.
const LONGEST: u64 = 1 << 30;

/// The file `frozen` of a spool's directory; only the owner of the directory may use it.
#[derive(Debug)]
pub struct Frozen {
    directory: PathBuf,
    /// Open for writing over what is in it; none: a new file is made.
    file: Option<File>,
}

impl Frozen {
    /// Of this directory. Opens nothing yet.
    pub fn new(directory: impl Into<PathBuf>) -> Frozen {
        Frozen { directory: directory.into(), file: None }
    }

    /// What was kept last. `None`: nothing, or it was being written when the process ended.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read.
    pub fn load(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        contents(MAGIC, &file).map_err(Error::io("read", &path))
    }

    /// Keeps these bytes, in pieces, instead of those before; when it returns, they are on the disk.
    /// What was kept before must not be needed any more: it is written over.
    ///
    /// # Errors
    /// [`Error::Io`]: either is kept, or nothing.
    pub fn keep<P: AsRef<[u8]>>(&mut self, pieces: &[P]) -> Result<(), Error> {
        // After a failure it is not written again.
        if let Some(file) = self.file.take() {
            let written = write(&file, MAGIC, pieces).and_then(|()| file.sync_data());
            written.map_err(Error::io("write", &self.path()))?;
            self.file = Some(file);
            return Ok(());
        }
        let (path, draft) = (self.path(), self.directory.join("frozen.tmp"));
        let made = replace(&path, &draft, |file| write(file, MAGIC, pieces));
        self.file = Some(made.map_err(Error::io("write", &path))?);
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.join("frozen")
    }
}

/// Writes bytes with what is needed to know them again. Many megabytes, which are not copied for that.
pub(super) fn write<P: AsRef<[u8]>>(file: &File, magic: &[u8; 8], pieces: &[P]) -> io::Result<()> {
    let length: usize = pieces.iter().map(|piece| piece.as_ref().len()).sum();
    let sum = pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece.as_ref()));
    let mut head = magic.to_vec();
    head.extend((length as u64).to_le_bytes());
    head.extend(checksum(length, sum).to_le_bytes());
    let mut at = 0;
    for piece in [&*head].into_iter().chain(pieces.iter().map(AsRef::as_ref)) {
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// The bytes of such a file. `None`: it is not whole, or nothing.
pub(super) fn contents(magic: &[u8; 8], file: &File) -> io::Result<Option<Vec<u8>>> {
    let read = |bytes: &mut [u8], at| match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
        Ok(()) => Ok(true),
    };
    let mut head = [0; HEAD];
    if !read(&mut head, 0)? {
        return Ok(None);
    }
    let [found, length, sum] = [0, 8, 16].map(|at| head.get(at..at + 8).unwrap_or_default());
    let number = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
    let (length, sum) = (number(length), number(sum));
    if found != magic || length > LONGEST || length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let is_whole =
        read(&mut bytes, HEAD as u64)? && checksum(bytes.len(), crc32c::crc32c(&bytes)) == sum;
    Ok(is_whole.then_some(bytes))
}

/// Puts a file in the place of another, all of it or nothing, durably. Both names are of one folder.
pub(super) fn replace(
    path: &Path,
    draft: &Path,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(draft)?;
    write(&file)?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

fn checksum(length: usize, sum: u32) -> u64 {
    u64::from(crc32c::crc32c(&(length as u64).to_le_bytes()) ^ sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frozen");
        let load = || Frozen::new(dir.path()).load().unwrap();
        assert_eq!(load(), None);
        let mut frozen = Frozen::new(dir.path());
        for bytes in [&[7; 100][..], b"short", &[8; 5_000]] {
            frozen.keep(&[bytes]).unwrap();
            assert_eq!(load().as_deref(), Some(bytes));
        }
        // Broken off anywhere, over what was there before.
        let before = std::fs::read(&path).unwrap();
        frozen.keep(&[[9; 100], [9; 100], [9; 100]]).unwrap();
        let after = std::fs::read(&path).unwrap();
        for cut in 0..HEAD + 300 {
            std::fs::write(&path, [&after[..cut], &before[cut..]].concat()).unwrap();
            let loaded = load();
            let is_right = match &loaded {
                None => true,
                Some(bytes) => bytes == &[8; 5_000] || bytes == &[9; 300],
            };
            assert!(is_right, "{cut}: {loaded:?}");
        }
        std::fs::write(&path, &after[..40]).unwrap();
        assert_eq!(load(), None, "shorter than it says");
        frozen.keep::<Vec<u8>>(&[]).unwrap();
        assert_eq!(load(), None, "nothing");
    }

    #[test]
    fn a_new_file_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("later");
        let mut frozen = Frozen::new(&missing);
        assert!(frozen.keep(&[b"one"]).is_err());
        std::fs::create_dir(&missing).unwrap();
        frozen.keep(&[b"t", b"w", b"o"]).unwrap();
        assert_eq!(Frozen::new(&missing).load().unwrap().as_deref(), Some(&b"two"[..]));
    }
}
