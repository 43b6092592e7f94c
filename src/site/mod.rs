//! The site whose activities are recorded: its database, sessions, tokens and keys, as the options
//! name them.

mod credentials;
mod frozen;
mod keys;
pub mod moving;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow};

use crate::{
    activity::Activity,
    auth::{self, Auth, signing::Secret},
    config::{Config, DATABASE, secret::Secrets},
    drain,
    failure::Failure,
    spool::{Frozen, Parked, Reader},
    store::{self, Database, Directory, Owner, WithClickHouse},
};

use frozen::{Freezer, Parking};
pub use keys::Keys;

/// The database that the options name. Connects to nothing yet.
///
/// # Errors
/// An address that is none.
pub fn open(config: &Config) -> Result<Box<dyn Database>, Failure> {
    let settings = settings(config, config.database_password()?.map(store::Password))?;
    let database = store::open(&config.database, settings)
        .map_err(|text| Failure::Config(format!("database: {text}")))?;
    if config.activity_database.is_empty() {
        return Ok(database);
    }
    let (spool, password) = (config.spool.clone(), config.activity_password()?);
    let freezer = Arc::new(move || {
        let parking = Arc::new(Parking(Parked::new(&spool)));
        Box::new(Freezer(Frozen::new(&spool), parking)) as Box<_>
    });
    let url = &config.activity_database;
    let database = WithClickHouse::new(database, url, password.as_deref(), freezer)
        .map_err(|text| Failure::Config(format!("activity_database: {text}")))?;
    Ok(Box::new(database))
}

/// How the site keeps things in an SQL database.
fn settings(
    config: &Config,
    password: Option<store::Password>,
) -> Result<store::Settings, Failure> {
    let users = store::Users {
        table: config.user_table.clone(),
        id: config.user_id_column.clone(),
        password: config.user_password_column.clone(),
        is_active: config.user_active_column.clone(),
    };
    let tokens =
        store::TokenTables { knox: config.knox_table.clone(), oauth: config.oauth_table.clone() };
    let time_zone = config.zone()?;
    Ok(store::Settings { use_tz: config.use_tz, time_zone, users, tokens, password })
}

/// Whether sessions can be read where the options say, and tokens verified.
pub fn check_credentials(config: &Config, secrets: Option<&Secrets>) -> Result<(), Failure> {
    credentials::engine(config)?.check()?;
    let jwt_key = match secrets {
        Some(secrets) => secrets.jwt_key().to_owned(),
        // SECRET_KEY is still to be made, and will do for HS….
        None => config.jwt_key()?.unwrap_or_default(),
    };
    credentials::schemes(config, &jwt_key).map(drop)
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
                    config.shown_database(),
                    config.shown_database()
                )));
            }
            Owner::Nobody | Owner::Djaffar => true,
            Owner::Django | Owner::DjangoApp => false,
        };
        let secrets = config.secrets(alone)?;
        if alone {
            match database.migrate() {
                // A ClickHouse that is away: what comes in waits in the spool. Had it been the
                // site's own database, the check would say so.
                Err(store::Error::Unavailable(reason)) if !config.activity_database.is_empty() => {
                    tracing::warn!(reason, "not all tables could be looked at");
                }
                made => made?,
            }
        }
        database.check()?;
        credentials::engine(config)?.check()?;
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
        let settings = self.auth_settings(config, &self.secrets)?;
        Ok(Auth::new(settings, self.directory(config)?).context("look-ups")?)
    }

    /// What must hold for a session or a token to count, with these keys.
    fn auth_settings(&self, config: &Config, secrets: &Secrets) -> Result<auth::Settings, Failure> {
        let fallbacks = secrets.fallbacks.iter().map(|key| Secret::from(key.as_str()));
        Ok(auth::Settings {
            fallbacks: fallbacks.collect(),
            session_age: config.session_cookie_age,
            hashing: credentials::hashing(config, self.legacy_sessions),
            form: credentials::form(config)?,
            backends: config.authentication_backend.clone(),
            schemes: credentials::schemes(config, secrets.jwt_key())?,
            ..auth::Settings::new(Secret::from(secrets.key.as_str()))
        })
    }

    /// Who is who: users and tokens in the database, sessions where the engine keeps them.
    fn directory(&self, config: &Config) -> Result<Box<dyn Directory>, Failure> {
        Ok(credentials::engine(config)?.directory(self.database.directory()))
    }

    /// Starts to store what the spool holds. `on_stored`: told of what was stored.
    pub fn drain(
        &self,
        config: &Config,
        reader: Reader,
        auth: Arc<Auth>,
        on_stored: impl FnMut(&[Activity]) + Send + 'static,
    ) -> Result<Storing, Failure> {
        let parts = self.parts(config, reader, auth)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let options = drain_options(config);
        let run = move || {
            drain::run(parts, &options, &stopped, on_stored);
        };
        let thread = thread::Builder::new().name("drain".to_owned()).spawn(run);
        Ok(Storing { thread: thread.context("cannot start a thread")?, stop })
    }

    /// Stores what the spool holds, and returns whether that was all: an outage ends it.
    pub fn drain_once(
        &self,
        config: &Config,
        reader: Reader,
        auth: Arc<Auth>,
        on_stored: impl FnMut(&[Activity]) + Send,
    ) -> Result<bool, Failure> {
        const DAY: Duration = Duration::from_secs(86_400);
        let parts = self.parts(config, reader, auth)?;
        // Told to stop already: what waits is all that there will be.
        let options = drain::Options {
            finish_within: 365 * DAY,
            // Longer than the shards of a ClickHouse wait for one that is away.
            wait_within: Duration::from_secs(20 * u64::from(!config.activity_database.is_empty())),
            ..drain_options(config)
        };
        Ok(drain::run(parts, &options, &AtomicBool::new(true), on_stored))
    }

    fn parts(
        &self,
        config: &Config,
        reader: Reader,
        auth: Arc<Auth>,
    ) -> Result<drain::Parts, Failure> {
        frozen::nothing_may_be_left(config, &*self.database, reader.spool())?;
        Ok(drain::Parts {
            reader,
            store: self.database.store(),
            directory: self.directory(config)?,
            engine: credentials::engine(config)?,
            auth,
        })
    }
}

/// ClickHouse takes few large batches rather than many small ones.
fn drain_options(config: &Config) -> drain::Options {
    match config.activity_database.as_str() {
        "" => drain::Options::default(),
        _ => drain::Options::for_large_batches(),
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
