//! MySQL and MariaDB: whose tables they are, whether they will do, and making them.

use std::time::Duration;

use mysql::Conn;
use mysql::prelude::Queryable;

use super::link::{Failure, Link, Server, Setup};
use super::value::datetime;
use crate::store::{Error, Moments, Owner, Superuser, Users, rows, schema};

const DJANGO: &str = include_str!("../../../migrations/mysql/django.sql");

/// Our migrations: the first is version 1, and so on.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/mysql/0001_djaffar.sql")];

/// An index on a large table takes its time.
const SETUP: Setup = Setup { patience: Duration::from_secs(3_600), lock: 60, sql: "" };

fn ask<T>(server: &Server, work: impl FnMut(&mut Conn) -> Result<T, Failure>) -> Result<T, Error> {
    Link::new(server, SETUP).with(work)
}

/// A column: its name, its type, and its character set where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: String,
    charset: Option<String>,
}

/// The columns of a table.
pub(super) fn columns(connection: &mut Conn, table: &str) -> Result<Vec<Column>, Failure> {
    let sql = "SELECT column_name, lower(column_type), character_set_name \
               FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
    let rows: Vec<(String, String, Option<String>)> = connection.exec(sql, (table,))?;
    Ok(rows.into_iter().map(|(name, kind, charset)| Column { name, kind, charset }).collect())
}

pub(super) fn owner(server: &Server) -> Result<Owner, Error> {
    ask(server, owner_of)
}

fn has(connection: &mut Conn, sql: &str, value: &str) -> Result<bool, Failure> {
    let found: Option<u64> = connection.exec_first(sql, (value,))?;
    Ok(found.is_some_and(|count| count > 0))
}

fn has_table(connection: &mut Conn, table: &str) -> Result<bool, Failure> {
    let sql = "SELECT count(*) FROM information_schema.tables \
               WHERE table_schema = DATABASE() AND table_name = ?";
    has(connection, sql, table)
}

fn owner_of(connection: &mut Conn) -> Result<Owner, Failure> {
    if has_table(connection, "django_migrations")? {
        let sql = "SELECT count(*) FROM django_migrations WHERE app = ?";
        let is_app = has(connection, sql, "djaffar")?;
        return Ok(if is_app { Owner::DjangoApp } else { Owner::Django });
    }
    let ours = has_table(connection, "djaffar_schema_version")?;
    Ok(if ours { Owner::Djaffar } else { Owner::Nobody })
}

pub(super) fn check(server: &Server, users: &Users) -> Result<(), Error> {
    ask(server, |connection| check_in(connection, users))
}

fn check_in(connection: &mut Conn, users: &Users) -> Result<(), Failure> {
    let owner = owner_of(connection)?;
    let found = |table: &str| -> Result<Vec<String>, Failure> {
        Ok(columns(connection, table)?.into_iter().map(|column| column.name).collect())
    };
    schema::complete(owner, users, found)?.map_err(Error::Schema)?;
    // An activity is in any script: utf8mb3, which MySQL calls utf8, has no emoji.
    for table in ["djaffar_activity", "djaffar_sessioninfo"] {
        let narrow =
            |column: &Column| column.charset.as_ref().is_some_and(|charset| charset != "utf8mb4");
        if let Some(column) = columns(connection, table)?.into_iter().find(narrow) {
            return Err(Error::Schema(format!(
                "{} of {table} is in {}: ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 \
                 (and ALTER DATABASE … CHARACTER SET utf8mb4 for tables to come)",
                column.name,
                column.charset.unwrap_or_default()
            ))
            .into());
        }
    }
    // Others have no transactions, and a batch would be stored in part.
    let sql = "SELECT concat(table_name, ' is in ', coalesce(engine, 'no engine')) \
               FROM information_schema.tables WHERE table_schema = DATABASE() \
               AND (table_name LIKE 'djaffar\\_%' OR table_name = 'django_session') \
               AND coalesce(engine, '') <> 'InnoDB' LIMIT 1";
    let wrong: Option<String> = connection.query_first(sql)?;
    wrong.map_or(Ok(()), |wrong| {
        Err(Error::Schema(format!("{wrong}: ALTER TABLE … ENGINE = InnoDB")).into())
    })
}

/// The type of UUIDs, as Django from 5.0 on has it.
fn uuid_type(connection: &mut Conn) -> Result<&'static str, Failure> {
    let version: Option<String> = connection.query_first("SELECT version()")?;
    let version = version.unwrap_or_default();
    // MariaDB may say 5.5.5- before its own.
    let version = version.strip_prefix("5.5.5-").unwrap_or(&version);
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let native = version.to_ascii_lowercase().contains("maria") && (major, minor) >= (10, 7);
    Ok(if native { "uuid" } else { "char(32)" })
}

pub(super) fn migrate(server: &Server, users: &Users) -> Result<(), Error> {
    ask(server, |connection| {
        // Two servers that start at the same time make the tables one after the other. The lock
        // ends with the connection.
        let got: Option<Option<u8>> =
            connection.query_first("SELECT GET_LOCK(concat(DATABASE(), '.djaffar'), 60)")?;
        if got.flatten() != Some(1) {
            return Err(Error::Unavailable("another process is making the tables".into()).into());
        }
        match owner_of(connection)? {
            Owner::DjangoApp => return check_in(connection, users),
            // Who may not make tables may find that none is missing.
            Owner::Djaffar if version(connection)? as usize == MIGRATIONS.len() => {
                return check_in(connection, users);
            }
            // There is no owner yet: what the server says is what is to be granted.
            Owner::Nobody => apply(connection, Owner::Nobody, users)?,
            owner => apply(connection, owner, users).map_err(not_the_owner)?,
        }
        check_in(connection, users)
    })
}

/// The last migration that was applied.
fn version(connection: &mut Conn) -> Result<u32, Failure> {
    let sql = "SELECT coalesce(max(version), 0) FROM djaffar_schema_version";
    Ok(connection.query_first(sql)?.unwrap_or(0))
}

fn not_the_owner(failure: Failure) -> Failure {
    match failure.code() {
        Some(1044 | 1142 | 1143) => Error::Schema(schema::NOT_THE_OWNER.into()).into(),
        _ => failure,
    }
}

/// Makes Django's tables where no Django does, and applies the migrations that the database does not have.
/// Each statement is a transaction of its own here, and harmless when it is run again.
fn apply(connection: &mut Conn, owner: Owner, users: &Users) -> Result<(), Failure> {
    if matches!(owner, Owner::Nobody | Owner::Djaffar) && users.table == "auth_user" {
        connection.query_drop(DJANGO)?;
    }
    let declared = columns(connection, &users.table)?;
    let declared = declared.into_iter().find(|column| column.name == users.id);
    let user_id = schema::key_type(declared.map(|column| column.kind), users)?;
    let uuid = uuid_type(connection)?;
    connection.query_drop(
        "CREATE TABLE IF NOT EXISTS djaffar_schema_version \
         (version integer NOT NULL PRIMARY KEY, applied datetime NOT NULL) ENGINE = InnoDB",
    )?;
    for (version, sql) in schema::outstanding(MIGRATIONS, version(connection)?)? {
        connection.query_drop(sql.replace("{user_id}", &user_id).replace("{uuid}", uuid))?;
        connection.exec_drop(
            "INSERT INTO djaffar_schema_version (version, applied) VALUES (?, utc_timestamp())",
            (version,),
        )?;
    }
    Ok(())
}

pub(super) fn legacy_sessions(server: &Server) -> Result<bool, Error> {
    ask(server, |connection| {
        if matches!(owner_of(connection)?, Owner::Nobody | Owner::Djaffar) {
            return Ok(false);
        }
        let sql = "SELECT count(*) FROM django_migrations WHERE app = 'auth' AND name = ?";
        Ok(!has(connection, sql, schema::NEW_SESSIONS)?)
    })
}

pub(super) fn create_superuser(
    server: &Server,
    user: &Superuser<'_>,
    moments: &Moments,
) -> Result<(), Error> {
    let now = moments.digits(user.now).ok_or_else(|| rows::out_of_range(user.now))?;
    // `last_login` is set, as Django before 1.8 did.
    let sql = "INSERT INTO auth_user (username, email, password, date_joined, last_login, \
               first_name, last_name, is_superuser, is_staff, is_active) \
               VALUES (?, ?, ?, ?, ?, '', '', 1, 1, 1)";
    let made = ask(server, |connection| {
        let now = datetime(now);
        let values = (user.username, user.email, user.password, now.clone(), now);
        match connection.exec_drop(sql, values).map_err(Failure::from) {
            Err(failure) if failure.code() == Some(DUPLICATE) => Ok(false),
            result => result.map(|()| true),
        }
    })?;
    if made { Ok(()) } else { Err(schema::name_is_taken(user.username)) }
}

/// `ER_DUP_ENTRY`.
pub(super) const DUPLICATE: u16 = 1062;
