//! What the pages of the databases say, done on real servers: their SQL, their commands, and a role that may do
//! no more than it must.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{DATE, KEY, Server as Djaffar, command, command_of, databases::Server};

/// What a page has between fences of this kind.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    // Fences open and close in turn.
    let fenced = text.split("\n```").skip(1).step_by(2);
    let of_kind = fenced.filter_map(|block| block.split_once('\n').filter(|it| it.0 == kind));
    of_kind.map(|(_, block)| block.to_owned()).collect()
}

/// A page of this name, and how its commands write an address.
struct Page {
    name: &'static str,
    scheme: &'static str,
    /// The database in which everybody may begin.
    first: &'static str,
}

const POSTGRESQL: Page = Page { name: "postgresql.md", scheme: "postgres", first: "postgres" };
const MYSQL: Page = Page { name: "mysql.md", scheme: "mysql", first: "mysql" };

impl Page {
    fn follow(&self, server: &Server) {
        let [alone, beside] = <[String; 2]>::try_from(blocks(self.name, "sql")).unwrap();
        let [commands] = <[String; 1]>::try_from(blocks(self.name, "")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let run = |database: &str, sql: &str| {
            let path = dir.path().join("script.sql");
            fs::write(&path, sql).unwrap();
            server.script(database, &path);
        };

        run(self.first, &alone);
        let here = format!("127.0.0.1:{}", server.port);
        let commands = commands.replace("db.example", &here);
        assert!(commands.contains(&here) && commands.ends_with("djaffar serve"), "{commands}");
        let programs = Path::new(env!("CARGO_BIN_EXE_djaffar")).parent().unwrap();
        // `exec`: the server is our child, not the shell's.
        let commands = commands.replace("djaffar serve", "exec djaffar serve --listen=127.0.0.1:0");
        let mut shell = command_of("sh", dir.path());
        shell.args(["-euc", &format!("PATH={}:$PATH\n{commands}", programs.display())]);
        takes(server, "djaffar", Djaffar::start(&mut shell).unwrap());

        // A site whose Django has no app of ours; its own role may do all.
        let site = server.create();
        let migrate = ["migrate", "--database", &server.url(&site)];
        assert!(command(dir.path()).args(migrate).status().unwrap().success());
        let django = "CREATE TABLE django_migrations (app varchar(255), name varchar(255)); \
                      INSERT INTO django_migrations VALUES ('auth', '0012_alter_user_first_name_max_length')";
        server.sql(&site, django);
        run(&site, &beside);
        let url = format!("--database={}://djaffar_writer:change-me@{here}/{site}", self.scheme);
        fs::write(dir.path().join("key"), KEY).unwrap();
        let mut serve = command(dir.path());
        serve.args([
            "serve",
            "--listen=127.0.0.1:0",
            &url,
            "--secret-key-file=key",
            "--spool=beside",
        ]);
        takes(server, &site, Djaffar::start(&mut serve).unwrap());
        let migrate = command(dir.path()).args(["migrate", &url]).output().unwrap();
        let said = String::from_utf8_lossy(&migrate.stderr).into_owned();
        assert!(said.contains("denied"), "it may make tables: {said}");
    }
}

/// A newcomer and the same browser again: two activities, one session, nothing put aside.
fn takes(server: &Server, database: &str, djaffar: Djaffar) {
    let form = format!("date={DATE}&path=/page/");
    let key = djaffar.post(&form, &[]).session().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let count = |table: &str| server.sql(database, &format!("SELECT count(*) FROM {table}"));
    let wait = |table: &str, wanted: &str| {
        while count(table) != wanted {
            assert!(Instant::now() < until, "{} in {table}", count(table));
            thread::sleep(Duration::from_millis(20));
        }
    };
    wait("djaffar_activity", "1");
    let cookie = format!("sessionid={key}");
    let again = djaffar.post(&form, &[("Cookie", &cookie)]);
    assert_eq!((again.status, again.session()), (204, None));
    wait("djaffar_activity", "2");
    for table in ["django_session", "djaffar_sessioninfo"] {
        assert_eq!(count(table), "1", "{table}");
    }
    assert!(djaffar.stop().success());
}

#[test]
fn the_page_of_postgresql() {
    POSTGRESQL.follow(&Server::postgres());
}

#[test]
fn the_page_of_mysql_on_maria() {
    MYSQL.follow(&Server::maria(&[]));
}

#[test]
fn the_page_of_mysql_on_mysql() {
    MYSQL.follow(&Server::mysql(&[]));
}
