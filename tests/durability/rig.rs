//! A server in a folder, its clients, and what is known of its database.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    Dice,
    audit::{Audit, Findings},
    fleet::Fleet,
    mutant::mutants,
};
use crate::support::{DATE, Server, command_of};

/// Clients of a rig.
const CLIENTS: usize = 16;
/// A fresh activity is stored within this time, however it stands.
const FRESH: Duration = Duration::from_secs(5);
/// What waits in the spool is being stored as long as rows come in shorter intervals than this.
const STANDSTILL: Duration = Duration::from_secs(10);
/// Some pauses of a drain that has a working database: then nothing waits any more.
const QUIET: Duration = Duration::from_millis(300);
/// The same where nothing tells that it is complete.
pub(super) const SILENCE: Duration = Duration::from_secs(2);

/// All that a test needs.
pub(super) struct Rig {
    pub(super) dir: PathBuf,
    pub(super) dice: Dice,
    pub(super) fleet: Fleet,
    program: PathBuf,
    broken: Option<&'static str>,
    arguments: Vec<String>,
    database: PathBuf,
    /// Only system calls on this file are traced.
    pub(super) traced_path: Option<PathBuf>,
    audit: Audit,
    _home: Option<TempDir>,
}

impl Rig {
    /// In a folder of its own.
    pub(super) fn new() -> Rig {
        let home = tempfile::tempdir().unwrap();
        let mut rig = Rig::at(home.path());
        rig._home = Some(home);
        rig
    }

    /// In this folder.
    pub(super) fn at(dir: &Path) -> Rig {
        let mut dice = Dice::thrown();
        let run = dice.next();
        let rig = Rig {
            dir: dir.to_owned(),
            dice,
            fleet: Fleet::new(run, CLIENTS),
            program: env!("CARGO_BIN_EXE_djaffar").into(),
            broken: None,
            arguments: Vec::new(),
            database: dir.join("djaffar.sqlite3"),
            traced_path: None,
            audit: Audit::default(),
            _home: None,
        };
        // What is stored is removed at once: removing is to be tried as well.
        rig.with("--rate-limit=0")
            .with("--session-rate-limit=0")
            .with("--threads=2")
            .with("--spool-retain-seconds=0")
            .with("--spool-retain-mib=0")
    }

    /// With a build of the server that breaks this promise.
    pub(super) fn breaking(mut self, promise: &'static str) -> Rig {
        self.program = mutants();
        self.broken = Some(promise);
        self
    }

    /// One more argument for `serve`.
    pub(super) fn with(mut self, argument: &str) -> Rig {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With this argument in place of the one of the same option.
    pub(super) fn replace(&mut self, argument: &str) {
        let name = |text: &str| text.split('=').next().unwrap().to_owned();
        self.arguments.retain(|said| name(said) != name(argument));
        self.arguments.push(argument.to_owned());
    }

    /// Completes a command that runs the server: `tool` is what stands before it.
    pub(super) fn command(&self, tool: &[&str]) -> Command {
        let mut command = match tool {
            [] => command_of(&self.program, &self.dir),
            [name, rest @ ..] => {
                let mut command = command_of(name, &self.dir);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.args(["serve", "--listen=127.0.0.1:0"]).args(&self.arguments);
        command.envs(self.broken.map(|promise| ("DJAFFAR_MUTANT", promise)));
        command
    }

    /// Starts the server.
    pub(super) fn serve(&self) -> Server {
        let started = Server::start(&mut self.command(&[]));
        started.unwrap_or_else(|text| panic!("no start: {text}"))
    }

    /// Starts the server and kills it before it can be ready, or soon after.
    pub(super) fn kill_while_starting(&mut self) {
        let mut command = self.command(&[]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        thread::sleep(self.dice.millis(0, 60));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Posts for a while.
    pub(super) fn load(&mut self, server: &Server, time: Duration) {
        self.fleet.load(server.address, || thread::sleep(time));
    }

    /// Posts, and kills the server after this time.
    pub(super) fn load_and_kill(&mut self, server: Server, time: Duration) {
        self.fleet.load(server.address, || {
            thread::sleep(time);
            drop(server);
        });
    }

    /// With the database in this file of the folder.
    pub(super) fn with_database(mut self, name: &str) -> Rig {
        self.database = self.dir.join(name);
        self.with(&format!("--database=sqlite:///{name}"))
    }

    /// Makes the tables of such a database.
    pub(super) fn migrate(&self) {
        let url = format!("--database=sqlite:///{}", self.database.display());
        let made = command_of(&self.program, &self.dir).args(["migrate", &url]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// Compares all rows of the database at this address.
    pub(super) fn audit_at(&self, url: &str) -> Findings {
        let arguments = ["dumpdata", "djaffar.Activity", "--database", url];
        let dump = command_of(&self.program, &self.dir).args(arguments).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let mut audit = Audit::default();
        audit.read_fixture(&self.fleet, &serde_json::from_slice(&dump.stdout).unwrap());
        audit.findings(&self.fleet)
    }

    /// Makes the tables of the database at this address.
    pub(super) fn migrate_at(&self, url: &str) {
        let arguments = ["migrate", "--database", url];
        let made = command_of(&self.program, &self.dir).args(arguments).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// The same, and serves on it.
    pub(super) fn on(self, url: &str) -> Rig {
        self.migrate_at(url);
        self.with(&format!("--database={url}"))
    }

    /// The database, to look at.
    pub(super) fn database(&self) -> Connection {
        let connection = Connection::open(&self.database).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    /// Holds the database's lock against the server, as another program might.
    pub(super) fn lock(&self) -> Connection {
        let connection = self.database();
        connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        connection
    }

    /// Has the database refuse one path.
    pub(super) fn refuse_poison(&self) {
        let trigger = "CREATE TRIGGER picky BEFORE INSERT ON djaffar_activity \
                       WHEN NEW.path = '/test/poison' \
                       BEGIN SELECT RAISE(ABORT, 'not this one'); END";
        self.database().execute_batch(trigger).unwrap();
    }

    /// Waits until what was acknowledged is stored, or nothing more is, and compares.
    pub(super) fn audit(&mut self) -> Findings {
        let database = self.database();
        let (mut row, mut since) = (0, Instant::now());
        loop {
            self.audit.read(&self.fleet, &database).unwrap();
            if self.audit.is_complete(&self.fleet) || since.elapsed() > STANDSTILL {
                break;
            }
            if self.audit.last_row() > row {
                (row, since) = (self.audit.last_row(), Instant::now());
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.audit.findings(&self.fleet)
    }

    /// The same where losses are expected: waits until nothing was stored for this long.
    pub(super) fn audit_when_quiet_for(&mut self, quiet: Duration) -> Findings {
        let database = self.database();
        let (mut row, mut since) = (0, Instant::now());
        while since.elapsed() < quiet {
            self.audit.read(&self.fleet, &database).unwrap();
            if self.audit.last_row() > row {
                (row, since) = (self.audit.last_row(), Instant::now());
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.audit.findings(&self.fleet)
    }

    /// The audit of a server that has work: its rows, a fresh activity, SQLite's own check.
    #[track_caller]
    pub(super) fn must_be_clean(&mut self, server: &Server) -> Findings {
        self.audit().must_be_clean();
        self.must_take(server);
        // What had no answer may come after all that had one: it is to come once as well.
        let findings = self.audit_when_quiet_for(QUIET);
        findings.must_be_clean();
        self.must_be_whole();
        findings
    }

    /// From nothing, as the next process would: all rows are read again.
    #[track_caller]
    pub(super) fn must_be_clean_from_the_start(&mut self, server: &Server) -> Findings {
        self.audit = Audit::default();
        let findings = self.must_be_clean(server);
        println!(
            "{} acknowledged: 0 lost, 0 doubled, 0 altered; {} stored without an answer",
            findings.acknowledged, findings.unanswered
        );
        findings
    }

    /// A fresh activity is stored soon.
    #[track_caller]
    pub(super) fn must_take(&mut self, server: &Server) {
        let path = format!("/test/{:x}", self.dice.next());
        let until = Instant::now() + FRESH;
        let answer = server.post(&format!("date={DATE}&path={path}"), &[]);
        assert_eq!(answer.status, 204, "{answer:?}");
        while self.stored(&path) == 0 {
            assert!(Instant::now() < until, "a fresh activity is not stored");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many rows have this path.
    pub(super) fn stored(&self, path: &str) -> i64 {
        let sql = "SELECT count(*) FROM djaffar_activity WHERE path = ?1";
        self.database().query_row(sql, [path], |row| row.get(0)).unwrap()
    }

    #[track_caller]
    pub(super) fn must_be_whole(&self) {
        let sql = "PRAGMA integrity_check";
        let found: String = self.database().query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(found, "ok");
    }

    /// The spool's segments in the order of their numbers.
    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let mut found = files(&self.dir.join("djaffar-spool"));
        found.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
        found
    }

    /// What is in the spool's quarantine and ends like this.
    pub(super) fn quarantine(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = files(&self.dir.join("djaffar-spool/quarantine"));
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}
