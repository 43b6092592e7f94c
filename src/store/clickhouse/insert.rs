//! Gives one server its part of a batch, so that the activities are there once, however often it is tried.
//!
//! Servers that remember what they inserted ([`Guard::Token`], [`Guard::Hash`]) leave out what they have.
//! A single server of old does not: there the statement that inserts asks itself whether the batch is
//! there ([`Guard::Condition`]). It ran or it did not, and inserts one part with all rows or none; two with
//! the batch's name never run at once; so it may be sent again, come late or come twice. Where it finds
//! the rows:
//!
//! - At first in a temporary table of an HTTP session, into which they were put before. A plain insert is
//!   read a block at a time, and what becomes of it does not matter: the session has a name that no
//!   other try has, the statement is sent only after the server has said that they are in it, and it
//!   fails unless there are as many as there should be. A server that was started again, or another one
//!   behind the same address, does not know the session and refuses the statement. Nothing changes the
//!   table meanwhile: a session takes one query at a time, and the statement is one. (It is free again
//!   only when the server has done with the query before, so that all go over one connection.)
//! - Where that does not work, and in a second try, in the file of the form that it comes with: all in
//!   one request, but read byte by byte on 18.16.

use futures_util::future::join;
use uuid::Uuid;

use super::{
    super::Error,
    frozen::Part,
    http::{Ask, Link},
    replica::{Guard, Replica, Talents, count, settings},
    rows::{ACTIVITY, EVENT, SESSIONINFO, Stamp, names, structure},
    shard::Tables,
};

/// The rows of a block, as servers make them where nothing else is said.
const BLOCK: u32 = 65_536;
/// The temporary table.
const STAGE: &str = "djaffar_frozen";
/// So many seconds a server keeps it, if we do not come back. A statement that comes later is refused.
const SESSION: &str = "60";

impl Replica {
    /// Takes its part of a batch, once. `tried`: it may have it already.
    pub(super) async fn take(
        &mut self,
        tables: &Tables,
        part: &Part,
        stamp: Stamp,
        tried: bool,
    ) -> Result<(), Error> {
        let talents = self.talents(&tables.activity).await?;
        let stages = talents.guard == Guard::Condition && part.rows > 0 && !tried;
        let Replica { link, beside, .. } = self;
        let staged = async { if stages { stage(link, part, &talents).await } else { None } };
        let (before, staged) = join(before(beside, tables, part, &talents), staged).await;
        before?;
        let table = &tables.activity;
        if part.rows == 0 || (tried && self.has(table, part, stamp, &talents).await?) {
            return Ok(());
        }
        let columns = names(&ACTIVITY);
        let ask = match talents.guard {
            Guard::Token => Ask::query(format!("INSERT INTO {table} ({columns}) FORMAT Native"))
                .with("insert_deduplication_token", stamp.batch.to_string())
                .block(&part.activities),
            Guard::Hash => Ask::query(format!("INSERT INTO {table} ({columns}) FORMAT Native"))
                .block(&part.activities),
            Guard::Condition => conditional(table, part, stamp, staged.as_deref()),
        };
        self.link.ask(settings(ask, &talents)).await?;
        if let Some(session) = staged {
            // Else it goes with its session.
            let ask = Ask::query(format!("DROP TABLE {STAGE}"));
            drop(self.link.ask(in_session(ask, &session)).await);
        }
        Ok(())
    }
}

/// What comes before the activities: harmless when twice, and there when they are.
async fn before(
    link: &mut Link,
    tables: &Tables,
    part: &Part,
    talents: &Talents,
) -> Result<(), Error> {
    for (table, columns, block) in [
        (&tables.sessioninfo, &SESSIONINFO[..], &part.infos),
        (&tables.event, &EVENT[..], &part.events),
    ] {
        if !block.is_empty() {
            let sql = format!("INSERT INTO {table} ({}) FORMAT Native", names(columns));
            link.ask(settings(Ask::query(sql), talents).block(block)).await?;
        }
    }
    Ok(())
}

/// Puts the activities into a temporary table; the name of its session. None: it did not work, for
/// whatever reason.
pub(super) async fn stage(link: &mut Link, part: &Part, talents: &Talents) -> Option<String> {
    let session = format!("djaffar-{}", Uuid::new_v4());
    let made = async {
        let sql = format!("CREATE TEMPORARY TABLE {STAGE} ({})", structure(&ACTIVITY));
        let make = Ask::query(sql).with("session_id", &*session).with("session_timeout", SESSION);
        link.ask(make).await?;
        link.ask(settings(in_session(fill(part), &session), talents)).await
    };
    match made.await {
        Ok(_) => Some(session),
        Err(error) => {
            tracing::debug!(%error, "no temporary table for a batch: it goes as a form");
            None
        }
    }
}

/// Puts the rows into the temporary table.
pub(super) fn fill(part: &Part) -> Ask {
    let sql = format!("INSERT INTO {STAGE} ({}) FORMAT Native", names(&ACTIVITY));
    Ask::query(sql).block(&part.activities)
}

/// In a session that is there.
pub(super) fn in_session(ask: Ask, session: &str) -> Ask {
    ask.with("session_id", session).with("session_timeout", SESSION).with("session_check", "1")
}

/// Inserts the rows unless the batch is there: those of a session's table, or of a form.
pub(super) fn conditional(table: &str, part: &Part, stamp: Stamp, session: Option<&str>) -> Ask {
    let (columns, rows) = (names(&ACTIVITY), part.rows);
    let is_new = format!("({}) = 0", count(table, stamp));
    let insert = |from: &str, condition: &str| {
        Ask::query(format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM {from} WHERE {condition}"
        ))
        .with("query_id", format!("djaffar-{}", stamp.batch))
        // In one piece: a batch that is cut up would be copied together again.
        .with("max_block_size", rows.max(BLOCK).to_string())
    };
    let Some(session) = session else {
        return insert("frozen", &is_new)
            .with("frozen_structure", structure(&ACTIVITY))
            .with("frozen_format", "Native")
            .table("frozen", &part.activities);
    };
    let whole = format!("throwIf((SELECT count() FROM {STAGE}) != {rows}) = 0");
    in_session(insert(STAGE, &format!("{is_new} AND {whole}")), session)
}
