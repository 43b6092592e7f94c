//! What is stored, page by page: from any server that is there, through the tables that show all
//! shards.
//!
//! Rows are found by their number, which grows with `stored_at`; the parts' ranges of that column
//! keep each question to the parts that can have an answer.

use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{
    super::{Error, History, Key, Moments, StoredActivity, StoredSession},
    address::Address,
    http::{Ask, Link},
    native::Rows,
    number::{SECOND, last_of, second_of},
    runtime,
};

const COLUMNS: &str = "id, user_id, session_id, ip_address, date, path, referer, received_at, \
                       event_id, name, properties";
/// A batch's numbers may run ahead of its `stored_at` by less than this many seconds.
const SLACK: u32 = 60;
/// So many rows are fetched at once, for the pages to come.
const FETCH: usize = 10_000;
/// So many sessions a question: its text has a limit.
const SESSIONS: usize = 2_000;
/// A session's last activities are looked for within this many seconds: twice as long as Django's
/// sessions live.
const RECENT: u32 = 28 * 86_400;

/// Reads a ClickHouse.
#[derive(Debug)]
pub(super) struct ClickHouseHistory {
    links: Vec<Link>,
    runtime: Option<Runtime>,
    moments: Moments,
    /// Activities behind the last page, and what they come after.
    ahead: (i64, std::collections::VecDeque<StoredActivity>),
}

impl ClickHouseHistory {
    pub(super) fn new(address: &Address, moments: Moments) -> Self {
        let links = address.hosts().map(|host| Link::new(host, address)).collect();
        Self { links, runtime: None, moments, ahead: (0, Default::default()) }
    }

    /// Asks the first server that answers.
    fn ask(&mut self, sql: &str) -> Result<bytes::Bytes, Error> {
        let runtime = runtime(&mut self.runtime)?;
        let mut failed = None;
        for number in 0..self.links.len() {
            let Some(link) = self.links.first_mut() else { break };
            // Always the same replicas, as long as they are there: what was read once is not gone
            // in the next page.
            let ask = Ask::long_query(format!("{sql} FORMAT RowBinary"))
                .with("load_balancing", "in_order");
            match runtime.block_on(link.ask(ask)) {
                Err(Error::Unavailable(text)) if number + 1 < self.links.len() => {
                    failed.get_or_insert(Error::Unavailable(text));
                    self.links.rotate_left(1);
                }
                result => return result,
            }
        }
        Err(failed.unwrap_or_else(|| Error::Unavailable("no server".into())))
    }

    fn number(&mut self, sql: &str) -> Result<u64, Error> {
        Rows(&self.ask(sql)?).u64()
    }

    fn activities(&mut self, clauses: &str) -> Result<Vec<StoredActivity>, Error> {
        let answer = self.ask(&format!("SELECT {COLUMNS} FROM djaffar_activity {clauses}"))?;
        let (mut rows, mut found) = (Rows(&answer), Vec::new());
        while !rows.is_empty() {
            found.push(activity(&mut rows, &self.moments)?);
        }
        Ok(found)
    }

    fn read_infos(&mut self, sql: &str) -> Result<Vec<StoredSession>, Error> {
        let answer = self.ask(sql)?;
        let (mut rows, mut found) = (Rows(&answer), Vec::new());
        while !rows.is_empty() {
            found.push(StoredSession {
                session: rows.text()?,
                user_agent: rows.text()?,
                visitor: rows.text()?,
                created_at: self.moments.digits(rows.i64()?),
                browser: None,
                os: None,
                device: None,
                bot: None,
                country: None,
            });
        }
        Ok(found)
    }

    /// The next rows after this number: a stretch that begins where rows are.
    fn fetch(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        // Numbers are positive, and the least integer is no literal.
        let id = id.max(0);
        let from = second_of(id).saturating_sub(SLACK);
        let sql = format!(
            "SELECT toUInt64(count()), toInt64(min(id)) FROM djaffar_activity \
             WHERE stored_at >= toDateTime({from}) AND id > {id}"
        );
        let answer = self.ask(&sql)?;
        let mut rows = Rows(&answer);
        let (count, first) = (rows.u64()?, rows.i64()?);
        if count == 0 {
            return Ok(Vec::new());
        }
        // As long as there are few, all; else up to the end of the second in which there are as many as
        // wanted. By the numbers' seconds: those of `stored_at` end before the numbers of a batch do.
        let from = second_of(first).saturating_sub(SLACK);
        let mut until = u32::MAX;
        if count > limit as u64 {
            let sql = format!(
                "SELECT {SECOND} AS second, toUInt64(count()) FROM djaffar_activity \
                 WHERE stored_at >= toDateTime({from}) AND id > {id} \
                 GROUP BY second ORDER BY second LIMIT {limit}"
            );
            let answer = self.ask(&sql)?;
            let (mut rows, mut sum) = (Rows(&answer), 0);
            while !rows.is_empty() && sum < limit as u64 {
                until = rows.u32()?;
                sum += rows.u64()?;
            }
        }
        // A row's stored_at is never later than its number's second.
        let last = last_of(until);
        let sql = format!(
            "WHERE stored_at >= toDateTime({from}) AND stored_at <= toDateTime({until}) \
             AND id > {id} AND id <= {last} ORDER BY id LIMIT {limit}"
        );
        self.activities(&sql)
    }
}

impl History for ClickHouseHistory {
    fn after(&mut self, id: i64, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        if self.ahead.0 != id || self.ahead.1.is_empty() {
            let rows = self.fetch(id, limit.max(FETCH))?;
            self.ahead = (id, rows.into());
        }
        let count = limit.min(self.ahead.1.len());
        let page: Vec<_> = self.ahead.1.drain(..count).collect();
        self.ahead.0 = page.last().map_or(id, |row| row.id);
        Ok(page)
    }

    fn last(&mut self, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let newest = self.ask("SELECT toUInt32(max(stored_at)) FROM djaffar_activity")?;
        let newest = Rows(&newest).u32()?;
        let mut span = SLACK;
        let from = loop {
            let from = newest.saturating_sub(span);
            let sql = format!(
                "SELECT toUInt64(count()) FROM djaffar_activity WHERE stored_at >= toDateTime({from})"
            );
            if from == 0 || self.number(&sql)? >= limit as u64 {
                break from.saturating_sub(SLACK);
            }
            span = span.saturating_mul(16);
        };
        let mut rows = self.activities(&format!(
            "WHERE stored_at >= toDateTime({from}) ORDER BY id DESC LIMIT {limit}"
        ))?;
        rows.reverse();
        Ok(rows)
    }

    fn recent(&mut self, session: &str, limit: usize) -> Result<Vec<StoredActivity>, Error> {
        let session = quoted(session);
        self.activities(&format!(
            "WHERE stored_at >= now() - {RECENT} AND session_id = {session} \
             ORDER BY id DESC LIMIT {limit}"
        ))
    }

    fn sessions(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<StoredSession>, Error> {
        let after = quoted(after.unwrap_or_default());
        let sql = format!(
            "SELECT session_id, argMin(user_agent, created_at), argMin(visitor, created_at), \
             min(created_at) FROM djaffar_sessioninfo \
             WHERE session_id > {after} AND session_id <= (SELECT max(session_id) FROM \
             (SELECT DISTINCT session_id FROM djaffar_sessioninfo WHERE session_id > {after} \
             ORDER BY session_id LIMIT {limit})) GROUP BY session_id ORDER BY session_id"
        );
        self.read_infos(&sql)
    }

    fn infos(&mut self, sessions: &[&str]) -> Result<Vec<StoredSession>, Error> {
        let mut found = Vec::new();
        for keys in sessions.chunks(SESSIONS) {
            let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
            found.extend(self.read_infos(&format!(
                "SELECT session_id, argMin(user_agent, created_at), argMin(visitor, created_at), \
                 min(created_at) FROM djaffar_sessioninfo WHERE session_id IN ({}) \
                 GROUP BY session_id",
                keys.join(", ")
            ))?);
        }
        Ok(found)
    }

    fn count(&mut self) -> Result<u64, Error> {
        self.number("SELECT toUInt64(count()) FROM djaffar_activity")
    }
}

fn activity(rows: &mut Rows<'_>, moments: &Moments) -> Result<StoredActivity, Error> {
    let (id, user, session) = (rows.i64()?, rows.text()?, rows.text()?);
    let (ip_address, date) = (rows.text()?, rows.i64()?);
    let (path, referer, received_at) = (rows.text()?, rows.text()?, rows.i64()?);
    let (event_id, name, properties) = (rows.uuid()?, rows.text()?, rows.text()?);
    let strange = || Error::Schema(format!("row {id} of djaffar_activity has an impossible date"));
    Ok(StoredActivity {
        id,
        user: (!user.is_empty()).then(|| key(user)),
        session: (!session.is_empty()).then_some(session),
        ip_address,
        date: moments.digits_of_date(date).ok_or_else(strange)?,
        path,
        referer,
        received_at: moments.digits(received_at),
        event_id: (event_id != Uuid::nil()).then_some(event_id),
        name,
        properties: (!properties.is_empty()).then_some(properties),
    })
}

/// What looks like a number is one: Django reads either back as its key's type.
fn key(text: String) -> Key {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Key::Integer(number),
        _ => Key::Text(text),
    }
}

/// A literal of ClickHouse's SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(key("7".into()), Key::Integer(7));
        for text in ["07", "+7", "a", "99999999999999999999"] {
            assert_eq!(key(text.into()), Key::Text(text.into()));
        }
        assert_eq!(quoted(r"a'b\"), r"'a\'b\\'");
    }
}
