//! The tables: made on every server, and looked at. What older ones had is carried over in [`super::carry`].

use std::time::Duration;

use super::{
    super::Error,
    address::Address,
    carry,
    http::{Ask, Link},
    native::Rows,
    rows::{ACTIVITY, EVENT, SESSIONINFO},
};

/// So often, and after so long, a server is asked again that lacks a table, or is making it.
const RELOOKS: usize = 10;
const RELOOK: Duration = Duration::from_millis(500);

const SQL: &str = include_str!("../../../migrations/clickhouse/0001_djaffar.sql");

/// A table and the columns that we need, in the order of the statements that make them.
const TABLES: [(&str, &[(&str, &str)]); 3] = [
    ("djaffar_activity", &ACTIVITY),
    ("djaffar_sessioninfo", &SESSIONINFO),
    ("djaffar_event_id", &EVENT),
];

/// Makes what is missing, on all servers: every one must be there.
pub(super) async fn migrate(address: &Address) -> Result<(), Error> {
    for (number, replicas) in address.shards.iter().enumerate() {
        for host in replicas {
            let mut link = Link::new(host, address);
            let sql = format!("CREATE DATABASE IF NOT EXISTS {}", address.database);
            link.ask_in(None, Ask::query(sql)).await?;
            let remembers = knows(&mut link, "non_replicated_deduplication_window").await?;
            let syncs = knows(&mut link, "fsync_after_insert").await?;
            let settings = match (address.is_replicated(), remembers) {
                // A week, or as many blocks as 80 inserts a second leave in two minutes.
                (true, _) => {
                    ", replicated_deduplication_window = 10000, \
                     replicated_deduplication_window_seconds = 604800"
                }
                // There is no other copy: on the disk when it is said to be stored.
                (false, true) if syncs => {
                    ", non_replicated_deduplication_window = 10000, fsync_after_insert = 1, \
                     fsync_part_directory = 1"
                }
                (false, true) => ", non_replicated_deduplication_window = 10000",
                (false, false) => "",
            };
            for statement in statements(address, number, host, settings) {
                make(&mut link, &statement).await?;
            }
            carry::events(&mut link, address).await?;
        }
    }
    Ok(())
}

/// Makes a table.
async fn make(link: &mut Link, statement: &Statement) -> Result<(), Error> {
    let mut tries = 0..RELOOKS;
    loop {
        let error = match link.ask(Ask::query(&*statement.sql)).await {
            Err(error) if is_there_already(&error.to_string()) => error,
            made => return made.map(drop),
        };
        let Some(replica) = &statement.replica else { return Err(error) };
        if tries.next().is_some() {
            // It may be another `migrate` that makes it.
            tokio::time::sleep(RELOOK).await;
        } else {
            return adopt(link, replica, &statement.sql).await;
        }
    }
}

/// Takes over what ZooKeeper has of a replicated table that the server lacks: a server that loses its session
/// there, or is killed, while it makes a table leaves that behind. What other replicas have is fetched.
async fn adopt(link: &mut Link, replica: &Replica, sql: &str) -> Result<(), Error> {
    let Replica { path, host } = replica;
    let used = format!(
        "SELECT toUInt64(count()) FROM system.zookeeper \
         WHERE path = '{path}/replicas/{host}' AND name = 'is_active' FORMAT RowBinary"
    );
    if Rows(&link.ask(Ask::query(used)).await?).u64()? > 0 {
        return Err(Error::Schema(format!(
            "ClickHouse at {host}: a replica of this name is in use in {path}: run `djaffar migrate` again in \
             a minute, when ZooKeeper has let go of it; if it says the same, drop the table that uses it"
        )));
    }
    let ordinary = "SELECT toUInt64(count()) FROM system.databases \
                    WHERE name = currentDatabase() AND engine = 'Ordinary' FORMAT RowBinary";
    if Rows(&link.ask(Ask::query(ordinary)).await?).u64()? == 0 {
        // Newer servers attach only what they made, but can forget a replica.
        return Err(Error::Schema(format!(
            "ClickHouse at {host}: {path} has a replica of this name that was not made to its end: say \
             SYSTEM DROP REPLICA '{host}' FROM ZKPATH '{path}' there, and run `djaffar migrate` again"
        )));
    }
    let attach = sql.replacen("CREATE TABLE IF NOT EXISTS", "ATTACH TABLE", 1);
    link.ask(Ask::query(attach)).await.map(drop)
}

/// As old servers and new ones write it.
fn is_there_already(error: &str) -> bool {
    error.contains("Code: 253,") || error.contains("Code: 253.")
}

/// What makes a table.
struct Statement {
    sql: String,
    /// What it is in ZooKeeper.
    replica: Option<Replica>,
}

struct Replica {
    path: String,
    /// Its name there.
    host: String,
}

fn statements(address: &Address, shard: usize, host: &str, settings: &str) -> Vec<Statement> {
    let path = |table: &str| format!("/djaffar/{}/{table}/{}", address.database, shard + 1);
    let engine = |table: &str, kind: &str, version: &str| match address.is_replicated() {
        true => {
            let path = path(table);
            let version = if version.is_empty() { String::new() } else { format!(", {version}") };
            format!("Replicated{kind}('{path}', '{host}'{version})")
        }
        false => format!("{kind}({version})"),
    };
    let on = if address.cluster.is_some() { "_local" } else { "" };
    let sql = SQL
        .replace("{on}", on)
        .replace("{activity}", &engine("djaffar_activity", "MergeTree", ""))
        .replace("{event}", &engine("djaffar_event_id", "MergeTree", ""))
        .replace("{sessioninfo}", &engine("djaffar_sessioninfo", "ReplacingMergeTree", "version"))
        .replace("{settings}", settings);
    let is_code = |line: &&str| !line.trim_start().starts_with("--");
    let sql = sql.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let own = sql.split(';').map(str::trim).filter(|it| !it.is_empty());
    let mut all: Vec<Statement> = own
        .zip(TABLES)
        .map(|(sql, (table, _))| {
            let replica = || Replica { path: path(table), host: host.to_owned() };
            Statement { sql: sql.to_owned(), replica: address.is_replicated().then(replica) }
        })
        .collect();
    if let Some(cluster) = &address.cluster {
        let database = &address.database;
        all.extend(TABLES.map(|(table, _)| {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {table} AS {table}_local \
                 ENGINE = Distributed({cluster}, {database}, {table}_local)"
            );
            Statement { sql, replica: None }
        }));
    }
    all
}

async fn knows(link: &mut Link, setting: &str) -> Result<bool, Error> {
    let sql = format!(
        "SELECT toUInt64(count()) FROM system.merge_tree_settings WHERE name = '{setting}' \
         FORMAT RowBinary"
    );
    Ok(Rows(&link.ask_in(None, Ask::query(sql)).await?).u64()? > 0)
}

/// Whether the tables are there, on a server of each shard. A shard that is away is none's fault:
/// [`Error::Unavailable`].
pub(super) async fn check(address: &Address) -> Result<(), Error> {
    let mut away = None;
    for replicas in &address.shards {
        let mut found = false;
        for host in replicas {
            match check_server(address, host).await {
                Ok(()) => found = true,
                Err(error @ Error::Unavailable(_)) => away = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let (false, Some(error)) = (found, &away) {
            return Err(error.clone());
        }
    }
    Ok(())
}

async fn check_server(address: &Address, host: &str) -> Result<(), Error> {
    let mut link = Link::new(host, address);
    let mut tries = 0..RELOOKS;
    loop {
        let there = Columns::of(&mut link).await?;
        let checked = there.check(address, host);
        if checked.is_ok() || !there.may_come(address) || tries.next().is_none() {
            return checked;
        }
        tokio::time::sleep(RELOOK).await;
    }
}

/// The columns of tables of ours: table, name, type.
struct Columns(Vec<(String, String, String)>);

impl Columns {
    async fn of(link: &mut Link) -> Result<Columns, Error> {
        let sql = "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() \
                   AND table LIKE 'djaffar%' FORMAT RowBinary";
        let answer = link.ask(Ask::query(sql)).await?;
        let (mut rows, mut there) = (Rows(&answer), Vec::new());
        while !rows.is_empty() {
            there.push((rows.text()?, rows.text()?, rows.text()?));
        }
        Ok(Columns(there))
    }

    /// Whether a table is away that was made, as far as one can see: a server of 18.16 that has lost
    /// ZooKeeper, or is starting or stopping, answers without those that it has not opened.
    fn may_come(&self, address: &Address) -> bool {
        let has = |name: &str| self.0.iter().any(|column| column.0 == name);
        let lacks_one = TABLES.iter().any(|(table, _)| !has(table) || !has(&address.local(table)));
        lacks_one && (!self.0.is_empty() || address.is_replicated())
    }

    fn check(&self, address: &Address, host: &str) -> Result<(), Error> {
        for (table, columns) in TABLES {
            for name in [table.to_owned(), address.local(table)] {
                for (column, kind) in columns {
                    let is_it = |it: &&(String, String, String)| it.0 == name && it.1 == *column;
                    let found = self.0.iter().find(is_it).map(|it| it.2.as_str());
                    if found != Some(kind) {
                        return Err(Error::Schema(format!(
                            "ClickHouse at {host}: {name}.{column} must be {kind} and is {}; run \
                             `djaffar migrate` with this activity_database",
                            found.unwrap_or("not there")
                        )));
                    }
                }
            }
        }
        Ok(())
    }
}
