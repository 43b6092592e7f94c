//! Django REST framework's tokens: `Authorization: Token 9944b091…`.
//!
//! The messages are those of rest_framework/authentication.py:TokenAuthentication, which knox has
//! too.

/// The first word of the header.
pub const WORD: &str = "Token";

/// Nothing follows the first word.
pub const NO_CREDENTIALS: &str = "Invalid token header. No credentials provided.";
/// Too much follows the first word.
pub const SPACES: &str = "Invalid token header. Token string should not contain spaces.";
const CHARACTERS: &str =
    "Invalid token header. Token string should not contain invalid characters.";

/// Beyond ASCII there is no token: Django REST framework refuses what is not UTF-8 with the same
/// message, and finds nothing for what is.
pub fn plain(token: &str) -> Result<&str, &'static str> {
    if token.is_ascii() { Ok(token) } else { Err(CHARACTERS) }
}
