//! What a comparison found. Pure.

use serde_json::{Value, json};

/// What one side has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Side {
    /// How many rows.
    pub rows: u64,
    /// The sum of their hashes.
    pub hash: u128,
}

impl Side {
    pub(super) fn add(&mut self, hash: u128) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hash);
    }

    pub(super) fn take_away(&mut self, hash: u128) {
        self.rows = self.rows.saturating_sub(1);
        self.hash = self.hash.wrapping_sub(hash);
    }
}

/// A day on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970, in UTC.
    pub day: i64,
    /// FROM.
    pub from: Side,
    /// TO.
    pub to: Side,
}

/// The infos of sessions, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sessions {
    /// FROM.
    pub from: Side,
    /// The same sessions in TO.
    pub to: Side,
}

impl Sessions {
    pub(super) fn add(&mut self, from: u128, to: Option<u128>) {
        self.from.add(from);
        if let Some(hash) = to {
            self.to.add(hash);
        }
    }
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// By day.
    pub days: Vec<Day>,
    /// Rows that TO did not take, as it had their `event_id`: sent again after the switch.
    pub left_out: u64,
    /// Of sessions.
    pub sessions: Sessions,
    /// TO is open, so that it may have seen sessions itself.
    pub is_in_use: bool,
}

impl Report {
    /// Whether both sides are equal. What an open TO saw of sessions itself counts.
    pub fn is_clean(&self) -> bool {
        let Sessions { from, to } = self.sessions;
        let sessions = from == to || self.is_in_use && from.rows == to.rows;
        sessions && self.days.iter().all(|day| day.from == day.to)
    }

    /// All days together.
    pub fn total(&self) -> Side {
        self.days.iter().fold(Side::default(), |sum, day| Side {
            rows: sum.rows + day.to.rows,
            hash: sum.hash.wrapping_add(day.to.hash),
        })
    }

    /// For a program.
    pub fn to_json(&self) -> Value {
        let side = |side: Side| json!({"rows": side.rows, "hash": format!("{:032x}", side.hash)});
        let days = self.days.iter().map(|day| {
            json!({
                "day": day.name(),
                "from": side(day.from),
                "to": side(day.to),
                "equal": day.from == day.to,
            })
        });
        json!({
            "equal": self.is_clean(),
            "rows": self.total().rows,
            "left_out": self.left_out,
            "days": days.collect::<Vec<_>>(),
            "sessions": {"from": side(self.sessions.from), "to": side(self.sessions.to)},
        })
    }

    /// For a person: the days that differ, or the last ones, and the sum of all.
    pub fn to_text(&self) -> String {
        const SHOWN: usize = 40;
        let mut days: Vec<&Day> = self.days.iter().filter(|day| day.from != day.to).collect();
        if days.is_empty() {
            days = self.days.iter().collect();
        }
        let hidden = days.len().saturating_sub(SHOWN);
        let mut text = String::from("day               rows  hash\n");
        if hidden > 0 {
            text += &format!("… {hidden} more days (all of them: --json)\n");
        }
        for day in days.iter().skip(hidden) {
            text += &format!("{:>10}  {:>10}  {:032x}", day.name(), day.from.rows, day.from.hash);
            text += &match day.from == day.to {
                true => "  equal\n".to_owned(),
                false => format!("  TO HAS {:>10}  {:032x}\n", day.to.rows, day.to.hash),
            };
        }
        let Side { rows, hash } = self.total();
        text += &format!("all         {rows:>10}  {hash:032x}\n");
        let sessions = self.sessions;
        let word = if sessions.from == sessions.to { "equal" } else { "TO HAS OTHERS" };
        text += &format!(
            "sessions    {:>10}  {:032x}  {word}\n",
            sessions.from.rows, sessions.from.hash
        );
        if self.left_out > 0 {
            text += &format!(
                "{} rows were left out, as TO had their event_id already: sent again after the \
                 switch\n",
                self.left_out
            );
        }
        text
    }
}

impl Day {
    /// Its date, in UTC.
    pub fn name(&self) -> String {
        let epoch = jiff::civil::date(1970, 1, 1);
        let day = i32::try_from(self.day).ok();
        let date = day.and_then(|day| epoch.checked_add(jiff::Span::new().days(day)).ok());
        date.map_or_else(|| self.day.to_string(), |date| date.to_string())
    }
}
