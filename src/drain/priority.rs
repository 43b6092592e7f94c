//! How much of the machine the drain takes while others want it.
//!
//! Knows neither spool nor store: an age, a fullness, and the thread that it is called on.

use std::time::{Duration, SystemTime};

use crate::activity::Activity;

/// How the drain goes about its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It gives way to everything else.
    Calm,
    /// It is behind, and takes its share.
    Pressed,
}

/// From this fullness on of the spool, storing must not wait any longer.
const FULL: f64 = 0.25;

impl Pace {
    /// `age`: of what was stored last, which may be as old as `limit`; `fullness`: how much of
    /// what the spool can hold waits in it, 0 to 1.
    pub(super) fn of(age: Duration, limit: Duration, fullness: f64) -> Pace {
        if age > limit || fullness > FULL { Pace::Pressed } else { Pace::Calm }
    }
}

/// How long ago it came in. Nothing for a clock that went back: then the next ones tell.
pub(super) fn age(activity: &Activity) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let received = Duration::from_micros(activity.received_at.unsigned_abs());
    now.saturating_sub(received)
}

/// Puts this thread behind all others.
pub(super) fn give_way() {
    // For Linux this is a matter of threads (setpriority(2), "C library/kernel differences").
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "storing cannot give way");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_way_until_it_is_behind() {
        for (seconds, fullness, want) in [
            (0, 0.0, Pace::Calm),
            (10, 0.25, Pace::Calm),
            (11, 0.0, Pace::Pressed),
            (0, 0.26, Pace::Pressed),
        ] {
            let pace = Pace::of(Duration::from_secs(seconds), Duration::from_secs(10), fullness);
            assert_eq!(pace, want, "{seconds} s, {fullness}");
        }
    }
}
