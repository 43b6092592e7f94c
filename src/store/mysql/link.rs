//! A connection to MySQL or MariaDB, and what its errors mean to the caller.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use mysql::{ClientIdentity, Conn, DriverError, Opts, OptsBuilder, SslOpts};

use crate::store::Error;
use crate::store::address::Address;
use crate::store::schema::RUN_MIGRATE;

/// The options of an address that are known.
pub(super) const OPTIONS: &[&str] =
    &["unix_socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "charset", "connect_timeout"];

/// Where the sockets of a server on this machine are.
const SOCKETS: [&str; 3] =
    ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];

/// All that is needed to connect.
#[derive(Clone)]
pub(super) struct Server {
    opts: Opts,
    /// The server may do without TLS.
    plain_will_do: bool,
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
        let mut opts = OptsBuilder::new()
            .user(address.user.clone())
            .pass(address.password.clone())
            .db_name(Some(&address.database))
            .tcp_port(address.port.unwrap_or(3306))
            .tcp_connect_timeout(Some(CONNECT))
            .tcp_keepalive_time_ms(Some(30_000))
            .tcp_user_timeout_ms(Some(30_000))
            .prefer_socket(false)
            // A statement for each power of two, of each of the tables that we write.
            .stmt_cache_size(64);
        let socket = address.option("unix_socket").or(address.host.as_deref());
        let socket = match socket {
            Some(path) if path.starts_with('/') => Some(path),
            Some(_) => None,
            None => SOCKETS.into_iter().find(|path| PathBuf::from(path).exists()),
        };
        opts = match socket {
            Some(path) => opts.socket(Some(path)),
            None => opts.ip_or_hostname(Some(address.host.as_deref().unwrap_or("localhost"))),
        };
        let (tls, plain_will_do) = tls(address, socket.is_some())?;
        Ok(Self { opts: opts.ssl_opts(tls).into(), plain_will_do, name: address.to_string() })
    }
}

/// What `ssl-mode` means, as MySQL's own client has it.
fn tls(address: &Address, is_socket: bool) -> Result<(Option<SslOpts>, bool), String> {
    let ca = address.option("ssl-ca");
    let mode = address.option("ssl-mode").map(|mode| mode.to_ascii_uppercase().replace('-', "_"));
    let mut opts = SslOpts::default();
    if let Some(file) = ca {
        opts = opts.with_root_cert_path(Some(PathBuf::from(file)));
    }
    match (address.option("ssl-cert"), address.option("ssl-key")) {
        (Some(certificate), Some(key)) => {
            let identity = ClientIdentity::new(PathBuf::from(certificate), PathBuf::from(key));
            opts = opts.with_client_identity(Some(identity));
        }
        (None, None) => {}
        _ => return Err("ssl-cert and ssl-key go together".to_owned()),
    }
    let lenient = |opts: SslOpts| {
        opts.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true)
    };
    match (mode.as_deref(), ca) {
        (Some("DISABLED"), _) => Ok((None, true)),
        (None, None) if is_socket => Ok((None, true)),
        (None | Some("PREFERRED"), None) => Ok((Some(lenient(opts)), true)),
        (Some("REQUIRED"), _) => Ok((Some(lenient(opts)), false)),
        (None | Some("PREFERRED" | "VERIFY_CA"), _) => {
            Ok((Some(opts.with_danger_skip_domain_validation(true)), false))
        }
        (Some("VERIFY_IDENTITY"), _) => Ok((Some(opts), false)),
        _ => Err("ssl-mode must be DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"
            .to_owned()),
    }
}

/// How a connection is to behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// How long to wait for an answer.
    pub(super) patience: Duration,
    /// How long to wait for a lock, in seconds.
    pub(super) lock: u32,
    /// A statement to run on connecting.
    pub(super) sql: &'static str,
}

/// Connecting has an end of its own.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection that is made when first used, and again when it broke.
#[derive(Debug)]
pub(super) struct Link {
    server: Server,
    setup: Setup,
    open: Option<Conn>,
    /// How often it was made: who remembers something of a connection compares.
    pub(super) generation: u64,
}

impl Link {
    pub(super) fn new(server: &Server, setup: Setup) -> Self {
        Self { server: server.clone(), setup, open: None, generation: 0 }
    }

    /// Does something with the connection. Where the server closes it, it is tried once more on a new
    /// one: whatever is done here may be done twice.
    pub(super) fn with<T>(
        &mut self,
        mut work: impl FnMut(&mut Conn) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        match self.attempt(&mut work) {
            Err(Broken { closed: true, .. }) => self.attempt(&mut work),
            result => result,
        }
        .map_err(|broken| broken.error)
    }

    fn attempt<T>(
        &mut self,
        work: &mut impl FnMut(&mut Conn) -> Result<T, Failure>,
    ) -> Result<T, Broken> {
        let sorted = |failure: Failure| failure.sort(&self.server.name);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let open = connect(&self.server, self.setup).map_err(sorted)?;
                self.generation += 1;
                open
            }
        };
        let result = work(&mut open).map_err(|failure| failure.sort(&self.server.name));
        if result.as_ref().err().is_none_or(|broken| !broken.reconnect) {
            self.open = Some(open);
        }
        result
    }
}

fn connect(server: &Server, setup: Setup) -> Result<Conn, Failure> {
    let Setup { patience, lock, sql } = setup;
    // Whatever the server does by default: what does not fit is an error, and batches of several
    // servers do not lock the gaps between rows. The isolation is also Django's.
    let init = vec![
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES'".to_owned(),
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
        format!("SET SESSION innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}"),
        sql.to_owned(),
    ];
    let init: Vec<_> = init.into_iter().filter(|sql| !sql.is_empty()).collect();
    let opts = OptsBuilder::from_opts(server.opts.clone())
        .read_timeout(Some(patience))
        .write_timeout(Some(patience))
        .init(init);
    match Conn::new(opts.clone()) {
        Err(mysql::Error::DriverError(DriverError::TlsNotSupported)) if server.plain_will_do => {
            Ok(Conn::new(opts.ssl_opts(None))?)
        }
        made => Ok(made?),
    }
}

/// What went wrong inside of [`Link::with`].
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver's or the server's.
    Mysql(mysql::Error),
    /// Known to the caller already.
    Known(Error),
}

impl From<mysql::Error> for Failure {
    fn from(error: mysql::Error) -> Self {
        Self::Mysql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

/// A failure, sorted.
struct Broken {
    error: Error,
    /// The connection is of no more use.
    reconnect: bool,
    /// The server closed it.
    closed: bool,
}

impl Failure {
    /// The server's code, if it is the server's.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Mysql(mysql::Error::MySqlError(error)) => Some(error.code),
            _ => None,
        }
    }

    /// What the caller can do, and whether to connect anew.
    fn sort(self, name: &str) -> Broken {
        let error = match self {
            Self::Known(error) => return Broken { error, reconnect: false, closed: false },
            Self::Mysql(error) => error,
        };
        match error {
            mysql::Error::MySqlError(said) => {
                let text = format!("{name}: {} (error {})", said.message, said.code);
                let (error, reconnect) = sort(said.code, &said.state, text);
                Broken { error, reconnect, closed: [1053, 1927].contains(&said.code) }
            }
            mysql::Error::FromValueError(_) | mysql::Error::FromRowError(_) => {
                // Not the value, which may be anything.
                let text = format!("{name}: a column is not of the type that Django makes");
                Broken { error: Error::Schema(text), reconnect: false, closed: false }
            }
            other => {
                let closed = match &other {
                    mysql::Error::IoError(error) => {
                        !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                    }
                    mysql::Error::CodecError(_) => true,
                    _ => false,
                };
                let text = format!("{name}: {other}");
                Broken { error: Error::Unavailable(text), reconnect: true, closed }
            }
        }
    }
}

/// By MySQL's own codes, and by SQLSTATE where that says enough; whether to connect anew.
fn sort(code: u16, state: &str, text: String) -> (Error, bool) {
    let schema = |text: String| Error::Schema(format!("{text}; {RUN_MIGRATE}"));
    match (code, state) {
        // Tables or disks that are full, and packets that are too large.
        (1021 | 1114 | 1041 | 1153, _) => (Error::Full(text), true),
        // We never leave out what is mandatory in our tables: then they are not ours.
        (1048 | 1364, _) => (schema(text), false),
        (1044 | 1142 | 1143, _) => {
            (Error::Schema(format!("{text}: GRANT it to the user of the address")), true)
        }
        (1049, _) => (Error::Schema(format!("{text}: CREATE it, or correct the address")), true),
        (_, "42S02" | "42S22") | (1146 | 1054 | 1109, _) => (schema(text), false),
        // Locks, and transactions that met: the connection is fine.
        (1205 | 1213, _) => (Error::Unavailable(text), false),
        // What a row says, a rule or a trigger of the table does not take.
        (1366 | 1292 | 1406 | 1264 | 3140 | 3819 | 3854 | 3988 | 4025, _) => {
            (Error::Rejected(text), false)
        }
        (_, state) if ["22", "23", "45"].iter().any(|class| state.starts_with(class)) => {
            (Error::Rejected(text), false)
        }
        // Away, refused, read-only, broken: all of it passes.
        _ => (Error::Unavailable(text), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_what_the_caller_can_do() {
        for (code, state, want, reconnect) in [
            (1040, "08004", "wait", true),
            (1045, "28000", "wait", true),
            (1053, "08S01", "wait", true),
            (1290, "HY000", "wait", true),
            (1836, "HY000", "wait", true),
            (1205, "HY000", "wait", false),
            (1213, "40001", "wait", false),
            (1021, "HY000", "less", true),
            (1114, "HY000", "less", true),
            (1153, "08S01", "less", true),
            (1062, "23000", "never", false),
            (1366, "HY000", "never", false),
            (1406, "22001", "never", false),
            (1644, "45000", "never", false),
            (3988, "HY000", "never", false),
            (4025, "23000", "never", false),
            (1048, "23000", "tables", false),
            (1146, "42S02", "tables", false),
            (1054, "42S22", "tables", false),
            (1142, "42000", "tables", true),
            (1049, "42000", "tables", true),
        ] {
            let (error, again) = sort(code, state, code.to_string());
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
