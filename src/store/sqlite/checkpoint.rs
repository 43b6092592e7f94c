//! SQLite: has what is committed moved from the log (`-wal`) into the file, on a thread and a
//! connection of their own while the next batch is made and written.
//!
//! The log begins anew only where all of it is in the file when a batch is written. So the thread
//! moves most, and what was committed meanwhile is moved between two batches. Knows no table.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;

use super::link::{Link, Setup};

/// From so many bytes in the log on. The more, the more batches change an index page that is then
/// written once.
const LOG: u64 = 64 << 20;

/// What it moves is durable before the log begins anew. Does what SQLite calls PASSIVE: waits for nobody.
const SETUP: Setup = Setup {
    patience: Duration::ZERO,
    pragmas: "PRAGMA synchronous = EXTRA; PRAGMA mmap_size = 0; PRAGMA cache_size = 0;",
};

/// Has it done; ends its thread when dropped.
pub(super) struct Checkpoints {
    path: PathBuf,
    /// From so many bytes on.
    from: u64,
    thread: Option<Thread>,
    /// The thread could not do it: it is done here, once.
    here: bool,
}

struct Thread {
    /// Tells it to begin; it ends when this is dropped.
    begin: Option<Sender<()>>,
    /// Whether it could.
    done: Receiver<bool>,
    is_busy: bool,
    handle: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), from: LOG, thread: None, here: false }
    }

    /// After a commit, outside of a transaction. The batch is stored whatever becomes of this: a log
    /// that could not be moved is, with the next one.
    pub(super) fn committed(&mut self, connection: &Connection) {
        if self.is_busy() {
            return;
        }
        let Ok(Some(log)) = Log::of(connection) else { return };
        if log.bytes < self.from {
            return;
        }
        // It has been at work where little is left.
        let here = std::mem::take(&mut self.here) || log.waiting < log.bytes / 2;
        if here || !self.begin() {
            drop(checkpoint(connection));
        }
    }

    fn is_busy(&mut self) -> bool {
        let Some(thread) = &mut self.thread else { return false };
        if !thread.is_busy {
            return false;
        }
        match thread.done.try_recv() {
            Err(TryRecvError::Empty) => return true,
            Ok(could) => {
                thread.is_busy = false;
                self.here = !could;
            }
            Err(TryRecvError::Disconnected) => {
                self.thread = None;
                self.here = true;
            }
        }
        false
    }

    /// Whether the thread has begun.
    fn begin(&mut self) -> bool {
        if self.thread.is_none() {
            match start(&self.path) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => tracing::warn!(%error, "no thread for checkpoints: done in turn"),
            }
        }
        let Some(thread) = &mut self.thread else { return false };
        thread.is_busy = thread.begin.as_ref().is_some_and(|begin| begin.send(()).is_ok());
        thread.is_busy
    }
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints").finish_non_exhaustive()
    }
}

impl Drop for Thread {
    /// Waits for it, so that whose connection is closed after this is the last to the file.
    fn drop(&mut self) {
        self.begin = None;
        if let Some(handle) = self.handle.take() {
            // A panic was logged as such.
            drop(handle.join());
        }
    }
}

fn start(path: &Path) -> std::io::Result<Thread> {
    let ((begin, work), (finished, done)) = (channel(), channel());
    let mut link = Link::new(path, SETUP);
    let run = move || {
        for () in work {
            let could = link.with(|connection| Ok(checkpoint(connection)?));
            if let Err(error) = &could {
                tracing::warn!(%error, "a checkpoint failed: done in turn");
            }
            if finished.send(could.is_ok()).is_err() {
                return;
            }
        }
    };
    let handle = thread::Builder::new().name("checkpoint".into()).spawn(run)?;
    Ok(Thread { begin: Some(begin), done, is_busy: false, handle: Some(handle) })
}

/// Moves what can be moved now.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// How much is in the log.
struct Log {
    bytes: u64,
    /// Of it, what is not in the file yet.
    waiting: u64,
}

impl Log {
    /// `None` where the journal is not a log.
    fn of(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut pages = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
        let (all, moved): (i64, i64) = pages.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
        let size: i64 =
            connection.prepare_cached("PRAGMA page_size")?.query_row([], |row| row.get(0))?;
        let bytes = |pages: i64| u64::try_from(pages.saturating_mul(size)).ok();
        Ok(bytes(all)
            .zip(bytes(all.saturating_sub(moved)))
            .map(|(bytes, waiting)| Self { bytes, waiting }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: u64 = 256 << 10;
    /// What a commit adds at most.
    const COMMIT: u64 = 64 << 10;

    /// How large the log was at most while much was written, and was in the file at the end.
    fn written(path: &Path, checkpoints: &mut Checkpoints) -> u64 {
        let connection = Connection::open(path).unwrap();
        let setup = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)";
        connection.execute_batch(setup).unwrap();
        let mut largest = 0;
        for _ in 0..100 {
            connection.execute("INSERT INTO t VALUES (zeroblob(32768))", []).unwrap();
            checkpoints.committed(&connection);
            while checkpoints.is_busy() {
                thread::sleep(Duration::from_millis(1));
            }
            largest = largest.max(Log::of(&connection).unwrap().unwrap().bytes);
        }
        assert!(path.metadata().unwrap().len() > 2 << 20, "most is in the file");
        largest
    }

    #[test]
    fn the_log_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let mut checkpoints = Checkpoints { from: FROM, ..Checkpoints::new(&path) };
        let largest = written(&path, &mut checkpoints);
        assert!((FROM..FROM + COMMIT).contains(&largest), "{largest}");
        assert!(checkpoints.thread.is_some(), "on a thread of its own");
    }

    #[test]
    fn what_the_thread_cannot_do_is_done_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        // The thread looks for a file that is not there.
        let elsewhere = folder.path().join("elsewhere");
        let mut checkpoints = Checkpoints { from: FROM, ..Checkpoints::new(&elsewhere) };
        let largest = written(&folder.path().join("db"), &mut checkpoints);
        // Once when the thread is asked, once more when it has said that it could not.
        assert!((FROM..FROM + 2 * COMMIT).contains(&largest), "{largest}");
    }

    #[test]
    fn a_file_without_a_log_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(Log::of(&connection).unwrap().is_none());
    }
}
