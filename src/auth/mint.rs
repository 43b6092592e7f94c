//! Session keys of our own: made without a database, known again without one.
//!
//! A key is 32 characters of `[a-z0-9]`, as Django's are:
//!
//! | characters | what |
//! |---|---|
//! | 5 | the minute it was made, base 36, counted from 2020-01-01T00:00Z |
//! | 16 | random, 82 bits |
//! | 11 | HMAC-SHA256 of the 21 before, 56 bits, under a key derived from the secret key |
//!
//! So every node and every restart knows a key of ours before its row is in the database, and
//! nobody else can make one. The minutes run out in December 2134: keys made after that are
//! stamped with the last minute and count only once their row is there.

use rand::Rng;

use super::key::SessionKey;
use super::signing::{self, Hash, Keys, Secret};
use crate::activity::Micros;

/// How long a key without a row counts: the drain has this long to write the row.
pub const FRESH: Micros = 10 * MINUTE;
/// How far the clock of another node may be ahead of ours.
const AHEAD: Micros = MINUTE;

const MINUTE: Micros = 60_000_000;
/// 2020-01-01T00:00:00Z.
const EPOCH: Micros = 1_577_836_800_000_000;
const SALT: &str = "djaffar.auth.mint";
const COOKIE_SALT: &str = "djaffar.auth.mint.cookie";

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const MINUTE_CHARS: usize = 5;
const RANDOM_CHARS: usize = 16;
const MAC_CHARS: usize = 11;
const CHARS: usize = MINUTE_CHARS + RANDOM_CHARS + MAC_CHARS;
const LAST_MINUTE: i64 = 36i64.pow(MINUTE_CHARS as u32) - 1;

/// A new key, made at `now`.
pub fn mint(keys: &Keys, now: Micros) -> String {
    let minute = (now - EPOCH).div_euclid(MINUTE).clamp(0, LAST_MINUTE);
    let mut key = base36(minute as u128, MINUTE_CHARS);
    push_random(&mut key);
    let mac = mac(&key, keys.current());
    key + &mac
}

/// A key for a session that is its cookie and holds none of ours: the same for the same cookie.
pub fn derive(cookie: &str, keys: &Keys) -> String {
    let mac = signing::salted_hmac(Hash::Sha256, COOKIE_SALT, cookie.as_bytes(), keys.current());
    let (left, right) = mac.split_at(mac.len() / 2);
    base36(number(left), CHARS / 2) + &base36(number(right), CHARS / 2)
}

/// Whether `key` is one of ours, made at most [`FRESH`] before `now`. By its minute: a key counts
/// nine to ten minutes, never longer.
pub fn is_fresh(key: &SessionKey, keys: &Keys, now: Micros) -> bool {
    made(key, keys).is_some_and(|made| made - now <= AHEAD && now - made < FRESH)
}

/// Whether `key` is one of ours, however old.
pub fn is_ours(key: &SessionKey, keys: &Keys) -> bool {
    made(key, keys).is_some()
}

/// The start of the minute in which we made `key`; `None` if we did not.
fn made(key: &SessionKey, keys: &Keys) -> Option<Micros> {
    let key = key.as_str();
    if key.len() != CHARS {
        return None;
    }
    let (body, sent) = key.split_at_checked(MINUTE_CHARS + RANDOM_CHARS)?;
    if !keys.any(|secret| signing::equal(sent.as_bytes(), mac(body, secret).as_bytes())) {
        return None;
    }
    let minute = i64::from_str_radix(body.get(..MINUTE_CHARS)?, 36).ok()?;
    Some(EPOCH + minute * MINUTE)
}

fn mac(body: &str, secret: &Secret) -> String {
    let mac = signing::salted_hmac(Hash::Sha256, SALT, body.as_bytes(), secret);
    base36(number(mac.get(..16).unwrap_or(&mac)), MAC_CHARS)
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// The last `chars` digits of `number`.
fn base36(mut number: u128, chars: usize) -> String {
    let mut digits = Vec::with_capacity(chars);
    for _ in 0..chars {
        digits.extend(ALPHABET.get((number % 36) as usize).copied().map(char::from));
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// Bytes from 252 on are thrown away: 36 divides 252, so every character is as likely.
fn push_random(key: &mut String) {
    let mut random = rand::rng();
    while key.len() < MINUTE_CHARS + RANDOM_CHARS {
        let mut byte = [0u8];
        random.fill_bytes(&mut byte);
        let [byte] = byte;
        if byte < 252 {
            key.extend(ALPHABET.get(usize::from(byte % 36)).copied().map(char::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_790_000_000_000_000;

    fn keys(secret: &str, fallbacks: &[&str]) -> Keys {
        Keys::new(secret.into(), fallbacks.iter().map(|&f| f.into()).collect())
    }

    fn parsed(key: &str) -> SessionKey {
        SessionKey::parse(key).unwrap()
    }

    #[test]
    fn a_key_looks_like_one_of_django_and_no_two_are_alike() {
        let keys = keys("s", &[]);
        let made: std::collections::HashSet<_> = (0..1000).map(|_| mint(&keys, NOW)).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|key| key.len() == 32 && SessionKey::parse(key).is_some()));
        let seen: std::collections::HashSet<_> =
            made.iter().flat_map(|key| key[5..21].bytes()).collect();
        assert_eq!(seen.len(), 36);
    }

    #[test]
    fn the_layout_stays_as_other_nodes_know_it() {
        // Computed apart, in Python, from the table at the top.
        let body = "1y6ui0123456789abcdef";
        let key = format!("{body}{}", mac(body, &"secret".into()));
        assert_eq!(key, "1y6ui0123456789abcdefjylock1ea9u");
    }

    #[test]
    fn a_key_without_a_row_counts_for_ten_minutes() {
        const SECOND: Micros = 1_000_000;
        let keys = keys("s", &[]);
        let minute = NOW - NOW.rem_euclid(MINUTE);
        let check = |made: Micros, now: Micros, fresh: bool| {
            let key = parsed(&mint(&keys, made));
            assert_eq!(is_fresh(&key, &keys, now), fresh, "{}", now - made);
        };
        check(minute, minute, true);
        check(minute, minute + FRESH - 1, true);
        check(minute, minute + FRESH, false);
        check(minute + 59 * SECOND, minute + FRESH - 1, true);
        check(minute + 59 * SECOND, minute + FRESH, false);
        check(minute, minute - AHEAD, true);
        check(minute, minute - AHEAD - 1, false);
        check(minute, minute + 365 * 24 * 60 * MINUTE, false);
        assert!(is_ours(&parsed(&mint(&keys, minute)), &keys));
        // The first minute, and the last one that can be written.
        check(EPOCH, EPOCH, true);
        check(EPOCH + LAST_MINUTE * MINUTE, EPOCH + LAST_MINUTE * MINUTE, true);
        check(EPOCH + (LAST_MINUTE + 20) * MINUTE, EPOCH + (LAST_MINUTE + 20) * MINUTE, false);
    }

    #[test]
    fn only_our_secret_makes_keys() {
        let key = parsed(&mint(&keys("old", &[]), NOW));
        assert!(is_fresh(&key, &keys("old", &[]), NOW));
        assert!(is_fresh(&key, &keys("new", &["older", "old"]), NOW));
        assert!(!is_fresh(&key, &keys("new", &["older"]), NOW));
    }

    #[test]
    fn a_derived_key_is_one_of_its_cookie_only() {
        let keys = keys("s", &[]);
        let key = derive("a", &keys);
        assert_eq!(key, derive("a", &keys));
        assert_ne!(key, derive("b", &keys));
        assert_ne!(key, derive("a", &self::keys("t", &[])));
        assert_eq!(parsed(&key).as_str().len(), 32);
        assert!(!is_fresh(&parsed(&key), &keys, NOW));
    }

    #[test]
    fn no_character_can_be_changed() {
        let keys = keys("s", &[]);
        let key = mint(&keys, NOW);
        for at in 0..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(!is_fresh(&parsed(&changed), &keys, NOW), "{at}");
            assert!(!is_ours(&parsed(&changed), &keys), "{at}");
        }
        assert!(!is_fresh(&parsed(&key[..31]), &keys, NOW));
        assert!(!is_fresh(&parsed(&format!("{key}0")), &keys, NOW));
    }
}
