//! django-oauth-toolkit's access tokens: `Authorization: Bearer …`.
//!
//! Follows oauth2_provider/oauth2_validators.py:validate_bearer_token without scopes, with two
//! differences: an inactive user is refused, and so is a token that is for named resources only
//! (RFC 8707), for this server is none of them. A token of a client that acts for nobody counts
//! and names no user. Tokens of another server (introspection) are not asked for.

use sha2::{Digest, Sha256};

use super::rules::{self, Answer, INACTIVE, UNKNOWN};
use super::signing::hex;
use crate::activity::Micros;
use crate::store::{self, Directory, TokenKey};

/// The first word of the header.
pub const WORD: &str = "Bearer";

/// Whose token it is at `now`.
pub fn owner(
    directory: &mut dyn Directory,
    token: &str,
    now: Micros,
) -> Result<Answer, store::Error> {
    let checksum = hex(&Sha256::digest(token));
    let key = TokenKey::Oauth { token, checksum: &checksum };
    let rows = rules::never_is_empty(directory.tokens(key))?;
    let Some(row) = rows.into_iter().next() else { return Ok(Answer::refused(UNKNOWN)) };
    let lives = row.expires.is_some_and(|expires| expires > now);
    if !lives || row.restricted {
        return Ok(Answer::refused(UNKNOWN));
    }
    Ok(match row.user {
        None => Answer::nobody(row.expires),
        Some(user) if user.is_active => Answer::user(user.id, row.expires),
        Some(_) => Answer::refused(INACTIVE),
    })
}
