//! SQLite: whose tables they are, whether they will do, and making them.
//!
//! Beside a Django that has the app, Django owns our tables; we never write its
//! `django_migrations`. Both ways end in the same tables.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::link::{Failure, Link, Setup};
use crate::store::{Error, Moments, Owner, Superuser, Users, schema};

const DJANGO: &str = include_str!("../../../migrations/sqlite/django.sql");

/// Our migrations: the first is version 1, and so on.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/sqlite/0001_djaffar.sql")];

/// Twice SQLite's: half as many pages are split, looked for and written one by one.
const PAGES: &str = "PRAGMA page_size = 8192";

const SETUP: Setup =
    Setup { patience: Duration::from_secs(5), pragmas: "PRAGMA synchronous = EXTRA;" };

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

fn check_in(connection: &Connection, users: &Users) -> rusqlite::Result<Result<(), String>> {
    schema::complete(owner_of(connection)?, users, |table| columns(connection, table))
}

pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

pub(super) fn migrate(path: &Path, users: &Users) -> Result<(), Error> {
    if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty() && !it.is_dir()) {
        return Err(Error::Schema(format!(
            "there is no folder {} for the database: make it, or correct the URL",
            folder.display()
        )));
    }
    create_file(path).map_err(|error| Failure::from(error).sort(path).1)?;
    Link::new(path, SETUP).with(|connection| {
        let owner = owner_of(connection)?;
        if owner == Owner::Nobody {
            // Only a file without a page yet takes this.
            connection.execute_batch(PAGES)?;
        }
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
    let user_id = key_type(connection, users)?;
    for (version, sql) in schema::outstanding(MIGRATIONS, have)? {
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
    Ok(schema::key_type(declared, users)?)
}

pub(super) fn legacy_sessions(path: &Path) -> Result<bool, Error> {
    read(path, |connection| {
        if matches!(owner_of(connection)?, Owner::Nobody | Owner::Djaffar) {
            return Ok(false);
        }
        let sql = "SELECT count(*) = 0 FROM django_migrations WHERE app = 'auth' AND name = ?1";
        Ok(connection.query_row(sql, [schema::NEW_SESSIONS], |row| row.get(0))?)
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
    // `last_login` is set, as Django before 1.8 did: its migrations of then, which an adopting
    // Django runs, do not take NULL.
    let sql = "INSERT INTO auth_user (username, email, password, date_joined, last_login, \
               first_name, last_name, is_superuser, is_staff, is_active) \
               VALUES (?1, ?2, ?3, ?4, ?4, '', '', 1, 1, 1) ON CONFLICT (username) DO NOTHING";
    let params = params![user.username, user.email, user.password, joined];
    let made = Link::new(path, SETUP).with(|connection| Ok(connection.execute(sql, params)?))?;
    match made {
        0 => Err(schema::name_is_taken(user.username)),
        _ => Ok(()),
    }
}
