//! The engine `cache` (django/contrib/sessions/backends/cache.py) where the cache is Redis:
//! Django's own backend (from 4.0) or django-redis.
//!
//! A session is the value of `KEY_PREFIX:VERSION:django.contrib.sessions.cache` and its key
//! (django/core/cache/backends/base.py:default_key_func), and ends with it. With several servers
//! Django writes to the first, and so the first has everything.

use std::time::Duration;

use redis::{Client, Connection, RedisResult};

use super::{now, unpack::unpack};
use crate::activity::Micros;
use crate::store::{Error, NewSession, SessionRow};

/// A request waits for this.
const PATIENCE: Duration = Duration::from_millis(500);
/// `SessionStore.cache_key_prefix`.
const ENGINE: &str = "django.contrib.sessions.cache";

/// The sessions in a Redis. It connects when first used, and again when that failed.
#[derive(Debug)]
pub struct Cache {
    client: Client,
    connection: Option<Open>,
    prefix: String,
}

struct Open(Connection);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl Cache {
    /// `url`: the first of the cache's LOCATION; `prefix`: `KEY_PREFIX:VERSION:`. The error never
    /// holds the URL, which may hold a password.
    pub fn new(url: &str, prefix: &str) -> Result<Self, String> {
        let client = Client::open(url)
            .map_err(|error| format!("{error}: write it as redis://user:password@host:6379/0"))?;
        Ok(Cache { client, connection: None, prefix: format!("{prefix}{ENGINE}") })
    }

    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.with(|connection| redis::cmd("PING").query::<()>(connection))
    }

    pub(super) fn read(&mut self, key: &str) -> Result<Option<SessionRow>, Error> {
        let key = format!("{}{key}", self.prefix);
        let ask = |connection: &mut Connection| {
            let mut both = redis::pipe();
            both.get(&key).pttl(&key);
            both.query::<(Option<Vec<u8>>, i64)>(connection)
        };
        let (value, left) = self.with(ask)?;
        // -1: it has no end; -2: it ended just now.
        let expires = match left {
            -1 => Micros::MAX,
            left => now().saturating_add(left.saturating_mul(1_000)),
        };
        Ok(value.map(|value| SessionRow { data: unpack(value), expires }))
    }

    /// What is there already stays.
    pub(super) fn write(&mut self, sessions: &[NewSession]) -> Result<(), Error> {
        let now = now();
        let mut all = redis::pipe();
        for session in sessions.iter().filter(|session| session.expires > now) {
            let key = format!("{}{}", self.prefix, session.key);
            let left = (session.expires - now).div_euclid(1_000).max(1);
            all.cmd("SET").arg(key).arg(&session.data).arg("NX").arg("PX").arg(left).ignore();
        }
        if all.is_empty() {
            return Ok(());
        }
        self.with(|connection| all.query::<()>(connection))
    }

    /// A connection that the server closed meanwhile is replaced at once.
    fn with<T>(
        &mut self,
        mut ask: impl FnMut(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, Error> {
        let away = |error: redis::RedisError| {
            Error::Unavailable(format!("the sessions in Redis (session_cache): {error}"))
        };
        if let Some(Open(mut connection)) = self.connection.take()
            && let Ok(answer) = ask(&mut connection)
        {
            self.connection = Some(Open(connection));
            return Ok(answer);
        }
        let mut connection = self.client.get_connection_with_timeout(PATIENCE).map_err(away)?;
        connection.set_read_timeout(Some(PATIENCE)).map_err(away)?;
        connection.set_write_timeout(Some(PATIENCE)).map_err(away)?;
        let answer = ask(&mut connection).map_err(away)?;
        self.connection = Some(Open(connection));
        Ok(answer)
    }
}
