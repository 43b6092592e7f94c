//! How far a long command is: a bar where there is a terminal, else a line now and then.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often a bar is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How often a line is printed.
const LINE: Duration = Duration::from_secs(10);
/// The rate is that of about so long.
const WINDOW: Duration = Duration::from_secs(5);
const WIDTH: u64 = 24;

/// Draws on standard error.
pub(super) struct Progress {
    at_terminal: bool,
    stage: &'static str,
    /// Where the rate is counted from.
    mark: (Instant, u64),
    rate: f64,
    drawn: Option<Instant>,
    /// A bar stands on the line.
    is_up: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            at_terminal: io::stderr().is_terminal(),
            stage: "",
            mark: (Instant::now(), 0),
            rate: 0.0,
            drawn: None,
            is_up: false,
        }
    }

    /// So many of about so many (0: of nobody knows how many) are done.
    pub(super) fn show(&mut self, stage: &'static str, done: u64, total: u64) {
        let now = Instant::now();
        if self.stage != stage || done < self.mark.1 {
            self.finish();
            *self = Progress { stage, mark: (now, done), ..Progress::new() };
        }
        let (since, before) = self.mark;
        let time = now.duration_since(since).as_secs_f64();
        if time > 0.5 {
            self.rate = (done - before) as f64 / time;
        }
        if now.duration_since(since) > WINDOW {
            // Half of it stays, so that the rate does not jump.
            self.mark = (since + now.duration_since(since) / 2, before + (done - before) / 2);
        }
        let pause = if self.at_terminal { FRAME } else { LINE };
        if self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= pause) {
            self.drawn = Some(now);
            self.draw(&line(stage, (done, total), self.rate));
        }
    }

    /// Prints a line of its own.
    pub(super) fn say(&mut self, text: &str) {
        self.finish();
        drop(writeln!(io::stderr(), "{text}"));
    }

    /// Ends the line of a bar.
    pub(super) fn finish(&mut self) {
        if self.is_up {
            drop(writeln!(io::stderr()));
            self.is_up = false;
        }
    }

    fn draw(&mut self, text: &str) {
        // A closed terminal is no reason to stop.
        if self.at_terminal {
            drop(write!(io::stderr(), "\r\x1b[K{text}"));
            self.is_up = true;
        } else {
            drop(writeln!(io::stderr(), "{text}"));
        }
    }
}

fn line(stage: &str, (done, total): (u64, u64), rate: f64) -> String {
    if total == 0 && done > 0 {
        return format!("{stage:<13} {}  {}/s", grouped(done), grouped(rate as u64));
    }
    let total = total.max(done);
    let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH);
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    let bar: String = (0..WIDTH).map(|place| if place < full { '#' } else { '.' }).collect();
    let left = match rate {
        rate if rate >= 1.0 => {
            let seconds = ((total - done) as f64 / rate) as u64;
            let (hours, rest) = (seconds / 3_600, seconds % 3_600);
            format!("{hours}:{:02}:{:02} left", rest / 60, rest % 60)
        }
        _ => String::new(),
    };
    format!(
        "{stage:<13} [{bar}] {percent:>3} %  {} of {}  {}/s  {left}",
        grouped(done),
        grouped(total),
        grouped(rate as u64)
    )
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        assert_eq!(
            line("copying", (1_234_567, 2_469_134), 10_000.0),
            "copying       [############............]  50 %  1,234,567 of 2,469,134  10,000/s  \
             0:02:03 left"
        );
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_000_000, "1,000,000")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(line("sessions", (2_000, 0), 500.0), "sessions      2,000  500/s");
        assert!(line("copying", (0, 0), 0.0).contains("100 %"));
        assert!(line("copying", (5, 3), 0.0).contains("5 of 5"));
    }
}
