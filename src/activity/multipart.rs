//! `multipart/form-data` → the input in it, by the crate multer.
//!
//! That is asynchronous, for bodies that come in pieces; ours is whole, so it never has to wait.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::future::{FutureExt, ready};
use futures_util::stream;
use multer::{Error, Multipart};

use super::body::BodyError;
use super::{Field, Input};

/// The most parts, those included that are no field of ours.
pub const MULTIPART_PARTS: usize = 16;

/// Reads a whole body; the header names the boundary.
///
/// Of a body that is cut off, the parts that are complete count, as for Django.
pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Input, BodyError> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| malformed(&error))?;
    let whole = ready(Ok::<_, Infallible>(Bytes::copy_from_slice(body)));
    let mut multipart = Multipart::new(stream::once(whole), boundary);
    let mut input = Input::default();
    match fields(&mut multipart, &mut input).now_or_never() {
        Some(Ok(())) => Ok(input),
        Some(Err(error)) => Err(error),
        None => Err(malformed(&"the body ends too early")),
    }
}

async fn fields(multipart: &mut Multipart<'_>, input: &mut Input) -> Result<(), BodyError> {
    for _ in 0..=MULTIPART_PARTS {
        let part = match multipart.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(()),
            Err(error) => return cut_off_or(error),
        };
        if part.file_name().is_some() {
            return Err(malformed(&"send text, not files"));
        }
        let name = part.name().map(str::to_owned);
        let value = match part.bytes().await {
            Ok(value) => value,
            Err(error) => return cut_off_or(error),
        };
        if let Some(field) = name.and_then(|name| input.field(&name)) {
            *field = Field::Text(String::from_utf8_lossy(&value).into_owned());
        }
    }
    Err(malformed(&format!("send at most {MULTIPART_PARTS} parts")))
}

fn cut_off_or(error: Error) -> Result<(), BodyError> {
    match error {
        Error::IncompleteStream | Error::IncompleteHeaders => Ok(()),
        Error::IncompleteFieldData { .. } => Ok(()),
        error => Err(malformed(&error)),
    }
}

fn malformed(why: &dyn std::fmt::Display) -> BodyError {
    BodyError::Malformed(format!("Multipart form parse error - {why}"))
}
