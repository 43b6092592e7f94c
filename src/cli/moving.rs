//! `djaffar move`: what it takes, what it shows, how it is stopped.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    File,
    progress::{Progress, grouped},
};
use crate::{
    config::{Config, Options, secret},
    failure::Failure,
    moving::{self, Error, Outcome, Parties, Stage, Task, Watcher},
    serve,
    site::moving::{Place, parties},
};

pub(super) const EXAMPLES: &str = "\
A site outgrows its database:
  djaffar move sqlite:////srv/site/db.sqlite3 clickhouse://djaffar@ch1.example:8123/djaffar
  djaffar move sqlite:////srv/site/db.sqlite3 clickhouse://djaffar@ch1.example:8123/djaffar --finish
Passwords: in files (--from-password-file, --to-password-file), or in DJAFFAR_FROM_PASSWORD and
  DJAFFAR_TO_PASSWORD; every user of the machine can list those in an argument.
Users, sessions and tokens are Django's, and are moved by Django's means.";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The database that has the activities.
    from: String,
    /// The database that is to have them; without activities of its own.
    to: String,
    /// Switch: close FROM, take the last rows, compare both sides, open TO.
    #[arg(long, conflicts_with = "cancel")]
    finish: bool,
    /// Open FROM again, where --finish did not come to its end.
    #[arg(long)]
    cancel: bool,
    /// With --cancel, where TO is lost for good: it is not asked whether it was opened.
    #[arg(long, requires = "cancel")]
    without_to: bool,
    /// Open TO also where the two sides differ.
    #[arg(long, requires = "finish")]
    accept_differences: bool,
    /// Print what was compared as JSON.
    #[arg(long)]
    json: bool,
    /// A file with the password of FROM (or set DJAFFAR_FROM_PASSWORD).
    #[arg(long, env = "DJAFFAR_FROM_PASSWORD_FILE")]
    from_password_file: Option<PathBuf>,
    /// A file with the password of TO (or set DJAFFAR_TO_PASSWORD).
    #[arg(long, env = "DJAFFAR_TO_PASSWORD_FILE")]
    to_password_file: Option<PathBuf>,
    /// At most so many rows in a transaction [default: 8192; to a ClickHouse, 32768].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=262_144))]
    rows: Option<u32>,
    /// Where the batch under way to a ClickHouse is kept; the same for every run.
    #[arg(long, default_value = "djaffar-move")]
    folder: PathBuf,
    #[command(flatten)]
    file: File,
    /// The site's database, where FROM and TO both are a ClickHouse.
    #[arg(long, env = "DJAFFAR_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Django's TIME_ZONE.
    #[arg(long, env = "DJAFFAR_TIME_ZONE")]
    time_zone: Option<String>,
    /// Django's USE_TZ.
    #[arg(long, env = "DJAFFAR_USE_TZ")]
    use_tz: Option<bool>,
    /// The table of Django's user model.
    #[arg(long, env = "DJAFFAR_USER_TABLE")]
    user_table: Option<String>,
    /// The column of its primary key.
    #[arg(long, env = "DJAFFAR_USER_ID_COLUMN")]
    user_id_column: Option<String>,
}

/// Moves.
pub(super) fn moving(how: How) -> Result<(), Failure> {
    let task = match how {
        How { cancel: true, without_to, .. } => Task::Cancel { without_to },
        How { finish: true, accept_differences, .. } => Task::Finish { accept_differences },
        _ => Task::Copy,
    };
    let said = Options {
        database: how.database,
        time_zone: how.time_zone,
        use_tz: how.use_tz,
        user_table: how.user_table,
        user_id_column: how.user_id_column,
        ..Options::default()
    };
    let config = Config::load(how.file.config.as_deref(), said)?;
    serve::log_to(&config)?;
    let from_password =
        secret::password("DJAFFAR_FROM_PASSWORD", how.from_password_file.as_deref());
    let to_password = secret::password("DJAFFAR_TO_PASSWORD", how.to_password_file.as_deref());
    let from = Place { url: how.from, password: from_password? };
    let to = Place { url: how.to, password: to_password? };
    let (parties, _claim) = parties(&config, [&from, &to], &how.folder)?;
    let stop = stop_by_signal()?;
    let mut watcher = Terminal(Progress::new());
    let how_many = how.rows.map(|rows| rows as usize);
    let result = moving::run(&parties, task, how_many, (&mut watcher, &stop));
    watcher.0.finish();
    match result {
        Ok(outcome) => tell(&parties, &outcome, how.json),
        Err(Error::Store(error)) => Err(error.into()),
        Err(Error::Refused(text)) => Err(Failure::Config(text)),
        Err(error @ Error::Differs(..)) => {
            if let Error::Differs(_, report) = &error {
                print(&match how.json {
                    true => format!("{}\n", report.to_json()),
                    false => report.to_text(),
                })?;
            }
            Err(anyhow!(error).into())
        }
        Err(error @ Error::Stopped) => Err(anyhow!(error).into()),
    }
}

struct Terminal(Progress);

impl Watcher for Terminal {
    fn progress(&mut self, stage: Stage, done: u64, total: u64) {
        let name = match stage {
            Stage::Copying => "copying",
            Stage::ReadingFrom => "reading FROM",
            Stage::ReadingTo => "reading TO",
            Stage::Sessions => "sessions",
        };
        self.0.show(name, done, total);
    }

    fn say(&mut self, text: &str) {
        self.0.say(text);
    }
}

/// Set by Ctrl-C and SIGTERM. A second one ends the process as it stands, which is as good.
fn stop_by_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("signals")?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    drop(entered);
    let flag = Arc::clone(&stop);
    let wait = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(1);
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("a thread")?;
    Ok(stop)
}

fn tell(parties: &Parties, outcome: &Outcome, json: bool) -> Result<(), Failure> {
    let (from, to) = (&parties.from, &parties.to);
    match outcome {
        Outcome::CaughtUp { rows, is_closed } => {
            let (to, from, rows) = (&to.name, &from.name, grouped(*rows));
            let next = match is_closed {
                false => {
                    "Nothing is switched yet: run the same command with --finish to switch".into()
                }
                true => format!(
                    "{from} is closed, and the spools of its servers fill: go on with --finish, or open it \
                     with --cancel"
                ),
            };
            print(&format!("{to} holds what {from} has, activities: {rows}. {next}\n"))
        }
        Outcome::Cancelled => print(&format!("{} is open again\n", from.name)),
        Outcome::Finished(report) if json => print(&format!("{}\n", report.to_json())),
        Outcome::Finished(report) => {
            let next = match (from.is_clickhouse, to.is_clickhouse) {
                (false, false) => format!("with database = {}", to.name),
                (_, true) => format!("with activity_database = {}", to.name),
                (true, false) => "without activity_database".to_owned(),
            };
            let verdict = match report.is_clean() {
                true => "Both sides are equal.",
                false => "TO is open although the two sides differ.",
            };
            print(&format!(
                "{}{verdict} Now restart the servers {next}: what they took down \
                 meanwhile waits in their spools.\nWhere something else writes to {} (the view \
                 inside Django), run this once more after that\n",
                report.to_text(),
                from.name
            ))
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes()).context("terminal")?)
}
