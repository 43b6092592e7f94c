//! An activity as the payload of a record. Pure.
//!
//! Version 1, little-endian; a text is its length in bytes (u32) and its UTF-8; "or none" is one
//! byte before it, 0 or 1:
//!
//! ```text
//! version       u8, 1
//! received_at   i64, microseconds since 1970
//! date          i64, the same
//! address       u8, 4 or 6, then 4 or 16 bytes as on the network
//! session       u8: 0 none, 1 known, 2 minted, 3 unverified; unless 0: text key,
//!               text visitor or none
//! user          text or none
//! path, referer, user_agent    text
//! event_id      16 bytes or none
//! name          text
//! properties    text or none
//! ```
//!
//! Nothing may follow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uuid::Uuid;

use crate::activity::{Activity, Session, SessionState};

const VERSION: u8 = 1;

/// Why a payload is not an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by another version.
    #[error("the record has version {0}, this program reads version 1")]
    Version(u8),
    /// It ends too early, or a length in it is wrong.
    #[error("the record is cut short in {0}")]
    Short(&'static str),
    /// A byte that means nothing here.
    #[error("the record has an impossible {0}")]
    Impossible(&'static str),
    /// Bytes follow the activity.
    #[error("{0} bytes follow the record's last field")]
    Long(usize),
}

/// Appends the bytes of an activity to `out`.
pub fn encode(activity: &Activity, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&activity.received_at.to_le_bytes());
    out.extend_from_slice(&activity.date.to_le_bytes());
    match activity.address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
    match &activity.session {
        None => out.push(0),
        Some(session) => {
            out.push(match session.state {
                SessionState::Known => 1,
                SessionState::Minted => 2,
                SessionState::Unverified => 3,
            });
            put_text(out, &session.key);
            put_optional(out, session.visitor.as_deref());
        }
    }
    put_optional(out, activity.user.as_deref());
    put_text(out, &activity.path);
    put_text(out, &activity.referer);
    put_text(out, &activity.user_agent);
    out.push(activity.event_id.is_some().into());
    out.extend(activity.event_id.iter().flat_map(Uuid::as_bytes));
    put_text(out, &activity.name);
    put_optional(out, activity.properties.as_deref());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // A text of 4 GiB is over the limit of a record by far: the spool refuses it.
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(text.is_some().into());
    if let Some(text) = text {
        put_text(out, text);
    }
}

/// The activity in a payload.
///
/// # Errors
///
/// The payload is none, or one of another version.
pub fn decode(payload: &[u8]) -> Result<Activity, Error> {
    let mut input = Input(payload);
    match input.byte("version")? {
        VERSION => {}
        other => return Err(Error::Version(other)),
    }
    let activity = Activity {
        received_at: i64::from_le_bytes(input.array("received_at")?),
        date: i64::from_le_bytes(input.array("date")?),
        address: input.address()?,
        session: input.session()?,
        user: input.optional("user", Input::text)?,
        path: input.text("path")?,
        referer: input.text("referer")?,
        user_agent: input.text("user_agent")?,
        event_id: input
            .optional("event_id", |input, field| input.array(field).map(Uuid::from_bytes))?,
        name: input.text("name")?,
        properties: input.optional("properties", Input::text)?,
    };
    if input.0.is_empty() { Ok(activity) } else { Err(Error::Long(input.0.len())) }
}

/// The bytes that are left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Error::Short(field))?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, Error> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    fn text(&mut self, field: &'static str) -> Result<String, Error> {
        let length = u32::from_le_bytes(self.array(field)?);
        let length = usize::try_from(length).map_err(|_| Error::Short(field))?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Error::Short(field))?;
        let text = std::str::from_utf8(text).map_err(|_| Error::Impossible(field))?;
        self.0 = rest;
        Ok(text.to_owned())
    }

    fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.byte(field)? {
            0 => Ok(None),
            1 => read(self, field).map(Some),
            _ => Err(Error::Impossible(field)),
        }
    }

    fn address(&mut self) -> Result<IpAddr, Error> {
        match self.byte("address")? {
            4 => Ok(Ipv4Addr::from(self.array::<4>("address")?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>("address")?).into()),
            _ => Err(Error::Impossible("address")),
        }
    }

    fn session(&mut self) -> Result<Option<Session>, Error> {
        let state = match self.byte("session")? {
            0 => return Ok(None),
            1 => SessionState::Known,
            2 => SessionState::Minted,
            3 => SessionState::Unverified,
            _ => return Err(Error::Impossible("session")),
        };
        let key = self.text("session key")?;
        let visitor = self.optional("visitor", Input::text)?;
        Ok(Some(Session { key, visitor, state }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;

    fn activity() -> impl Strategy<Value = Activity> {
        let state = prop_oneof![
            Just(SessionState::Known),
            Just(SessionState::Minted),
            Just(SessionState::Unverified)
        ];
        let session = (".{0,40}", option::of(".{0,9}"), state)
            .prop_map(|(key, visitor, state)| Session { key, visitor, state });
        let who = (option::of(session), option::of(".{0,9}"), any::<IpAddr>());
        let what = (".{0,99}", ".{0,99}", ".{0,99}", ".{0,9}", option::of(".{0,99}"));
        let id = option::of(any::<u128>().prop_map(Uuid::from_u128));
        (any::<i64>(), any::<i64>(), who, what, id).prop_map(
            |(received_at, date, (session, user, address), what, event_id)| {
                let (path, referer, user_agent, name, properties) = what;
                Activity {
                    received_at,
                    date,
                    address,
                    session,
                    user,
                    path,
                    referer,
                    user_agent,
                    event_id,
                    name,
                    properties,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn comes_back(activity in activity(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&activity, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(activity));
            let cut = decode(&bytes[..cut.index(bytes.len())]);
            prop_assert!(matches!(cut, Err(Error::Short(_))), "{:?}", cut);
            bytes.push(0);
            prop_assert_eq!(decode(&bytes), Err(Error::Long(1)));
        }

        #[test]
        fn any_bytes_are_harmless(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = decode(&bytes);
        }
    }
}
