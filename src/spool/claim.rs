//! A folder that one process has to itself, for a [`Frozen`](super::Frozen) batch without a spool.
//! Knows nothing of what is in it.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use super::{Error, directory::Directory, frozen};

/// Of a folder's name.
const DIGITS: usize = 16;

/// The folder, as long as this lives.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
    /// The name that the folder got from whom had it first: no other has the same.
    pub name: u64,
}

impl Claim {
    /// Takes the folder, or makes it.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it.
    pub fn take(folder: &Path) -> Result<Claim, Error> {
        let directory = Directory::plain(folder.to_owned())?;
        let lock = directory.lock()?;
        let name = name_of(folder).map_err(Error::io("name", folder))?;
        directory.sync()?;
        Ok(Claim { _lock: lock, name })
    }
}

fn name_of(folder: &Path) -> std::io::Result<u64> {
    let path = folder.join("name");
    if let Ok(text) = std::fs::read_to_string(&path)
        && text.len() == DIGITS
        && let Ok(name) = u64::from_str_radix(&text, 16)
    {
        return Ok(name);
    }
    // A database keeps it as a position of a spool.
    let name = rand::random::<u64>() >> 1;
    let text = format!("{name:0DIGITS$x}");
    let write = |file: &File| file.write_all_at(text.as_bytes(), 0);
    frozen::replace(&path, &folder.join("name.tmp"), write)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let claim = Claim::take(&folder).unwrap();
        let name = claim.name;
        assert!(matches!(Claim::take(&folder), Err(Error::Locked { .. })));
        drop(claim);
        assert_eq!(Claim::take(&folder).unwrap().name, name);
        assert_ne!(Claim::take(&dir.path().join("c")).unwrap().name, name);
        // Half of a name is none: nothing was written under it yet.
        std::fs::write(folder.join("name"), "12").unwrap();
        let other = Claim::take(&folder).unwrap().name;
        assert!(other != name && other < 1 << 63);
    }
}
