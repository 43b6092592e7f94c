//! PostgreSQL beside `COPY` of psql, MariaDB beside `LOAD DATA LOCAL` of its client.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use djaffar::{
    drain,
    store::{Database, MysqlDatabase, PostgresDatabase, Settings},
};

use crate::Rival;
use databases::Server;

#[path = "../../tests/support/databases/mod.rs"]
#[allow(dead_code, clippy::panic, reason = "it is the tests' own, and has more than this needs")]
mod databases;

/// Caches and logs as on a machine of its own that is small.
const POSTGRES: [&str; 6] =
    ["-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "checkpoint_timeout=15min"];
const MARIA: [&str; 3] =
    ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=512M", "--local-infile=1"];

pub(crate) struct Sql {
    server: Server,
    site: Box<dyn Database>,
    name: String,
    is_postgres: bool,
}

impl Sql {
    pub(crate) fn postgres() -> Sql {
        let versions = databases::postgres_versions();
        let debian = versions.iter().rfind(|bin| bin.starts_with("/usr/lib/postgresql"));
        let bin = debian.or(versions.last()).expect("PostgreSQL: run ./test databases");
        let server = Server::postgres_at(bin, &POSTGRES);
        let name = server.create();
        let site = PostgresDatabase::new(&server.url(&name), Settings::default()).unwrap();
        Sql { server, site: Box::new(site), name, is_postgres: true }
    }

    pub(crate) fn maria() -> Sql {
        let server = Server::maria(&MARIA);
        let name = server.create();
        let site = MysqlDatabase::new(&server.url(&name), Settings::default()).unwrap();
        Sql { server, site: Box::new(site), name, is_postgres: false }
    }

    fn ask(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }
}

impl Rival for Sql {
    fn name(&self) -> String {
        let kind = if self.is_postgres { "PostgreSQL" } else { "MariaDB" };
        let sql = if self.is_postgres { "SHOW server_version" } else { "SELECT version()" };
        format!("{kind} {}", self.ask(sql))
    }

    fn database(&self) -> &dyn Database {
        &*self.site
    }

    fn options(&self) -> drain::Options {
        drain::Options::default()
    }

    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    fn count(&self) -> u64 {
        self.ask("SELECT count(*) FROM djaffar_activity").parse().expect("a number")
    }

    fn tools(&self) -> &'static [&'static str] {
        if self.is_postgres { &["COPY"] } else { &["LOAD DATA"] }
    }

    fn prepare(&self, _: &str, _: &Path, rows: usize) -> Vec<PathBuf> {
        let folder = self.server.folder().join("data");
        let files = self.count().div_ceil(rows as u64);
        let mut paths = Vec::new();
        for number in 0..files {
            let path = folder.join(format!("rows-{number}"));
            let (from, to) = (number * rows as u64, (number + 1) * rows as u64);
            let select = format!(
                "SELECT * FROM djaffar_activity WHERE id > {from} AND id <= {to} ORDER BY id"
            );
            self.ask(&match self.is_postgres {
                true => format!("COPY ({select}) TO '{}'", path.display()),
                false => format!("{select} INTO OUTFILE '{}'", path.display()),
            });
            paths.push(path);
        }
        self.ask(match self.is_postgres {
            true => "CREATE TABLE peer (LIKE djaffar_activity INCLUDING ALL); CHECKPOINT",
            false => "CREATE TABLE peer LIKE djaffar_activity",
        });
        paths
    }

    fn load(&self, _: &str, files: &[PathBuf]) {
        let mut script = String::new();
        for file in files {
            let file = file.display();
            let line = match self.is_postgres {
                true => format!("\\copy peer FROM '{file}'\n"),
                false => format!("LOAD DATA LOCAL INFILE '{file}' INTO TABLE peer;\n"),
            };
            script.write_str(&line).unwrap();
        }
        let path = self.server.folder().join("script");
        std::fs::write(&path, script).expect("a file");
        self.server.script(&self.name, &path);
    }

    fn loaded(&self) -> u64 {
        self.ask("SELECT count(*) FROM peer").parse().expect("a number")
    }
}
