//! When a session or a token counts, as Django sees it: rows of the database in, who it is out.
//!
//! Follows django/contrib/auth:get_user and `ModelBackend.get_user`, and of Django REST framework
//! `TokenAuthentication.authenticate_credentials`. Knows no cache, no thread and no HTTP.

use super::key::SessionKey;
use super::session::{self, Form, Login, Place};
use super::signing::Keys;
use crate::activity::Micros;
use crate::store::{self, Directory, TokenKey};

/// A session whose row is there and has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Who is logged in; `None`: nobody, or somebody who does not count.
    pub user: Option<Box<str>>,
    /// `djaffar_visitor`, where it differs from the key of the session.
    pub visitor: Option<Box<str>>,
    /// When the row expires.
    pub expires: Micros,
    /// The data names a user who does not count (any more, or yet).
    pub refused: bool,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It does not count; what to tell the client.
    Refused(&'static str),
    /// It counts, and names no user.
    Nobody,
    /// That of the user with this primary key.
    User(Box<str>),
}

/// What was found out about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose it is.
    pub owner: Owner,
    /// When it ends.
    pub expires: Micros,
}

impl Answer {
    /// It does not count.
    pub fn refused(detail: &'static str) -> Self {
        Answer { owner: Owner::Refused(detail), expires: Micros::MAX }
    }

    /// It counts, and names no user.
    pub fn nobody(expires: Option<Micros>) -> Self {
        Answer { owner: Owner::Nobody, expires: expires.unwrap_or(Micros::MAX) }
    }

    /// It is this user's.
    pub fn user(id: String, expires: Option<Micros>) -> Self {
        Answer { owner: Owner::User(id.into()), expires: expires.unwrap_or(Micros::MAX) }
    }
}

/// No such token.
pub const UNKNOWN: &str = "Invalid token.";
/// A token of a user who may not log in.
pub const INACTIVE: &str = "User inactive or deleted.";

/// What must hold for a login to count.
#[derive(Debug)]
pub struct Rules {
    /// What signs sessions and password hashes.
    pub keys: Keys,
    /// `AUTHENTICATION_BACKENDS`.
    pub backends: Vec<String>,
    /// What the data of sessions looks like.
    pub form: Form,
}

impl Rules {
    /// The session `key` as it was at `at`; `None` if no row counts. Data that cannot be read is
    /// an empty session under the same key, as in Django; from a cache it is none.
    pub fn session(
        &self,
        directory: &mut dyn Directory,
        key: &SessionKey,
        at: Micros,
    ) -> Result<Option<Live>, store::Error> {
        let row = never_is_none(directory.session(key.as_str()))?;
        let Some(row) = row else { return Ok(None) };
        let place = self.form.place;
        let data = match session::decode(&row.data, self.form, &self.keys) {
            Some(data) => data,
            None if place == Place::Cache => return Ok(None),
            None => session::Data::default(),
        };
        let said = data.expiry.filter(|_| place == Place::File);
        let expires = said.map_or(row.expires, session::Expiry::moment);
        if expires <= at {
            return Ok(None);
        }
        let user = match &data.login {
            Some(login) => self.user(directory, login)?,
            None => None,
        };
        Ok(Some(Live {
            refused: data.login.is_some() && user.is_none(),
            user,
            visitor: data.visitor.filter(|visitor| visitor != key).map(|v| v.as_str().into()),
            expires,
        }))
    }

    /// The user who logged in, while that counts.
    pub fn user(
        &self,
        directory: &mut dyn Directory,
        login: &Login,
    ) -> Result<Option<Box<str>>, store::Error> {
        if !self.backends.contains(&login.backend) {
            return Ok(None);
        }
        let user = never_is_none(directory.user(&login.user))?;
        Ok(user
            .filter(|user| user.is_active && login.fits(&user.password, &self.keys))
            .map(|user| user.id.into()))
    }
}

/// The owner of a token of Django REST framework.
pub fn token(directory: &mut dyn Directory, token: &str) -> Result<Answer, store::Error> {
    let row = never_is_empty(directory.tokens(TokenKey::Drf(token)))?.into_iter().next();
    Ok(match row.and_then(|row| row.user) {
        None => Answer::refused(UNKNOWN),
        Some(user) if !user.is_active => Answer::refused(INACTIVE),
        Some(user) => Answer::user(user.id, None),
    })
}

/// What the database will never take cannot be in it: a letter where keys are numbers.
pub fn never_is_none<T>(found: Result<Option<T>, store::Error>) -> Result<Option<T>, store::Error> {
    match found {
        Err(store::Error::Rejected(_)) => Ok(None),
        found => found,
    }
}

/// The same of several rows.
pub fn never_is_empty<T>(found: Result<Vec<T>, store::Error>) -> Result<Vec<T>, store::Error> {
    match found {
        Err(store::Error::Rejected(_)) => Ok(Vec::new()),
        found => found,
    }
}
