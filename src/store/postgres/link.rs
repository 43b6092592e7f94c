//! A connection to PostgreSQL, and what its errors mean to the caller.
//!
//! The driver is asynchronous and runs on a runtime of the connection's own, only while somebody
//! waits for an answer: so every wait has an end, also for an answer that never comes.

use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::store::Error;
use crate::store::address::Address;
use crate::store::schema::RUN_MIGRATE;

/// The options of an address that are known.
pub(super) const OPTIONS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
    "currentSchema",
    "application_name",
    "connect_timeout",
    "host",
    "port",
];

/// Where the sockets of a server on this machine are.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// All that is needed to connect.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
    /// For messages.
    pub(super) name: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Server {
    /// Reads an address.
    pub(super) fn new(address: &Address) -> Result<Self, String> {
        let mut config = Config::new();
        config.dbname(&address.database).application_name("djaffar");
        let host = address.option("host").or(address.host.as_deref());
        match host {
            Some(host) => config.host(host),
            None => config.host(
                SOCKETS.into_iter().find(|folder| Path::new(folder).exists()).unwrap_or(SOCKETS[1]),
            ),
        };
        let port = address.option("port").map(|port| port.parse().map_err(|_| "port: a number"));
        config.port(port.transpose()?.or(address.port).unwrap_or(5432));
        if let Some(user) = &address.user {
            config.user(user);
        }
        if let Some(password) = &address.password {
            config.password(password);
        }
        let mut options = address.option("options").unwrap_or_default().to_owned();
        if let Some(schema) = address.option("currentSchema") {
            options += &format!(" -c search_path={}", schema.replace(' ', "\\ "));
        }
        if !options.is_empty() {
            config.options(&options);
        }
        if let Some(name) = address.option("application_name") {
            config.application_name(name);
        }
        let mode = tls::mode(address)?;
        config.ssl_mode(mode);
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(30));
        let tls = match mode {
            SslMode::Disable => tls::config(&Address {
                options: [("sslmode".to_owned(), "disable".to_owned())].into(),
                ..address.clone()
            })?,
            _ => tls::config(address)?,
        };
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), name: address.to_string() })
    }
}

/// How a connection is to behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// How long to wait for an answer. The server is told to give up a little earlier.
    pub(super) patience: Duration,
    /// How long to wait for a lock.
    pub(super) lock: Duration,
    /// Statements to run on connecting.
    pub(super) sql: &'static str,
}

/// A connection that is made when first used, and again when it broke.
#[derive(Debug)]
pub(super) struct Link {
    server: Server,
    setup: Setup,
    open: Option<Open>,
    /// How often it was made: who remembers something of a connection compares.
    pub(super) generation: u64,
}

#[derive(Debug)]
struct Open {
    client: Client,
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Dropping it would panic where a request is being answered.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Connecting has an end of its own.
const CONNECT: Duration = Duration::from_secs(5);

impl Link {
    pub(super) fn new(server: &Server, setup: Setup) -> Self {
        Self { server: server.clone(), setup, open: None, generation: 0 }
    }

    /// Does something with the connection. Where the server had closed it meanwhile, it is tried
    /// once more on a new one: whatever is done here may be done twice.
    pub(super) fn with<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Client) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let was_open = self.open.is_some();
        match self.attempt(&mut work) {
            Err(Broken { closed: true, .. }) if was_open => self.attempt(&mut work),
            result => result,
        }
        .map_err(|broken| broken.error)
    }

    fn attempt<T>(
        &mut self,
        work: &mut impl AsyncFnMut(&mut Client) -> Result<T, Failure>,
    ) -> Result<T, Broken> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let open = connect(&self.server, self.setup)
                    .map_err(|failure| failure.sort(&self.server.name))?;
                self.generation += 1;
                open
            }
        };
        let Open { client, runtime: Some(runtime) } = &mut open else {
            return Err(Failure::Slow.sort(&self.server.name));
        };
        let patience = self.setup.patience;
        let done = runtime.block_on(async {
            timeout(patience, work(client)).await.unwrap_or(Err(Failure::Slow))
        });
        let result = done.map_err(|failure| failure.sort(&self.server.name));
        if result.as_ref().err().is_none_or(|broken| !broken.reconnect) {
            self.open = Some(open);
        }
        result
    }
}

fn connect(server: &Server, setup: Setup) -> Result<Open, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Unavailable(format!("no runtime: {error}")))?;
    let client = runtime.block_on(async {
        let made = timeout(CONNECT.min(setup.patience), server.config.connect(server.tls.clone()));
        let (client, connection) = made.await.map_err(|_| Failure::Slow)??;
        // Its errors are those of the questions that it carries.
        tokio::spawn(connection);
        let Setup { patience, lock, sql } = setup;
        let server_side = patience.mul_f32(0.8).as_millis();
        let setup = format!(
            "SET statement_timeout = {server_side}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = 60000; {sql}",
            lock.as_millis()
        );
        timeout(patience, client.batch_execute(&setup)).await.map_err(|_| Failure::Slow)??;
        Ok::<_, Failure>(client)
    });
    match client {
        Ok(client) => Ok(Open { client, runtime: Some(runtime) }),
        Err(failure) => {
            runtime.shutdown_background();
            Err(failure)
        }
    }
}

/// What went wrong inside of [`Link::with`].
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver's or the server's.
    Postgres(tokio_postgres::Error),
    /// Known to the caller already.
    Known(Error),
    /// No answer came.
    Slow,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

/// A failure, sorted.
pub(super) struct Broken {
    pub(super) error: Error,
    /// The connection is of no more use.
    reconnect: bool,
    /// It was closed before it was used.
    closed: bool,
}

impl Failure {
    /// The server's code, if it is the server's.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// What the caller can do, and whether to connect anew.
    pub(super) fn sort(self, name: &str) -> Broken {
        let error = match self {
            Self::Known(error) => return Broken { error, reconnect: false, closed: false },
            Self::Slow => {
                let error = Error::Unavailable(format!("{name}: no answer in time"));
                return Broken { error, reconnect: true, closed: false };
            }
            Self::Postgres(error) => error,
        };
        let Some(said) = error.as_db_error() else {
            // With its cause: "error connecting to server" alone says nothing.
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let text = format!("{name}: {error}{}", cause.unwrap_or_default());
            let closed = error.is_closed() || text.contains("reset") || text.contains("pipe");
            return Broken { error: Error::Unavailable(text), reconnect: true, closed };
        };
        // Its detail would show what is in the row.
        let text = format!("{name}: {} (SQLSTATE {})", said.message(), said.code().code());
        let (error, reconnect) = sort(said.code().code(), text);
        Broken { error, reconnect, closed: said.code().code() == "57P01" }
    }
}

/// By SQLSTATE; whether to connect anew.
fn sort(code: &str, text: String) -> (Error, bool) {
    let schema = |text: String| Error::Schema(format!("{text}; {RUN_MIGRATE}"));
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "53100") => (Error::Full(text), true),
        // We never leave out what is mandatory in our tables: then they are not ours.
        (_, "23502") => (schema(text), false),
        // What a row says, a rule or a trigger of the table does not take.
        ("22" | "23" | "44" | "54" | "P0", _) => (Error::Rejected(text), false),
        (_, "42501") => {
            (Error::Schema(format!("{text}: GRANT it to the user of the address")), false)
        }
        ("42", _) => (schema(text), false),
        (_, "3D000" | "3F000") => {
            (Error::Schema(format!("{text}: CREATE it, or correct the address")), true)
        }
        // Locks, and transactions that met: the connection is fine.
        ("40" | "55", _) | (_, "57014") => (Error::Unavailable(text), false),
        // Away, refused, read-only, broken, changed under our prepared statements: all of it passes.
        _ => (Error::Unavailable(text), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_what_the_caller_can_do() {
        for (code, want, reconnect) in [
            ("08006", "wait", true),
            ("57P01", "wait", true),
            ("57P03", "wait", true),
            ("25006", "wait", true),
            ("28P01", "wait", true),
            ("53300", "wait", true),
            ("53200", "wait", true),
            ("0A000", "wait", true),
            ("26000", "wait", true),
            ("40001", "wait", false),
            ("40P01", "wait", false),
            ("55P03", "wait", false),
            ("57014", "wait", false),
            ("53100", "less", true),
            ("22P05", "never", false),
            ("22001", "never", false),
            ("23505", "never", false),
            ("23514", "never", false),
            ("54000", "never", false),
            ("P0001", "never", false),
            ("23502", "tables", false),
            ("42P01", "tables", false),
            ("42703", "tables", false),
            ("42501", "tables", false),
            ("3D000", "tables", true),
        ] {
            let (error, again) = sort(code, code.to_owned());
            let got = match error {
                Error::Unavailable(_) => "wait",
                Error::Full(_) => "less",
                Error::Rejected(_) => "never",
                Error::Schema(_) => "tables",
            };
            assert_eq!((got, again), (want, reconnect), "{code}");
        }
    }
}
