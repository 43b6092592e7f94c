//! How the drain works: sizes and times. Knows nothing of what it works with.

use std::time::Duration;

/// How the drain works.
#[derive(Debug, Clone)]
pub struct Options {
    /// At most so many records in a transaction.
    pub max_records: usize,
    /// Not many more bytes than this in a transaction.
    pub max_bytes: usize,
    /// How long to gather records where few come in: a transaction costs about the same for one
    /// record as for a hundred.
    pub linger: Duration,
    /// How long to gather them where many come in: the more rows share a transaction, the fewer
    /// pages of the indexes are written for each.
    pub busy_linger: Duration,
    /// The first pause after a failure; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause after a failure.
    pub longest_pause: Duration,
    /// How long to go on after a stop with what waits already. What is left then stays in the
    /// spool for the next start.
    pub finish_within: Duration,
    /// How long to wait for a database that is away when told to stop.
    pub wait_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_records: 16_384,
            max_bytes: 8 << 20,
            linger: Duration::from_millis(25),
            busy_linger: Duration::from_millis(300),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            finish_within: Duration::from_secs(5),
            wait_within: Duration::ZERO,
        }
    }
}

impl Options {
    /// For a database that likes few and large batches (ClickHouse makes a file of each).
    pub fn for_large_batches() -> Self {
        Self {
            max_records: 98_304,
            max_bytes: 24 << 20,
            linger: Duration::from_secs(1),
            busy_linger: Duration::from_secs(1),
            ..Self::default()
        }
    }
}
