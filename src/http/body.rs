//! Reads the body of a request: bounded in bytes and in time.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{StatusCode, body::Body, body::Incoming};

use super::{error::Error, pulse::Pulse};

/// The largest body, in bytes.
pub const LIMIT: usize = 64 * 1024;

/// Reads all of it. A body over the limit is read on for one more limit, so that the client gets
/// to see the answer.
///
/// # Errors
/// 413 over [`LIMIT`], 408 when it comes too slowly, 400 when it is not what its framing says.
pub async fn read(body: &mut Incoming, pulse: &Pulse) -> Result<Bytes, Error> {
    if body.size_hint().lower() > 2 * LIMIT as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    let mut dropped = 0;
    while let Some(data) = next(body, pulse).await? {
        // Most bodies come in one piece: no copy.
        if whole.is_empty() && dropped == 0 && data.len() <= LIMIT && body.is_end_stream() {
            return Ok(data);
        }
        if dropped > 0 || whole.len() + data.len() > LIMIT {
            dropped += whole.len() + data.len();
            whole.clear();
            if dropped > 2 * LIMIT {
                break;
            }
        } else {
            whole.extend_from_slice(&data);
        }
    }
    if dropped > 0 { Err(too_large()) } else { Ok(whole.freeze()) }
}

async fn next(body: &mut Incoming, pulse: &Pulse) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = pulse.slow_body() => {
                return Err(Error::http(
                    StatusCode::REQUEST_TIMEOUT,
                    "The body came too slowly: at least 1 KiB a second is needed.",
                ));
            }
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                let detail = "The body is not framed as its header says.";
                return Err(Error::http(StatusCode::BAD_REQUEST, detail));
            }
            // Trailers are no data.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn too_large() -> Error {
    let detail = format!("The body may have at most {LIMIT} bytes.");
    Error::http(StatusCode::PAYLOAD_TOO_LARGE, detail)
}
