//! Database servers of the tests' own: real ones, in folders and on sockets of their own, stopped
//! and removed afterwards. Also used by the unit tests of the stores.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

mod programs;

use programs::{NO_MYSQL, as_postgres, folder, make_maria, mysql_root, mysqld, root_option, spawn};

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Maria,
    Mysql,
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    kind: Kind,
    /// Of the programs; for PostgreSQL, where its `bin` is.
    programs: PathBuf,
    folder: TempDir,
    child: Child,
    databases: AtomicU32,
    pub(crate) port: u16,
    pub(crate) options: Vec<String>,
}

/// Where folders of servers are: the path of a socket must be short.
const TEMPORARY: &str = "/tmp";

/// Where programs of PostgreSQL are: Debian's, and those that `./test` has installed.
pub(crate) fn postgres_versions() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let venvs = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venvs");
    for (dir, ending) in [(Path::new("/usr/lib/postgresql"), "bin"), (&venvs, "native/bin")] {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().join(ending)));
    }
    found.retain(|bin| bin.join("initdb").exists() && bin.join("postgres").exists());
    found.sort();
    found
}

/// Below those that the system gives to connections: one of these could take the port of a server
/// that is down.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..20_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// The newest PostgreSQL that is here.
    pub(crate) fn postgres() -> Server {
        Server::postgres_in(Path::new(TEMPORARY), &[])
    }

    /// The same with its data below this folder.
    pub(crate) fn postgres_in(parent: &Path, options: &[&str]) -> Server {
        let versions = postgres_versions();
        let debian = versions.iter().rfind(|bin| bin.starts_with("/usr/lib/postgresql"));
        let bin = debian.or(versions.last());
        let bin = bin.unwrap_or_else(|| panic!("no PostgreSQL: run ./test databases"));
        Server::postgres_below(bin, options, parent)
    }

    /// The PostgreSQL of this folder, with more options.
    pub(crate) fn postgres_at(bin: &Path, options: &[&str]) -> Server {
        Server::postgres_below(bin, options, Path::new(TEMPORARY))
    }

    fn postgres_below(bin: &Path, options: &[&str], parent: &Path) -> Server {
        let folder = folder(Kind::Postgres, parent);
        let data = folder.path().join("data");
        let made = as_postgres(&bin.join("initdb"))
            .args(["-U", "site", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        Server::begin(Kind::Postgres, bin.to_owned(), folder, options)
    }

    /// MariaDB.
    pub(crate) fn maria(options: &[&str]) -> Server {
        Server::maria_in(Path::new(TEMPORARY), options)
    }

    /// The same with its data below this folder.
    pub(crate) fn maria_in(parent: &Path, options: &[&str]) -> Server {
        let (folder, made) = make_maria(parent);
        // On a machine that is busy, its own server may not be there in time.
        let (folder, made) =
            if made.status.success() { (folder, made) } else { make_maria(parent) };
        assert!(made.status.success(), "{made:?}");
        Server::begin(Kind::Maria, "/usr/sbin".into(), folder, options)
    }

    /// MySQL, where `./test` could have it.
    pub(crate) fn mysql(options: &[&str]) -> Server {
        let folder = folder(Kind::Mysql, Path::new(TEMPORARY));
        let data = format!("--datadir={}", folder.path().join("data").display());
        let mut command = mysqld(&mysql_root());
        command.args(["--initialize-insecure", "--innodb-redo-log-capacity=8M", &data]);
        command.args(root_option());
        let made = command.output().unwrap_or_else(|error| panic!("{NO_MYSQL} ({error})"));
        assert!(made.status.success(), "{made:?}");
        Server::begin(Kind::Mysql, mysql_root(), folder, options)
    }

    fn begin(kind: Kind, programs: PathBuf, folder: TempDir, options: &[&str]) -> Server {
        let options: Vec<String> = options.iter().map(|&text| text.to_owned()).collect();
        let port = free_port();
        let child = spawn(kind, &programs, folder.path(), port, &options);
        let mut server =
            Server { kind, programs, folder, child, databases: AtomicU32::new(0), port, options };
        server.wait();
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until it answers.
    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            let log = fs::read_to_string(self.folder().join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {log}");
            assert!(Instant::now() < until, "it does not answer: {log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        self.client("SELECT 1", None).is_ok()
    }

    /// Runs SQL by the server's own client and gives what it printed.
    pub(crate) fn client(&self, sql: &str, database: Option<&str>) -> Result<String, String> {
        let mut command = match self.kind {
            Kind::Postgres => {
                // The client of any version will do.
                let mut command = Command::new("psql");
                command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "site"]);
                command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
                command.args(["-d", database.unwrap_or("postgres"), "-c", sql]);
                command
            }
            // MariaDB's client speaks with MySQL too.
            Kind::Maria | Kind::Mysql => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "-u", "root", "--batch", "--skip-column-names"]);
                command.arg(format!("--socket={}", self.folder().join("socket").display()));
                command.args(["-e", sql]).args(database);
                command
            }
        };
        let said = command.stdin(Stdio::null()).output().unwrap();
        match said.status.success() {
            true => Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
        }
    }

    /// Has the client run a file of statements in a database.
    #[track_caller]
    pub(crate) fn script(&self, database: &str, path: &Path) {
        let mut command = match self.kind {
            Kind::Postgres => {
                let mut command = Command::new("psql");
                command.args([
                    "-X",
                    "-q",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-U",
                    "site",
                    "-h",
                    "127.0.0.1",
                ]);
                command.args(["-p", &self.port.to_string(), "-d", database]);
                command
            }
            Kind::Maria | Kind::Mysql => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "--local-infile=1", "-u", "root"]);
                command.arg(format!("--socket={}", self.folder().join("socket").display()));
                command.arg(database);
                command
            }
        };
        let said = command.stdin(File::open(path).unwrap()).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// Its process, and those that it has started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let children = children(self.child.id());
        let numbers = children.iter().map(|it| it.as_raw_nonzero().get().cast_unsigned());
        numbers.chain([self.child.id()]).collect()
    }

    /// Runs SQL in a database.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.client(sql, Some(database)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Makes an empty database and gives its name.
    pub(crate) fn create(&self) -> String {
        let name = format!("site{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.client(&format!("CREATE DATABASE {name}"), None).unwrap();
        name
    }

    /// The address of a database, over TCP.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The same behind another port.
    pub(crate) fn url_at(&self, port: u16, database: &str) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://site@127.0.0.1:{port}/{database}"),
            Kind::Maria | Kind::Mysql => format!("mysql://site@127.0.0.1:{port}/{database}"),
        }
    }

    /// Makes a root of certificates (`root.crt`), one of it for a server called localhost and one for a
    /// client (`server.crt`, `server.key`, `client…`), and a root that has nothing to do with them
    /// (`other.crt`).
    pub(crate) fn make_certificates(&self) {
        let run = |arguments: &str| {
            let mut command = Command::new("openssl");
            let made =
                command.args(arguments.split(' ')).current_dir(self.folder()).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        };
        for root in ["root", "other"] {
            run(&format!(
                "req -new -x509 -days 2 -nodes -subj /CN={root} -keyout {root}.key -out {root}.crt"
            ));
        }
        fs::write(self.folder().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        for (name, subject) in [("server", "localhost"), ("client", "site")] {
            run(&format!("req -new -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"));
            run(&format!(
                "x509 -req -in {name}.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial \
                 -extfile names -out {name}.crt"
            ));
        }
    }

    /// Makes them, and has the server show its own from its next start on.
    pub(crate) fn put_certificates(&mut self) {
        self.make_certificates();
        let folder = self.folder().to_owned();
        if self.kind != Kind::Postgres {
            for (name, file) in [("ca", "root.crt"), ("cert", "server.crt"), ("key", "server.key")]
            {
                self.options.push(format!("--ssl-{name}={}", folder.join(file).display()));
            }
            return;
        }
        let data = folder.join("data");
        let owner = data.metadata().unwrap();
        for file in ["server.key", "server.crt", "root.crt"] {
            fs::copy(folder.join(file), data.join(file)).unwrap();
            chown(data.join(file), Some(owner.uid()), Some(owner.gid())).unwrap();
            fs::set_permissions(data.join(file), Permissions::from_mode(0o600)).unwrap();
        }
        self.options.extend(["-c", "ssl=on"].map(str::to_owned));
    }

    /// Kills it as a crash would, and starts it again.
    pub(crate) fn crash_and_restart(&mut self, pause: Duration) {
        self.kill();
        thread::sleep(pause);
        self.start();
    }

    /// SIGKILL for all of it.
    pub(crate) fn kill(&mut self) {
        let processes = children(self.child.id());
        for process in &processes {
            let _ = rustix::process::kill_process(*process, rustix::process::Signal::KILL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
        let until = Instant::now() + Duration::from_secs(10);
        while processes.iter().any(|process| is_alive(*process)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let lock = format!(".s.PGSQL.{}.lock", self.port);
        for file in ["data/postmaster.pid", &lock] {
            drop(fs::remove_file(self.folder().join(file)));
        }
    }

    /// Starts it where the client cannot ask it: waits until it says that it is ready.
    pub(crate) fn start_unasked(&mut self) {
        self.child = spawn(self.kind, &self.programs, self.folder.path(), self.port, &self.options);
        let log = self.folder().join("log");
        while !fs::read_to_string(&log).unwrap().contains("ready to accept connections") {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again where it has ended by itself.
    pub(crate) fn start_if_gone(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.kill();
            self.start();
        }
        self.wait();
    }

    /// Starts it again.
    pub(crate) fn start(&mut self) {
        self.child = spawn(self.kind, &self.programs, self.folder.path(), self.port, &self.options);
        self.wait();
    }
}

/// The processes that a PostgreSQL has started: a crash takes all of them along.
fn children(pid: u32) -> Vec<rustix::process::Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let numbers = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    numbers.filter_map(rustix::process::Pid::from_raw).collect()
}

fn is_alive(process: rustix::process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            // What it has to say of a test that fails.
            let log = fs::read_to_string(self.folder().join("log")).unwrap_or_default();
            println!("{}", log.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
        }
        self.kill();
    }
}
