//! Whether the processor is short, as this thread itself has felt it.
//!
//! Who waits for an answer comes first: the spool is there so that storing can come later. So where
//! threads queue for the processor, the drain rests between two batches: long, and less the more waits.
//! A rest, not a lower priority: the lock of a shared SQLite is not held meanwhile. Knows nothing of
//! what is stored.

use std::time::Duration;

/// Waited for the processor so large a part of the time that this thread wanted it: where there is
/// enough, it is next to nothing.
const SHORT: f64 = 0.05;

/// The shortest rest that is worth it, and the longest that nobody minds.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(2);

/// What Linux counts for a thread, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    running: u64,
    waiting: u64,
}

/// What this thread felt lately.
#[derive(Debug)]
pub(super) struct Crowd {
    last: Option<Times>,
    look: fn() -> Option<Times>,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self { last: None, look }
    }

    /// Where of each two milliseconds that this thread wants the processor, it waits one.
    #[cfg(test)]
    pub(super) fn short() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        let look = || {
            let spent = LOOKS.fetch_add(1, Ordering::Relaxed) * 1_000_000;
            Some(Times { running: spent, waiting: spent })
        };
        Self { look, ..Self::new() }
    }

    /// How long to rest after a batch that took so long: so many times that, where the processor is
    /// short.
    pub(super) fn rest(&mut self, took: Duration, times: u32) -> Duration {
        let now = (self.look)();
        let before = std::mem::replace(&mut self.last, now);
        let (Some(now), Some(before)) = (now, before) else { return Duration::ZERO };
        if times == 0 || !is_short(before, now) {
            return Duration::ZERO;
        }
        (took * times).clamp(SHORTEST, LONGEST)
    }
}

fn is_short(before: Times, now: Times) -> bool {
    let running = now.running.saturating_sub(before.running) as f64;
    let waiting = now.waiting.saturating_sub(before.waiting) as f64;
    waiting > SHORT * (running + waiting)
}

/// Time on a processor, and time ready for one, of this thread
/// (Documentation/scheduler/sched-stats.rst of Linux). `None` where the system does not say.
fn look() -> Option<Times> {
    parse(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

fn parse(text: &str) -> Option<Times> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    Some(Times { running: numbers.next()??, waiting: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says() {
        let times = parse("1035872 53107 4\n");
        assert_eq!(times, Some(Times { running: 1_035_872, waiting: 53_107 }));
        assert_eq!(parse(""), None);
        assert_eq!(parse("1 ?"), None);
        assert!(!cfg!(target_os = "linux") || look().is_some());
    }

    #[test]
    fn rests_while_the_processor_is_short() {
        let took = Duration::from_millis(7);
        let mut crowd = Crowd::short();
        assert_eq!(crowd.rest(took, 3), Duration::ZERO, "nothing to compare with yet");
        assert_eq!(crowd.rest(took, 3), took * 3);
        assert_eq!(crowd.rest(took, 0), Duration::ZERO, "no time for it");
        assert_eq!(crowd.rest(took, 1), took);
        assert_eq!(crowd.rest(took * 1_000, 3), LONGEST);
    }

    #[test]
    fn does_not_rest_where_there_is_processor_enough_or_nothing_is_known() {
        for look in [|| None, || Some(Times { running: 1, waiting: 0 })] {
            let mut crowd = Crowd { look, ..Crowd::new() };
            for _ in 0..3 {
                assert_eq!(crowd.rest(Duration::from_secs(1), 3), Duration::ZERO);
            }
        }
        let before = Times { running: 0, waiting: 0 };
        assert!(!is_short(before, Times { running: 97, waiting: 3 }));
        assert!(is_short(before, Times { running: 90, waiting: 10 }));
    }
}
