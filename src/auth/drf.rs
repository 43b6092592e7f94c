//! Django REST framework's tokens: `Authorization: Token 9944b091…`.
//!
//! Reads the header as rest_framework/authentication.py:TokenAuthentication does, with its
//! messages; whose token it is, the database says.

use super::Error;

/// No such token.
pub const UNKNOWN: &str = "Invalid token.";
/// A token of a user who may not log in.
pub const INACTIVE: &str = "User inactive or deleted.";

const NO_CREDENTIALS: &str = "Invalid token header. No credentials provided.";
const SPACES: &str = "Invalid token header. Token string should not contain spaces.";
const CHARACTERS: &str =
    "Invalid token header. Token string should not contain invalid characters.";

/// The token in an Authorization header; `None` where the header is of another scheme.
///
/// Beyond ASCII there is no token: Django REST framework refuses what is not UTF-8 with the same
/// message, and finds nothing for what is.
pub fn token(header: &str) -> Result<Option<&str>, Error> {
    let mut words = header.split_ascii_whitespace();
    if !words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("token")) {
        return Ok(None);
    }
    match (words.next(), words.next()) {
        (None, _) => Err(Error::Invalid { detail: NO_CREDENTIALS }),
        (Some(_), Some(_)) => Err(Error::Invalid { detail: SPACES }),
        (Some(token), None) if !token.is_ascii() => Err(Error::Invalid { detail: CHARACTERS }),
        (Some(token), None) => Ok(Some(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_django_rest_framework_does() {
        fn check(header: &str, expected: Result<Option<&str>, &'static str>) {
            let expected = expected.map_err(|detail| Error::Invalid { detail });
            assert_eq!(token(header), expected, "{header:?}");
        }
        check("Token 401f7ac8", Ok(Some("401f7ac8")));
        check("tOKEN 401f7ac8", Ok(Some("401f7ac8")));
        check("  Token \t 401f7ac8  ", Ok(Some("401f7ac8")));
        check("", Ok(None));
        check("   ", Ok(None));
        check("Digest abc", Ok(None));
        check("Bearer a b c", Ok(None));
        check("Tokens abc", Ok(None));
        check("Token", Err("Invalid token header. No credentials provided."));
        check("Token ", Err("Invalid token header. No credentials provided."));
        check("Token a b", Err("Invalid token header. Token string should not contain spaces."));
        check(
            "Token a\u{fffd}",
            Err("Invalid token header. Token string should not contain invalid characters."),
        );
    }
}
