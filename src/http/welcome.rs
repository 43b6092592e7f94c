//! The page at `/` of a server that runs alone: the snippet, and what became of it.
//!
//! It shows only the activities of the browser's own session: whoever can reach this port sees
//! nothing of others.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    Settings, cookie,
    error::{Answer, Error, json, unless_read},
};
use crate::{
    dump::line,
    store::{Database, History, Moments},
};

const PAGE: &str = include_str!("../../assets/welcome/index.html");
const STYLE: &str = include_str!("../../assets/welcome/welcome.css");
const SCRIPT: &str = include_str!("../../assets/welcome/welcome.js");
/// So many activities are shown.
const ROWS: usize = 20;
/// So many may ask for them at once: each takes a thread, and they take turns at one connection.
const ASKING: usize = 4;

/// No page of another site may frame this one, and nothing but its own files runs in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and where its rows come from.
pub struct Welcome {
    history: Arc<Mutex<Box<dyn History>>>,
    moments: Moments,
    asking: Arc<Semaphore>,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Welcome")
    }
}

impl Welcome {
    /// A page that reads from `database`.
    pub fn new(database: &dyn Database) -> Welcome {
        let history = Arc::new(Mutex::new(database.history()));
        let asking = Arc::new(Semaphore::new(ASKING));
        Welcome { history, moments: database.moments().clone(), asking }
    }

    /// Answers what is not the endpoint.
    pub async fn answer(&self, request: &Parts, settings: &Settings) -> Answer {
        let path = request.uri.path();
        if let Some(refusal) = unless_read(&request.method) {
            return refusal;
        }
        match path {
            "/" => {
                let host = request.headers.get(header::HOST);
                let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
                let page = PAGE
                    .replace("{{prefix}}", &escape(&settings.prefix))
                    .replace("{{tracker}}", &escape(&settings.tracker_name))
                    .replace("{{origin}}", &escape(&format!("http://{host}")));
                file("text/html; charset=utf-8", page)
            }
            "/welcome.css" => file("text/css; charset=utf-8", STYLE.to_owned()),
            "/welcome.js" => file("text/javascript; charset=utf-8", SCRIPT.to_owned()),
            "/recent.json" => self.recent(request, settings).await,
            _ => {
                let detail = format!("There is nothing at {path}.");
                Error::http(StatusCode::NOT_FOUND, detail).answer(0)
            }
        }
    }

    async fn recent(&self, request: &Parts, settings: &Settings) -> Answer {
        let session = cookie::read(&request.headers, &settings.cookie.name).ok().flatten();
        let Some(session) = session.map(str::to_owned) else {
            return json(StatusCode::OK, &Value::Array(Vec::new()));
        };
        let Ok(turn) = Arc::clone(&self.asking).try_acquire_owned() else {
            let detail = "Too many ask for their activities: try again in a moment.";
            return Error::http(StatusCode::SERVICE_UNAVAILABLE, detail).answer(0);
        };
        let history = Arc::clone(&self.history);
        let rows = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            history.lock().unwrap_or_else(PoisonError::into_inner).recent(&session, ROWS)
        });
        match rows.await {
            Ok(Ok(rows)) => {
                let lines = rows.into_iter().filter_map(|row| line(row, &self.moments).ok());
                let list = lines.filter_map(|line| serde_json::from_str(&line).ok()).collect();
                json(StatusCode::OK, &Value::Array(list))
            }
            _ => {
                let detail = "The database cannot be read at the moment.";
                Error::http(StatusCode::SERVICE_UNAVAILABLE, detail).answer(0)
            }
        }
    }
}

fn file(kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
