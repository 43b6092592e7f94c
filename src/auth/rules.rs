//! When a session or a token counts, as Django sees it: rows of the database in, who it is out.
//!
//! Follows django/contrib/auth:get_user and `ModelBackend.get_user`, and of Django REST framework
//! `TokenAuthentication.authenticate_credentials`. Knows no cache, no thread and no HTTP.

use super::key::SessionKey;
use super::session::{self, Login};
use super::signing::Keys;
use crate::activity::Micros;
use crate::store::{self, Directory};

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
    /// Nobody's.
    Nobody,
    /// That of a user who may not log in.
    Inactive,
    /// That of the user with this primary key.
    User(Box<str>),
}

/// What must hold for a login to count.
#[derive(Debug)]
pub struct Rules {
    /// What signs sessions and password hashes.
    pub keys: Keys,
    /// `AUTHENTICATION_BACKENDS`.
    pub backends: Vec<String>,
}

impl Rules {
    /// The session `key` as it was at `at`; `None` if no row counts. Data that cannot be read is
    /// an empty session under the same key, as in Django.
    pub fn session(
        &self,
        directory: &mut dyn Directory,
        key: &SessionKey,
        at: Micros,
    ) -> Result<Option<Live>, store::Error> {
        let row = never_is_none(directory.session(key.as_str()))?;
        let Some(row) = row.filter(|row| row.expires > at) else {
            return Ok(None);
        };
        let data = session::decode(&row.data, &self.keys).unwrap_or_default();
        let user = match &data.login {
            Some(login) => self.user(directory, login)?,
            None => None,
        };
        Ok(Some(Live {
            refused: data.login.is_some() && user.is_none(),
            user,
            visitor: data.visitor.filter(|visitor| visitor != key).map(|v| v.as_str().into()),
            expires: row.expires,
        }))
    }

    fn user(
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

    /// The owner of a DRF token.
    pub fn token(&self, directory: &mut dyn Directory, token: &str) -> Result<Owner, store::Error> {
        Ok(match never_is_none(directory.token(token))? {
            None => Owner::Nobody,
            Some(user) if !user.is_active => Owner::Inactive,
            Some(user) => Owner::User(user.id.into()),
        })
    }
}

/// What the database will never take cannot be in it: a letter where keys are numbers.
fn never_is_none<T>(found: Result<Option<T>, store::Error>) -> Result<Option<T>, store::Error> {
    match found {
        Err(store::Error::Rejected(_)) => Ok(None),
        found => found,
    }
}
