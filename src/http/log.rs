//! `POST /djaffar/log/`: takes down activities, and answers when they are on disk, never before.
//!
//! Knows nothing of databases.

use std::{mem, net::IpAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    App, Ingest, body, client, cookie,
    error::{Answer, Error, errors},
    limit, now,
    origin::{self, Origin},
    pulse::Pulse,
};
use crate::{
    activity::{
        Activity, Client, Clock, Identity, Input, Invalid, Micros, Session, SessionState,
        body::{Posted, read},
    },
    auth::Credentials,
    spool::record,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Answers a request to the endpoint, and takes its headers.
pub async fn log(
    ingest: &Ingest,
    parts: &mut Parts,
    incoming: &mut Incoming,
    peer: IpAddr,
    pulse: &Pulse,
) -> Answer {
    let app = &ingest.app;
    let from_proxy = client::is_trusted(peer.to_canonical(), &app.settings.trusted_proxy);
    let host = host(&parts.headers, from_proxy);
    let origin = origin::of(&parts.headers, host, &app.settings.allowed_origin);
    let now = now();
    if !from_proxy && peer.is_loopback() && parts.headers.contains_key(FORWARDED_FOR) {
        app.troubles.unknown_proxy(peer, now);
    }
    let mut answer = match parts.method {
        Method::POST => post(ingest, parts, incoming, Call { origin: &origin, peer, pulse, now })
            .await
            .unwrap_or_else(|error| {
                app.troubles.refused(&error, peer, now);
                error.answer(now.unsigned_abs())
            }),
        Method::OPTIONS => options(&parts.headers),
        _ => Error::Method(parts.method.clone()).answer(0),
    };
    // hyper keeps the map of an answer for the connection's next request: it gets its own back.
    let headers = recycle(&mut answer, mem::take(&mut parts.headers));
    headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    cross_origin(headers, origin, &parts.method);
    answer
}

/// Moves the answer's headers into a map that has room already.
fn recycle(answer: &mut Answer, mut map: HeaderMap) -> &mut HeaderMap {
    map.clear();
    map.extend(mem::replace(answer.headers_mut(), HeaderMap::new()));
    *answer.headers_mut() = map;
    answer.headers_mut()
}

/// The authority that the browser asked for.
fn host(headers: &HeaderMap, from_proxy: bool) -> Option<&str> {
    let forwarded = from_proxy.then(|| headers.get("x-forwarded-host")).flatten();
    forwarded.or_else(|| headers.get(header::HOST)).and_then(|value| value.to_str().ok())
}

/// What a POST is judged by, beside its head and body.
struct Call<'a> {
    origin: &'a Origin,
    peer: IpAddr,
    pulse: &'a Pulse,
    now: Micros,
}

async fn post(
    ingest: &Ingest,
    parts: &Parts,
    incoming: &mut Incoming,
    call: Call<'_>,
) -> Result<Answer, Error> {
    let app = &ingest.app;
    let client = client::of(&parts.headers, call.peer, &app.settings.trusted_proxy);
    let bytes = body::read(incoming, call.pulse).await?;
    app.take_request(client.address, call.now)?;
    let caller = identify(app, parts, &call).await?;
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "A compressed body is not taken: leave Content-Encoding away.";
        return Err(Error::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let taker = Taker { app, client: &client, caller, now: call.now };
    let Taken { records, event_ids, answer } = taker.take(&parts.headers, &bytes)?;
    if !records.is_empty() {
        let durable = ingest.committer.append_all(&records);
        drop(records);
        durable.await?;
        // Only now: a second copy that is answered must find the first one on disk.
        event_ids.into_iter().for_each(|id| app.stored(id));
    }
    Ok(answer)
}

/// Who sends, and whether the session was made for this very request.
struct Caller {
    identity: Identity,
    fresh: bool,
}

impl Caller {
    fn fresh_session(&self) -> Option<&Session> {
        self.identity.session.as_ref().filter(|_| self.fresh)
    }
}

async fn identify(app: &App, parts: &Parts, call: &Call<'_>) -> Result<Caller, Error> {
    let refused = |cookie::TooLarge| {
        Error::http(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!(
                "Send at most {} cookies and {} bytes.",
                cookie::MAX_COOKIES,
                cookie::MAX_BYTES
            ),
        )
    };
    let session_cookie =
        cookie::read(&parts.headers, &app.settings.cookie.name).map_err(refused)?;
    // Bytes that are no text must reach auth, which refuses them: never silently anonymous.
    let authorization = parts.headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let foreign = *call.origin == Origin::Foreign;
    if foreign && session_cookie.is_some() {
        return Err(Error::CrossSite);
    }
    let credentials = Credentials {
        authorization: authorization.as_deref(),
        session_cookie,
        // A new cookie for a page of a foreign site would replace the one that the browser
        // withheld: any page could log our users out. And a page that sends no cookies would get
        // a new session each time.
        may_mint: !foreign && parts.uri.query() != Some("anonymous"),
    };
    let identity = app.auth.identify(&credentials, call.now).await?;
    let fresh = identity.session.as_ref().is_some_and(|session| {
        session.state == SessionState::Minted && session_cookie != Some(session.key.as_str())
    });
    Ok(Caller { identity, fresh })
}

/// Makes records of what was posted. Nothing of it waits, so that a request that waits for its
/// commit has next to nothing left.
struct Taker<'a> {
    app: &'a App,
    client: &'a Client,
    caller: Caller,
    now: Micros,
}

/// What is to be in the spool, all of it or nothing, before the answer is given.
struct Taken {
    records: Vec<Vec<u8>>,
    event_ids: Vec<Uuid>,
    answer: Answer,
}

impl Taker<'_> {
    fn take(mut self, headers: &HeaderMap, body: &[u8]) -> Result<Taken, Error> {
        let fresh = self.caller.fresh_session();
        let cookie = fresh.map(|session| self.app.auth.cookie(session, self.now));
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(|value| value.to_str().unwrap_or("?"));
        let (accepted, mut taken) = match read(content_type, body).map_err(Error::Body)? {
            Posted::One(input) => (true, self.one(input)?),
            Posted::Batch(inputs) => self.batch(inputs),
        };
        if !taken.records.is_empty() && self.caller.fresh {
            self.app.take_session(limit::network(self.client.address), self.now)?;
        }
        if accepted && let Some(value) = cookie {
            let value = cookie::set(&self.app.settings.cookie, &value, self.now);
            value.map(|value| taken.answer.headers_mut().insert(header::SET_COOKIE, value));
        }
        Ok(taken)
    }

    fn one(&mut self, input: Input) -> Result<Taken, Error> {
        let identity = mem::take(&mut self.caller.identity);
        let activity = self.activity(input, identity).map_err(Error::Invalid)?;
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let mut taken = Taken { records: Vec::new(), event_ids: Vec::new(), answer };
        if !self.app.seen(activity.event_id) {
            taken.records.push(record(&activity));
            taken.event_ids.extend(activity.event_id);
        }
        Ok(taken)
    }

    /// Whether anything was accepted, and the rest.
    fn batch(&self, inputs: Vec<Result<Input, Invalid>>) -> (bool, Taken) {
        let mut rejected: Vec<Value> = Vec::new();
        let mut duplicates = 0;
        let (mut records, mut event_ids) = (Vec::new(), Vec::new());
        for (index, input) in inputs.into_iter().enumerate() {
            match input.and_then(|input| self.activity(input, self.caller.identity.clone())) {
                Err(invalid) => {
                    rejected.push(json!({ "index": index, "errors": errors(&invalid) }));
                }
                Ok(activity) => {
                    let here = |id: Uuid| event_ids.contains(&id);
                    if self.app.seen(activity.event_id) || activity.event_id.is_some_and(here) {
                        duplicates += 1;
                    } else {
                        records.push(record(&activity));
                        event_ids.extend(activity.event_id);
                    }
                }
            }
        }
        let accepted = records.len();
        let body = json!({
            "accepted": accepted, "duplicates": duplicates, "rejected": rejected,
        });
        let answer = super::error::json(StatusCode::OK, &body);
        (accepted > 0, Taken { records, event_ids, answer })
    }

    fn activity(&self, input: Input, identity: Identity) -> Result<Activity, Invalid> {
        let clock = Clock { now: self.now, zone: &self.app.settings.zone };
        Activity::new(input, self.client, identity, &clock)
    }
}

fn record(activity: &Activity) -> Vec<u8> {
    let mut record = Vec::with_capacity(512);
    record::encode(activity, &mut record);
    record
}

/// OPTIONS: with an Origin a preflight, else the description that Django REST framework gives.
fn options(headers: &HeaderMap) -> Answer {
    if headers.contains_key(header::ORIGIN) {
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return answer;
    }
    let description = json!({
        "name": "Activity Detail",
        "description": "",
        "renders": ["application/json", "text/html"],
        "parses": [
            "application/json", "application/x-www-form-urlencoded", "multipart/form-data",
        ],
    });
    super::error::json(StatusCode::OK, &description)
}

/// The headers that let a page of an allowed site read the answer, and that keep caches apart.
fn cross_origin(headers: &mut HeaderMap, origin: Origin, method: &Method) {
    let Origin::Allowed(origin) = origin else {
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Cookie"));
        return;
    };
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Cookie, Origin"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let yes = HeaderValue::from_static("true");
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    let expose = HeaderValue::from_static("Retry-After");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose);
    if *method == Method::OPTIONS {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
            (header::ACCESS_CONTROL_MAX_AGE, "3600"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
