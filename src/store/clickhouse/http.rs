//! One connection to one ClickHouse server over HTTP: queries, blocks, time limits, and what its
//! errors mean to the caller. Knows no tables.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Body, Frame, SizeHint},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::{super::Error, address::Address, native::Block};

/// For a connection to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// For an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Servers close idle connections after three seconds (18.16) or more: one that was idle for this
/// long is not used again.
const IDLE: Duration = Duration::from_secs(2);
/// The longest answer that is taken: a page of the history is a hundredth of it.
const LONGEST: usize = 256 << 20;

type Sender = http1::SendRequest<Pieces>;

/// What is sent, one piece after the other: a block of many megabytes is copied nowhere.
#[derive(Debug, Default)]
pub(super) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn len(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Ask {
    /// Parameters of the URL: the query and settings. An old server refuses any that it does not
    /// know.
    pub(super) parameters: Vec<(&'static str, String)>,
    body: Pieces,
    /// The body is a form with one file; this is its boundary.
    boundary: Option<String>,
}

impl Ask {
    pub(super) fn query(sql: impl Into<String>) -> Ask {
        Ask { parameters: vec![("query", sql.into())], ..Ask::default() }
    }

    /// A query of any length: an address takes no more than 16 KiB, on 18.16.
    pub(super) fn long_query(sql: impl Into<String>) -> Ask {
        Ask { body: Pieces([Bytes::from(sql.into())].into()), ..Ask::default() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.parameters.push((name, value.into()));
        self
    }

    /// With a block as the body of an `INSERT`.
    pub(super) fn block(mut self, block: &Block) -> Ask {
        self.body = Pieces(block.pieces().iter().cloned().collect());
        self
    }

    /// With a block that the query reads as a table. The boundary is made anew each time, so that
    /// nobody can put it into an activity.
    pub(super) fn table(mut self, name: &'static str, block: &Block) -> Ask {
        let boundary = Uuid::new_v4().simple().to_string();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; \
             filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        let foot = format!("\r\n--{boundary}--\r\n");
        let block = block.pieces().iter().cloned();
        self.body = Pieces([head.into()].into_iter().chain(block).chain([foot.into()]).collect());
        self.boundary = Some(boundary);
        self
    }
}

/// A server, and the connection to it while there is one.
#[derive(Debug)]
pub(super) struct Link {
    host: String,
    user: String,
    password: String,
    database: String,
    tls: Option<Arc<ClientConfig>>,
    idle: Option<(Sender, Instant)>,
}

impl Link {
    pub(super) fn new(host: &str, address: &Address) -> Link {
        let Address { user, password, database, tls, .. } = address.clone();
        Link { host: host.to_owned(), user, password, database, tls, idle: None }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Asks, in the database of the address. After an error nobody knows whether the server did
    /// what it was asked.
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<Bytes, Error> {
        let database = Some(self.database.clone());
        self.ask_in(database, ask).await
    }

    /// The same, perhaps before the database exists.
    pub(super) async fn ask_in(
        &mut self,
        database: Option<String>,
        ask: Ask,
    ) -> Result<Bytes, Error> {
        let away = |what: &str| Error::Unavailable(format!("ClickHouse at {}: {what}", self.host));
        let request = self.request(database, ask).map_err(|error| away(&error.to_string()))?;
        let mut sender = match self.idle.take() {
            Some((sender, since)) if since.elapsed() < IDLE && !sender.is_closed() => sender,
            _ => self.connect().await.map_err(|error| away(&error))?,
        };
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let (status, code) = (answer.status(), code_of(answer.headers()));
            let body = http_body_util::Limited::new(answer.into_body(), LONGEST).collect().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, code, body.to_bytes()))
        };
        let (status, code, body) = match timeout(ANSWER, exchange).await {
            Err(_) => return Err(away("no answer within a minute")),
            Ok(Err(error)) => return Err(away(&error.to_string())),
            Ok(Ok(done)) => done,
        };
        self.idle = Some((sender, Instant::now()));
        if status.is_success() && code.is_none() {
            return Ok(body);
        }
        let text = match body.is_empty() {
            true => format!("answered {status}"),
            false => String::from_utf8_lossy(&body).into_owned(),
        };
        Err(refused(&self.host, code, &text))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let connecting = async {
            let stream = TcpStream::connect(&self.host).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let Some(tls) = &self.tls else { return handshake(stream).await };
            let connector = TlsConnector::from(Arc::clone(tls));
            let stream = connector.connect(name_of(&self.host)?, stream).await;
            handshake(stream.map_err(|error| format!("TLS: {error}"))?).await
        };
        let made = timeout(CONNECT, connecting).await;
        made.map_err(|_| "no connection within three seconds")?
    }

    fn request(
        &self,
        database: Option<String>,
        ask: Ask,
    ) -> Result<Request<Pieces>, hyper::http::Error> {
        let mut query = form_urlencoded::Serializer::for_suffix(String::from("/?"), 2);
        query.extend_pairs(database.map(|name| ("database", name)));
        // Errors come with a status of their own, not after the first rows.
        query.append_pair("wait_end_of_query", "1");
        query.extend_pairs(ask.parameters);
        let mut request = Request::post(query.finish())
            .header(header::HOST, &self.host)
            // Also of nothing: 18.16 insists.
            .header(header::CONTENT_LENGTH, ask.body.len())
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", &self.password);
        if let Some(boundary) = ask.boundary {
            let kind = format!("multipart/form-data; boundary={boundary}");
            request = request.header(header::CONTENT_TYPE, kind);
        }
        request.body(ask.body)
    }
}

async fn handshake<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to ClickHouse broke");
        }
    });
    Ok(sender)
}

/// `host:port` without the port, and an IPv6 address without its brackets.
fn name_of(host: &str) -> Result<ServerName<'static>, String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(name).map_err(|error| error.to_string())
}

/// New servers say it in a header, also where the status is 200 already.
fn code_of(headers: &header::HeaderMap) -> Option<u32> {
    headers.get("X-ClickHouse-Exception-Code")?.to_str().ok()?.parse().ok()
}

/// What the caller can do about an error of the server. Never its data's fault: the blocks are
/// ours, so that nothing here is [`Error::Rejected`].
fn refused(host: &str, code: Option<u32>, text: &str) -> Error {
    let code = code.or_else(|| {
        let digits = text.split("Code: ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    let line: String = text.lines().next().unwrap_or_default().chars().take(500).collect();
    let text = format!("ClickHouse at {host}: {line}");
    match code {
        // NO_SUCH_COLUMN_IN_TABLE, UNKNOWN_IDENTIFIER, UNKNOWN_TABLE, UNKNOWN_DATABASE
        Some(16 | 47 | 60 | 81) => {
            Error::Schema(format!("{text}; run `djaffar migrate` with this activity_database"))
        }
        // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED
        Some(192..=194 | 497 | 516) => {
            Error::Schema(format!("{text}; look at user and password of activity_database"))
        }
        _ => Error::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_what_the_caller_can_do() {
        for (code, text, schema) in [
            (None, "Code: 60, e.displayText() = DB::Exception: Table a.b doesn't exist.", true),
            (Some(60), "", true),
            (Some(516), "Code: 516. DB::Exception: default: Authentication failed", true),
            (None, "Code: 252, e.displayText() = DB::Exception: Too many parts (300).", false),
            (None, "Code: 242. DB::Exception: Table is in readonly mode", false),
            (None, "garbage", false),
            (None, "Code: ", false),
        ] {
            let error = refused("h:1", code, text);
            assert_eq!(matches!(error, Error::Schema(_)), schema, "{error}");
            assert!(schema || matches!(error, Error::Unavailable(_)));
        }
    }
}
