//! SQLite: whose tables they are, whether they will do, and making them.
//!
//! Beside a Django that has the app, Django owns our tables; we never write its
//! `django_migrations`. Both ways end in the same tables.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::sqlite_link::{Failure, Link, Setup};
use super::{Error, Moments, Owner, Superuser, Users};

const DJANGO: &str = include_str!("../../migrations/sqlite/django.sql");

/// Our migrations: the first is version 1, and so on.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_djaffar.sql")];

const SETUP: Setup =
    Setup { patience: Duration::from_secs(5), pragmas: "PRAGMA synchronous = EXTRA;" };

/// The tables, and the columns of each that we read or write.
const NEEDED: &[(&str, &[&str])] = &[
    ("django_session", &["session_key", "session_data", "expire_date"]),
    (
        "djaffar_activity",
        &[
            "id",
            "user_id",
            "session_id",
            "ip_address",
            "date",
            "path",
            "referer",
            "received_at",
            "event_id",
            "name",
            "properties",
        ],
    ),
    (
        "djaffar_sessioninfo",
        &[
            "session_id",
            "user_agent",
            "visitor",
            "browser",
            "os",
            "device",
            "bot",
            "country",
            "created_at",
        ],
    ),
    ("djaffar_spool_cursor", &["spool", "segment", "position"]),
];

fn read<T>(
    path: &Path,
    work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Error> {
    Link::new(path, SETUP).with(work)
}

pub(super) fn owner(path: &Path) -> Result<Owner, Error> {
    match path.try_exists() {
        Ok(false) => Ok(Owner::Nobody),
        _ => read(path, |connection| Ok(owner_of(connection)?)),
    }
}

fn owner_of(connection: &Connection) -> rusqlite::Result<Owner> {
    let has = |sql| connection.query_row(sql, [], |row| row.get::<_, bool>(0));
    if has("SELECT exists(SELECT 1 FROM sqlite_schema WHERE name = 'django_migrations')")? {
        let app = "SELECT exists(SELECT 1 FROM django_migrations WHERE app = 'djaffar')";
        return Ok(if has(app)? { Owner::DjangoApp } else { Owner::Django });
    }
    let ours = "SELECT exists(SELECT 1 FROM sqlite_schema WHERE type = 'table' \
                AND name = 'djaffar_schema_version')";
    Ok(if has(ours)? { Owner::Djaffar } else { Owner::Nobody })
}

pub(super) fn check(path: &Path, users: &Users) -> Result<(), Error> {
    if let Ok(false) = path.try_exists() {
        return Err(Error::Schema(format!(
            "there is no database at {}: run `djaffar migrate --database URL`, or correct the URL",
            path.display()
        )));
    }
    read(path, |connection| Ok(check_in(connection, users)?))?.map_err(Error::Schema)
}

/// The outer result is SQLite's, the inner one says what is amiss and what to do.
fn check_in(connection: &Connection, users: &Users) -> rusqlite::Result<Result<(), String>> {
    let owner = owner_of(connection)?;
    let wanted = [users.id.as_str(), users.password.as_str()];
    let mut needed = vec![(users.table.as_str(), wanted.as_slice())];
    needed.extend_from_slice(NEEDED);
    for (table, wanted) in needed {
        let present = columns(connection, table)?;
        let lacks: Vec<_> =
            wanted.iter().filter(|name| !present.iter().any(|had| had == *name)).copied().collect();
        if !lacks.is_empty() {
            let what = match present.is_empty() {
                true => format!("there is no table {table}"),
                false => format!("the table {table} has no {}", lacks.join(", ")),
            };
            let ours = table.starts_with("djaffar_");
            return Ok(Err(format!("{what}: {}", advice(owner, ours, !present.is_empty()))));
        }
    }
    Ok(Ok(()))
}

fn advice(owner: Owner, ours: bool, is_old: bool) -> &'static str {
    match (owner, ours) {
        (Owner::DjangoApp, true) if is_old => {
            "these are the tables of an older django-djaffar; upgrade it (`pip install --upgrade \
             django-djaffar`) and run `python manage.py migrate djaffar`"
        }
        (Owner::DjangoApp, true) => "run `python manage.py migrate djaffar`",
        (_, true) if is_old => {
            "another program made it; rename it, then run `djaffar migrate --database URL`"
        }
        (Owner::Nobody | Owner::Djaffar, _) | (Owner::Django, true) => {
            "run `djaffar migrate --database URL`"
        }
        (Owner::Django | Owner::DjangoApp, false) => {
            "run `python manage.py migrate` (with django.contrib.sessions and the app of \
             AUTH_USER_MODEL in INSTALLED_APPS), and set the user table as AUTH_USER_MODEL has it"
        }
    }
}

pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

pub(super) fn migrate(path: &Path, users: &Users) -> Result<(), Error> {
    create_file(path).map_err(|error| Failure::from(error).sort(path).1)?;
    Link::new(path, SETUP).with(|connection| {
        let owner = owner_of(connection)?;
        if matches!(owner, Owner::Nobody | Owner::Djaffar) {
            // Ours alone: readers and the writer do not wait for each other. Django's is its own.
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match owner_of(&transaction)? {
            Owner::Nobody | Owner::Djaffar if users.table == "auth_user" => {
                transaction.execute_batch(DJANGO)?;
            }
            Owner::DjangoApp => {
                return Ok(check_in(&transaction, users)?.map_err(Error::Schema)?);
            }
            _ => {}
        }
        apply(&transaction, users)?;
        check_in(&transaction, users)?.map_err(Error::Schema)?;
        Ok(transaction.commit()?)
    })
}

/// Makes the file when it is absent: passwords and sessions will be in it, so it is only ours to
/// read (SQLite gives its -wal and -shm the same mode).
fn create_file(path: &Path) -> rusqlite::Result<()> {
    // What goes wrong here SQLite says in its own words, right below.
    drop(std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite makes the file itself when it is first written to or read from.
    Connection::open_with_flags(path, flags)?.query_row("PRAGMA user_version", [], |_| Ok(()))
}

/// Applies the migrations that this file does not have.
fn apply(connection: &Connection, users: &Users) -> Result<(), Failure> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS djaffar_schema_version \
         (version integer NOT NULL PRIMARY KEY, applied datetime NOT NULL)",
    )?;
    let sql = "SELECT coalesce(max(version), 0) FROM djaffar_schema_version";
    let have: u32 = connection.query_row(sql, [], |row| row.get(0))?;
    let have = have as usize;
    if have > MIGRATIONS.len() {
        return Err(Error::Schema(format!(
            "the tables are of version {have}, and this djaffar knows {}: upgrade djaffar",
            MIGRATIONS.len()
        ))
        .into());
    }
    let user_id = key_type(connection, users)?;
    for (version, sql) in (1_u32..).zip(MIGRATIONS).skip(have) {
        connection.execute_batch(&sql.replace("{user_id}", &user_id))?;
        connection.execute(
            "INSERT INTO djaffar_schema_version (version, applied) VALUES (?1, datetime('now'))",
            [version],
        )?;
    }
    Ok(())
}

/// The declared type of the users' key.
fn key_type(connection: &Connection, users: &Users) -> Result<String, Failure> {
    let declared: Option<String> = connection
        .prepare_cached("SELECT lower(type) FROM pragma_table_info(?1) WHERE name = ?2")?
        .query_row([&users.table, &users.id], |row| row.get(0))
        .optional()?;
    // Whatever it is goes into SQL.
    let is_plain = |text: &String| {
        text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, ' ' | '(' | ')'))
    };
    declared.filter(is_plain).ok_or_else(|| {
        Error::Schema(format!(
            "there is no table {} with a key {}: run `python manage.py migrate` first, and set \
             the user table as AUTH_USER_MODEL has it",
            users.table, users.id
        ))
        .into()
    })
}

pub(super) fn legacy_sessions(path: &Path) -> Result<bool, Error> {
    read(path, |connection| {
        if matches!(owner_of(connection)?, Owner::Nobody | Owner::Djaffar) {
            return Ok(false);
        }
        // Django 3.1 came with this migration, and with the new format of session data.
        let sql = "SELECT count(*) = 0 FROM django_migrations WHERE app = 'auth' \
                   AND name = '0012_alter_user_first_name_max_length'";
        Ok(connection.query_row(sql, [], |row| row.get(0))?)
    })
}

pub(super) fn create_superuser(
    path: &Path,
    user: &Superuser<'_>,
    moments: &Moments,
) -> Result<(), Error> {
    let joined = moments
        .text(user.now)
        .ok_or_else(|| Error::Rejected("the clock is outside of the years 1 to 9999".into()))?;
    if user.username.trim().is_empty() || user.username.chars().count() > 150 {
        return Err(Error::Rejected("a user's name has 1 to 150 characters".into()));
    }
    // `last_login` is set, as Django before 1.8 did: its migrations of then, which an adopting
    // Django runs, do not take NULL.
    let sql = "INSERT INTO auth_user (username, email, password, date_joined, last_login, \
               first_name, last_name, is_superuser, is_staff, is_active) \
               VALUES (?1, ?2, ?3, ?4, ?4, '', '', 1, 1, 1) ON CONFLICT (username) DO NOTHING";
    let params = params![user.username, user.email, user.password, joined];
    let made = Link::new(path, SETUP).with(|connection| Ok(connection.execute(sql, params)?))?;
    match made {
        0 => Err(Error::Rejected(format!(
            "there is a user {} already: choose another name, or change the password with \
             `python manage.py changepassword`",
            user.username
        ))),
        _ => Ok(()),
    }
}
