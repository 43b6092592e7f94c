//! Waiting for what is away: with growing pauses, for ever, until a stop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Options;
use crate::{spool, store::Error};

/// Why [`Patience::until`] ended without a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Told to stop while waiting.
    Stopped,
    /// It will never work, for this reason.
    Refused(String),
    /// It panicked again and again, and said this.
    Panicked(String),
}

/// Waits between attempts, and knows about the stop.
pub(super) struct Patience<'a> {
    options: &'a Options,
    stop: &'a AtomicBool,
    /// When the time after a stop is over; set when the stop is first seen.
    deadline: Option<Instant>,
}

/// How often a pause looks for a stop.
const SLICE: Duration = Duration::from_millis(20);

/// So many panics in a row are no accident.
const PANICS: u32 = 3;

impl<'a> Patience<'a> {
    pub(super) fn new(options: &'a Options, stop: &'a AtomicBool) -> Self {
        Self { options, stop, deadline: None }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the time after a stop is over.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.is_stopping() {
            return false;
        }
        let within = self.options.finish_within;
        Instant::now() >= *self.deadline.get_or_insert_with(|| Instant::now() + within)
    }

    /// What is left of the time after a stop.
    pub(super) fn left(&mut self) -> Duration {
        let within = self.options.finish_within;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + within);
        deadline.saturating_duration_since(Instant::now())
    }

    /// Sleeps; less when stopping.
    pub(super) fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_stopping() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(SLICE));
        }
    }

    /// Tries until it works or is refused, or panics too often; after a stop, once.
    pub(super) fn until_panics<T>(
        &self,
        mut work: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, End> {
        let mut panics = 0;
        let done = self.until(|| match caught(&mut work) {
            Ok(result) => {
                panics = 0;
                result.map(Ok)
            }
            Err(text) => {
                panics += 1;
                if panics < PANICS { Err(Error::Unavailable(text)) } else { Ok(Err(text)) }
            }
        })?;
        done.map_err(End::Panicked)
    }

    /// Tries until it works or is refused; after a stop, once, or for a while. An outage is logged when it begins
    /// and when it ends.
    pub(super) fn until<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, End> {
        let mut outage: Option<Instant> = None;
        let mut pause = self.options.first_pause;
        loop {
            let error = match attempt() {
                Ok(done) => {
                    if let Some(since) = outage {
                        let seconds = since.elapsed().as_secs();
                        tracing::info!(seconds, "the database is back: storing goes on");
                    }
                    return Ok(done);
                }
                Err(Error::Rejected(reason)) => return Err(End::Refused(reason)),
                Err(error) => error,
            };
            if outage.is_none() {
                outage = Some(Instant::now());
                tracing::warn!(%error, "cannot store for now; what comes in waits in the spool");
            }
            // Jitter, so that several processes do not come back at the same moment.
            let time = pause.mul_f64(rand::random_range(0.5..1.0));
            if !self.is_stopping() {
                self.pause(time);
            } else if outage.is_some_and(|since| since.elapsed() < self.options.wait_within) {
                sleep(time);
            } else {
                return Err(End::Stopped);
            }
            pause = (pause * 2).min(self.options.longest_pause);
        }
    }
}

/// An error of the spool, which is waited out.
pub(super) fn away(error: &spool::Error) -> Error {
    Error::Unavailable(error.to_string())
}

/// Where there is no row to blame.
pub(super) fn refused_is_away<T>(result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|error| match error {
        Error::Rejected(reason) => Error::Unavailable(reason),
        error => error,
    })
}

/// Takes a panic for an outage: the record that it came with is not lost by that, and the thread
/// does not die unseen.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    caught(work).unwrap_or_else(|text| Err(Error::Unavailable(text)))
}

/// What it gives, or what its panic said.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(panic = text, "the store panicked: this is a bug, please report it");
        format!("the store panicked: {text}")
    })
}
