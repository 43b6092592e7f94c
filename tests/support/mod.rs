//! What the tests share: a real server in a folder of its own, and a client that sends exactly
//! the bytes that it is given.

#[allow(dead_code, reason = "the unit tests of the stores use it too")]
pub(crate) mod databases;
pub(crate) mod wire;

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) use wire::{Answer, Wire};

/// A date that every test may send.
pub(crate) const DATE: &str = "2016-12-29T07:35:22.571Z";
/// The secret key of servers that run beside a Django.
pub(crate) const KEY: &str = "conformance-site-key-0123456789-abcdefghijklmnop";

/// A folder for a server: its database, spool and key.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    arguments: Vec<String>,
}

impl Site {
    /// An empty folder: the server runs alone. No limit of rates, as all tests come from one
    /// address.
    pub(crate) fn alone() -> Site {
        let dir = tempfile::tempdir().unwrap();
        Site { dir, arguments: Vec::new() }.with("--rate-limit=0").with("--session-rate-limit=0")
    }

    /// A folder with the database of a real Django.
    pub(crate) fn beside_django() -> Site {
        let site = Site::alone();
        let sql = fs::read_to_string(fixture("conformance/site.sql")).unwrap();
        load(&site.path("db.sqlite3"), &sql);
        fs::write(site.path("key"), KEY).unwrap();
        let url = format!("sqlite:///{}", site.path("db.sqlite3").display());
        let migrated = site.djaffar(&["migrate", "--database", &url]);
        assert!(migrated.status.success(), "{migrated:?}");
        site.with(&format!("--database={url}")).with("--secret-key-file=key")
    }

    /// One more argument for `serve`; it replaces an earlier one of the same option.
    pub(crate) fn with(mut self, argument: &str) -> Site {
        let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
        self.arguments.retain(|said| !said.starts_with("--") || name(said) != name(argument));
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The database, to look at.
    pub(crate) fn database(&self) -> Connection {
        let own = self.path("djaffar.sqlite3");
        let path = if own.exists() { own } else { self.path("db.sqlite3") };
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    /// The program, in this folder.
    pub(crate) fn command(&self) -> Command {
        command(self.dir.path())
    }

    /// Runs a command to its end.
    pub(crate) fn djaffar(&self, arguments: &[&str]) -> std::process::Output {
        self.command().args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts `serve` on a free port.
    pub(crate) fn serve(&self) -> Server {
        let mut command = self.command();
        command.args(["serve", "--listen=127.0.0.1:0"]).args(&self.arguments);
        Server::start(&mut command).unwrap_or_else(|text| panic!("no start: {text}"))
    }

    /// Runs `serve` where it is expected to end by itself.
    pub(crate) fn serve_fails(&self) -> std::process::Output {
        let mut command = self.command();
        command.args(["serve", "--listen=127.0.0.1:0"]).args(&self.arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.database().query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits until so many activities are stored, and a little for more.
    pub(crate) fn wait_for(&self, activities: i64) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.count("djaffar_activity") < activities {
            assert!(Instant::now() < until, "{} stored", self.count("djaffar_activity"));
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.count("djaffar_activity"), activities);
    }
}

/// Makes a database of a dump, whose tables stand in any order.
pub(crate) fn load(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(&format!("PRAGMA foreign_keys = 0; {sql}")).unwrap();
}

/// The program, without options from our environment.
pub(crate) fn command(dir: &Path) -> Command {
    command_of(env!("CARGO_BIN_EXE_djaffar"), dir)
}

/// Another build of the program, or a tool that runs it.
pub(crate) fn command_of(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DJAFFAR_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir);
    command
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A running `djaffar serve`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it printed until it was ready.
    pub(crate) banner: String,
    log: Option<thread::JoinHandle<String>>,
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Result<Server, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            drop(stderr.read_to_string(&mut text));
            text
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        let mut address = None;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                drop(child.wait());
                return Err(errors.join().unwrap());
            }
            if line.contains("Endpoint") {
                let url = line.split("http://").nth(1).unwrap();
                address = Some(url.split('/').next().unwrap().parse().unwrap());
            }
            banner += &line;
            if line.contains("Stop") {
                break;
            }
        }
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(Server { child, address: address.unwrap(), banner, log: Some(errors) })
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// Posts a form on a connection of its own.
    pub(crate) fn post(&self, form: &str, headers: &[(&str, &str)]) -> Answer {
        self.connect().post(form, headers)
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }

    /// The same, and what it had to say.
    pub(crate) fn stop_and_tell(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap();
        self.log.take().unwrap().join().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// How long it has had the processor.
    pub(crate) fn processor(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// How many of its threads have a name that begins so.
    pub(crate) fn threads(&self, name: &str) -> usize {
        self.tasks(name).len()
    }

    fn tasks(&self, name: &str) -> Vec<PathBuf> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let paths = tasks.into_iter().flatten().flatten().map(|task| task.path());
        let named = |task: &PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|found| found.starts_with(name))
        };
        paths.filter(named).collect()
    }

    /// Whether it ended.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end that it comes to by itself.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
