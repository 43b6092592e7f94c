//! Where activities end up, and where Django keeps sessions, users and tokens.
//!
//! One file per database; `conformance.rs` says what all must do. Knows no files of the spool,
//! no Django formats (signatures, session data) and no HTTP.
//!
//! What a database must keep: rows and the position of the spool are written in one transaction,
//! so that a batch that is written twice changes nothing; and an `event_id` is stored once.

mod address;
mod clickhouse;
mod moment;
mod moving;
mod mysql;
mod postgres;
mod rows;
mod schema;
mod settings;
mod sqlite;
mod tls;
mod tokens;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
#[path = "../../tests/support/databases/mod.rs"]
#[allow(dead_code, reason = "each of its users takes what it needs")]
pub(crate) mod servers;

use std::{path::Path, time::Duration};

use jiff::civil::DateTime;
use uuid::Uuid;

use crate::activity::{Activity, Micros};

pub use self::mysql::MysqlDatabase;
pub use clickhouse::{Freezer, MakeFreezer, Parking, Place, WithClickHouse, end_of_frozen};
pub use moment::Moments;
pub use moving::{Door, Load, Moved, Mover, TAKEN_OVER, progress};
pub use postgres::PostgresDatabase;
pub use settings::{Password, Settings, TokenTables, Users};
pub use sqlite::SqliteDatabase;

/// Why the database did not do it, named by what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Away, locked, read-only or broken: wait and try again.
    #[error("{0}")]
    Unavailable(String),
    /// Its disk has no room for so much: try less, or wait and try again.
    #[error("{0}")]
    Full(String),
    /// This data, never: trying again is of no use.
    #[error("{0}")]
    Rejected(String),
    /// Tables or columns are missing; the text says what to run. Try again after that.
    #[error("{0}")]
    Schema(String),
}

/// A row of `django_session` to make; its data was encoded by `auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The session key.
    pub key: String,
    /// `session_data`.
    pub data: String,
    /// `expire_date`.
    pub expires: Micros,
}

/// How far a segment of a spool is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The identity of the spool's directory.
    pub spool: Uuid,
    /// The segment.
    pub segment: Uuid,
    /// Everything before this byte is stored.
    pub position: u64,
}

/// What is written in one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The activities, in the order of the spool.
    pub activities: &'a [Activity],
    /// The sessions whose keys we minted.
    pub sessions: &'a [NewSession],
    /// How far the spool is stored afterwards.
    pub cursor: Cursor,
}

/// What became of a batch that a store has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is stored.
    Stored,
    /// It will be: when the next batch is taken or written, or [`Store::settle`] says so, it is. If this
    /// process ends before, the next one's [`Store::cursors`] tell.
    Later,
}

/// Writes activities: the drain's side.
pub trait Store: Send {
    /// How far each segment of this spool is stored.
    fn cursors(&mut self, spool: Uuid) -> Result<Vec<(Uuid, u64)>, Error>;

    /// Writes a batch in one transaction: all or nothing. A batch whose cursor is not beyond the
    /// stored one changes nothing. Returns how many activities were stored; those whose
    /// `event_id` is stored already are left out.
    fn write(&mut self, batch: &Batch<'_>) -> Result<u64, Error>;

    /// As [`Store::write`]; but a store that works on two batches at a time may say
    /// [`Taken::Later`]. Whatever it says: all that was taken before is stored by then.
    fn take(&mut self, batch: &Batch<'_>) -> Result<Taken, Error> {
        self.write(batch).map(|_| Taken::Stored)
    }

    /// Stores what was taken: an error where that does not work, or takes longer than this.
    fn settle(&mut self, within: Duration) -> Result<(), Error> {
        let _ = within;
        Ok(())
    }

    /// Drops the cursors of segments that are gone.
    fn forget(&mut self, spool: Uuid, segments: &[Uuid]) -> Result<(), Error>;

    /// How many bytes of what was written still wait on the spool's disk, for a part of the
    /// database that is away.
    fn parked(&self) -> u64 {
        0
    }

    /// Stores that, too: an error where a part is still away, or after this time.
    fn unpark(&mut self, within: Duration) -> Result<(), Error> {
        let _ = within;
        Ok(())
    }
}

/// A row of `django_session`, or what another session engine keeps instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// `session_data`, still encoded.
    pub data: Vec<u8>,
    /// `expire_date`; one that cannot be read is long past.
    pub expires: Micros,
}

/// A row of the user table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The primary key as Python's `str(user.pk)` has it (a UUID with dashes).
    pub id: String,
    /// The password's hash, as the session hash is made of it.
    pub password: String,
    /// Whether the user may log in.
    pub is_active: bool,
}

/// Who is who, on a connection of its own and with short patience: requests wait for it.
pub trait Directory: Send {
    /// The row of a session, also when expired.
    fn session(&mut self, key: &str) -> Result<Option<SessionRow>, Error>;
    /// The user with this key, as `_auth_user_id` holds it.
    fn user(&mut self, id: &str) -> Result<Option<UserRow>, Error>;
    /// The tokens that may be this one; none where the table is absent.
    fn tokens(&mut self, key: TokenKey<'_>) -> Result<Vec<TokenRow>, Error>;
}

/// What a token is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKey<'a> {
    /// Of Django REST framework: `authtoken_token.key`.
    Drf(&'a str),
    /// Of django-rest-knox: `token_key` is one of these.
    Knox([&'a str; 2]),
    /// Of django-oauth-toolkit: by `token_checksum` where that column is there, else by `token`.
    Oauth {
        /// The token itself.
        token: &'a str,
        /// Its SHA-256, in hexadecimal digits.
        checksum: &'a str,
    },
}

/// A row of a table of tokens. What a table has no column for is absent or blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Whose it is; a client of OAuth may act for nobody.
    pub user: Option<UserRow>,
    /// When it ends.
    pub expires: Option<Micros>,
    /// The hash that the token must have.
    pub digest: String,
    /// What is hashed with it.
    pub salt: Option<String>,
    /// It is for named resources only (RFC 8707).
    pub restricted: bool,
}

/// A row of `djaffar_activity`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredActivity {
    /// The row's number, growing.
    pub id: i64,
    /// The key of the user.
    pub user: Option<Key>,
    /// The session's key.
    pub session: Option<String>,
    /// Where it came from.
    pub ip_address: String,
    /// When it was done, in the digits of the database ([`Moments::instant_of_date`]).
    pub date: DateTime,
    /// What it was done on.
    pub path: String,
    /// Where the user came from.
    pub referer: String,
    /// When it came in, in the digits of the database ([`Moments::instant`]).
    pub received_at: Option<DateTime>,
    /// The client's id for it.
    pub event_id: Option<Uuid>,
    /// What kind of activity it is.
    pub name: String,
    /// JSON.
    pub properties: Option<String>,
}

/// A primary key as its column holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A number.
    Integer(i64),
    /// Anything else, as Python's `str()` has it.
    Text(String),
}

/// A row of `djaffar_sessioninfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The session's key.
    pub session: String,
    /// The browser.
    pub user_agent: String,
    /// The first session key of the visitor.
    pub visitor: String,
    /// Derived from the user agent.
    pub browser: Option<String>,
    /// Derived from the user agent.
    pub os: Option<String>,
    /// Derived from the user agent.
    pub device: Option<String>,
    /// Derived from the user agent.
    pub bot: Option<bool>,
    /// Derived from the address.
    pub country: Option<String>,
    /// When it was first seen, in the digits of the database.
    pub created_at: Option<DateTime>,
}

/// Reads what is stored, page by page: dumps, `tail`, the welcome page.
pub trait History: Send {
    /// The first `limit` activities after this row, oldest first.
    fn after(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error>;
    /// The last `limit` activities, oldest first.
    fn last(&mut self, limit: usize) -> Result<Vec<StoredActivity>, Error>;
    /// The last `limit` activities of a session, newest first.
    fn recent(&mut self, session: &str, limit: usize) -> Result<Vec<StoredActivity>, Error>;
    /// The first `limit` sessions whose key comes after this one (`None`: from the start).
    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error>;
    /// What is known of these sessions, in any order.
    fn infos(&mut self, sessions: &[&str]) -> Result<Vec<StoredSession>, Error>;
    /// How many activities there are.
    fn count(&mut self) -> Result<u64, Error>;
}

/// Whose tables these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// There are no tables, or no database yet.
    Nobody,
    /// We made the tables; there is no Django.
    Djaffar,
    /// A Django's database, where our tables (if any) are ours to make: `djaffar migrate`.
    Django,
    /// A Django's database, and its `manage.py migrate djaffar` makes our tables.
    DjangoApp,
}

/// A new superuser of Django's `auth_user`.
#[derive(Debug, Clone, Copy)]
pub struct Superuser<'a> {
    /// At most 150 characters, unique.
    pub username: &'a str,
    /// May be blank.
    pub email: &'a str,
    /// The hash, as Django's hashers make it.
    pub password: &'a str,
    /// `date_joined`.
    pub now: Micros,
}

/// A database: makes connections, looks after the tables.
pub trait Database: Send + Sync {
    /// Whose tables these are.
    fn owner(&self) -> Result<Owner, Error>;
    /// Whether everything that we need is there, in the shape that we need.
    fn check(&self) -> Result<(), Error>;
    /// Makes what is missing; harmless when nothing is. Refuses where Django owns our tables.
    fn migrate(&self) -> Result<(), Error>;
    /// Whether the Django beside us writes its sessions in the format before Django 3.1.
    fn legacy_sessions(&self) -> Result<bool, Error>;
    /// Makes a superuser.
    fn create_superuser(&self, user: &Superuser<'_>) -> Result<(), Error>;
    /// The file that it grows in, if that is on a disk of this machine.
    fn file(&self) -> Option<&Path>;
    /// A connection to write; it connects when first used, and again when that failed.
    fn store(&self) -> Box<dyn Store>;
    /// A connection to look up who is who; it connects when first used.
    fn directory(&self) -> Box<dyn Directory>;
    /// A connection to read what is stored; it connects when first used. It reads the tables of
    /// django-djaffar 0.1.10 as well: what these lack is absent.
    fn history(&self) -> Box<dyn History>;
    /// A connection that takes the rows of another database.
    fn mover(&self) -> Box<dyn Mover>;
    /// How dates are kept.
    fn moments(&self) -> &Moments;
}

/// The database behind a URL: `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3`,
/// `postgres://user:password@host:port/database`, `mysql://…`. Connects to nothing yet.
pub fn open(url: &str, settings: Settings) -> Result<Box<dyn Database>, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    match scheme {
        "sqlite" => match rest.strip_prefix('/') {
            Some(path) if !path.is_empty() && !path.contains(['?', '#']) => {
                Ok(Box::new(SqliteDatabase::new(path.as_ref(), settings)))
            }
            _ => Err("a SQLite database is sqlite:///relative/path.sqlite3 or \
                      sqlite:////absolute/path.sqlite3"
                .into()),
        },
        "postgres" | "postgresql" | "pgsql" | "postgis" => {
            Ok(Box::new(PostgresDatabase::new(url, settings)?))
        }
        "mysql" | "mysql2" | "mysqlgis" | "mariadb" => {
            Ok(Box::new(MysqlDatabase::new(url, settings)?))
        }
        // Never repeat the URL: it may hold a password.
        _ => Err("unknown kind of database: this version knows sqlite:///path.sqlite3, \
                  postgres://user:password@host/database and mysql://user:password@host/database"
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, good) in [
            ("sqlite:///djaffar.sqlite3", true),
            ("sqlite:////var/lib/djaffar/db.sqlite3", true),
            ("sqlite://db.sqlite3", false),
            ("sqlite:///", false),
            ("sqlite:///db.sqlite3?mode=ro", false),
            ("db.sqlite3", false),
            ("postgres://u:secret@localhost/db", true),
            ("postgresql://u:secret@localhost/db?sslmode=verify-full", true),
            ("postgres://u:secret@localhost/", false),
            ("postgres://u:secret@localhost/db?sslmode=nonsense", false),
            ("mysql://u:secret@localhost/db?ssl-mode=REQUIRED", true),
            ("mysql://u:secret@localhost/db?ssl-mode=nonsense", false),
            ("oracle://u:secret@localhost/db", false),
            ("", false),
        ] {
            let opened = open(url, Settings::default());
            assert_eq!(opened.is_ok(), good, "{url}");
            assert!(!opened.err().unwrap_or_default().contains("secret"));
        }
    }
}
