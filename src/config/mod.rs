//! Every option: its name, what it is for, its default; and the one place that reads them.
//!
//! One name everywhere: flag `--trusted-proxy`, environment `DJAFFAR_TRUSTED_PROXY`, key
//! `trusted_proxy` in `djaffar.toml`. Later wins: default, file, environment, flag.
//! `djaffar.example.toml` is printed from the table below, and a test compares them.

mod check;
mod cookie;
mod credentials;
mod network;
pub mod secret;
mod shown;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

pub use cookie::{SameSite, SessionCookie};
pub use credentials::{Hashing, Serializer, SessionEngine, Token};
pub use network::{Address, Network};
pub use shown::without_password;
use shown::{shown, what_and_why, where_and_why};

/// The file that is read when it is there and no other is named.
pub const FILE: &str = "djaffar.toml";

/// The database of a server that runs alone.
pub const DATABASE: &str = "sqlite:///djaffar.sqlite3";

/// Why the configuration cannot be used; the sentences say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// The file is not what it should be.
    #[error("{0}, {1}")]
    Toml(PathBuf, String),
    /// An option has a value that cannot work.
    #[error("{0}")]
    Value(String),
}

/// Defines `Options` (what was said, of flags and environment or of the file), `Config` (what
/// holds) and [`OPTIONS`], from one table.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident [$($type:tt)+] $env:literal $heading:literal = $default:expr;
    )+) => {
        /// The options as given: nothing where nothing was said.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Options {
            $(
                $(#[doc = $doc])+
                #[arg(long, env = $env, help_heading = $heading, value_delimiter = ',',
                      hide_env_values = true)]
                pub $name: Option<$($type)+>,
            )+
        }

        /// The options that hold.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct Config {
            $( $(#[doc = $doc])+ pub $name: $($type)+, )+
        }

        impl Options {
            /// `self` where it says something, else `other`.
            fn or(self, other: Options) -> Options {
                Options { $( $name: self.$name.or(other.$name), )+ }
            }

            /// Fills in the defaults.
            fn fill(self) -> Config {
                Config { $( $name: self.$name.unwrap_or_else(|| $default), )+ }
            }
        }

        /// Name, heading and description of each option, in the order of the documentation.
        pub const OPTIONS: &[(&str, &str, &[&str])] =
            &[$( (stringify!($name), $heading, &[$($doc),+]), )+];
    };
}

options! {
    /// The address and port to answer on.
    listen [Address] "DJAFFAR_LISTEN" "Serving" = Address(([127, 0, 0, 1], 8000).into());
    /// The folder of the endpoint: activities are posted to PREFIXlog/.
    prefix [String] "DJAFFAR_PREFIX" "Serving" = "/djaffar/".to_owned();
    /// The name of the tracker there, for sites whose visitors block the usual ones.
    tracker_name [String] "DJAFFAR_TRACKER_NAME" "Serving" = "djaffar.js".to_owned();
    /// Networks of the reverse proxies whose X-Forwarded-For is believed, e.g. 127.0.0.1/32.
    trusted_proxy [Vec<Network>] "DJAFFAR_TRUSTED_PROXY" "Serving" = Vec::new();
    /// Other sites whose pages may post with their cookies, e.g. `https://shop.example`.
    allowed_origin [Vec<String>] "DJAFFAR_ALLOWED_ORIGIN" "Serving" = Vec::new();
    /// Host names that are answered, as in Django's ALLOWED_HOSTS; none listed: any.
    allowed_host [Vec<String>] "DJAFFAR_ALLOWED_HOST" "Serving" = Vec::new();
    /// Threads that answer; 0: one for two cores.
    threads [usize] "DJAFFAR_THREADS" "Serving" = 0;
    /// Connections that are held at once.
    connections [usize] "DJAFFAR_CONNECTIONS" "Serving" = 18_000;
    /// Connections of one address (IPv6: /64; trusted proxies may have more).
    connections_per_address [usize] "DJAFFAR_CONNECTIONS_PER_ADDRESS" "Serving" = 256;
    /// Requests a second of one address (IPv6: /64), ten seconds' worth at once; 0: any number.
    rate_limit [u32] "DJAFFAR_RATE_LIMIT" "Serving" = 1_000;
    /// New sessions a second of one network (IPv4 /24, IPv6 /64); 0: any number.
    session_rate_limit [u32] "DJAFFAR_SESSION_RATE_LIMIT" "Serving" = 100;

    /// Where the activities go: sqlite:///db.sqlite3, `postgres://user@host/name` or mysql://…
    database [String] "DJAFFAR_DATABASE" "Storing" = DATABASE.to_owned();
    /// A file with the password, where the address has none (or set DJAFFAR_DATABASE_PASSWORD).
    database_password_file [PathBuf] "DJAFFAR_DATABASE_PASSWORD_FILE" "Storing" = PathBuf::new();
    /// A ClickHouse for the activities: clickhouse://user@host:8123/db; blank: the same database.
    activity_database [String] "DJAFFAR_ACTIVITY_DATABASE" "Storing" = String::new();
    /// A file with its password (or set DJAFFAR_ACTIVITY_PASSWORD); blank: as in the address.
    activity_password_file [PathBuf] "DJAFFAR_ACTIVITY_PASSWORD_FILE" "Storing" = PathBuf::new();
    /// The folder that keeps activities safe until they are in the database.
    spool [PathBuf] "DJAFFAR_SPOOL" "Storing" = PathBuf::from("djaffar-spool");
    /// MiB of activities that may wait for the database; over that the answer is 503.
    spool_limit_mib [u64] "DJAFFAR_SPOOL_LIMIT_MIB" "Storing" = 4_096;
    /// Seconds for which stored activities are kept in the spool as well.
    spool_retain_seconds [u64] "DJAFFAR_SPOOL_RETAIN_SECONDS" "Storing" = 3_600;
    /// MiB of stored activities that are kept in the spool at most.
    spool_retain_mib [u64] "DJAFFAR_SPOOL_RETAIN_MIB" "Storing" = 1_024;

    /// A file with Django's SECRET_KEY (or set DJAFFAR_SECRET_KEY). Alone: made when absent.
    /// The files of keys are read again while djaffar runs: a new key counts within seconds.
    secret_key_file [PathBuf] "DJAFFAR_SECRET_KEY_FILE" "Django" =
        PathBuf::from("djaffar.secret-key");
    /// Files with Django's SECRET_KEY_FALLBACKS, one a line; a file may be empty.
    secret_key_fallback_file [Vec<PathBuf>] "DJAFFAR_SECRET_KEY_FALLBACK_FILE" "Django" =
        Vec::new();
    /// Django's TIME_ZONE: of dates without an offset.
    time_zone [String] "DJAFFAR_TIME_ZONE" "Django" = "UTC".to_owned();
    /// Django's USE_TZ: whether the database holds UTC (true) or local times.
    use_tz [bool] "DJAFFAR_USE_TZ" "Django" = true;
    /// The table of Django's user model.
    user_table [String] "DJAFFAR_USER_TABLE" "Django" = "auth_user".to_owned();
    /// The column of its primary key.
    user_id_column [String] "DJAFFAR_USER_ID_COLUMN" "Django" = "id".to_owned();
    /// The column of its password.
    user_password_column [String] "DJAFFAR_USER_PASSWORD_COLUMN" "Django" =
        "password".to_owned();
    /// The column that says whether a user may log in; without that column all may.
    user_active_column [String] "DJAFFAR_USER_ACTIVE_COLUMN" "Django" = "is_active".to_owned();
    /// Django's AUTHENTICATION_BACKENDS.
    authentication_backend [Vec<String>] "DJAFFAR_AUTHENTICATION_BACKEND" "Django" =
        vec!["django.contrib.auth.backends.ModelBackend".to_owned()];
    /// Django's SESSION_COOKIE_NAME.
    session_cookie_name [String] "DJAFFAR_SESSION_COOKIE_NAME" "Django" = "sessionid".to_owned();
    /// Django's SESSION_COOKIE_AGE in seconds.
    session_cookie_age [u32] "DJAFFAR_SESSION_COOKIE_AGE" "Django" = 1_209_600;
    /// Django's SESSION_COOKIE_DOMAIN; blank: the host's own.
    session_cookie_domain [String] "DJAFFAR_SESSION_COOKIE_DOMAIN" "Django" = String::new();
    /// Django's SESSION_COOKIE_PATH.
    session_cookie_path [String] "DJAFFAR_SESSION_COOKIE_PATH" "Django" = "/".to_owned();
    /// Django's SESSION_COOKIE_SECURE.
    session_cookie_secure [bool] "DJAFFAR_SESSION_COOKIE_SECURE" "Django" = false;
    /// Django's SESSION_COOKIE_HTTPONLY.
    session_cookie_httponly [bool] "DJAFFAR_SESSION_COOKIE_HTTPONLY" "Django" = true;
    /// Django's SESSION_COOKIE_SAMESITE: Lax, Strict, None, or off for no such attribute.
    session_cookie_samesite [SameSite] "DJAFFAR_SESSION_COOKIE_SAMESITE" "Django" = SameSite::Lax;
    /// Django's SESSION_EXPIRE_AT_BROWSER_CLOSE.
    session_expire_at_browser_close [bool] "DJAFFAR_SESSION_EXPIRE_AT_BROWSER_CLOSE" "Django" =
        false;
    /// Django's SESSION_ENGINE: db, cached_db, cache (in Redis), file or signed_cookies.
    session_engine [String] "DJAFFAR_SESSION_ENGINE" "Django" = "db".to_owned();
    /// Engine file: Django's SESSION_FILE_PATH.
    session_file_path [PathBuf] "DJAFFAR_SESSION_FILE_PATH" "Django" = PathBuf::from("/tmp");
    /// Engine cache: LOCATION of SESSION_CACHE_ALIAS, `redis://host:6379/1` or unix:///redis.sock.
    session_cache [String] "DJAFFAR_SESSION_CACHE" "Django" = String::new();
    /// Engine cache: what that cache puts before its keys, KEY_PREFIX:VERSION: with the colons.
    session_cache_prefix [String] "DJAFFAR_SESSION_CACHE_PREFIX" "Django" = ":1:".to_owned();
    /// What Django writes sessions with: json, pickle, or auto: json, and pickle in a cache.
    session_serializer [Serializer] "DJAFFAR_SESSION_SERIALIZER" "Django" = Serializer::Auto;
    /// How Django signs: sha1 (up to 3.0), both (3.1, 3.2), sha256 (from 4.0); auto: by its tables.
    hashing [Hashing] "DJAFFAR_HASHING" "Django" = Hashing::Auto;

    /// Tokens that count in the Authorization header, in this order: drf, knox, jwt, oauth.
    token [Vec<Token>] "DJAFFAR_TOKEN" "Tokens" = vec![Token::Drf];
    /// Knox's AUTH_HEADER_PREFIX.
    knox_header [String] "DJAFFAR_KNOX_HEADER" "Tokens" = "Token".to_owned();
    /// The table of KNOX_TOKEN_MODEL.
    knox_table [String] "DJAFFAR_KNOX_TABLE" "Tokens" = "knox_authtoken".to_owned();
    /// The table of OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL.
    oauth_table [String] "DJAFFAR_OAUTH_TABLE" "Tokens" = "oauth2_provider_accesstoken".to_owned();
    /// ALGORITHM of SIMPLE_JWT: HS256 to HS512, RS…, PS…, ES256, ES384 or EdDSA.
    jwt_algorithm [String] "DJAFFAR_JWT_ALGORITHM" "Tokens" = "HS256".to_owned();
    /// A file with the shared secret (HS…) or the public key in PEM; blank: SECRET_KEY (HS… only).
    jwt_key_file [PathBuf] "DJAFFAR_JWT_KEY_FILE" "Tokens" = PathBuf::new();
    /// AUDIENCE: one of these must be in aud; none listed: aud is not looked at.
    jwt_audience [Vec<String>] "DJAFFAR_JWT_AUDIENCE" "Tokens" = Vec::new();
    /// ISSUER: iss must be one of these; none listed: any.
    jwt_issuer [Vec<String>] "DJAFFAR_JWT_ISSUER" "Tokens" = Vec::new();
    /// AUTH_HEADER_TYPES.
    jwt_header [Vec<String>] "DJAFFAR_JWT_HEADER" "Tokens" = vec!["Bearer".to_owned()];
    /// USER_ID_CLAIM: the claim with the user's primary key; of other backends often sub.
    jwt_user_claim [String] "DJAFFAR_JWT_USER_CLAIM" "Tokens" = "user_id".to_owned();
    /// What token_type must be; blank, for other backends: no token_type and no jti is needed.
    jwt_token_type [String] "DJAFFAR_JWT_TOKEN_TYPE" "Tokens" = "access".to_owned();
    /// LEEWAY in seconds.
    jwt_leeway [u32] "DJAFFAR_JWT_LEEWAY" "Tokens" = 0;
    /// Whether the claim is believed as it is, without a look at the table of users.
    jwt_stateless [bool] "DJAFFAR_JWT_STATELESS" "Tokens" = false;
    /// CHECK_REVOKE_TOKEN: whether a new password ends all tokens.
    jwt_check_password [bool] "DJAFFAR_JWT_CHECK_PASSWORD" "Tokens" = false;

    /// What is logged: error, warn, info, debug, or a filter such as djaffar=debug.
    log [String] "DJAFFAR_LOG" "Logging" = "info".to_owned();
    /// How it is logged: text, or json (one object a line).
    log_format [LogFormat] "DJAFFAR_LOG_FORMAT" "Logging" = LogFormat::Text;
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for a person.
    Text,
    /// A JSON object a line.
    Json,
}

impl Config {
    /// Reads the file and puts together what holds. `file`: the one that `--config` names; else
    /// `djaffar.toml`, when it is there. `said`: flags and environment.
    pub fn load(file: Option<&Path>, said: Options) -> Result<Config, Error> {
        let path = file.unwrap_or(Path::new(FILE));
        let written = match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Error::Toml(path.to_owned(), where_and_why(&text, &error)))?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Options::default()
            }
            Err(error) => return Err(Error::File(path.to_owned(), error)),
        };
        let config = said.or(written).fill();
        config.check()?;
        Ok(config)
    }

    /// What holds with a file of this text, and nothing said besides.
    ///
    /// # Errors
    /// What is no option, and what cannot work.
    pub fn parse(text: &str) -> Result<Config, Error> {
        let written: Options =
            toml::from_str(text).map_err(|error| Error::Value(what_and_why(text, &error)))?;
        let config = written.fill();
        config.check()?;
        Ok(config)
    }

    /// The time zone of dates without an offset.
    pub fn zone(&self) -> Result<jiff::tz::TimeZone, Error> {
        jiff::tz::TimeZone::get(&self.time_zone).map_err(|_| {
            Error::Value(format!(
                "time_zone: no zone is called {:?}; write it as Django's TIME_ZONE, such as \
                 Europe/Paris",
                self.time_zone
            ))
        })
    }

    /// `djaffar.toml` with these values, each with its description.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut heading = "";
        let values = toml::Table::try_from(self).unwrap_or_default();
        for (name, under, doc) in OPTIONS {
            if *under != heading {
                text += &format!("\n# --- {under} ---\n");
                heading = under;
            }
            for line in *doc {
                text += &format!("\n#{line}");
            }
            let value = values.get(*name).map(shown).unwrap_or_default();
            text += &format!("\n{name} = {value}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, said: Options) -> Result<Config, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("djaffar.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(Some(&file), said)
    }

    #[test]
    fn the_example_file_is_the_table() {
        let example = std::fs::read_to_string("djaffar.example.toml").unwrap();
        let (head, table) = example.split_once("\n# ---").unwrap();
        assert!(head.lines().all(|line| line.starts_with('#')), "the head is a comment");
        let expected = Options::default().fill().to_toml();
        assert_eq!(format!("\n# ---{table}"), expected, "write `djaffar config print` over it");
        assert_eq!(load(&example, Options::default()).unwrap(), Options::default().fill());
    }

    #[test]
    fn later_wins() {
        let said = Options { threads: Some(3), ..Options::default() };
        let config = load("threads = 2\nconnections = 9", said).unwrap();
        assert_eq!((config.threads, config.connections), (3, 9));
        assert_eq!(config.session_cookie_age, 1_209_600);
    }

    #[test]
    fn what_cannot_work_is_said() {
        let table = [
            ("nonsense = 1", "unknown field"),
            ("threads = 'x'", "invalid type"),
            ("time_zone = 'Mars/Phobos'", "no zone is called"),
            ("prefix = 'djaffar'", "slash"),
            ("tracker_name = ''", "a name of its own"),
            ("tracker_name = 'a/b.js'", "a name of its own"),
            ("tracker_name = 'log'", "a name of its own"),
            ("allowed_origin = ['shop.example']", "scheme and host"),
            ("allowed_origin = ['https://shop.example/']", "scheme and host"),
            ("allowed_origin = ['https://*.example']", "wildcard"),
            ("session_cookie_name = 'a b'", "name"),
            ("session_cookie_path = '/; Secure'", "cannot stand in a cookie"),
            ("trusted_proxy = ['localhost']", "trusted_proxy: \"localhost\" is no network"),
            ("spool_limit_mib = 1", "at least 32"),
            ("listen = '8000'", "listen: \"8000\" is no address with a port: write 127.0.0.1"),
            ("listen = 8000", "listen: invalid type"),
            ("listen = 'localhost:8000'", "127.0.0.1:8000"),
            ("connections = 0", "at least 1"),
            ("connections_per_address = 0", "at least 1"),
            ("threads = 100000", "at most 1024"),
            ("spool = ''", "must name a folder"),
            ("prefix = '/a b/'", "begin and end with a slash"),
            ("prefix = '//'", "begin and end with a slash"),
            ("prefix = '/café/'", "as browsers send it"),
            ("prefix = '/a?b/'", "as browsers send it"),
        ];
        for (toml, expected) in table {
            let error = load(toml, Options::default()).unwrap_err().to_string();
            assert!(error.contains(expected), "{toml}: {error}");
        }
        assert!(Config::load(Some(Path::new("/nowhere.toml")), Options::default()).is_err());
        for good in [
            "prefix = '/'",
            "prefix = '/a/b-c/@d+e/caf%C3%A9/'",
            "listen = '[::]:8000'",
            "threads = 1024",
        ] {
            load(good, Options::default()).unwrap();
        }
    }
}
