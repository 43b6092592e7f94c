//! The engine `file` (django/contrib/sessions/backends/file.py): a file for each session, called
//! SESSION_COOKIE_NAME and the key, in SESSION_FILE_PATH; it ends SESSION_COOKIE_AGE after its
//! last change.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::{LARGEST, now};
use crate::activity::Micros;
use crate::store::{Error, NewSession, SessionRow};

/// The folder of the sessions.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    prefix: String,
    age: Micros,
}

impl Files {
    /// `folder`: SESSION_FILE_PATH; `prefix`: SESSION_COOKIE_NAME; `age`: SESSION_COOKIE_AGE, in
    /// seconds.
    pub fn new(folder: PathBuf, prefix: String, age: u32) -> Self {
        Files { folder, prefix, age: Micros::from(age) * 1_000_000 }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let name = format!("{}_djaffar_probe_{}", self.prefix, std::process::id());
        let probe = self.folder.join(name);
        // One that was left behind by a start that was killed.
        drop(fs::remove_file(&probe));
        let made = open_new(&probe).and_then(|_| fs::remove_file(&probe));
        made.map_err(|error| {
            Error::Schema(format!(
                "session_file_path: no file can be made in {}: {error}. Set it as Django's \
                 SESSION_FILE_PATH, and run djaffar as the user of the Django site: Django keeps \
                 its sessions readable for nobody else",
                self.folder.display()
            ))
        })
    }

    /// The session; also one that has ended.
    pub(super) fn read(&self, key: &str) -> Result<Option<SessionRow>, Error> {
        let Some(path) = self.path(key) else { return Ok(None) };
        // A pipe of that name, in a folder of everybody's, must not be waited for.
        let at_once = OFlags::NONBLOCK.bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(at_once).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.away(&error)),
        };
        let away = |error| self.away(&error);
        let metadata = file.metadata().map_err(away)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let changed = metadata.modified().map_err(away)?;
        let mut data = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut data).map_err(away)?;
        if data.len() as u64 > LARGEST {
            return Ok(None);
        }
        // Django does not look at the age of an empty file: it is about to be written.
        let expires = if data.is_empty() { Micros::MAX } else { micros(changed) + self.age };
        Ok(Some(SessionRow { data, expires }))
    }

    /// Makes the file in one step, or leaves alone what is there.
    pub(super) fn write(&self, session: &NewSession) -> Result<(), Error> {
        let Some(path) = self.path(&session.key).filter(|_| session.expires > now()) else {
            return Ok(());
        };
        let away = |error| self.away(&error);
        let mut draft = path.clone().into_os_string();
        draft.push(format!("_out_{}", std::process::id()));
        // One that was left behind by a crash.
        drop(fs::remove_file(&draft));
        let mut file = open_new(draft.as_ref()).map_err(away)?;
        let began = Duration::from_micros((session.expires - self.age).unsigned_abs());
        let linked = file
            .write_all(session.data.as_bytes())
            .and_then(|()| file.set_modified(SystemTime::UNIX_EPOCH + began))
            .and_then(|()| match fs::hard_link(&draft, &path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            });
        drop(fs::remove_file(&draft));
        linked.map_err(away)
    }

    /// `None` for a key that would name something else than a session's file.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        key.bytes().all(plain).then(|| self.folder.join(format!("{}{key}", self.prefix)))
    }

    fn away(&self, error: &std::io::Error) -> Error {
        Error::Unavailable(format!("the sessions in {}: {error}", self.folder.display()))
    }
}

/// As Python's `mkstemp`: new, and only for us to read.
fn open_new(path: &std::path::Path) -> std::io::Result<fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn micros(time: SystemTime) -> Micros {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX / 2)
}
