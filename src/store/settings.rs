//! How a site keeps things in its database, as its settings say. Knows no database.

use jiff::tz::TimeZone;

/// How Django keeps things in this database, as its settings say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `USE_TZ`: dates are kept in UTC; otherwise in `time_zone`.
    pub use_tz: bool,
    /// `TIME_ZONE`.
    pub time_zone: TimeZone,
    /// Where `AUTH_USER_MODEL` keeps its users.
    pub users: Users,
    /// Where tokens are.
    pub tokens: TokenTables,
    /// The password for the database's server, where the address has none.
    pub password: Option<Password>,
}

/// What is never shown.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            use_tz: true,
            time_zone: TimeZone::UTC,
            users: Users::default(),
            tokens: TokenTables::default(),
            password: None,
        }
    }
}

/// The table of `AUTH_USER_MODEL` and the columns that we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// The table.
    pub table: String,
    /// The column of the primary key.
    pub id: String,
    /// The column of the password's hash.
    pub password: String,
    /// The column that says whether the user may log in; a table without it has active users only.
    pub is_active: String,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            table: "auth_user".into(),
            id: "id".into(),
            password: "password".into(),
            is_active: "is_active".into(),
        }
    }
}

/// The tables of tokens; those of knox and of OAuth can be swapped for a site's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTables {
    /// Of django-rest-knox.
    pub knox: String,
    /// Of the access tokens of django-oauth-toolkit.
    pub oauth: String,
}

impl Default for TokenTables {
    fn default() -> Self {
        Self { knox: "knox_authtoken".into(), oauth: "oauth2_provider_accesstoken".into() }
    }
}
