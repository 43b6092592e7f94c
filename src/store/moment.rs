//! Dates as Django keeps them where the database has no type for them (SQLite).
//!
//! The format is that of `str(datetime)` in Python, which is what
//! `django/db/backends/sqlite3/operations.py:adapt_datetimefield_value` writes:
//! `YYYY-MM-DD HH:MM:SS[.ffffff]`.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::Settings;
use crate::activity::Micros;

/// How moments are kept: in UTC with `USE_TZ`, otherwise in `TIME_ZONE`.
///
/// `djaffar_activity.date` stands apart: without `USE_TZ`, Django REST framework makes a date
/// with an offset naive in *UTC* (`fields.py:DateTimeField.enforce_timezone`), so that column
/// always holds UTC.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Whether a dump marks its dates with `Z`, as Django does.
    pub use_tz: bool,
    /// `None`: UTC.
    zone: Option<TimeZone>,
}

impl Moments {
    /// The way of these settings.
    pub fn new(settings: &Settings) -> Self {
        let zone = (!settings.use_tz).then(|| settings.time_zone.clone());
        Self { use_tz: settings.use_tz, zone }
    }

    /// The moment of the digits in any column but `date`. Where clocks went back, the first of
    /// the two moments.
    pub fn instant(&self, digits: DateTime) -> Option<Micros> {
        instant(digits, self.zone.as_ref())
    }

    /// The moment of the digits in `djaffar_activity.date`.
    pub fn instant_of_date(&self, digits: DateTime) -> Option<Micros> {
        instant(digits, None)
    }

    /// The digits of any column but `date` for this moment; `None` outside of the years 1 to 9999.
    pub(super) fn digits(&self, at: Micros) -> Option<DateTime> {
        digits(at, self.zone.as_ref())
    }

    /// The digits of `djaffar_activity.date` for this moment.
    pub(super) fn digits_of_date(&self, at: Micros) -> Option<DateTime> {
        digits(at, None)
    }

    /// What a `timestamptz` holds for a date: Django hands PostgreSQL the digits without an offset,
    /// which it takes for those of `TIME_ZONE`.
    pub(super) fn moment_of_date(&self, at: Micros) -> Option<Micros> {
        let digits = self.digits_of_date(at)?;
        self.zone.as_ref().map_or(Some(at), |_| self.instant(digits))
    }

    /// What any column but `date` holds for this moment; `None` outside of the years 1 to 9999.
    pub(super) fn text(&self, at: Micros) -> Option<Printed> {
        text(at, self.zone.as_ref())
    }

    /// What `djaffar_activity.date` holds for this moment; `None` outside of the years 1 to 9999.
    pub(super) fn text_of_date(&self, at: Micros) -> Option<Printed> {
        text(at, None)
    }
}

/// For the last day of Django's dates, which jiff's instants do not reach.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

fn instant(digits: DateTime, zone: Option<&TimeZone>) -> Option<Micros> {
    let utc = i64::try_from(digits.duration_since(EPOCH).as_micros()).ok()?;
    let Some(zone) = zone else { return Some(utc) };
    match zone.to_ambiguous_timestamp(digits).compatible() {
        Ok(instant) => Some(instant.as_microsecond()),
        // At the very end or start of time, the offset of a few days before or after.
        Err(_) => Some(utc - offset(zone, utc)),
    }
}

fn digits(at: Micros, zone: Option<&TimeZone>) -> Option<DateTime> {
    let local = zone.map_or(Some(at), |zone| at.checked_add(offset(zone, at)))?;
    let digits = match Timestamp::from_microsecond(local) {
        Ok(instant) => Offset::UTC.to_datetime(instant),
        Err(_) => EPOCH.checked_add(SignedDuration::from_micros(local)).ok()?,
    };
    (1..=9999).contains(&digits.year()).then_some(digits)
}

/// What a zone adds to UTC at this moment, or at the nearest that jiff knows.
fn offset(zone: &TimeZone, at: Micros) -> Micros {
    let (first, last) = (Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_microsecond());
    let known = Timestamp::from_microsecond(at.clamp(first + 1, last - 1)).unwrap_or_default();
    Micros::from(zone.to_offset(known).seconds()) * 1_000_000
}

fn text(at: Micros, zone: Option<&TimeZone>) -> Option<Printed> {
    digits(at, zone).map(print)
}

/// `YYYY-MM-DD HH:MM:SS`, with `.ffffff` unless that is zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printed {
    text: [u8; 26],
    length: usize,
}

impl Printed {
    pub(super) fn as_str(&self) -> &str {
        // Digits and what stands between them.
        self.text.get(..self.length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// Prints a moment. By hand: two of these are a twentieth of what it takes to store an activity when
/// `format!` makes them.
pub(super) fn print(at: DateTime) -> Printed {
    let micros = at.subsec_nanosecond() / 1_000;
    let [a, b] = pair(i32::from(at.year()) / 100);
    let [c, d] = pair(i32::from(at.year()) % 100);
    let [e, f] = pair(at.month().into());
    let [g, h] = pair(at.day().into());
    let [i, j] = pair(at.hour().into());
    let [k, l] = pair(at.minute().into());
    let [m, n] = pair(at.second().into());
    let [o, p] = pair(micros / 10_000);
    let [q, r] = pair(micros / 100 % 100);
    let [s, t] = pair(micros % 100);
    Printed {
        text: [
            a, b, c, d, b'-', e, f, b'-', g, h, b' ', i, j, b':', k, l, b':', m, n, b'.', o, p, q,
            r, s, t,
        ],
        length: if micros == 0 { 19 } else { 26 },
    }
}

/// A number below a hundred as two digits.
fn pair(number: i32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// Reads what Django (or SQLite's own functions) wrote: `YYYY-MM-DD[ T]HH:MM[:SS[.f…]]`.
pub(super) fn parse(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix([' ', 'T'])?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut date = date.split('-');
    let year = number(date.next()?)?;
    let (month, day) = (number(date.next()?)?, number(date.next()?)?);
    let mut time = time.split(':');
    let (hour, minute) = (number(time.next()?)?, number(time.next()?)?);
    let second = number(time.next().unwrap_or("0"))?;
    let nanos = match fraction {
        "" => 0,
        _ => {
            let digits = fraction.get(..fraction.len().min(6))?;
            number::<i32>(digits)? * 10_i32.pow(9 - u32::try_from(digits.len()).ok()?)
        }
    };
    DateTime::new(year, month, day, hour, minute, second, nanos).ok()
}

/// Digits only: Rust's own parser takes a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Micros = 1_482_996_922_571_006; // 2016-12-29T07:35:22.571006Z

    #[test]
    fn what_django_writes() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        for (at, zone, want) in [
            (MOMENT, None, Some("2016-12-29 07:35:22.571006")),
            (MOMENT, Some(&paris), Some("2016-12-29 08:35:22.571006")),
            (0, None, Some("1970-01-01 00:00:00")),
            (-1, None, Some("1969-12-31 23:59:59.999999")),
            (-62_135_596_800_000_000, None, Some("0001-01-01 00:00:00")),
            (-62_135_596_800_000_001, None, None),
            (253_402_300_799_999_999, None, Some("9999-12-31 23:59:59.999999")),
            (253_402_300_800_000_000, None, None),
            (Micros::MAX, None, None),
            (Micros::MIN, None, None),
        ] {
            assert_eq!(text(at, zone).as_ref().map(Printed::as_str), want, "{at}");
            if let Some(want) = want {
                assert_eq!(instant(parse(want).unwrap(), zone), Some(at), "{want}");
            }
        }
    }

    #[test]
    fn what_others_write() {
        for (text, want) in [
            ("2016-12-29 07:35:22.571006", Some(MOMENT)),
            ("2016-12-29T07:35:22.571006", Some(MOMENT)),
            ("2016-12-29 07:35:22.571006789", Some(MOMENT)),
            ("2016-12-29 07:35:22.5", Some(1_482_996_922_500_000)),
            ("2016-12-29 07:35", Some(1_482_996_900_000_000)),
            ("2016-12-29", None),
            ("2016-12-29 07:35:22.", Some(1_482_996_922_000_000)),
            ("2016-12-29 +7:35:22", None),
            ("2016-13-29 07:35:22", None),
            ("2016-12-2é 07:35:22", None),
            ("", None),
        ] {
            let read = parse(text).and_then(|digits| instant(digits, None));
            assert_eq!(read, want, "{text}");
        }
    }
}
