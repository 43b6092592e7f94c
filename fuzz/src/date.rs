//! Reading a date. The input is its text.

use djaffar::activity::Micros;
use djaffar::activity::date::{FIRST, LAST, parse};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, tz};

/// A date is in range, says the same when written in full, and has nothing around it.
///
/// # Panics
/// When that does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(date) = parse(text, &TimeZone::UTC) else { return };
    assert!((FIRST..=LAST).contains(&date), "{text:?} is {date}");
    assert_eq!(parse(&written(date), &TimeZone::UTC), Some(date), "{text:?}");
    for wrong in [format!("{text}x"), format!(" {text}"), format!("1{text}")] {
        assert_eq!(parse(&wrong, &TimeZone::UTC), None, "{wrong:?}");
    }
    // With an offset the zone does not matter, and without one it is the offset.
    let east = TimeZone::fixed(tz::offset(1));
    let elsewhere = parse(text, &east);
    let hour_before = Some(date - 3_600_000_000).filter(|date| *date >= FIRST);
    assert!(elsewhere == Some(date) || elsewhere == hour_before, "{text:?} is {elsewhere:?}");
}

/// A moment in the form that pages send.
#[must_use]
pub fn written(date: Micros) -> String {
    let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    format!("{}Z", epoch.saturating_add(SignedDuration::from_micros(date)))
}
