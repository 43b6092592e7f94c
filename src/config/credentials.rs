//! Session engines and tokens: what the options about them mean, and what cannot work.

use serde::{Deserialize, Serialize};

use super::{Config, Error};

/// Django's `SESSION_ENGINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEngine {
    /// `db` and `cached_db`: the table.
    Table,
    /// `cache`, in Redis.
    Cache,
    /// `file`.
    File,
    /// `signed_cookies`.
    Cookie,
}

/// What Django writes a session with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serializer {
    /// As Django does where nothing is said: JSON, in a cache a pickle.
    Auto,
    /// JSON.
    Json,
    /// A pickle.
    Pickle,
}

/// Which hashes Django signs with and believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hashing {
    /// SHA-1 where Django's migrations are those of 3.0 or older, else SHA-256.
    Auto,
    /// Up to Django 3.0.
    Sha1,
    /// Django 3.1 and 3.2.
    Both,
    /// From Django 4.0.
    Sha256,
}

/// A kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Token {
    /// Of Django REST framework.
    Drf,
    /// Of django-rest-knox.
    Knox,
    /// JSON Web Tokens.
    Jwt,
    /// Of django-oauth-toolkit.
    Oauth,
}

/// What to do about sessions that lie inside of Django's own processes.
const ELSEWHERE: &str = "set Django's SESSION_ENGINE to django.contrib.sessions.backends.cached_db \
    (as fast, and its table can be read) or to db, or use a cache in Redis";

impl Config {
    /// The engine that `session_engine` names, also by Django's dotted path.
    pub fn engine(&self) -> Result<SessionEngine, Error> {
        let name = self.session_engine.as_str();
        match name.strip_prefix("django.contrib.sessions.backends.").unwrap_or(name) {
            "db" | "cached_db" => Ok(SessionEngine::Table),
            "cache" => Ok(SessionEngine::Cache),
            "file" => Ok(SessionEngine::File),
            "signed_cookies" => Ok(SessionEngine::Cookie),
            "locmem" | "memcached" => {
                Err(Error::Value(format!("session_engine: {name} is a cache; {ELSEWHERE}")))
            }
            _ => Err(Error::Value(format!(
                "session_engine: {name:?} is none of Django's own engines (db, cached_db, cache, \
                 file, signed_cookies). Where it only adds to one of them under the same class \
                 name, SessionStore, name that one; else {ELSEWHERE}"
            ))),
        }
    }

    pub(super) fn check_credentials(&self) -> Result<(), Error> {
        if self.engine()? == SessionEngine::Cache {
            self.check_cache()?;
        }
        let refuse = |sentence: &str| Err(Error::Value(sentence.to_owned()));
        let words = self.jwt_header.iter().chain([&self.knox_header]);
        for word in words {
            if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()) {
                return refuse("jwt_header and knox_header: must be words, such as Bearer");
            }
        }
        if self.token.contains(&Token::Jwt) {
            if self.jwt_header.is_empty() || self.jwt_user_claim.is_empty() {
                return refuse("jwt_header and jwt_user_claim: must not be blank");
            }
            let shared = self.jwt_algorithm.starts_with("HS");
            if !shared && self.jwt_key_file.as_os_str().is_empty() {
                return refuse(
                    "jwt_key_file: must name the file with the public key in PEM, for a \
                     jwt_algorithm that is not HS256, HS384 or HS512",
                );
            }
            if self.jwt_stateless && self.jwt_check_password {
                return refuse(
                    "jwt_check_password: needs the table of users, so that jwt_stateless must be \
                     false",
                );
            }
        }
        Ok(())
    }

    fn check_cache(&self) -> Result<(), Error> {
        // Never repeat the URL: it may hold a password.
        let (scheme, _) = self.session_cache.split_once("://").unwrap_or((&self.session_cache, ""));
        let sentence = match scheme {
            "redis" | "unix" | "redis+unix" | "valkey" => return Ok(()),
            "" => "the engine cache needs the URL of its Redis, such as redis://127.0.0.1:6379/1"
                .to_owned(),
            "rediss" | "valkeys" => "this version does not speak TLS to Redis: use a Unix socket \
                (unix:///run/redis.sock), or redis:// to a tunnel on this machine"
                .to_owned(),
            "locmem" => format!("each process of Django has its own locmem; {ELSEWHERE}"),
            "memcached" | "pymemcache" | "pylibmc" => {
                format!("what memcached holds cannot be read from outside of Django; {ELSEWHERE}")
            }
            _ => format!("only a cache in Redis (redis:// or unix://) can be read; {ELSEWHERE}"),
        };
        Err(Error::Value(format!("session_cache: {sentence}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    #[test]
    fn engines_by_name_and_by_path() {
        for (name, engine) in [
            ("db", SessionEngine::Table),
            ("django.contrib.sessions.backends.db", SessionEngine::Table),
            ("django.contrib.sessions.backends.cached_db", SessionEngine::Table),
            ("cache", SessionEngine::Cache),
            ("file", SessionEngine::File),
            ("django.contrib.sessions.backends.signed_cookies", SessionEngine::Cookie),
        ] {
            let options = Options { session_engine: Some(name.into()), ..Options::default() };
            assert_eq!(options.fill().engine().unwrap(), engine, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_from_outside_is_refused_with_advice() {
        let check = |engine: &str, cache: &str, expected: &str| {
            let options = Options {
                session_engine: Some(engine.into()),
                session_cache: Some(cache.into()),
                ..Options::default()
            };
            let error = options.fill().check_credentials().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        };
        check("cache", "", "needs the URL");
        check("cache", "locmem://", "cached_db");
        check("cache", "memcached://u:secret@h", "cached_db");
        check("cache", "rediss://u:secret@h", "TLS");
        check("cache", "file:///secret", "only a cache in Redis");
        check("locmem", "", "cached_db");
        check("shop.sessions", "", "none of Django's own");
    }
}
