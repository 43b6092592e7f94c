//! `djaffar move` under load from each SQL database to each other: one pair over TLS in every run, the
//! others by `cargo nextest run --run-ignored only -E 'test(durability::pairs)'`.

use super::{
    moving::{
        Mover, ROWS, count_at, count_sqlite, keeping, kills, must_be_clean, sqlite, under_load,
    },
    rig::Rig,
};
use crate::support::databases::Server as Database;

/// One side: where it is, and what is in it.
struct Side {
    url: String,
    server: Option<(Database, String)>,
}

impl Side {
    fn of(server: Database) -> Side {
        let name = server.create();
        Side { url: server.url(&name), server: Some((server, name)) }
    }

    fn file(rig: &Rig, name: &str) -> Side {
        Side { url: sqlite(&rig.dir, name), server: None }
    }

    /// A server that takes nobody who does not encrypt; addressed by its name, which its certificate has.
    fn encrypted(mut server: Database, is_postgres: bool) -> Side {
        let name = server.create();
        server.put_certificates();
        let folder = server.folder().display().to_string();
        let only = "hostssl all all 127.0.0.1/32 trust\nhostnossl all all 127.0.0.1/32 reject\n";
        if is_postgres {
            std::fs::write(server.folder().join("data/pg_hba.conf"), only).unwrap();
        } else {
            let user = "secret@127.0.0.1";
            server.client(&format!("CREATE USER {user} REQUIRE SSL"), None).unwrap();
            server.client(&format!("GRANT ALL ON *.* TO {user}"), None).unwrap();
        }
        server.kill();
        server.start();
        let (place, options) = match is_postgres {
            true => {
                ("postgres://site", format!("sslmode=verify-full&sslrootcert={folder}/root.crt"))
            }
            false => {
                ("mysql://secret", format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={folder}/root.crt"))
            }
        };
        let url = format!("{place}@localhost:{}/{name}?{options}", server.port);
        Side { url, server: Some((server, name)) }
    }

    fn count(&self, rig: &std::path::Path) -> usize {
        match &self.server {
            Some((server, name)) => count_at(server, name),
            None => count_sqlite(&rig.join(self.url.rsplit('/').next().unwrap())),
        }
    }
}

fn must_move(rig: Rig, from: &Side, to: &Side) {
    let mut rig = keeping(rig.on(&from.url));
    let dir = rig.dir.clone();
    let mover = Mover { dir: dir.clone(), from: from.url.clone(), to: to.url.clone(), rows: ROWS };
    under_load(&mut rig, &mover, &format!("--database={}", to.url), kills(2));
    must_be_clean(&mut rig, &to.url, || to.count(&dir));
}

#[test]
fn from_maria_to_postgres_over_tls_by_host_names() {
    let from = Side::encrypted(Database::maria(&[]), false);
    let to = Side::encrypted(Database::postgres(), true);
    // Without encryption, nobody comes in.
    let plain = |url: &str, off: &str| format!("{}?{off}", url.split('?').next().unwrap());
    let rig = Rig::new();
    rig.migrate_at(&from.url);
    for (from, to, why) in [
        (plain(&from.url, "ssl-mode=DISABLED"), to.url.clone(), "Access denied"),
        (from.url.replace("localhost", "127.0.0.1"), to.url.clone(), "certificate"),
        (from.url.clone(), to.url.replace("localhost", "127.0.0.1"), "certificate"),
    ] {
        let mover = Mover { dir: rig.dir.clone(), from, to, rows: ROWS };
        let mut child = mover.command(&[]).spawn().unwrap();
        let mut line = String::new();
        let said = std::io::BufReader::new(child.stderr.as_mut().unwrap());
        std::io::BufRead::read_line(&mut { said }, &mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains(why), "{why}: {line}");
    }
    must_move(rig, &from, &to);
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn from_sqlite_to_postgres() {
    let rig = Rig::new();
    let from = Side::file(&rig, "djaffar.sqlite3");
    must_move(rig, &from, &Side::of(Database::postgres()));
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn from_sqlite_to_maria() {
    let rig = Rig::new();
    let from = Side::file(&rig, "djaffar.sqlite3");
    must_move(rig, &from, &Side::of(Database::maria(&[])));
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn from_postgres_to_sqlite() {
    let rig = Rig::new();
    let to = Side::file(&rig, "to.sqlite3");
    must_move(rig, &Side::of(Database::postgres()), &to);
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn from_maria_to_sqlite() {
    let rig = Rig::new();
    let to = Side::file(&rig, "to.sqlite3");
    must_move(rig, &Side::of(Database::maria(&[])), &to);
}

#[test]
#[ignore = "takes half a minute"]
fn from_mysql_to_postgres() {
    must_move(Rig::new(), &Side::of(Database::mysql(&[])), &Side::of(Database::postgres()));
}

#[test]
#[ignore = "takes half a minute"]
fn from_postgres_to_mysql() {
    must_move(Rig::new(), &Side::of(Database::postgres()), &Side::of(Database::mysql(&[])));
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn from_maria_to_postgres() {
    must_move(Rig::new(), &Side::of(Database::maria(&[])), &Side::of(Database::postgres()));
}
