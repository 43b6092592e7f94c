//! `djaffar tail`: activities as they are stored, one line each.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use anyhow::Context;

use crate::{
    activity::plain,
    config::Config,
    dump,
    failure::Failure,
    site,
    store::{Error, Key, Moments, StoredActivity},
};

/// How often the database is asked.
const PAUSE: Duration = Duration::from_millis(250);
/// Rows that are read at once.
const PAGE: usize = 1_000;

/// What `tail` was asked for.
#[derive(Debug)]
pub(super) struct How {
    /// So many of the last ones first.
    pub(super) lines: usize,
    /// JSON instead of text.
    pub(super) json: bool,
    /// Whether to go on.
    pub(super) follow: bool,
}

/// Prints activities until Ctrl-C.
pub(super) fn tail(config: &Config, how: &How) -> Result<(), Failure> {
    let database = site::open(config)?;
    database.check()?;
    let mut history = database.history();
    let last = history.last(how.lines.max(1))?;
    let mut seen = last.last().map_or(0, |activity| activity.id);
    let first = last.len().saturating_sub(how.lines);
    let moments = database.moments();
    print(last.into_iter().skip(first), moments, how.json)?;
    if !how.follow {
        return Ok(());
    }
    loop {
        match history.after(seen, PAGE) {
            Ok(new) if new.is_empty() => thread::sleep(PAUSE),
            Ok(new) => {
                seen = new.last().map_or(seen, |activity| activity.id);
                print(new, moments, how.json)?;
            }
            // Locked, or being replaced: it comes back.
            Err(Error::Unavailable(_)) => thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(
    activities: impl IntoIterator<Item = StoredActivity>,
    moments: &Moments,
    json: bool,
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for activity in activities {
        if json {
            let line = dump::line(activity, moments).context("tail")?;
            writeln!(out, "{line}").context("terminal")?;
        } else {
            writeln!(out, "{}", line(&activity)).context("terminal")?;
        }
    }
    out.flush().context("terminal")?;
    Ok(())
}

/// One activity for a person: nothing in it can steer the terminal.
fn line(activity: &StoredActivity) -> String {
    let user = match &activity.user {
        Some(Key::Integer(id)) => format!("user {id}"),
        Some(Key::Text(id)) => format!("user {}", plain(id)),
        None => "anonymous".to_owned(),
    };
    let date = activity.date.strftime("%Y-%m-%d %H:%M:%S");
    let mut line = format!("{date}  {}  {user}  {}", activity.ip_address, plain(&activity.path));
    if !activity.name.is_empty() {
        line += &format!("  [{}]", plain(&activity.name));
    }
    if !activity.referer.is_empty() {
        line += &format!("  from {}", plain(&activity.referer));
    }
    line
}
