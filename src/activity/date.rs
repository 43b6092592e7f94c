//! Reading a date as Django reads it.
//!
//! Which texts are dates depends on the Django *and* the Python of the site, so this accepts what
//! any of them accepts: the regular expression of `django/utils/dateparse.py` (`datetime_re`, the
//! widest of Django 1.8 to 6.1) and the ISO 8601 forms of `datetime.fromisoformat` (CPython 3.11
//! and later, which Django tries first since 4.0). Digits are ASCII.
//!
//! CPython's parser also skips characters without looking at them. What passes only for that is
//! refused, for nobody writes it on purpose: a separator other than `T` or a space, a fraction of
//! hours or minutes or of the offset, a dot without digits, anything between the time and the
//! offset (Django's expression takes white space there) or behind it.
//!
//! Knows nothing of fields and messages; `None` is all it says of a text that is no date.

use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::Micros;
use super::text::is_space;

/// The first moment that Django can hold: 0001-01-01T00:00:00Z.
pub const FIRST: Micros = -62_135_596_800_000_000;
/// The last moment that Django can hold: 9999-12-31T23:59:59.999999Z.
pub const LAST: Micros = 253_402_300_799_999_999;

const SECOND: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;
const DAY: Micros = DAY_SECONDS * SECOND;

/// Reads a date; one without an offset is in `zone`.
///
/// A local time that a change of the clock skips or repeats is taken as Django's `make_aware` and
/// Python's `zoneinfo` take it (`fold=0`): with the offset from before the change. `None` when the
/// text is no date, or one that is not in the years 1 to 9999 of UTC.
pub fn parse(text: &str, zone: &TimeZone) -> Option<Micros> {
    let read = iso_8601(text).or_else(|| django_re(text))?;
    let local = read.local.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let seconds = local.as_secs() - read.offset.unwrap_or_else(|| offset_at(zone, read.local));
    in_range(seconds * SECOND + i64::from(local.subsec_micros()))
}

/// The moment, if Django can hold it.
pub fn in_range(moment: Micros) -> Option<Micros> {
    (FIRST..=LAST).contains(&moment).then_some(moment)
}

/// Whether Django can show it in this zone: an `OverflowError` otherwise, in each template that
/// prints it (`django/utils/timezone.py:template_localtime`).
pub fn is_shown(moment: Micros, zone: &TimeZone) -> bool {
    if (FIRST + DAY..=LAST - DAY).contains(&moment) {
        return true;
    }
    let utc = jiff::SignedDuration::from_micros(moment);
    let Ok(digits) = DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(utc) else {
        return false;
    };
    in_range(moment + offset_at(zone, digits) * SECOND).is_some()
}

/// What a text says: a local time and, if it has one, an offset from UTC in seconds.
struct Read {
    local: DateTime,
    offset: Option<i64>,
}

fn offset_at(zone: &TimeZone, local: DateTime) -> i64 {
    let offset = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
    };
    offset.seconds().into()
}

/// The regular expression of Django: `Y-m-d H:M[:S[.f]]`, one or two digits each, at most twelve
/// in the fraction, white space before the offset, a line feed at the end.
fn django_re(text: &str) -> Option<Read> {
    let mut rest = Cursor(text);
    let year = rest.digits(4, 4)?;
    rest.expect('-')?;
    let month = rest.digits(1, 2)?;
    rest.expect('-')?;
    let date = date(year, month, rest.digits(1, 2)?)?;
    rest.separator()?;
    let hour = rest.digits(1, 2)?;
    rest.expect(':')?;
    let minute = rest.digits(1, 2)?;
    let (mut second, mut micros) = (0, 0);
    if rest.eat(':') {
        second = rest.digits(1, 2)?;
        micros = rest.fraction(12)?;
    }
    let local = time(date, [hour, minute, second], micros)?;
    rest.0 = rest.0.trim_start_matches(is_space);
    let offset = match rest.sign() {
        None => rest.eat('Z').then_some(0),
        Some(sign) => {
            let hours = rest.digits(2, 2)?;
            let minutes = if rest.eat(':') { Some(rest.digits(2, 2)?) } else { rest.digits(2, 2) };
            Some(offset(sign, [hours, minutes.unwrap_or(0), 0])?)
        }
    };
    rest.eat('\n');
    rest.0.is_empty().then_some(Read { local, offset })
}

/// ISO 8601: a calendar or week date, and a time, each basic or extended.
fn iso_8601(text: &str) -> Option<Read> {
    let mut rest = Cursor(text);
    let date = iso_date(&mut rest)?;
    if rest.0.is_empty() {
        return Some(Read { local: date.at(0, 0, 0, 0), offset: None });
    }
    rest.separator()?;
    let (clock, seconds_given) = rest.clock()?;
    let micros = if seconds_given { rest.fraction(usize::MAX)? } else { 0 };
    let local = time(date, clock, micros)?;
    let offset = match rest.sign() {
        None => rest.eat('Z').then_some(0),
        Some(sign) => Some(offset(sign, rest.clock()?.0)?),
    };
    rest.0.is_empty().then_some(Read { local, offset })
}

fn iso_date(rest: &mut Cursor<'_>) -> Option<Date> {
    let year = rest.digits(4, 4)?;
    let dashes = rest.eat('-');
    if rest.eat('W') {
        let week = rest.digits(2, 2)?;
        // Without a weekday it is the week's Monday.
        let day = match dashes {
            true if rest.eat('-') => rest.digits(1, 1)?,
            true => 1,
            false => rest.digits(1, 1).unwrap_or(1),
        };
        let weekday = Weekday::from_monday_one_offset(i8::try_from(day).ok()?).ok()?;
        let week = ISOWeekDate::new(year_1_9999(year)?, i8::try_from(week).ok()?, weekday).ok()?;
        return Some(week.date());
    }
    let month = rest.digits(2, 2)?;
    if dashes {
        rest.expect('-')?;
    }
    date(year, month, rest.digits(2, 2)?)
}

fn date(year: i64, month: i64, day: i64) -> Option<Date> {
    Date::new(year_1_9999(year)?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn year_1_9999(year: i64) -> Option<i16> {
    i16::try_from(year).ok().filter(|year| (1..=9999).contains(year))
}

fn time(date: Date, [hour, minute, second]: [i64; 3], micros: i64) -> Option<DateTime> {
    let part = |value| i8::try_from(value).ok();
    let nanos = i32::try_from(micros * 1_000).ok()?;
    let time = jiff::civil::Time::new(part(hour)?, part(minute)?, part(second)?, nanos).ok()?;
    Some(date.to_datetime(time))
}

/// Only the whole must be less than a day: Python takes `+00:60` for an hour.
fn offset(sign: i64, [hours, minutes, seconds]: [i64; 3]) -> Option<i64> {
    let total = hours * 3_600 + minutes * 60 + seconds;
    (total < DAY_SECONDS).then_some(sign * total)
}

/// What is left to read.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn eat(&mut self, expected: char) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, expected: char) -> Option<()> {
        self.eat(expected).then_some(())
    }

    fn separator(&mut self) -> Option<()> {
        (self.eat('T') || self.eat(' ')).then_some(())
    }

    fn sign(&mut self) -> Option<i64> {
        if self.eat('+') { Some(1) } else { self.eat('-').then_some(-1) }
    }

    /// From `least` to `most` digits, at most four.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let length = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at_checked(length).filter(|_| length >= least)?;
        self.0 = rest;
        Some(number.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// `HH[[:]MM[[:]SS]]`, and whether it had seconds; all colons or none.
    fn clock(&mut self) -> Option<([i64; 3], bool)> {
        let hour = self.digits(2, 2)?;
        if self.eat(':') {
            let minute = self.digits(2, 2)?;
            let seconds_given = self.eat(':');
            let second = if seconds_given { self.digits(2, 2)? } else { 0 };
            return Some(([hour, minute, second], seconds_given));
        }
        let minute = self.digits(2, 2);
        let second = minute.and_then(|_| self.digits(2, 2));
        Some(([hour, minute.unwrap_or(0), second.unwrap_or(0)], second.is_some()))
    }

    /// The fraction of the seconds, if there is one, in microseconds: what goes beyond is cut off.
    fn fraction(&mut self, most: usize) -> Option<i64> {
        if !(self.eat('.') || self.eat(',')) {
            return Some(0);
        }
        let length = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (fraction, rest) = self.0.split_at_checked(length).filter(|_| length > 0)?;
        self.0 = rest;
        let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
        Some(digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::db;

    use super::*;

    /// What a Django accepts and we do not: see the top of this file.
    const ODDITIES: [&str; 6] = [
        "2016-12-29_07:35:22Z",
        "2016-12-29T07.5Z",
        "2016-12-29T07:35.5Z",
        "2016-12-29T07:35:22.Z",
        "2016-12-29T07:35:22+01:00:30.5",
        "٢٠١٦-١٢-٢٩T٠٧:٣٥:٢٢Z",
    ];

    /// Lines of `[text, microseconds or null]`; returns how many are dates, and how many are not.
    fn check_recorded(recorded: &str) -> (usize, usize) {
        let (mut dates, mut others) = (0, 0);
        for line in recorded.lines() {
            let (text, expected): (String, Option<Micros>) = serde_json::from_str(line).unwrap();
            let expected = expected.filter(|_| !ODDITIES.contains(&text.as_str()));
            assert_eq!(parse(&text, &TimeZone::UTC), expected, "{text:?}");
            *(if expected.is_some() { &mut dates } else { &mut others }) += 1;
        }
        (dates, others)
    }

    #[test]
    fn what_any_django_accepts_is_accepted() {
        let recorded = include_str!("../../tests/fixtures/dates/django-1.8-to-6.1.jsonl");
        assert_eq!(check_recorded(recorded), (48, 42));
    }

    /// See generate.py beside the file.
    #[test]
    fn mutated_dates_are_read_as_by_django() {
        let recorded = include_str!("../../tests/fixtures/dates/mutated-django-5.2.jsonl");
        let (dates, others) = check_recorded(recorded);
        assert!(dates > 900 && others > 900, "{dates} {others}");
    }

    fn check(zone: &str, text: &str, expected: Option<&str>) {
        let zone = db().get(zone).unwrap();
        let expected = expected.map(|text| text.parse::<Timestamp>().unwrap().as_microsecond());
        assert_eq!(parse(text, &zone), expected, "{text:?}");
    }

    #[test]
    fn a_date_without_an_offset_is_in_the_zone() {
        let cases = [
            ("America/Chicago", "2016-12-29T07:35", Some("2016-12-29T13:35:00Z")),
            ("America/Chicago", "2016-12-29T07:35Z", Some("2016-12-29T07:35:00Z")),
            ("America/Chicago", "2016-12-29", Some("2016-12-29T06:00:00Z")),
            ("UTC", "2016-12-29 07:35:22", Some("2016-12-29T07:35:22Z")),
            ("Asia/Kathmandu", "2016-12-29T07:35", Some("2016-12-29T01:50:00Z")),
            // Before zones there was local mean time: +00:09:21.
            ("Europe/Paris", "1850-06-01T00:00", Some("1850-05-31T23:50:39Z")),
            // 02:30 does not exist; with the offset from before the change it is 03:30 of summer.
            ("Europe/Paris", "2026-03-29T02:30", Some("2026-03-29T01:30:00Z")),
            ("Europe/Paris", "2026-03-29T03:00", Some("2026-03-29T01:00:00Z")),
            // 02:30 comes twice; the first is of summer.
            ("Europe/Paris", "2026-10-25T02:30", Some("2026-10-25T00:30:00Z")),
            ("America/Chicago", "2026-11-01T01:30", Some("2026-11-01T06:30:00Z")),
            ("America/Chicago", "2026-03-08T02:30", Some("2026-03-08T08:30:00Z")),
            ("Europe/Paris", "2026-13-01T00:00", None),
        ];
        for (zone, text, expected) in cases {
            check(zone, text, expected);
        }
    }

    #[test]
    fn what_a_zone_cannot_show() {
        for (zone, moment, shown) in [
            ("UTC", FIRST, true),
            ("UTC", LAST, true),
            ("Asia/Tokyo", FIRST, true),
            ("Asia/Tokyo", LAST, false),
            ("Asia/Tokyo", LAST - 9 * 3_600 * SECOND, true),
            ("America/Chicago", FIRST, false),
            ("America/Chicago", FIRST + 6 * 3_600 * SECOND, true),
            ("America/Chicago", LAST, true),
        ] {
            assert_eq!(is_shown(moment, &db().get(zone).unwrap()), shown, "{zone} {moment}");
        }
    }

    #[test]
    fn dates_end_with_the_years_1_and_9999_of_utc() {
        let cases = [
            ("UTC", "0001-01-01T00:00", Some(FIRST)),
            ("UTC", "0001-01-01T00:00:00+00:01", None),
            ("UTC", "0001-01-01T00:01:00+00:01", Some(FIRST)),
            ("UTC", "0000-12-31T23:59:59-23:59", None),
            ("UTC", "9999-12-31T23:59:59.9999999", Some(LAST)),
            ("UTC", "9999-12-31T23:59:59.999999-00:01", None),
            ("UTC", "9999-12-31T23:58:59.999999-00:01", Some(LAST)),
            ("Asia/Tokyo", "0001-01-01T00:00", None),
            ("America/Chicago", "9999-12-31T23:59", None),
            ("America/Chicago", "9999-12-31T17:59:59.999999", Some(LAST)),
        ];
        for (zone, text, expected) in cases {
            assert_eq!(parse(text, &db().get(zone).unwrap()), expected, "{zone} {text}");
        }
    }
}
