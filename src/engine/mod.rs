//! Django's session engines: where a session lies when that is not the site's database.
//!
//! Files and Redis are read and written as Django does it; the table is `store`'s, and what lives
//! in the browser's cookie is nowhere to be looked up. What the bytes of a session mean, only
//! `auth` knows.

mod cache;
mod file;
mod unpack;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use crate::activity::Micros;
use crate::store::{Directory, Error, NewSession, SessionRow, TokenKey, TokenRow, UserRow};

pub use cache::Cache;
pub use file::Files;

/// The largest session that is read, in bytes, also when it is unpacked.
const LARGEST: u64 = 1 << 20;

/// Where sessions are. The variants are Django's `SESSION_ENGINE`.
#[derive(Debug)]
pub enum Engine {
    /// `db` and `cached_db`: in the site's database. Of the latter the cache is left alone, for
    /// the table has all that it has.
    Table,
    /// `file`.
    Files(Files),
    /// `cache`, of a cache in Redis.
    Cache(Box<Cache>),
    /// `signed_cookies`: the session is its cookie; there is nothing to look up or to write.
    Cookie,
}

impl Engine {
    /// Whether sessions can be read and written there; the error says what to do.
    pub fn check(&mut self) -> Result<(), Error> {
        match self {
            Engine::Table | Engine::Cookie => Ok(()),
            Engine::Files(files) => files.check(),
            Engine::Cache(cache) => cache.check(),
        }
    }

    /// Writes sessions that we minted, except where one is there already. Returns those that
    /// belong into the table.
    pub fn keep(&mut self, sessions: Vec<NewSession>) -> Result<Vec<NewSession>, Error> {
        match self {
            Engine::Table => return Ok(sessions),
            Engine::Cookie => {}
            Engine::Files(files) => sessions.iter().try_for_each(|session| files.write(session))?,
            Engine::Cache(cache) => cache.write(&sessions)?,
        }
        Ok(Vec::new())
    }

    /// The directory of the site: sessions from here, everything else from the database.
    pub fn directory(self, database: Box<dyn Directory>) -> Box<dyn Directory> {
        match self {
            Engine::Table => database,
            engine => Box::new(Elsewhere { engine, database }),
        }
    }

    fn read(&mut self, key: &str) -> Result<Option<SessionRow>, Error> {
        match self {
            Engine::Table | Engine::Cookie => Ok(None),
            Engine::Files(files) => files.read(key),
            Engine::Cache(cache) => cache.read(key),
        }
    }
}

/// A directory whose sessions are not in the database.
struct Elsewhere {
    engine: Engine,
    database: Box<dyn Directory>,
}

impl Directory for Elsewhere {
    fn session(&mut self, key: &str) -> Result<Option<SessionRow>, Error> {
        self.engine.read(key)
    }

    fn user(&mut self, id: &str) -> Result<Option<UserRow>, Error> {
        self.database.user(id)
    }

    fn tokens(&mut self, key: TokenKey<'_>) -> Result<Vec<TokenRow>, Error> {
        self.database.tokens(key)
    }
}

/// Files and Redis count from now.
fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
