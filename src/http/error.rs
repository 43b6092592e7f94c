//! Every way in which the endpoint says no, and the only place that knows status codes for them.
//!
//! 4xx: never stored. 429 and 503: not acknowledged, a batch as a whole; send it again with the
//! same `event_id`. The texts of `detail` are Django REST framework's where it has one.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::{Value, json};

use crate::{activity::Invalid, activity::body::BodyError, auth, spool};

/// An answer of the endpoint.
pub type Answer = Response<Full<Bytes>>;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields are missing or wrong.
    #[error(transparent)]
    Invalid(Invalid),
    /// The body cannot be read as what it says it is.
    #[error(transparent)]
    Body(BodyError),
    /// The credentials are wrong, or cannot be checked now.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The spool did not take it.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// A page of a foreign site, with a cookie.
    #[error("cross-site request")]
    CrossSite,
    /// Too many requests, or too many new sessions.
    #[error("too many requests")]
    TooMany,
    /// The request breaks a limit or a rule of HTTP.
    #[error("{0}: {1}")]
    Http(StatusCode, String),
    /// A method that is not for this address.
    #[error("method {0} not allowed")]
    Method(Method),
}

impl Error {
    /// A refusal by a status and a sentence.
    pub fn http(status: StatusCode, detail: impl Into<String>) -> Error {
        Error::Http(status, detail.into())
    }

    /// The answer. `seed` spreads `Retry-After`, so that not all come back at once.
    pub fn answer(&self, seed: u64) -> Answer {
        let detail = |text: &str| json!({ "detail": text });
        match self {
            Error::Invalid(invalid) => {
                json(StatusCode::BAD_REQUEST, &json!({ "errors": errors(invalid) }))
            }
            Error::Body(BodyError::Invalid(invalid)) => {
                json(StatusCode::BAD_REQUEST, &json!({ "errors": errors(invalid) }))
            }
            Error::Body(error @ BodyError::UnsupportedMediaType(_)) => {
                json(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail(&error.to_string()))
            }
            Error::Body(BodyError::Malformed(text)) => json(StatusCode::BAD_REQUEST, &detail(text)),
            Error::Auth(auth::Error::Invalid { detail: text, challenge }) => {
                let mut answer = json(StatusCode::UNAUTHORIZED, &detail(text));
                let challenge = HeaderValue::from_str(challenge)
                    .unwrap_or_else(|_| HeaderValue::from_static("Token"));
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                answer
            }
            Error::Auth(auth::Error::Unavailable) => {
                later("The token cannot be checked at the moment.", seed)
            }
            Error::Spool(error) => later(spool_detail(error), seed),
            Error::CrossSite => json(
                StatusCode::FORBIDDEN,
                &detail("CSRF Failed: the page that sent this is of another site."),
            ),
            Error::TooMany => {
                let mut answer =
                    json(StatusCode::TOO_MANY_REQUESTS, &detail("Request was throttled."));
                retry_after(&mut answer, seed);
                answer
            }
            Error::Http(status, text) => closing(json(*status, &detail(text))),
            Error::Method(method) => closing(json(
                StatusCode::METHOD_NOT_ALLOWED,
                &detail(&format!("Method \"{method}\" not allowed.")),
            )),
        }
    }
}

/// The messages by field, as Django REST framework lays them out.
pub fn errors(invalid: &Invalid) -> Value {
    invalid.0.iter().map(|(field, messages)| (*field, json!(messages))).collect()
}

/// What a client is told of the spool: never where it is.
fn spool_detail(error: &spool::Error) -> &'static str {
    match error {
        spool::Error::Full(_) => "There is no room for more activities at the moment.",
        _ => "The activity could not be written at the moment.",
    }
}

/// The refusal of a method where there is only something to read.
pub fn unless_read(method: &Method) -> Option<Answer> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut answer = Error::Method(method.clone()).answer(0);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(answer)
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    // As Django's SecurityMiddleware has it: what was sent may stand in it, and is no page.
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

fn later(text: &str, seed: u64) -> Answer {
    let mut answer = json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "detail": text }));
    retry_after(&mut answer, seed);
    answer
}

fn retry_after(answer: &mut Answer, seed: u64) {
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1 + seed % 5));
}

/// The connection is not used again: the rest of the request may still be on its way.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
