//! A connection to an SQLite file, and what its errors mean to the caller.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::store::Error;
use crate::store::schema::RUN_MIGRATE;

/// A connection that is made when first used, and again when the file behind the path is another
/// one: who writes to a file that was moved away loses what he writes.
#[derive(Debug)]
pub(super) struct Link {
    path: PathBuf,
    setup: Setup,
    open: Option<(Connection, File)>,
}

/// How a connection is to behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// How long to wait for a lock.
    pub(super) patience: Duration,
    /// Statements to run on connecting.
    pub(super) pragmas: &'static str,
}

/// Device and inode.
type File = (u64, u64);

impl Link {
    pub(super) fn new(path: &Path, setup: Setup) -> Self {
        Self { path: path.into(), setup, open: None }
    }

    /// Whether the connection is there and its file still is the one behind the path. Where it
    /// is not, [`Link::get`] makes a new one.
    pub(super) fn is_current(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, file)| identity(&self.path) == Some(*file))
    }

    /// The connection.
    pub(super) fn get(&mut self) -> Result<&mut Connection, Error> {
        if !self.is_current() {
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => connect(&self.path, self.setup)?,
        };
        Ok(&mut self.open.insert(open).0)
    }

    /// Does something with the connection. An error that may be the connection's own fault (and
    /// not that of a lock) has the next call connect anew.
    pub(super) fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        work(self.get()?).map_err(|failure| {
            let (reconnect, error) = failure.sort(&self.path);
            if reconnect {
                self.open = None;
            }
            error
        })
    }
}

fn identity(path: &Path) -> Option<File> {
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}

fn connect(path: &Path, setup: Setup) -> Result<(Connection, File), Error> {
    let missing = || {
        Error::Unavailable(format!(
            "there is no database at {}; where it never was, {RUN_MIGRATE}",
            path.display()
        ))
    };
    let before = identity(path).ok_or_else(missing)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(setup.patience)?;
        connection.execute_batch(setup.pragmas)?;
        Ok(connection)
    };
    let connection = open().map_err(|error: rusqlite::Error| Failure::from(error).sort(path).1)?;
    // Replaced in between: the next attempt tells.
    identity(path).filter(|after| *after == before).ok_or_else(missing)?;
    Ok((connection, before))
}

/// What went wrong inside of [`Link::with`].
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's own.
    Sqlite(rusqlite::Error),
    /// Known to the caller already.
    Known(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl Failure {
    /// What the caller can do, and whether to connect anew.
    pub(super) fn sort(self, path: &Path) -> (bool, Error) {
        let error = match self {
            Self::Known(error) => return (false, error),
            Self::Sqlite(error) => error,
        };
        let text = format!("{}: {error}", path.display());
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                // We never leave out what is mandatory in our tables: then they are not ours.
                ErrorCode::ConstraintViolation
                    if failure.extended_code == ffi::SQLITE_CONSTRAINT_NOTNULL =>
                {
                    (false, Error::Schema(format!("{text}; {RUN_MIGRATE}")))
                }
                ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
                    (false, Error::Rejected(text))
                }
                ErrorCode::DiskFull => (true, Error::Full(text)),
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    (false, Error::Unavailable(text))
                }
                ErrorCode::Unknown if is_missing(&text) => {
                    (false, Error::Schema(format!("{text}; {RUN_MIGRATE}")))
                }
                _ => (true, Error::Unavailable(text)),
            },
            rusqlite::Error::SqlInputError { .. } => {
                (false, Error::Schema(format!("{text}; {RUN_MIGRATE}")))
            }
            rusqlite::Error::InvalidColumnType(..) => (false, Error::Schema(text)),
            _ => (true, Error::Unavailable(text)),
        }
    }
}

/// SQLite has one code for errors of SQL, so that only its message tells them apart.
fn is_missing(message: &str) -> bool {
    ["no such table", "no such column", "has no column named", "ON CONFLICT clause does not match"]
        .iter()
        .any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_library_is_free_of_the_wal_reset_bug() {
        // Two connections that write and checkpoint corrupt the file before 3.51.3, and a Django
        // and we are just these two.
        assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
    }

    #[test]
    fn the_bundled_library_is_built_as_the_workspace_says() {
        let connection = Connection::open_in_memory().unwrap();
        let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
        let options: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for option in ["DEFAULT_MEMSTATUS=0", "DEFAULT_LOOKASIDE=512,256"] {
            assert!(options.iter().any(|it| it == option), "{option}: {options:?}");
        }
        assert!(!options.iter().any(|it| it == "ENABLE_API_ARMOR"), "{options:?}");
    }

    #[test]
    fn errors_by_what_the_caller_can_do() {
        #[derive(Debug, PartialEq)]
        enum Want {
            Wait,
            Less,
            Never,
            Tables,
        }
        for (code, want) in [
            (ffi::SQLITE_BUSY, Want::Wait),
            (ffi::SQLITE_BUSY_SNAPSHOT, Want::Wait),
            (ffi::SQLITE_LOCKED, Want::Wait),
            (ffi::SQLITE_READONLY, Want::Wait),
            (ffi::SQLITE_FULL, Want::Less),
            (ffi::SQLITE_IOERR_FSYNC, Want::Wait),
            (ffi::SQLITE_CANTOPEN, Want::Wait),
            (ffi::SQLITE_CORRUPT, Want::Wait),
            (ffi::SQLITE_NOTADB, Want::Wait),
            (ffi::SQLITE_NOMEM, Want::Wait),
            (ffi::SQLITE_CONSTRAINT_CHECK, Want::Never),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Want::Never),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, Want::Never),
            (ffi::SQLITE_MISMATCH, Want::Never),
            (ffi::SQLITE_TOOBIG, Want::Never),
            (ffi::SQLITE_CONSTRAINT_NOTNULL, Want::Tables),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let got = match Failure::from(error).sort(Path::new("db")).1 {
                Error::Unavailable(_) => Want::Wait,
                Error::Full(_) => Want::Less,
                Error::Rejected(_) => Want::Never,
                Error::Schema(_) => Want::Tables,
            };
            assert_eq!(got, want, "{code}");
        }
    }
}
