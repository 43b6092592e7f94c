//! Who sent a request: Django's sessions and tokens, and session keys of our own for newcomers.
//!
//! Only this module knows Django's formats. It reads through [`Directory`] and writes nothing;
//! it knows neither status codes nor cookies' attributes, and takes the time as an argument.
//!
//! To add a way to authenticate: a file beside [`oauth`], a variant of [`scheme::Scheme`], vectors
//! in `tests/fixtures/auth`.

pub mod cache;
pub mod drf;
pub mod jwt;
mod jwt_crypto;
pub mod key;
pub mod knox;
pub mod lookup;
pub mod mint;
pub mod oauth;
pub mod pickle;
pub mod rules;
pub mod scheme;
pub mod session;
pub mod signing;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use crate::activity::{Activity, Identity, Micros, Session, SessionState};
use crate::store::{self, Directory, NewSession};
use cache::Cache;
use key::SessionKey;
use lookup::{Away, Lookup};
use rules::{Answer, Live, Owner, Rules};
use scheme::{Scheme, Schemes, Sent};
use session::{Form, Place};
use signing::{Hashing, Keys, Secret};

/// What `auth` must know of the Django beside it.
#[derive(Debug)]
pub struct Settings {
    /// `SECRET_KEY`.
    pub secret_key: Secret,
    /// `SECRET_KEY_FALLBACKS`.
    pub fallbacks: Vec<Secret>,
    /// `SESSION_COOKIE_AGE`, in seconds.
    pub session_age: u32,
    /// How the Django beside us signs.
    pub hashing: Hashing,
    /// What the data of its sessions looks like.
    pub form: Form,
    /// `AUTHENTICATION_BACKENDS`.
    pub backends: Vec<String>,
    /// The tokens that count, in the order in which they are tried.
    pub schemes: Vec<Scheme>,
    /// How many sessions, and how many tokens, are remembered.
    pub cache_capacity: usize,
}

impl Settings {
    /// Django's defaults, with this key.
    pub fn new(secret_key: Secret) -> Self {
        Settings {
            secret_key,
            fallbacks: Vec::new(),
            session_age: 14 * 24 * 60 * 60,
            hashing: Hashing::Sha256,
            form: Form::TABLE,
            backends: vec!["django.contrib.auth.backends.ModelBackend".to_owned()],
            schemes: vec![Scheme::Drf],
            cache_capacity: 200_000,
        }
    }
}

/// What a request says about who sent it. (No `Debug`: these are credentials.)
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The Authorization header. Bytes that are not UTF-8 come as U+FFFD.
    pub authorization: Option<&'a str>,
    /// The session cookie's value.
    pub session_cookie: Option<&'a str>,
    /// Whether a newcomer gets a session (not so for a page of a foreign site).
    pub may_mint: bool,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The Authorization header is wrong: the client must send another.
    #[error("{detail}")]
    Invalid {
        /// What to tell the client: the words of Django REST framework.
        detail: &'static str,
        /// How to authenticate: `WWW-Authenticate`.
        challenge: String,
    },
    /// A token, or a login that is in a cookie, cannot be looked up now: the client may send the
    /// same again.
    #[error("tokens cannot be looked up at the moment")]
    Unavailable,
}

/// Tells who sent a request. One for all threads.
#[derive(Debug)]
pub struct Auth {
    known: RwLock<Arc<Known>>,
    lookup: Lookup,
    session_age: Micros,
}

/// What holds until the keys are others, shared with the look-up thread.
#[derive(Debug)]
struct Known {
    rules: Rules,
    schemes: Schemes,
    cache: Cache,
}

impl Known {
    fn new(settings: Settings) -> Self {
        let rules = Rules {
            keys: Keys::new(settings.secret_key, settings.fallbacks).with(settings.hashing),
            backends: settings.backends,
            form: settings.form,
        };
        let schemes = Schemes::new(settings.schemes);
        Known { rules, schemes, cache: Cache::new(settings.cache_capacity) }
    }

    fn keys(&self) -> &Keys {
        &self.rules.keys
    }

    fn newcomer(&self, sent: &Credentials<'_>, now: Micros) -> Option<Session> {
        sent.may_mint.then(|| minted(mint::mint(self.keys(), now)))
    }

    /// A session of ours whose row the drain has still to write (again, if need be).
    fn rowless(&self, key: &SessionKey, at: Micros) -> Option<Session> {
        mint::is_fresh(key, self.keys(), at).then(|| minted(key.as_str().to_owned()))
    }
}

impl Auth {
    /// Starts the thread that looks up in `directory`; fails if there is no thread to be had.
    pub fn new(settings: Settings, directory: Box<dyn Directory>) -> io::Result<Self> {
        Ok(Auth {
            lookup: Lookup::start(directory, lookup::PATIENCE)?,
            session_age: Micros::from(settings.session_age) * 1_000_000,
            known: RwLock::new(Arc::new(Known::new(settings))),
        })
    }

    /// From now on these keys and tokens count; what was remembered of the others is forgotten.
    pub fn renew(&self, settings: Settings) {
        let known = Arc::new(Known::new(settings));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who sent a request that came in at `now`. The Authorization header decides about the user
    /// before the session does; the session is the cookie's in any case.
    pub async fn identify(&self, sent: &Credentials<'_>, now: Micros) -> Result<Identity, Error> {
        let known = &self.known();
        let read = |header| known.schemes.read(header);
        let by_header = match sent.authorization.map(read).transpose()?.flatten() {
            Some(token) => self.token_user(known, token, now).await?,
            None => None,
        };
        let (session, by_session) = match known.rules.form.place {
            // Boxed: the others need no place for it.
            Place::Cookie => Box::pin(self.session_in_cookie(known, sent, now)).await?,
            _ => self.session(known, sent, now).await,
        };
        Ok(Identity { session, user: by_header.or(by_session) })
    }

    /// Settles the session, and with it visitor and user, of an activity that was taken down
    /// while the database was away. Everything as of the moment when it came in.
    pub fn resolve(
        &self,
        directory: &mut dyn Directory,
        activity: &mut Activity,
    ) -> Result<(), store::Error> {
        let unverified = |session: &&Session| session.state == SessionState::Unverified;
        let Some(session) = activity.session.as_ref().filter(unverified) else {
            return Ok(());
        };
        let Some(key) = SessionKey::parse(&session.key) else {
            activity.session = None;
            return Ok(());
        };
        let (at, known) = (activity.received_at, self.known());
        match known.rules.session(directory, &key, at)? {
            Some(live) => {
                let (session, user) = of_live(&key, live);
                activity.session = Some(session);
                // A user that is there already came by a token, which goes before the session.
                activity.user = activity.user.take().or(user);
            }
            None => activity.session = known.rowless(&key, at),
        }
        Ok(())
    }

    /// The row of a session that we minted. The same for the same arguments, whenever it is asked.
    pub fn session_row(&self, session: &Session, received_at: Micros) -> NewSession {
        let visitor = session.visitor.as_deref().unwrap_or(&session.key);
        let known = self.known();
        NewSession {
            key: session.key.clone(),
            data: session::encode(visitor, known.rules.form, known.keys(), received_at),
            expires: received_at + self.session_age,
        }
    }

    async fn session(
        &self,
        known: &Arc<Known>,
        sent: &Credentials<'_>,
        now: Micros,
    ) -> (Option<Session>, Option<String>) {
        let newcomer = || known.newcomer(sent, now);
        let Some(key) = sent.session_cookie.and_then(SessionKey::parse) else {
            return (newcomer(), None);
        };
        match self.live(known, key, now).await {
            Ok(Some(live)) => {
                let (session, user) = of_live(&key, live);
                (Some(session), user)
            }
            // Never adopted, so that nobody can choose another's session key.
            Ok(None) => (known.rowless(&key, now).or_else(newcomer), None),
            Err(Away) => (Some(plain(key.as_str().to_owned(), SessionState::Unverified)), None),
        }
    }

    /// A session that is its cookie. Nothing can vouch for its login while the database is away,
    /// nor later: then the request is put off.
    async fn session_in_cookie(
        &self,
        known: &Arc<Known>,
        sent: &Credentials<'_>,
        now: Micros,
    ) -> Result<(Option<Session>, Option<String>), Error> {
        let rules = &known.rules;
        let age = (self.session_age / 1_000_000) as u32;
        let decode = |cookie: &str| {
            session::decode_cookie(cookie, rules.form.serializer, &rules.keys, (age, now))
        };
        let Some((cookie, data)) = sent.session_cookie.and_then(|it| Some((it, decode(it)?)))
        else {
            return Ok((known.newcomer(sent, now), None));
        };
        let key = match data.visitor {
            Some(visitor) => visitor.as_str().to_owned(),
            None => mint::derive(cookie, known.keys()),
        };
        let session = Some(plain(key, SessionState::Known));
        let Some(login) = data.login else { return Ok((session, None)) };
        let look_up = move |known: &Known, directory: &mut dyn Directory| {
            let user = known.rules.user(directory, &login)?;
            let refused = Answer::refused(rules::INACTIVE);
            Ok(user.map_or(refused, |user| Answer::user(user.into(), None)))
        };
        match self.owner(known, ("cookie:", cookie), now, look_up).await.map_err(unavailable)? {
            Owner::User(user) => Ok((session, Some(user.into()))),
            Owner::Nobody | Owner::Refused(_) => Ok((session, None)),
        }
    }

    /// What to set the cookie of a session to that we minted.
    pub fn cookie(&self, session: &Session, now: Micros) -> String {
        let known = self.known();
        let form = known.rules.form;
        match form.place {
            Place::Cookie => session::encode(&session.key, form, known.keys(), now),
            _ => session.key.clone(),
        }
    }

    async fn live(
        &self,
        known: &Arc<Known>,
        key: SessionKey,
        now: Micros,
    ) -> Result<Option<Live>, Away> {
        if let Some(session) = known.cache.session(&key, now) {
            return Ok(session);
        }
        let known = Arc::clone(known);
        let look_up = move |directory: &mut dyn Directory| {
            // Another request may have asked the same while this one stood in the queue.
            if let Some(session) = known.cache.session(&key, now) {
                return Ok(session);
            }
            let session = known.rules.session(directory, &key, now)?;
            known.cache.put_session(key, session.clone(), now);
            Ok(session)
        };
        self.lookup.ask(look_up).await
    }

    async fn token_user(
        &self,
        known: &Arc<Known>,
        sent: Sent<'_>,
        now: Micros,
    ) -> Result<Option<String>, Error> {
        let (word, token) = (sent.word.to_owned(), sent.token.to_owned());
        let look_up = move |known: &Known, directory: &mut dyn Directory| {
            known.schemes.owner(directory, &word, &token, now)
        };
        match self.owner(known, (sent.word, sent.token), now, look_up).await.map_err(unavailable)? {
            Owner::User(user) => Ok(Some(user.into())),
            Owner::Nobody => Ok(None),
            Owner::Refused(detail) => Err(known.schemes.refuse(detail)),
        }
    }

    /// Whose something is that was sent, out of the cache or looked up.
    async fn owner(
        &self,
        known: &Arc<Known>,
        (kind, sent): (&str, &str),
        now: Micros,
        look_up: impl FnOnce(&Known, &mut dyn Directory) -> Result<Answer, store::Error>
        + Send
        + 'static,
    ) -> Result<Owner, Away> {
        if let Some(owner) = known.cache.token(kind, sent, now) {
            return Ok(owner);
        }
        let (known, kind, sent) = (Arc::clone(known), kind.to_owned(), sent.to_owned());
        let question = move |directory: &mut dyn Directory| {
            // Another request may have asked the same while this one stood in the queue.
            if let Some(owner) = known.cache.token(&kind, &sent, now) {
                return Ok(owner);
            }
            let answer = look_up(&known, directory)?;
            known.cache.put_token(&kind, &sent, &answer, now);
            Ok(answer.owner)
        };
        self.lookup.ask(question).await
    }
}

fn unavailable(Away: Away) -> Error {
    Error::Unavailable
}

fn of_live(key: &SessionKey, live: Live) -> (Session, Option<String>) {
    let session = Session {
        visitor: live.visitor.map(Into::into),
        ..plain(key.as_str().to_owned(), SessionState::Known)
    };
    (session, live.user.map(Into::into))
}

fn minted(key: String) -> Session {
    plain(key, SessionState::Minted)
}

fn plain(key: String, state: SessionState) -> Session {
    Session { key, visitor: None, state }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
