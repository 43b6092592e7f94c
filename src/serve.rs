//! `djaffar serve`: puts everything together, and takes it down in order.
//!
//! Start: options, secret key, tables, spool, look-ups, drain, listeners. Stop: listeners, what is
//! being answered, the last commit, what the drain can still store; whatever is left waits in the
//! spool for the next start.

use std::{
    io::{self, IsTerminal, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};

use crate::{
    activity::{Activity, plain},
    config::{Config, LogFormat},
    failure::Failure,
    http::{App, listen, welcome::Welcome},
    site::{self, Keys, Site},
    spool::{self, Lane, Spool},
    store::Owner,
};

/// How often the disk of the spool and the drain are asked whether they still work.
const WATCH: Duration = Duration::from_millis(100);
/// Activities of one batch that are shown on a terminal.
const SHOWN: usize = 20;

/// Serves until SIGTERM or SIGINT.
pub fn serve(config: &Config) -> Result<(), Failure> {
    log_to(config)?;
    raise_file_limit();
    let site = Site::prepare(config)?;
    let threads = threads(config);
    let listen = config.listen.0;
    let listeners = listen::bind(listen, threads).map_err(|error| cannot_listen(listen, &error))?;
    let address = local_address(&listeners).unwrap_or(listen);
    let (spool, lanes, reader) = Spool::open(spool_options(config, threads, site.database.file()))?;
    let auth = Arc::new(site.auth(config)?);
    let shown = io::stdout().is_terminal();
    let on_stored = move |activities: &[Activity]| {
        if shown {
            show(activities);
        }
    };
    let signals = Signals::catch()?;
    let drain = site.drain(config, reader, Arc::clone(&auth), on_stored)?;
    let welcome = site.alone.then(|| Welcome::new(site.database.as_ref()));
    let app = App::new(config, site.zone(config)?, Arc::clone(&auth), spool.clone(), welcome);
    let app = Arc::new(app);
    let (stop, stopped) = watch::channel(false);
    let crew = start(listeners, lanes, &app, &stopped)?;
    banner(config, address, &site, &spool);
    let is_over = || drain.is_over() || crew.iter().any(JoinHandle::is_finished);
    let ended = signals.wait(&spool, is_over, Keys::new(config, &site, &auth));
    info!("stopping");
    stop.send_replace(true);
    // What one of them says must not keep the others from ending in order.
    let crew: Vec<_> = crew.into_iter().map(JoinHandle::join).collect();
    drain.finish()?;
    for worker in crew {
        worker.map_err(|_| anyhow!("a thread panicked"))?.context("a thread cannot serve")?;
    }
    info!(waiting = spool.stats().waiting_bytes, "stopped");
    match ended {
        Ended::Asked => Ok(()),
        Ended::Disk => Err(Failure::Disk(
            "the disk of the spool does not keep what is written to it; nothing that was \
             acknowledged is lost. Look at the disk, then start again"
                .to_owned(),
        )),
    }
}

/// `djaffar config check`: everything that a start needs, without starting.
pub fn check(config: &Config) -> Result<(), Failure> {
    let database = site::open(config)?;
    match database.owner()? {
        Owner::Nobody => println!("database: none yet; `djaffar serve` makes it"),
        _ => {
            database.check()?;
            println!("database: the tables are as they must be");
        }
    }
    let made = matches!(database.owner()?, Owner::Nobody | Owner::Djaffar);
    let secrets = if made && !config.secret_key_file.exists() {
        println!("secret key: none yet; `djaffar serve` makes it");
        None
    } else {
        let secrets = config.secrets(false)?;
        println!("secret key: good");
        Some(secrets)
    };
    site::check_credentials(config, secrets.as_ref())?;
    println!("sessions ({}) and tokens: can be read", config.session_engine);
    match Spool::check(&config.spool)? {
        true => println!("spool: can be written"),
        false => println!("spool: none yet; `djaffar serve` makes it"),
    }
    config.doubts().iter().for_each(|doubt| println!("{doubt}"));
    println!("the configuration is good");
    Ok(())
}

/// How many threads answer. The other half of the cores is for the syncs, the drain, and who sends: with a
/// thread on each they wait for each other while another core has nothing to do (docs/performance.md).
fn threads(config: &Config) -> usize {
    match config.threads {
        0 => thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        threads => threads,
    }
}

fn spool_options(config: &Config, lanes: usize, database: Option<&Path>) -> spool::Options {
    const MIB: u64 = 1024 * 1024;
    spool::Options {
        lanes,
        database: database.map(Path::to_owned),
        limit_bytes: config.spool_limit_mib.saturating_mul(MIB),
        retain_for: Duration::from_secs(config.spool_retain_seconds),
        retain_bytes: config.spool_retain_mib.saturating_mul(MIB),
        ..spool::Options::new(&config.spool)
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let what_to_do = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has this port: stop it, or choose another with --listen IP:PORT"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no network of this machine has this address: 127.0.0.1 is for a web server on this \
             machine, 0.0.0.0 for all networks"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are not for everybody: choose one above, and let the web server \
             send what is for Djaffar there"
        }
        _ => "choose another address with --listen IP:PORT",
    };
    anyhow!("cannot listen on {address}: {error}: {what_to_do}").into()
}

fn local_address(listeners: &[TcpListener]) -> Option<SocketAddr> {
    listeners.first()?.local_addr().ok()
}

type Worker = JoinHandle<io::Result<()>>;

fn start(
    listeners: Vec<TcpListener>,
    lanes: Vec<Lane>,
    app: &Arc<App>,
    stopped: &watch::Receiver<bool>,
) -> Result<Vec<Worker>, Failure> {
    let crowd = Arc::new(listen::Crowd::default());
    let mut crew = Vec::new();
    for (number, (listener, lane)) in listeners.into_iter().zip(lanes).enumerate() {
        let (app, crowd, stop) = (Arc::clone(app), Arc::clone(&crowd), stopped.clone());
        let run = move || listen::run(listener, app, crowd, lane, stop);
        let worker = thread::Builder::new().name(format!("ingest-{number}")).spawn(run);
        crew.push(worker.context("cannot start a thread")?);
    }
    Ok(crew)
}

/// Why the server ends.
enum Ended {
    Asked,
    Disk,
}

/// SIGTERM and SIGINT, caught before anything is started that they must end in order; and SIGHUP,
/// which has the keys read again, unless it says that the terminal is gone.
struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    at_terminal: bool,
}

impl Signals {
    fn catch() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("signals")?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).context("signals")?;
        let interrupt = signal(SignalKind::interrupt()).context("signals")?;
        let hangup = signal(SignalKind::hangup()).context("signals")?;
        drop(entered);
        let at_terminal = io::stdin().is_terminal();
        Ok(Self { runtime, terminate, interrupt, hangup, at_terminal })
    }

    /// `is_over`: whether a thread ended by itself, which none must; joining it tells why.
    fn wait(mut self, spool: &Spool, is_over: impl Fn() -> bool, mut keys: Keys<'_>) -> Ended {
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return Ended::Asked,
                    _ = self.interrupt.recv() => return Ended::Asked,
                    _ = self.hangup.recv() => match self.at_terminal {
                        true => return Ended::Asked,
                        false => keys.look_now(),
                    },
                    () = tokio::time::sleep(WATCH) => if spool.poisoned() {
                        return Ended::Disk;
                    } else if is_over() {
                        return Ended::Asked;
                    } else {
                        keys.look();
                    },
                }
            }
        })
    }
}

fn banner(config: &Config, address: SocketAddr, site: &Site, spool: &Spool) {
    let url = format!("http://{address}");
    let prefix = &config.prefix;
    let mut text = format!("Djaffar {} is ready.\n", env!("CARGO_PKG_VERSION"));
    if site.alone {
        text += &format!("  Open       {url}/\n");
    }
    text += &format!("  Endpoint   {url}{prefix}log/\n");
    text += &format!("  Tracker    {url}{prefix}{}\n", config.tracker_name);
    text += &format!("  Database   {}\n", config.shown_database());
    text += &format!("  Spool      {}\n", config.spool.display());
    text += "  Watch      djaffar tail\n  Stop       Ctrl-C\n";
    if spool.stats().waiting_bytes > 0 {
        text += "  An earlier run left its spool: what is not stored of it is being stored now.\n";
    }
    // A closed terminal is no reason to stop.
    drop(io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()));
    config.doubts().iter().for_each(|doubt| warn!("{doubt}"));
}

/// What was stored, for a newcomer at the terminal.
fn show(activities: &[Activity]) {
    let mut out = io::stdout().lock();
    let mut lines = String::new();
    for activity in activities.iter().take(SHOWN) {
        let user = activity.user.as_ref().map_or("anonymous".into(), |user| format!("user {user}"));
        let time = jiff::Timestamp::from_microsecond(activity.received_at).unwrap_or_default();
        let name = if activity.name.is_empty() { "view" } else { &activity.name };
        lines += &format!(
            "{}  {}  {user}  {}  {}\n",
            time.strftime("%H:%M:%SZ"),
            activity.address,
            plain(name),
            plain(&activity.path),
        );
    }
    if activities.len() > SHOWN {
        lines += &format!("… and {} more\n", activities.len() - SHOWN);
    }
    drop(out.write_all(lines.as_bytes()));
}

/// Logs as the options say.
pub(crate) fn log_to(config: &Config) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .map_err(|error| Failure::Config(format!("log: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// As many connections as the system lets us hold.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("cannot raise the limit of open files: {error}");
    }
}
