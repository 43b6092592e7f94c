//! What the database said a moment ago, shared by all threads that ask.
//!
//! Bounded in number and in age: what is there is believed for 30 seconds, what is not for 5. So
//! a logout, a new password or a lost right is seen after at most 30 seconds. Time comes from the
//! caller; an entry from the future (the clock went back) is not believed.

use std::hash::Hash;

use quick_cache::sync;
use sha2::{Digest, Sha256};

use super::key::SessionKey;
use super::rules::{Answer, Live, Owner};
use crate::activity::Micros;

/// How long a session or token that is there is believed.
pub const POSITIVE: Micros = 30_000_000;
/// How long it is believed that one is not there, or does not count.
pub const NEGATIVE: Micros = 5_000_000;

/// The answers of the database, by session key and by token.
#[derive(Debug)]
pub struct Cache {
    sessions: Aged<SessionKey, Option<Live>>,
    tokens: Aged<[u8; 32], Owner>,
}

impl Cache {
    /// At most about `capacity` sessions, and as many tokens. The memory is taken as they come.
    pub fn new(capacity: usize) -> Self {
        Cache { sessions: Aged::new(capacity), tokens: Aged::new(capacity) }
    }

    /// The session `key`, as far as it is remembered at `now`.
    pub fn session(&self, key: &SessionKey, now: Micros) -> Option<Option<Live>> {
        self.sessions.get(key, now)
    }

    /// Remembers what the database said of `key` at `now`; never beyond the end of the session.
    pub fn put_session(&self, key: SessionKey, session: Option<Live>, now: Micros) {
        let until = match &session {
            Some(live) if !live.refused => live.expires.min(now + POSITIVE),
            Some(live) => live.expires.min(now + NEGATIVE),
            None => now + NEGATIVE,
        };
        self.sessions.put(key, session, now, until);
    }

    /// Whose token it is, as far as that is remembered at `now`. `kind` keeps apart what is sent
    /// in different ways: a token of one scheme is none of another.
    pub fn token(&self, kind: &str, token: &str, now: Micros) -> Option<Owner> {
        self.tokens.get(&digest(kind, token), now)
    }

    /// Remembers whose token it is, under its digest: no token lies about in memory. Never beyond
    /// the end of the token.
    pub fn put_token(&self, kind: &str, token: &str, answer: &Answer, now: Micros) {
        let life = if matches!(answer.owner, Owner::Refused(_)) { NEGATIVE } else { POSITIVE };
        let until = answer.expires.min(now + life);
        self.tokens.put(digest(kind, token), answer.owner.clone(), now, until);
    }
}

fn digest(kind: &str, token: &str) -> [u8; 32] {
    Sha256::new().chain_update(kind).chain_update(b" ").chain_update(token).finalize().into()
}

/// Values that count from one moment until another.
#[derive(Debug)]
struct Aged<K, V>(sync::Cache<K, Entry<V>>);

#[derive(Debug, Clone)]
struct Entry<V> {
    since: Micros,
    until: Micros,
    value: V,
}

impl<K: Eq + Hash, V: Clone> Aged<K, V> {
    fn new(capacity: usize) -> Self {
        Aged(sync::Cache::new(capacity))
    }

    fn get(&self, key: &K, now: Micros) -> Option<V> {
        let entry = self.0.get(key)?;
        (entry.since <= now && now < entry.until).then_some(entry.value)
    }

    fn put(&self, key: K, value: V, since: Micros, until: Micros) {
        self.0.insert(key, Entry { since, until, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_790_000_000_000_000;
    const SECOND: Micros = 1_000_000;

    fn key(number: usize) -> SessionKey {
        SessionKey::parse(&format!("{number:032}")).unwrap()
    }

    fn live(user: Option<&str>, expires: Micros, refused: bool) -> Option<Live> {
        Some(Live { user: user.map(Into::into), visitor: None, expires, refused })
    }

    #[test]
    fn answers_age() {
        fn check(session: impl Into<Option<Live>>, seconds: Micros) {
            let session = session.into();
            let cache = Cache::new(100);
            cache.put_session(key(1), session.clone(), NOW);
            let at = |now| cache.session(&key(1), now);
            assert_eq!(at(NOW), Some(session.clone()));
            assert_eq!(at(NOW + seconds * SECOND - 1), Some(session.clone()));
            assert_eq!(at(NOW + seconds * SECOND), None, "{session:?}");
            assert_eq!(at(NOW - 1), None, "the clock went back");
            assert_eq!(at(NOW - 3_600 * SECOND), None, "the clock went back");
        }
        check(live(Some("7"), NOW + 3_600 * SECOND, false), 30);
        check(live(None, NOW + 3_600 * SECOND, false), 30);
        check(live(None, NOW + 3_600 * SECOND, true), 5);
        check(live(Some("7"), NOW + 3 * SECOND, false), 3);
        check(live(None, NOW + 3 * SECOND, true), 3);
        check(None, 5);
    }

    #[test]
    fn tokens_age_too() {
        fn check(answer: &Answer, seconds: Micros) {
            let cache = Cache::new(100);
            cache.put_token("Token", "t", answer, NOW);
            let at = |now| cache.token("Token", "t", now);
            assert_eq!(at(NOW + seconds * SECOND - 1), Some(answer.owner.clone()));
            assert_eq!(at(NOW + seconds * SECOND), None);
            assert_eq!(at(NOW - 1), None);
            assert_eq!(cache.token("Token", "u", NOW), None);
            assert_eq!(cache.token("Bearer", "t", NOW), None);
        }
        check(&Answer::user("7".into(), None), 30);
        check(&Answer::user("7".into(), Some(NOW + 3 * SECOND)), 3);
        check(&Answer::nobody(Some(NOW + 60 * SECOND)), 30);
        check(&Answer::refused("no"), 5);
    }

    #[test]
    fn a_hundred_thousand_sessions_stay_far_below_forty_mebibytes() {
        let cache = Cache::new(200_000);
        for number in 0..100_000 {
            let session = live(Some("123456"), NOW + 3_600 * SECOND, false);
            cache.put_session(key(number), session, NOW);
        }
        let used = cache.sessions.0.memory_used();
        // On the heap: the user and, after a login, the visitor, with what malloc adds to each.
        let heap = 100_000 * (32 + 48);
        assert!(used.entries + used.map + heap < 30 << 20, "{used:?}");
        assert_eq!(cache.sessions.0.len(), 100_000);
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = Cache::new(1_000);
        for number in 0..10_000 {
            cache.put_session(key(number), None, NOW);
        }
        assert!(cache.sessions.0.len() <= 1_100, "{}", cache.sessions.0.len());
    }
}
