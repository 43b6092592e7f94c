//! What goes wrong with many requests at once, told in the log once in a while: without it, who
//! runs the server would not learn that activities are refused.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::error::Error;
use crate::{activity::Micros, spool};

const MINUTE: Micros = 60_000_000;

/// What is told so, of all threads together.
#[derive(Debug)]
pub struct Troubles {
    spool: Seldom,
    too_many: Seldom,
    proxy: Seldom,
}

impl Default for Troubles {
    fn default() -> Troubles {
        Troubles {
            spool: Seldom::new(MINUTE / 6),
            too_many: Seldom::new(MINUTE),
            proxy: Seldom::new(60 * MINUTE),
        }
    }
}

impl Troubles {
    /// A request is refused for what whoever runs the server can mend.
    pub fn refused(&self, error: &Error, peer: IpAddr, now: Micros) {
        match error {
            // Stopping, which is logged.
            Error::Spool(spool::Error::Closed) => {}
            Error::Spool(error) => {
                if let Some(requests) = self.spool.happened(now) {
                    tracing::warn!(requests, %error, "activities are refused with 503");
                }
            }
            Error::TooMany => {
                if let Some(requests) = self.too_many.happened(now) {
                    tracing::warn!(
                        requests,
                        %peer,
                        "requests are refused with 429: more than rate_limit or \
                         session_rate_limit allow; if the peer is a proxy, it must stand in \
                         trusted_proxy"
                    );
                }
            }
            _ => {}
        }
    }

    /// A program on this machine sends the header of a proxy, and is not trusted.
    pub fn unknown_proxy(&self, peer: IpAddr, now: Micros) {
        if self.proxy.happened(now).is_some() {
            tracing::warn!(
                %peer,
                "X-Forwarded-For comes from a peer that is not in trusted_proxy: all activities \
                 have its address. Is it your web server? Then start with --trusted-proxy {peer}"
            );
        }
    }
}

/// Something that may happen with every request.
#[derive(Debug)]
struct Seldom {
    every: Micros,
    /// When it was told last; `MIN`: never.
    told: AtomicI64,
    /// How often it has happened since.
    count: AtomicU64,
}

impl Seldom {
    /// To be told at once, and then at most so often.
    fn new(every: Micros) -> Seldom {
        Seldom { every, told: AtomicI64::new(Micros::MIN), count: AtomicU64::new(0) }
    }

    /// It happened. Returns how often it has since it was told last, when it is to be told now.
    fn happened(&self, now: Micros) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        // Also when it was told later than now: the clock was set back.
        let due = told == Micros::MIN || now < told || now - told >= self.every;
        let alone = || self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed);
        (due && alone().is_ok()).then(|| self.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_and_then_once_in_a_while() {
        let seldom = Seldom::new(10);
        for (now, expected) in [
            (100, Some(1)),
            (100, None),
            (109, None),
            (110, Some(3)),
            (119, None),
            (1_000, Some(2)),
            (50, Some(1)),
            (51, None),
        ] {
            assert_eq!(seldom.happened(now), expected, "{now}");
        }
    }
}
