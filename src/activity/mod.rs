//! What an activity is, and the only way to make one.
//!
//! Pure: no IO, no clock (callers pass `now`), no HTTP, no Django formats, no SQL.

pub mod body;
mod input;
mod multipart;
pub mod date;
mod properties;
mod text;

use std::net::IpAddr;

use uuid::Uuid;

pub use input::{Clock, Field, Input, Invalid, NAME_CHARS, PATH_CHARS, REFERER_CHARS};
pub use multipart::MULTIPART_PARTS;
pub use properties::{DEPTH, PROPERTIES_BYTES};
pub use text::plain;

/// A moment: microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// Where a request came from, as far as we can tell ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The TCP peer, or what a trusted proxy says.
    pub address: IpAddr,
    /// The User-Agent header, at most [`USER_AGENT_CHARS`] characters.
    pub user_agent: String,
    /// The Referer header: stands in for a missing path.
    pub referer: String,
}

/// The longest user agent that is kept, in characters; the rest is cut.
pub const USER_AGENT_CHARS: usize = 1_000;

/// Who sent a request, as Django's signed state says (never the client).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The browser session; `None` when a page of a foreign site posted without a cookie.
    pub session: Option<Session>,
    /// The primary key of the user, as text (`str(user.pk)`).
    pub user: Option<String>,
}

/// A browser session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session key: 32 characters of `[a-z0-9]` where Django or we made it.
    pub key: String,
    /// The first session key of this visitor (`djaffar_visitor` in the session's data), where it
    /// differs from `key`.
    pub visitor: Option<String>,
    /// What we know about its row.
    pub state: SessionState,
}

/// What is known about the row of a session when an activity is taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its row was read.
    Known,
    /// We minted its key; the drain writes the row with the activity.
    Minted,
    /// The database was away: the drain resolves the cookie (session, visitor and user) later.
    Unverified,
}

/// One thing that a user did. [`Activity::new`] is the only way to make one from outside; the
/// spool reads back what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Our clock when it came in.
    pub received_at: Micros,
    /// When the user did it: the client's clock, corrected by `sent_at`.
    pub date: Micros,
    /// Where it came from.
    pub address: IpAddr,
    /// The session, see [`Identity`].
    pub session: Option<Session>,
    /// The user, see [`Identity`].
    pub user: Option<String>,
    /// What the user did it on; at most 2,000 characters.
    pub path: String,
    /// Where the user came from; at most 2,000 characters; blank when unknown.
    pub referer: String,
    /// The browser; at most 1,000 characters.
    pub user_agent: String,
    /// The client's id for it; the same id again is stored once.
    pub event_id: Option<Uuid>,
    /// The kind of activity; blank is a page view; at most 100 characters.
    pub name: String,
    /// A JSON object as compact text, at most 8 KiB.
    pub properties: Option<String>,
}

#[cfg(test)]
mod tests;
