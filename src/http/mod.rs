//! HTTP: accepts connections, routes requests, answers.
//!
//! The way of a request: [`listen`] accepts it, [`framing`] and [`pulse`] hold it to its limits,
//! [`App`] routes it, [`log`] answers it. Only this module knows status codes.

pub mod body;
pub mod client;
pub mod cookie;
pub mod error;
pub mod framing;
pub mod limit;
pub mod listen;
pub mod log;
pub mod origin;
pub mod pulse;
pub mod request;
pub mod tracker;
pub mod trouble;
pub mod welcome;

use std::{
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use futures_util::FutureExt;
use hyper::{StatusCode, body::Incoming, http::request::Parts};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use quick_cache::sync::Cache;
use uuid::Uuid;

use self::{
    error::{Answer, Error},
    limit::Limit,
    pulse::Pulse,
    tracker::Tracker,
    trouble::Troubles,
    welcome::Welcome,
};
use crate::{
    activity::Micros,
    auth::Auth,
    config::{Config, SessionCookie},
    spool::{Committer, Spool},
};

/// The ids of so many stored activities are remembered, to count repeated ones. The database
/// holds them apart however late one comes.
const EVENT_IDS: usize = 100_000;

/// The options that concern HTTP.
#[derive(Debug)]
pub struct Settings {
    /// Where the endpoint lies, such as `/djaffar/`.
    pub prefix: String,
    /// What the script is called there.
    pub tracker_name: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxy: Vec<IpNet>,
    /// Other sites whose pages may post with cookies.
    pub allowed_origin: Vec<String>,
    /// Host names that are answered; empty: any.
    pub allowed_host: Vec<String>,
    /// The session cookie.
    pub cookie: SessionCookie,
    /// The zone of dates without an offset.
    pub zone: TimeZone,
    /// Connections at once, and of one address.
    pub connections: usize,
    /// See `connections`.
    pub connections_per_address: usize,
}

/// What all threads share to answer. Made once, by `serve`.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    auth: Arc<Auth>,
    spool: Spool,
    tracker: Tracker,
    welcome: Option<Welcome>,
    requests: Option<Limit>,
    sessions: Option<Limit>,
    event_ids: Cache<Uuid, ()>,
    panics: AtomicUsize,
    troubles: Troubles,
}

/// What one thread answers with.
#[derive(Debug)]
pub struct Ingest {
    app: Arc<App>,
    committer: Committer,
}

impl App {
    /// Puts it together. `zone`: of dates without an offset; `welcome`: the page at `/`.
    pub fn new(
        config: &Config,
        zone: TimeZone,
        auth: Arc<Auth>,
        spool: Spool,
        welcome: Option<Welcome>,
    ) -> App {
        let settings = Settings {
            prefix: config.prefix.clone(),
            tracker_name: config.tracker_name.clone(),
            trusted_proxy: config.trusted_proxy.iter().map(|network| network.0).collect(),
            allowed_origin: config.allowed_origin.clone(),
            allowed_host: config.allowed_host.clone(),
            cookie: config.session_cookie(),
            zone,
            connections: config.connections,
            connections_per_address: config.connections_per_address,
        };
        App {
            settings,
            auth,
            spool,
            tracker: Tracker::default(),
            welcome,
            requests: Limit::new(config.rate_limit),
            sessions: Limit::new(config.session_rate_limit),
            event_ids: Cache::new(EVENT_IDS),
            panics: AtomicUsize::new(0),
            troubles: Troubles::default(),
        }
    }

    /// Whether an activity of this id is on disk already, as far as we remember.
    fn seen(&self, event_id: Option<Uuid>) -> bool {
        event_id.is_some_and(|id| self.event_ids.get(&id).is_some())
    }

    fn stored(&self, event_id: Uuid) {
        self.event_ids.insert(event_id, ());
    }

    fn tracker_file(&self, name: &str) -> Option<&tracker::File> {
        self.tracker.file(name, &self.settings.tracker_name)
    }

    fn take_request(&self, address: IpAddr, now: Micros) -> Result<(), Error> {
        take(self.requests.as_ref(), limit::client(address), now)
    }

    fn take_session(&self, network: IpAddr, now: Micros) -> Result<(), Error> {
        take(self.sessions.as_ref(), network, now)
    }
}

fn take(limit: Option<&Limit>, key: IpAddr, now: Micros) -> Result<(), Error> {
    if limit.is_none_or(|limit| limit.take(key, now)) { Ok(()) } else { Err(Error::TooMany) }
}

impl Ingest {
    /// Answers one request, whatever happens. By reference, here and below: what is handed over by
    /// value has a place in the future of each function that it passes, and that is moved twice.
    async fn answer(
        &self,
        parts: &mut Parts,
        incoming: &mut Incoming,
        peer: IpAddr,
        pulse: &Pulse,
    ) -> Answer {
        let last = pulse.counts_out() || request::must_close(parts);
        let mut answer = caught(self.route(parts, incoming, peer, pulse), &self.app.panics).await;
        if last {
            let close = hyper::header::HeaderValue::from_static("close");
            answer.headers_mut().insert(hyper::header::CONNECTION, close);
        }
        answer
    }

    async fn route(
        &self,
        parts: &mut Parts,
        incoming: &mut Incoming,
        peer: IpAddr,
        pulse: &Pulse,
    ) -> Answer {
        if let Err(error) = request::check(parts, &self.app.settings.allowed_host) {
            return error.answer(0);
        }
        let path = parts.uri.path();
        match path.strip_prefix(self.app.settings.prefix.as_str()) {
            Some("log/" | "log") => log::log(self, parts, incoming, peer, pulse).await,
            Some("health/" | "health") => {
                error::unless_read(&parts.method).unwrap_or_else(|| self.health())
            }
            below => match below.and_then(|name| self.app.tracker_file(name)) {
                Some(file) => tracker::answer(file, &parts.method, &parts.headers),
                None => self.page(parts).await,
            },
        }
    }

    async fn page(&self, parts: &Parts) -> Answer {
        match &self.app.welcome {
            Some(welcome) => welcome.answer(parts, &self.app.settings).await,
            None => not_found(parts.uri.path()),
        }
    }

    /// For load balancers: whether activities are taken. Requests that panicked since the start
    /// are counted.
    fn health(&self) -> Answer {
        let (status, word) = if self.app.spool.poisoned() {
            (StatusCode::SERVICE_UNAVAILABLE, "disk error")
        } else {
            (StatusCode::OK, "ok")
        };
        let panics = self.app.panics.load(Ordering::Relaxed);
        error::json(status, &serde_json::json!({ "status": word, "panics": panics }))
    }
}

/// What a route answers; should it panic, 500, and its connection is not used again.
fn caught(
    route: impl Future<Output = Answer>,
    panics: &AtomicUsize,
) -> impl Future<Output = Answer> {
    AssertUnwindSafe(route).catch_unwind().map(|answer| {
        answer.unwrap_or_else(|_| {
            let panics = 1 + panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(panics, "a request panicked: this is a bug, please report it");
            let detail = "This is our fault, and has been logged.";
            Error::http(StatusCode::INTERNAL_SERVER_ERROR, detail).answer(0)
        })
    })
}

fn not_found(path: &str) -> Answer {
    let detail = format!("There is nothing at {path}.");
    Error::http(StatusCode::NOT_FOUND, detail).answer(0)
}

/// Our clock.
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each connection has the future of its request, written anew and moved for each: what it
    /// carries without need costs all of them memory and cache.
    #[test]
    fn a_request_s_future_is_small() {
        fn size<'a, F>(
            _: impl FnOnce(&'a Ingest, &'a mut Parts, &'a mut Incoming, IpAddr, &'a Pulse) -> F,
        ) -> usize {
            size_of::<F>()
        }
        let bytes = size(Ingest::answer);
        assert!(bytes <= 1_024, "{bytes} bytes");
    }

    #[tokio::test]
    async fn a_panic_is_one_request_s_and_is_counted() {
        let panics = AtomicUsize::new(0);
        let answer = caught(async { not_found("/") }, &panics).await;
        assert_eq!((answer.status().as_u16(), panics.load(Ordering::Relaxed)), (404, 0));
        for count in 1..3 {
            let answer = caught(async { panic!("on purpose") }, &panics).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.headers()["connection"], "close");
            assert_eq!(panics.load(Ordering::Relaxed), count);
        }
    }
}
