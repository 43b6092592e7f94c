//! A folder that one process has to itself, for a [`Frozen`](super::Frozen) batch without a spool.
//! Knows nothing of what is in it.

use std::{fs::File, path::Path};

use super::{Error, directory::Directory};

/// The folder, as long as this lives.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
    /// Nobody has had it before.
    pub is_new: bool,
}

impl Claim {
    /// Takes the folder, or makes it.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it.
    pub fn take(folder: &Path) -> Result<Claim, Error> {
        let is_new = !folder.join("lock").exists();
        let directory = Directory::plain(folder.to_owned())?;
        let lock = directory.lock()?;
        directory.sync()?;
        Ok(Claim { _lock: lock, is_new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let claim = Claim::take(&folder).unwrap();
        assert!(claim.is_new);
        assert!(matches!(Claim::take(&folder), Err(Error::Locked { .. })));
        drop(claim);
        assert!(!Claim::take(&folder).unwrap().is_new);
    }
}
