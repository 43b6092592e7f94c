//! What an Authorization header may hold: the ways to authenticate that a site has, in its order.
//!
//! Reads the header as Django REST framework and its plug-ins do, with their messages; whose token
//! it is, the database says, and for a JWT its signature too.

use super::jwt::Jwt;
use super::knox;
use super::rules::{self, Answer, Owner};
use super::{Error, drf, oauth};
use crate::activity::Micros;
use crate::store::{self, Directory};

/// A way to authenticate.
#[derive(Debug)]
pub enum Scheme {
    /// `Token` of Django REST framework.
    Drf,
    /// django-rest-knox, with its `AUTH_HEADER_PREFIX`.
    Knox(String),
    /// A JWT.
    Jwt(Box<Jwt>),
    /// django-oauth-toolkit.
    Oauth,
}

impl Scheme {
    /// Whether the first word of the header is this scheme's.
    fn takes(&self, word: &str) -> bool {
        match self {
            Scheme::Drf => word.eq_ignore_ascii_case(drf::WORD),
            Scheme::Knox(prefix) => word.eq_ignore_ascii_case(prefix),
            Scheme::Jwt(jwt) => jwt.settings.header.iter().any(|known| known == word),
            Scheme::Oauth => word.eq_ignore_ascii_case(oauth::WORD),
        }
    }

    /// The token in the rest of the header.
    fn token<'a>(&self, mut rest: impl Iterator<Item = &'a str>) -> Result<&'a str, &'static str> {
        match (rest.next(), rest.next(), self) {
            (Some(token), None, Scheme::Drf | Scheme::Knox(_)) => drf::plain(token),
            (Some(token), None, _) => Ok(token),
            (None, _, Scheme::Drf | Scheme::Knox(_)) => Err(drf::NO_CREDENTIALS),
            (Some(_), Some(_), Scheme::Drf | Scheme::Knox(_)) => Err(drf::SPACES),
            _ => Err("Authorization header must contain two space-delimited values"),
        }
    }

    fn challenge(&self) -> String {
        match self {
            Scheme::Drf => drf::WORD.to_owned(),
            Scheme::Knox(prefix) => prefix.clone(),
            Scheme::Jwt(jwt) => {
                let word = jwt.settings.header.first().map_or("Bearer", String::as_str);
                format!("{word} realm=\"api\"")
            }
            Scheme::Oauth => "Bearer realm=\"api\"".to_owned(),
        }
    }

    fn owner(
        &self,
        directory: &mut dyn Directory,
        token: &str,
        now: Micros,
    ) -> Result<Answer, store::Error> {
        match self {
            Scheme::Drf => rules::token(directory, token),
            Scheme::Knox(_) => knox::owner(directory, token, now),
            Scheme::Jwt(jwt) => jwt.owner(directory, token, now),
            Scheme::Oauth => oauth::owner(directory, token, now),
        }
    }
}

/// A token that a header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// The first word: which schemes are asked.
    pub word: &'a str,
    /// The token.
    pub token: &'a str,
}

/// The ways to authenticate of a site, in the order in which they are asked.
#[derive(Debug)]
pub struct Schemes(Vec<Scheme>);

impl Schemes {
    /// In this order.
    pub fn new(schemes: Vec<Scheme>) -> Self {
        Schemes(schemes)
    }

    /// What a header holds; `None` where its scheme is not ours: the request is as good as
    /// without the header.
    pub fn read<'a>(&self, header: &'a str) -> Result<Option<Sent<'a>>, Error> {
        let mut words = header.split_ascii_whitespace();
        let Some(word) = words.next() else { return Ok(None) };
        let Some(scheme) = self.0.iter().find(|scheme| scheme.takes(word)) else {
            return Ok(None);
        };
        match scheme.token(words) {
            Ok(token) => Ok(Some(Sent { word, token })),
            Err(detail) => Err(self.refuse(detail)),
        }
    }

    /// Whose token it is: what the first scheme says that knows it, else what the last one says.
    pub fn owner(
        &self,
        directory: &mut dyn Directory,
        word: &str,
        token: &str,
        now: Micros,
    ) -> Result<Answer, store::Error> {
        let mut answer = Answer::refused(rules::UNKNOWN);
        for scheme in self.0.iter().filter(|scheme| scheme.takes(word)) {
            answer = scheme.owner(directory, token, now)?;
            if !matches!(answer.owner, Owner::Refused(_)) {
                break;
            }
        }
        Ok(answer)
    }

    /// A refusal, with the `WWW-Authenticate` of the first scheme, as Django REST framework has it.
    pub fn refuse(&self, detail: &'static str) -> Error {
        let challenge = self.0.first().map_or_else(String::new, Scheme::challenge);
        Error::Invalid { detail, challenge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schemes: &Schemes, header: &str, expected: Result<Option<&str>, &'static str>) {
        let read = schemes.read(header).map(|sent| sent.map(|sent| sent.token));
        let read = read.map_err(|error| match error {
            Error::Invalid { detail, .. } => detail,
            Error::Unavailable => "unavailable",
        });
        assert_eq!(read, expected, "{header:?}");
    }

    #[test]
    fn headers_are_read_as_django_rest_framework_does() {
        let schemes = Schemes::new(vec![Scheme::Drf]);
        let check = |header, expected| check(&schemes, header, expected);
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

    #[test]
    fn each_scheme_has_its_word() {
        let schemes = Schemes::new(vec![Scheme::Knox("Knox".to_owned()), Scheme::Oauth]);
        let check = |header, expected| check(&schemes, header, expected);
        check("knox a", Ok(Some("a")));
        check("bearer a", Ok(Some("a")));
        check("Token a", Ok(None));
        check("Bearer", Err("Authorization header must contain two space-delimited values"));
        check("Bearer a b", Err("Authorization header must contain two space-delimited values"));
        assert_eq!(Schemes::new(Vec::new()).read("Token"), Ok(None));
    }

    #[test]
    fn the_first_scheme_is_the_challenge() {
        fn check(schemes: Vec<Scheme>, expected: &str) {
            let Error::Invalid { challenge, .. } = Schemes::new(schemes).refuse("no") else {
                panic!("no refusal");
            };
            assert_eq!(challenge, expected);
        }
        check(vec![Scheme::Drf, Scheme::Oauth], "Token");
        check(vec![Scheme::Oauth, Scheme::Drf], "Bearer realm=\"api\"");
        check(vec![Scheme::Knox("Bearer".to_owned())], "Bearer");
    }
}
