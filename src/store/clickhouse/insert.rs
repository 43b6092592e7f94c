//! Gives one server its part of a batch, so that the activities are there once, however often it is tried.
//!
//! Servers that remember what they inserted ([`Guard::Token`], [`Guard::Hash`]) leave out what they have.
//! A single server of old does not: there the statement that inserts asks itself whether the batch is
//! there ([`Guard::Condition`]). It ran or it did not, and inserts one part with all rows or none; two with
//! the batch's name never run at once; so it may be sent again, come late or come twice. Where it finds
//! the rows:
//!
//! - At first in a temporary table of an HTTP session, into which they were put before ([`super::stage`]),
//!   while the batch was frozen. A plain insert is read a block at a time, and what becomes of it does not matter: the session has a name that no other try has, the statement is
//!   sent only after the server has said that they are in it, and it fails unless there are as many as
//!   there should be. A server that was started again, or another one behind the same address, does not
//!   know the session and refuses the statement. Nothing changes the table meanwhile: a session takes one
//!   query at a time, and the statement is one.
//! - Where that does not work, and in a second try, in the file of the form that it comes with: all in
//!   one request, but read byte by byte on 18.16.

use futures_util::future::join;

use super::{
    super::Error,
    frozen::Part,
    http::{Ask, Link},
    native::Block,
    replica::{Guard, Replica, Talents, count, settings},
    rows::{ACTIVITY, EVENT, SESSIONINFO, Stamp, names, structure},
    shard::Tables,
    stage::{STAGE, in_session, stage, unstage},
};

/// The rows of a block, as servers make them where nothing else is said.
const BLOCK: u32 = 65_536;
/// Which try it is.
#[derive(Debug)]
pub(super) enum Try {
    /// The first. In this session the rows are already.
    First(Option<String>),
    /// Another one: the server may have the rows.
    Again,
}

impl Try {
    pub(super) fn new(tried: bool) -> Try {
        if tried { Try::Again } else { Try::First(None) }
    }
}

impl Replica {
    /// Takes its part of a batch, once.
    pub(super) async fn take(
        &mut self,
        tables: &Tables,
        part: &Part,
        stamp: Stamp,
        attempt: Try,
    ) -> Result<(), Error> {
        let talents = self.talents(&tables.activity).await?;
        let Replica { link, beside, .. } = self;
        let tried = matches!(attempt, Try::Again);
        let staged = async {
            match attempt {
                Try::First(None) if talents.guard == Guard::Condition && part.rows > 0 => {
                    stage(link, part, &talents).await
                }
                Try::First(staged) if talents.guard == Guard::Condition => staged,
                _ => None,
            }
        };
        // Infos first: who reads an activity may ask for its own.
        let infos = put(beside, (&tables.sessioninfo, &SESSIONINFO), &part.infos, &talents);
        let (infos, staged) = join(infos, staged).await;
        infos?;
        let table = &tables.activity;
        let is_there = part.rows == 0 || (tried && self.has(table, part, stamp, &talents).await?);
        let Replica { link, beside, .. } = self;
        let events = put(beside, (&tables.event, &EVENT), &part.events, &talents);
        let activities = async {
            if !is_there {
                let ask = activities(table, part, stamp, (&talents, staged.as_deref()));
                link.ask(settings(ask, &talents)).await?;
            }
            if let Some(session) = staged {
                unstage(link, &session).await;
            }
            Ok(())
        };
        let (events, inserted) = join(events, activities).await;
        events.and(inserted)
    }
}

/// Inserts what is harmless when twice.
async fn put(
    link: &mut Link,
    (table, columns): (&str, &[(&str, &str)]),
    block: &Block,
    talents: &Talents,
) -> Result<(), Error> {
    if !block.is_empty() {
        let sql = format!("INSERT INTO {table} ({}) FORMAT Native", names(columns));
        link.ask(settings(Ask::query(sql), talents).block(block)).await?;
    }
    Ok(())
}

/// Inserts the activities, in the way of this server.
fn activities(
    table: &str,
    part: &Part,
    stamp: Stamp,
    (talents, staged): (&Talents, Option<&str>),
) -> Ask {
    let insert = || {
        let sql = format!("INSERT INTO {table} ({}) FORMAT Native", names(&ACTIVITY));
        Ask::query(sql).block(&part.activities)
    };
    match talents.guard {
        Guard::Token => insert().with("insert_deduplication_token", stamp.batch.to_string()),
        Guard::Hash => insert(),
        Guard::Condition => conditional(table, part, stamp, staged),
    }
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
