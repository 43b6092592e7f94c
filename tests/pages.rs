//! What the pages of the databases say, done on real servers: their SQL, their commands, and a role that may do
//! no more than it must.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
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
    /// How a column is called `key`.
    key: &'static str,
}

const POSTGRESQL: Page =
    Page { name: "postgresql.md", scheme: "postgres", first: "postgres", key: "key" };
const MYSQL: Page = Page { name: "mysql.md", scheme: "mysql", first: "mysql", key: "`key`" };

/// A page that is followed: a server, and a folder to do it in.
struct Follower<'a> {
    page: Page,
    server: &'a Server,
    dir: tempfile::TempDir,
}

impl Page {
    fn follow(self, server: &Server) {
        let [alone, beside] = <[String; 2]>::try_from(blocks(self.name, "sql")).unwrap();
        let [commands] = <[String; 1]>::try_from(blocks(self.name, "")).unwrap();
        let follower = Follower { page: self, server, dir: tempfile::tempdir().unwrap() };
        follower.alone(&alone, &commands);
        follower.beside_a_site(&beside);
        // The role is there already.
        let (_, grants) = beside.split_once(';').unwrap();
        follower.alone_with_few_rights(grants);
    }
}

impl Follower<'_> {
    /// As who may do all.
    fn run(&self, database: &str, sql: &str) {
        let path = self.dir.path().join("script.sql");
        fs::write(&path, sql).unwrap();
        self.server.script(database, &path);
    }

    fn here(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    /// `djaffar serve` as the role of few rights.
    fn serve(&self, database: &str, more: &[&str]) -> Command {
        let mut serve = command(self.dir.path());
        serve.args(["serve", "--listen=127.0.0.1:0"]).args(more);
        serve.args(["--database", &self.url_of_few_rights(database)]);
        serve
    }

    fn url_of_few_rights(&self, database: &str) -> String {
        format!("{}://djaffar_writer:change-me@{}/{database}", self.page.scheme, self.here())
    }

    fn alone(&self, sql: &str, commands: &str) {
        self.run(self.page.first, sql);
        let commands = commands.replace("db.example", &self.here());
        assert!(
            commands.contains(&self.here()) && commands.ends_with("djaffar serve"),
            "{commands}"
        );
        let programs = Path::new(env!("CARGO_BIN_EXE_djaffar")).parent().unwrap();
        // `exec`: the server is our child, not the shell's.
        let commands = commands.replace("djaffar serve", "exec djaffar serve --listen=127.0.0.1:0");
        let mut shell = command_of("sh", self.dir.path());
        shell.args(["-euc", &format!("PATH={}:$PATH\n{commands}", programs.display())]);
        let djaffar = Djaffar::start(&mut shell).unwrap();
        takes(self.server, "djaffar", &djaffar);
        assert!(djaffar.stop().success());
    }

    /// A site whose Django has no app of ours; its own role may do all.
    fn beside_a_site(&self, sql: &str) {
        let (server, dir) = (self.server, self.dir.path());
        let site = server.create();
        let url = server.url(&site);
        let as_site = |words: &[&str]| {
            let mut command = command(dir);
            command.args(words).args(["--database", &url]);
            command.env("DJANGO_SUPERUSER_PASSWORD", "Tr0ub4dor&3");
            let made = command.stdin(Stdio::null()).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        };
        as_site(&["migrate"]);
        as_site(&["createsuperuser", "--username=ada", "--email=ada@example.com"]);
        let django = "CREATE TABLE django_migrations (app varchar(255), name varchar(255)); \
                      INSERT INTO django_migrations VALUES ('auth', '0012_alter_user_first_name_max_length')";
        server.sql(&site, django);
        let tokens = "CREATE TABLE authtoken_token AS SELECT 'a-token' AS \
                      key_, id AS user_id FROM auth_user";
        server.sql(&site, &tokens.replace("key_", self.page.key));
        self.run(&site, sql);
        server.sql(&site, "GRANT SELECT ON authtoken_token TO djaffar_writer");
        fs::write(dir.join("key"), KEY).unwrap();
        let more = ["--secret-key-file=key", "--spool=beside"];
        let djaffar = Djaffar::start(&mut self.serve(&site, &more)).unwrap();
        takes(server, &site, &djaffar);
        let token = [("Authorization", "Token a-token")];
        assert_eq!(djaffar.post(&format!("date={DATE}&path=/user/"), &token).status, 204);
        stored(server, &site, "djaffar_activity WHERE user_id IS NOT NULL", 1);
        assert!(djaffar.stop().success());
        let url = self.url_of_few_rights(&site);
        let migrate = command(dir).args(["migrate", "--database", &url]).output().unwrap();
        may_not(&String::from_utf8_lossy(&migrate.stderr));
    }

    /// The database that Djaffar has alone.
    fn alone_with_few_rights(&self, grants: &str) {
        self.run("djaffar", &grants.replace("django_migrations", "djaffar_schema_version"));
        let mut serve = self.serve("djaffar", &["--spool=alone"]);
        let djaffar = Djaffar::start(&mut serve).unwrap();
        assert_eq!(djaffar.post(&format!("date={DATE}&path=/few/"), &[]).status, 204);
        stored(self.server, "djaffar", "djaffar_activity WHERE path = '/few/'", 1);
        assert!(djaffar.stop().success());
        // As after an upgrade with a migration.
        self.server.sql("djaffar", "DELETE FROM djaffar_schema_version");
        may_not(&Djaffar::start(&mut serve).err().unwrap());
        // Where there is nothing yet, the server's own words name what is to be granted.
        let empty = self.server.create();
        // MySQL lets nobody in who may do nothing there.
        self.server.sql(&empty, "CREATE TABLE another (id int)");
        self.server.sql(&empty, "GRANT SELECT ON another TO djaffar_writer");
        let url = self.url_of_few_rights(&empty);
        let mut migrate = command(self.dir.path());
        let migrate = migrate.args(["migrate", "--database", &url]).output().unwrap();
        let said = String::from_utf8_lossy(&migrate.stderr).into_owned();
        assert!(said.to_lowercase().contains("denied") && said.contains("GRANT"), "{said}");
    }
}

/// Who may not make tables is told what to do.
#[track_caller]
fn may_not(said: &str) {
    assert!(said.contains("may not: run `djaffar migrate"), "it may make tables: {said}");
}

/// A newcomer and the same browser again: two activities, one session.
fn takes(server: &Server, database: &str, djaffar: &Djaffar) {
    let form = format!("date={DATE}&path=/page/");
    let key = djaffar.post(&form, &[]).session().unwrap();
    stored(server, database, "djaffar_activity", 1);
    let again = djaffar.post(&form, &[("Cookie", &format!("sessionid={key}"))]);
    assert_eq!((again.status, again.session()), (204, None));
    stored(server, database, "djaffar_activity", 2);
    for table in ["django_session", "djaffar_sessioninfo"] {
        stored(server, database, table, 1);
    }
}

/// Waits for so many rows.
#[track_caller]
fn stored(server: &Server, database: &str, rows: &str, wanted: u64) {
    let until = Instant::now() + Duration::from_secs(20);
    let sql = format!("SELECT count(*) FROM {rows}");
    while server.sql(database, &sql) != wanted.to_string() {
        assert!(Instant::now() < until, "{} of {rows}", server.sql(database, &sql));
        thread::sleep(Duration::from_millis(20));
    }
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
