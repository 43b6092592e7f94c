//! A processor for each thread that answers: it keeps to its own, where there are as many as threads.
//!
//! The kernel wakes a thread where the one is that wakes it, and rarely moves it while a few of them take turns
//! within a millisecond: two answering threads then share one processor, and the other has nothing to do
//! (docs/performance.md). Knows nothing of what a thread does.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One processor for each of so many threads; none if there are more or fewer that this process may use.
#[must_use]
pub fn of(threads: usize) -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)).collect();
    if all.len() == threads { all } else { Vec::new() }
}

/// Has this thread, and those that it starts, run on this processor only.
///
/// # Errors
/// When the system does not want it.
pub fn keep_to(processor: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_get_a_processor_each_where_there_are_as_many() {
        // On a thread of its own: what it does to itself lasts.
        let test = || {
            let all = sched_getaffinity(None).unwrap().count() as usize;
            let processors = of(all);
            assert_eq!(processors.len(), all);
            assert!(of(all + 1).is_empty());
            let last = *processors.last().unwrap();
            keep_to(last).unwrap();
            assert_eq!(of(1), [last]);
            let child = std::thread::spawn(|| of(1));
            assert_eq!(child.join().unwrap(), [last], "those that it starts, too");
            keep_to(CpuSet::MAX_CPU - 1).unwrap_err();
        };
        std::thread::spawn(test).join().unwrap();
    }
}
