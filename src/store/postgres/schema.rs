//! PostgreSQL: whose tables they are, whether they will do, and making them.

use tokio_postgres::{Client, GenericClient, error::SqlState};

use super::link::{Failure, Link, Server, Setup};
use super::value::{KeyColumn, Moment};
use crate::store::{Error, Moments, Owner, Superuser, Users, rows, schema};
use std::time::Duration;

const DJANGO: &str = include_str!("../../../migrations/postgres/django.sql");

/// Our migrations: the first is version 1, and so on.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_djaffar.sql")];

/// An index on a large table takes its time.
const SETUP: Setup = Setup {
    patience: Duration::from_secs(3_600),
    lock: Duration::from_secs(60),
    sql: "SET client_min_messages = warning;",
};

/// Two servers that start at the same time make the tables one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7741236154)";

fn ask<T>(
    server: &Server,
    work: impl AsyncFnMut(&mut Client) -> Result<T, Failure>,
) -> Result<T, Error> {
    Link::new(server, SETUP).with(work)
}

/// A name in SQL.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn owner(server: &Server) -> Result<Owner, Error> {
    ask(server, async |client| owner_of(client).await)
}

async fn has(client: &impl GenericClient, table: &str) -> Result<bool, Failure> {
    let sql = "SELECT to_regclass($1) IS NOT NULL";
    Ok(client.query_one(sql, &[&quote(table)]).await?.try_get(0)?)
}

async fn owner_of(client: &impl GenericClient) -> Result<Owner, Failure> {
    if has(client, "django_migrations").await? {
        let app = "SELECT exists(SELECT 1 FROM django_migrations WHERE app = 'djaffar')";
        let is_app: bool = client.query_one(app, &[]).await?.try_get(0)?;
        return Ok(if is_app { Owner::DjangoApp } else { Owner::Django });
    }
    let ours = has(client, "djaffar_schema_version").await?;
    Ok(if ours { Owner::Djaffar } else { Owner::Nobody })
}

/// The columns of a table, as the address's search path finds it: names and numbers of their types.
pub(super) async fn columns(
    client: &impl GenericClient,
    table: &str,
) -> Result<Vec<(String, u32)>, Failure> {
    let sql = "SELECT attname::text, atttypid FROM pg_attribute \
               WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    let rows = client.query(sql, &[&quote(table)]).await?;
    let pair = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    Ok(rows.iter().map(pair).collect::<Result<_, tokio_postgres::Error>>()?)
}

pub(super) fn check(server: &Server, users: &Users) -> Result<(), Error> {
    ask(server, async |client| check_in(client, users).await)
}

async fn check_in(client: &impl GenericClient, users: &Users) -> Result<(), Failure> {
    let row = client.query_one("SHOW server_encoding", &[]).await?;
    let encoding: String = row.try_get(0)?;
    if encoding != "UTF8" {
        return Err(Error::Schema(format!(
            "the database is in {encoding}, and activities are in any script: make one in UTF8"
        ))
        .into());
    }
    let mut tables = std::collections::HashMap::new();
    let names = [
        users.table.as_str(),
        "django_session",
        "djaffar_activity",
        "djaffar_sessioninfo",
        "djaffar_spool_cursor",
    ];
    for table in names {
        tables.insert(table, columns(client, table).await?);
    }
    let name_of = |(name, _): &(String, u32)| name.clone();
    let found = |table: &str| {
        let columns = tables.get(table).into_iter().flatten().map(name_of).collect();
        Ok::<_, Failure>(columns)
    };
    let owner = owner_of(client).await?;
    schema::complete(owner, users, found)?.map_err(Error::Schema)?;
    check_types(&tables)
}

/// The types that we write in binary.
fn check_types(
    tables: &std::collections::HashMap<&str, Vec<(String, u32)>>,
) -> Result<(), Failure> {
    use tokio_postgres::types::Type;
    for (table, column, kind) in [
        ("django_session", "expire_date", Type::TIMESTAMPTZ),
        ("djaffar_activity", "date", Type::TIMESTAMPTZ),
        ("djaffar_activity", "received_at", Type::TIMESTAMPTZ),
        ("djaffar_activity", "event_id", Type::UUID),
        ("djaffar_activity", "properties", Type::JSONB),
        ("djaffar_activity", "id", Type::INT8),
        ("djaffar_sessioninfo", "created_at", Type::TIMESTAMPTZ),
        ("djaffar_spool_cursor", "spool", Type::UUID),
        ("djaffar_spool_cursor", "position", Type::INT8),
    ] {
        let columns = tables.get(table).into_iter().flatten();
        if columns.clone().any(|(name, oid)| name == column && *oid != kind.oid()) {
            return Err(Error::Schema(format!(
                "{column} of {table} must be of the type {kind}, as Django makes it"
            ))
            .into());
        }
    }
    let mut users = tables.get("djaffar_activity").into_iter().flatten();
    match users.find(|(name, _)| name == "user_id") {
        Some((_, oid)) if KeyColumn::of(*oid).is_none() => Err(Error::Schema(
            "user_id of djaffar_activity is of a type that cannot be written: integers, uuid and \
             texts can"
                .into(),
        )
        .into()),
        _ => Ok(()),
    }
}

pub(super) fn migrate(server: &Server, users: &Users) -> Result<(), Error> {
    ask(server, async |client| {
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK).await?;
        match owner_of(&transaction).await? {
            Owner::DjangoApp => return check_in(&transaction, users).await,
            // Who may not make tables may find that none is missing.
            Owner::Djaffar if version(&transaction).await? as usize == MIGRATIONS.len() => {
                return check_in(&transaction, users).await;
            }
            // There is no owner yet: what the server says is what is to be granted.
            Owner::Nobody => apply(&transaction, Owner::Nobody, users).await?,
            owner => apply(&transaction, owner, users).await.map_err(not_the_owner)?,
        }
        check_in(&transaction, users).await?;
        Ok(transaction.commit().await?)
    })
}

/// The last migration that was applied.
async fn version(client: &impl GenericClient) -> Result<u32, Failure> {
    let sql = "SELECT coalesce(max(version), 0) FROM djaffar_schema_version";
    let have: i32 = client.query_one(sql, &[]).await?.try_get(0)?;
    Ok(have.unsigned_abs())
}

fn not_the_owner(failure: Failure) -> Failure {
    match failure.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Error::Schema(schema::NOT_THE_OWNER.into()).into()
        }
        _ => failure,
    }
}

/// Makes Django's tables where no Django does, and applies the migrations that the database does not have.
async fn apply(client: &impl GenericClient, owner: Owner, users: &Users) -> Result<(), Failure> {
    let alone = matches!(owner, Owner::Nobody | Owner::Djaffar) && users.table == "auth_user";
    if alone && !has(client, "auth_user").await? {
        client.batch_execute(DJANGO).await?;
    }
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS djaffar_schema_version \
             (version integer NOT NULL PRIMARY KEY, applied timestamptz NOT NULL)",
        )
        .await?;
    let have = version(client).await?;
    let sql = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
               WHERE attrelid = to_regclass($1) AND attname = $2";
    let found = client.query_opt(sql, &[&quote(&users.table), &users.id]).await?;
    let declared = found.map(|row| row.try_get(0)).transpose()?;
    let user_id = schema::key_type(declared, users)?;
    for (version, sql) in schema::outstanding(MIGRATIONS, have)? {
        client.batch_execute(&sql.replace("{user_id}", &user_id)).await?;
        let sql = "INSERT INTO djaffar_schema_version (version, applied) VALUES ($1, now())";
        client.execute(sql, &[&i32::try_from(version).unwrap_or_default()]).await?;
    }
    Ok(())
}

pub(super) fn legacy_sessions(server: &Server) -> Result<bool, Error> {
    ask(server, async |client| {
        if matches!(owner_of(client).await?, Owner::Nobody | Owner::Djaffar) {
            return Ok(false);
        }
        let sql = "SELECT count(*) = 0 FROM django_migrations WHERE app = 'auth' AND name = $1";
        Ok(client.query_one(sql, &[&schema::NEW_SESSIONS]).await?.try_get(0)?)
    })
}

pub(super) fn create_superuser(
    server: &Server,
    user: &Superuser<'_>,
    moments: &Moments,
) -> Result<(), Error> {
    moments.digits(user.now).ok_or_else(|| rows::out_of_range(user.now))?;
    let Superuser { username, email, password, now } = *user;
    // `last_login` is set, as Django before 1.8 did.
    let sql = "INSERT INTO auth_user (username, email, password, date_joined, last_login, \
               first_name, last_name, is_superuser, is_staff, is_active) \
               VALUES ($1, $2, $3, $4, $4, '', '', true, true, true) \
               ON CONFLICT (username) DO NOTHING";
    let made = ask(server, async |client| {
        Ok(client.execute(sql, &[&username, &email, &password, &Moment(now)]).await?)
    })?;
    if made == 0 { Err(schema::name_is_taken(username)) } else { Ok(()) }
}
