//! What every database must have, and what to do where it has not.

use super::{Owner, Users};

/// What to say where tables are missing.
pub(super) const RUN_MIGRATE: &str = "run `djaffar migrate --database URL` \
    (or `python manage.py migrate djaffar` where the Django app is installed)";

/// What to say to who may not make or change tables that are to be.
pub(super) const NOT_THE_OWNER: &str = "tables are to be made or changed, and the user of the address \
    may not: run `djaffar migrate --database URL` as the user who owns them (or GRANT it)";

/// Django 3.1 came with this migration of `auth`, and with the new format of session data.
pub(super) const NEW_SESSIONS: &str = "0012_alter_user_first_name_max_length";

/// The tables, and the columns of each that we read or write.
const NEEDED: &[(&str, &[&str])] = &[
    ("django_session", &["session_key", "session_data", "expire_date"]),
    (
        "djaffar_activity",
        &[
            "id",
            "user_id",
            "session_id",
            "ip_address",
            "date",
            "path",
            "referer",
            "received_at",
            "event_id",
            "name",
            "properties",
        ],
    ),
    (
        "djaffar_sessioninfo",
        &[
            "session_id",
            "user_agent",
            "visitor",
            "browser",
            "os",
            "device",
            "bot",
            "country",
            "created_at",
        ],
    ),
    ("djaffar_spool_cursor", &["spool", "segment", "position"]),
];

/// The columns of a table to read, in their order, where those of 0.1.10 may lack some: a blank name,
/// and nothing else that it did not have. A session of its was a visitor.
pub(super) fn readable(table: &str, present: &[String]) -> String {
    let wanted = NEEDED.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, it)| *it);
    let column = |name: &&str| match *name {
        name if present.iter().any(|had| had == name) => name.to_owned(),
        "name" => "'' AS name".to_owned(),
        "visitor" => "session_id AS visitor".to_owned(),
        "id" | "user_id" | "session_id" | "ip_address" | "date" | "path" | "referer" => {
            (*name).to_owned()
        }
        name => format!("NULL AS {name}"),
    };
    wanted.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Looks for all that is needed: `columns` gives those of a table, none where it is absent. The
/// outer result is the database's, the inner one says what is amiss and what to do.
pub(super) fn complete<E>(
    owner: Owner,
    users: &Users,
    mut columns: impl FnMut(&str) -> Result<Vec<String>, E>,
) -> Result<Result<(), String>, E> {
    let wanted = [users.id.as_str(), users.password.as_str()];
    let mut needed = vec![(users.table.as_str(), wanted.as_slice())];
    needed.extend_from_slice(NEEDED);
    for (table, wanted) in needed {
        let present = columns(table)?;
        let lacks: Vec<_> =
            wanted.iter().filter(|name| !present.iter().any(|had| had == *name)).copied().collect();
        if !lacks.is_empty() {
            let what = match present.is_empty() {
                true => format!("there is no table {table}"),
                false => format!("the table {table} has no {}", lacks.join(", ")),
            };
            let ours = table.starts_with("djaffar_");
            return Ok(Err(format!("{what}: {}", advice(owner, ours, !present.is_empty()))));
        }
    }
    Ok(Ok(()))
}

fn advice(owner: Owner, ours: bool, is_old: bool) -> &'static str {
    match (owner, ours) {
        (Owner::DjangoApp, true) if is_old => {
            "these are the tables of an older django-djaffar; upgrade it (`pip install --upgrade \
             django-djaffar`) and run `python manage.py migrate djaffar`"
        }
        (Owner::DjangoApp, true) => "run `python manage.py migrate djaffar`",
        (_, true) if is_old => {
            "another program made it; rename it, then run `djaffar migrate --database URL`"
        }
        (Owner::Nobody | Owner::Djaffar, _) | (Owner::Django, true) => {
            "run `djaffar migrate --database URL`"
        }
        (Owner::Django | Owner::DjangoApp, false) => {
            "run `python manage.py migrate` (with django.contrib.sessions and the app of \
             AUTH_USER_MODEL in INSTALLED_APPS), and set the user table as AUTH_USER_MODEL has it"
        }
    }
}

/// The migrations that are to be applied, each with its version: the first is version 1.
pub(super) fn outstanding<'a>(
    migrations: &'a [&'a str],
    have: u32,
) -> Result<impl Iterator<Item = (u32, &'a str)>, super::Error> {
    let known = migrations.len();
    if have as usize > known {
        return Err(super::Error::Schema(format!(
            "the tables are of version {have}, and this djaffar knows {known}: upgrade djaffar"
        )));
    }
    Ok((1_u32..).zip(migrations.iter().copied()).skip(have as usize))
}

/// A type of a column that is about to be put into SQL, if it is just that.
pub(super) fn key_type(declared: Option<String>, users: &Users) -> Result<String, super::Error> {
    let is_plain = |text: &String| {
        text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, ' ' | '(' | ')'))
    };
    declared.filter(is_plain).ok_or_else(|| {
        super::Error::Schema(format!(
            "there is no table {} with a key {}: run `python manage.py migrate` first, and set \
             the user table as AUTH_USER_MODEL has it",
            users.table, users.id
        ))
    })
}

/// What a table of users without the columns that were named gets.
pub(super) fn no_users(users: &Users) -> super::Error {
    super::Error::Schema(format!(
        "there is no table {} with a column {}: set the user table as AUTH_USER_MODEL of the \
         site has it, and run `python manage.py migrate`",
        users.table, users.id
    ))
}

/// A superuser that cannot be: of another table than Django's own, or without a proper name.
pub(super) fn check_superuser(users: &Users, name: &str) -> Result<(), super::Error> {
    if users.table != "auth_user" {
        return Err(super::Error::Schema(format!(
            "the users are in {}, a table of the site's own: run `python manage.py \
             createsuperuser`",
            users.table
        )));
    }
    if name.trim().is_empty() || name.chars().count() > 150 {
        return Err(super::Error::Rejected("a user's name has 1 to 150 characters".into()));
    }
    Ok(())
}

/// What the second user of a name gets.
pub(super) fn name_is_taken(name: &str) -> super::Error {
    super::Error::Rejected(format!(
        "there is a user {name} already: choose another name, or change the password with \
         `python manage.py changepassword`"
    ))
}
