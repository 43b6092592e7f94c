//! django-rest-knox: a token of which the database has only a digest (knox/crypto.py:hash_token).
//!
//! | knox | column `token_key` | digest, in hexadecimal digits |
//! |---|---|---|
//! | up to 4.1 | the first 8 characters | SHA-512 of the token's bytes and the salt's |
//! | 4.2 | the first 8 | SHA-512 of the token's bytes |
//! | from 5.0 | the first 15 | SHA-512 of the token's text |
//!
//! Each row is read in the form that it has; a `SECURE_HASH_ALGORITHM` of SHA-256 is told by the
//! length of the digest.

use sha2::{Digest, Sha256, Sha512};

use super::rules::{self, Answer, INACTIVE, UNKNOWN};
use super::signing::{self, hex};
use crate::activity::Micros;
use crate::store::{self, Directory, TokenKey, TokenRow};

/// The longest token that is looked up: knox makes 64 characters, after a prefix of at most 10.
const LONGEST: usize = 256;

/// Whose token it is at `now`.
pub fn owner(
    directory: &mut dyn Directory,
    token: &str,
    now: Micros,
) -> Result<Answer, store::Error> {
    if token.len() > LONGEST {
        return Ok(Answer::refused(UNKNOWN));
    }
    let start = |length| token.get(..length).unwrap_or(token);
    let rows = rules::never_is_empty(directory.tokens(TokenKey::Knox([start(15), start(8)])))?;
    let found = rows
        .into_iter()
        .filter(|row| row.expires.is_none_or(|expires| expires >= now))
        .find(|row| fits(row, token));
    Ok(match found {
        Some(TokenRow { user: Some(user), expires, .. }) if user.is_active => {
            Answer::user(user.id, expires)
        }
        Some(_) => Answer::refused(INACTIVE),
        None => Answer::refused(UNKNOWN),
    })
}

/// Whether the row's digest is that of the token.
fn fits(row: &TokenRow, token: &str) -> bool {
    let same = |parts: [&[u8]; 2]| {
        let digest = match row.digest.len() {
            64 => hex(&parts.iter().fold(Sha256::new(), Digest::chain_update).finalize()),
            128 => hex(&parts.iter().fold(Sha512::new(), Digest::chain_update).finalize()),
            _ => return false,
        };
        signing::equal(digest.as_bytes(), row.digest.as_bytes())
    };
    match &row.salt {
        Some(salt) => match (unhex(token), unhex(salt)) {
            (Some(token), Some(salt)) => same([&token, &salt]),
            _ => false,
        },
        None => {
            same([token.as_bytes(), b""]) || unhex(token).is_some_and(|token| same([&token, b""]))
        }
    }
}

/// Python's `binascii.unhexlify`.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        token: String,
        salt: Option<String>,
        digest: String,
    }

    #[test]
    fn digests_of_every_knox() {
        let file = include_str!("../../tests/fixtures/auth/knox.json");
        let vectors: std::collections::BTreeMap<String, Vec<Vector>> =
            serde_json::from_str(file).unwrap();
        assert_eq!(vectors.keys().collect::<Vec<_>>(), ["4.1.0", "4.2.0", "5.1.0"]);
        for (version, vectors) in vectors {
            for Vector { token, salt, digest } in vectors {
                let row = TokenRow { user: None, expires: None, digest, salt, restricted: false };
                assert!(fits(&row, &token), "{version}");
                let other = if token.starts_with('0') { "1" } else { "0" };
                assert!(!fits(&row, &format!("{other}{}", &token[1..])), "{version}");
                assert!(!fits(&row, ""), "{version}");
                assert!(!fits(&row, &token[1..]), "{version}");
                let blank = TokenRow { digest: String::new(), ..row.clone() };
                assert!(!fits(&blank, &token), "{version}");
                let salted = TokenRow { salt: Some("00ff".to_owned()), ..row };
                assert!(!fits(&salted, &token), "{version}");
            }
        }
    }
}
