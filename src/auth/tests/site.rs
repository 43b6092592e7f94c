//! The site of the tests: rows that Django stored, and a directory that fails on demand.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use super::super::signing::Signer;
use super::super::*;
use crate::store::{SessionRow, TokenKey, TokenRow, UserRow};

pub(super) const NOW: Micros = 1_790_000_000_000_000;
pub(super) const SECOND: Micros = 1_000_000;
pub(super) const USER_TOKEN: &str = "401f7ac837da42b97f613d789819ff93537bee6a";
pub(super) const INACTIVE_TOKEN: &str = "0f0f7ac837da42b97f613d789819ff93537bee6a";
pub(super) const CART: &str = "cartcartcartcartcartcartcartcart";
pub(super) const VISITOR: &str = "firstfirstfirstfirstfirstfirst00";
pub(super) const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

#[derive(Default)]
pub(super) struct Rows {
    pub(super) sessions: HashMap<String, SessionRow>,
    pub(super) users: HashMap<String, UserRow>,
    pub(super) tokens: HashMap<String, String>,
    pub(super) away: bool,
    pub(super) asked: usize,
}

#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Rows>>);

impl Memory {
    pub(super) fn edit<T>(&self, edit: impl FnOnce(&mut Rows) -> T) -> T {
        edit(&mut self.0.lock().unwrap())
    }

    pub(super) fn ask<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, store::Error> {
        self.edit(|rows| {
            rows.asked += 1;
            match rows.away {
                true => Err(store::Error::Unavailable("gone".to_owned())),
                false => Ok(read(rows)),
            }
        })
    }

    pub(super) fn put_session(&self, key: &str, data: String) {
        let row = SessionRow { data: data.into_bytes(), expires: NOW + 3_600 * SECOND };
        self.edit(|rows| rows.sessions.insert(key.to_owned(), row));
    }

    pub(super) fn put_user(&self, id: &str, password: &str, is_active: bool) {
        let user = UserRow { id: id.to_owned(), password: password.to_owned(), is_active };
        self.edit(|rows| rows.users.insert(id.to_owned(), user));
    }
}

impl Directory for Memory {
    fn session(&mut self, key: &str) -> Result<Option<SessionRow>, store::Error> {
        self.ask(|rows| rows.sessions.get(key).cloned())
    }

    fn user(&mut self, id: &str) -> Result<Option<UserRow>, store::Error> {
        if id.parse::<u64>().is_err() {
            return Err(store::Error::Rejected("keys of users are numbers".to_owned()));
        }
        self.ask(|rows| rows.users.get(id).cloned())
    }

    fn tokens(&mut self, key: TokenKey<'_>) -> Result<Vec<TokenRow>, store::Error> {
        let TokenKey::Drf(token) = key else { return self.ask(|_| Vec::new()) };
        self.ask(|rows| {
            let user = rows.tokens.get(token).and_then(|id| rows.users.get(id)).cloned();
            let row = |user| TokenRow {
                user: Some(user),
                expires: None,
                digest: String::new(),
                salt: None,
                restricted: false,
            };
            user.map(row).into_iter().collect()
        })
    }
}

/// The site of the newest Django of the vectors, with a few rows more.
pub(super) struct Site {
    pub(super) memory: Memory,
    pub(super) auth: Auth,
    pub(super) keys: Keys,
}

impl Site {
    pub(super) fn new() -> Self {
        let (_, file) = vectors::sessions().into_iter().last().unwrap();
        let memory = Memory::default();
        memory.put_user("1", &file.user.password, true);
        memory.put_user("2", "pw", false);
        for case in file.cases.iter().filter(|case| case.is_row()) {
            memory.put_session(&case.name.replace('-', "0"), case.session_data.clone());
        }
        memory.edit(|rows| {
            rows.tokens.insert(USER_TOKEN.to_owned(), "1".to_owned());
            rows.tokens.insert(INACTIVE_TOKEN.to_owned(), "2".to_owned());
        });
        Self::with(memory, &file.secret, Form::TABLE)
    }

    pub(super) fn with(memory: Memory, secret: &str, form: Form) -> Self {
        let settings = Settings { form, ..Settings::new(secret.into()) };
        let auth = Auth::new(settings, Box::new(memory.clone())).unwrap();
        Site { memory, auth, keys: Keys::new(secret.into(), Vec::new()) }
    }

    pub(super) fn put_data(&self, key: &str, json: &str) {
        let signer = Signer::new(&self.keys, "django.contrib.sessions.SessionStore");
        self.memory.put_session(key, signing::dumps(json, &signer, 0));
    }

    /// The data of a right login, as Django would write it.
    pub(super) fn login(&self, user: &str, backend: &str) -> String {
        let password = self.memory.edit(|rows| rows.users.get(user).map(|u| u.password.clone()));
        let salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
        let password = password.unwrap_or_default();
        let hash = signing::salted_hmac(
            signing::Hash::Sha256,
            salt,
            password.as_bytes(),
            self.keys.current(),
        );
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({
            "_auth_user_id": user, "_auth_user_backend": backend, "_auth_user_hash": hash,
        })
        .to_string()
    }

    pub(super) async fn cookie(&self, key: &str, now: Micros) -> Identity {
        self.identify(None, Some(key), now).await.unwrap()
    }

    pub(super) async fn identify(
        &self,
        authorization: Option<&str>,
        session_cookie: Option<&str>,
        now: Micros,
    ) -> Result<Identity, Error> {
        let sent = Credentials { authorization, session_cookie, may_mint: true };
        self.auth.identify(&sent, now).await
    }

    pub(super) fn asked(&self) -> usize {
        self.memory.edit(|rows| rows.asked)
    }
}

pub(super) fn session(key: &str, state: SessionState) -> Option<Session> {
    Some(plain(key.to_owned(), state))
}

pub(super) fn activity(
    session: Option<Session>,
    user: Option<&str>,
    received_at: Micros,
) -> Activity {
    Activity {
        received_at,
        date: received_at,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session,
        user: user.map(str::to_owned),
        path: "/".to_owned(),
        referer: String::new(),
        user_agent: String::new(),
        event_id: None,
        name: String::new(),
        properties: None,
    }
}
