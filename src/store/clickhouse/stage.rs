//! Rows on a server before they are inserted: in a temporary table of an HTTP session. Whether they are
//! inserted, and how often, is the matter of the statement that reads them ([`super::insert`]): a session
//! has a name that no other try has, and what is in it goes with it.

use uuid::Uuid;

use super::{
    super::Error,
    frozen::Part,
    http::{Ask, Link},
    replica::{Guard, Replica, Talents, settings},
    rows::{ACTIVITY, names, structure},
    shard::Tables,
};

/// The temporary table.
pub(super) const STAGE: &str = "djaffar_frozen";
/// So many seconds a server keeps it, if we do not come back. A statement that comes later is refused.
const SESSION: &str = "60";

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

/// Drops the table. Else it goes with its session.
pub(super) async fn unstage(link: &mut Link, session: &str) {
    let ask = Ask::query(format!("DROP TABLE {STAGE}"));
    drop::<Result<_, Error>>(link.ask(in_session(ask, session)).await);
}

impl Replica {
    /// Puts the activities of a part where its first try will find them, if it looks for them there.
    pub(super) async fn stage(&mut self, tables: &Tables, part: &Part) -> Option<String> {
        let talents = self.talents(&tables.activity).await.ok()?;
        match talents.guard {
            Guard::Condition if part.rows > 0 => stage(&mut self.link, part, &talents).await,
            _ => None,
        }
    }
}
