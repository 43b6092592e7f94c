//! The site whose activities are recorded: its database and its keys, as the options name them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, anyhow};

use crate::{
    activity::Activity,
    auth::{self, Auth, session::Format, signing::Secret},
    config::{Config, DATABASE, secret::Secrets},
    drain,
    failure::Failure,
    spool::Reader,
    store::{self, Database, Owner},
};

/// The database that the options name. Connects to nothing yet.
///
/// # Errors
/// An address that is none.
pub fn open(config: &Config) -> Result<Box<dyn Database>, Failure> {
    let users = store::Users { table: config.user_table.clone(), ..store::Users::default() };
    let settings = store::Settings { use_tz: config.use_tz, time_zone: config.zone()?, users };
    store::open(&config.database, settings)
        .map_err(|text| Failure::Config(format!("database: {text}")))
}

/// The site whose activities are recorded: its database and its keys.
pub struct Site {
    /// Its database.
    pub database: Box<dyn Database>,
    secrets: Secrets,
    /// No Django is there.
    pub alone: bool,
    legacy_sessions: bool,
}

impl Site {
    /// Opens what the options name; makes the tables of a server that runs alone.
    pub fn prepare(config: &Config) -> Result<Site, Failure> {
        let database = open(config)?;
        let owner = database.owner()?;
        let alone = match owner {
            // A mistyped path must not make a new database beside the site's own.
            Owner::Nobody if config.database != DATABASE => {
                return Err(Failure::Config(format!(
                    "{} has no tables yet: if the address is right, run `djaffar migrate \
                     --database {}`",
                    config.database, config.database
                )));
            }
            Owner::Nobody | Owner::Djaffar => true,
            Owner::Django | Owner::DjangoApp => false,
        };
        let secrets = config.secrets(alone)?;
        if alone {
            database.migrate()?;
        }
        database.check()?;
        let legacy_sessions = database.legacy_sessions()?;
        Ok(Site { database, secrets, alone, legacy_sessions })
    }

    /// The zone of dates without an offset.
    pub fn zone(&self, config: &Config) -> Result<jiff::tz::TimeZone, Failure> {
        // With USE_TZ=False the digits of a date are kept as they came: read as UTC, written as
        // UTC (Django REST framework's DateTimeField.enforce_timezone).
        if config.use_tz { Ok(config.zone()?) } else { Ok(jiff::tz::TimeZone::UTC) }
    }

    /// Tells who sends.
    pub fn auth(&self, config: &Config) -> Result<Auth, Failure> {
        let fallbacks = self.secrets.fallbacks.iter().map(|key| Secret::from(key.as_str()));
        let settings = auth::Settings {
            fallbacks: fallbacks.collect(),
            session_age: config.session_cookie_age,
            format: if self.legacy_sessions { Format::Legacy } else { Format::Signed },
            backends: config.authentication_backend.clone(),
            ..auth::Settings::new(Secret::from(self.secrets.key.as_str()))
        };
        Ok(Auth::new(settings, self.database.directory()).context("look-ups")?)
    }

    /// Starts to store what the spool holds. `on_stored`: told of what was stored.
    pub fn drain(
        &self,
        reader: Reader,
        auth: Arc<Auth>,
        on_stored: impl FnMut(&[Activity]) + Send + 'static,
    ) -> Result<Storing, Failure> {
        let parts = drain::Parts {
            reader,
            store: self.database.store(),
            directory: self.database.directory(),
            auth,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || drain::run(parts, &drain::Options::default(), &stopped, on_stored);
        let thread = thread::Builder::new().name("drain".to_owned()).spawn(run);
        Ok(Storing { thread: thread.context("cannot start a thread")?, stop })
    }
}

/// The drain at work.
#[derive(Debug)]
pub struct Storing {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Storing {
    /// Whether it ended by itself, which it must not.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stores what is there, as long as the database takes it; what is left waits in the spool.
    pub fn finish(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        Ok(ended.map_err(|_| anyhow!("the drain panicked; nothing is lost, start again"))?)
    }
}
