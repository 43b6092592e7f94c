//! The address of a database, as dj-database-url (and libpq) write it. Connects to nothing.
//!
//! Whatever is said about an address, its password is not.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::Password;

/// Where a database server is, and who asks.
#[derive(Clone)]
pub(super) struct Address {
    /// The kind, as it is shown.
    pub(super) scheme: &'static str,
    /// `None`: on this machine, where its socket is by default.
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: String,
    /// What stands behind the question mark.
    pub(super) options: BTreeMap<String, String>,
}

impl Address {
    /// Reads an address whose options are among these.
    pub(super) fn parse(
        scheme: &'static str,
        url: &str,
        password: Option<&Password>,
        known: &[&str],
    ) -> Result<Self, String> {
        let shape = || {
            format!(
                "the address must be {scheme}://USER:PASSWORD@HOST:PORT/DATABASE, with what is \
                 special in a URL percent-encoded (a socket: {scheme}://USER@%2Frun%2F…/DATABASE)"
            )
        };
        // Never repeat the URL: it may hold a password.
        let url = Url::parse(url).map_err(|_| shape())?;
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| shape())
        };
        let given = |text: &str| match text {
            "" => Ok(None),
            text => decoded(text).map(Some),
        };
        let database = decoded(url.path().trim_start_matches('/'))?;
        if database.is_empty() {
            return Err(format!("the address names no database: {}", shape()));
        }
        let options: BTreeMap<String, String> = url
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if let Some(name) = options.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!(
                "the address has an option {name:?}, and only these are known: {}",
                known.join(", ")
            ));
        }
        let host = given(url.host_str().unwrap_or_default())?
            // An IPv6 address stands in brackets in a URL only.
            .map(|host| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        Ok(Self {
            scheme,
            host,
            port: url.port(),
            user: given(url.username())?,
            password: match url.password() {
                Some(password) => Some(decoded(password)?),
                None => password.map(|Password(text)| text.clone()),
            },
            database,
            options,
        })
    }

    /// The value of an option.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, database, .. } = self;
        write!(f, "{scheme}://{}", host.as_deref().unwrap_or_default())?;
        if let Some(port) = port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{database}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse("postgres", url, Some(&Password("other".into())), &["sslmode"])
    }

    #[test]
    fn what_dj_database_url_writes() {
        type Parts<'a> = (Option<&'a str>, Option<u16>, Option<&'a str>, Option<&'a str>, &'a str);
        let table: &[(&str, Parts<'_>)] = &[
            (
                "postgres://u:p@db.example:5433/site",
                (Some("db.example"), Some(5433), Some("u"), Some("p"), "site"),
            ),
            (
                "postgresql://u%40x:p%23%2F%3A@h/si%20te?sslmode=require",
                (Some("h"), None, Some("u@x"), Some("p#/:"), "si te"),
            ),
            (
                "pgsql://u@%2Fvar%2Frun%2Fpostgresql/site",
                (Some("/var/run/postgresql"), None, Some("u"), Some("other"), "site"),
            ),
            ("postgres:///site", (None, None, None, Some("other"), "site")),
            ("postgres://u:p@[::1]:5432/x", (Some("::1"), Some(5432), Some("u"), Some("p"), "x")),
        ];
        for (url, expected) in table {
            let found = parse(url).unwrap();
            let Address { host, port, user, password, database, .. } = &found;
            let found_parts =
                (host.as_deref(), *port, user.as_deref(), password.as_deref(), database.as_str());
            assert_eq!(&found_parts, expected, "{url}");
        }
        assert_eq!(parse("postgres://h/d?sslmode=x").unwrap().option("sslmode"), Some("x"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let found = parse("postgres://u:geheim@h:1/d").unwrap();
        assert_eq!(format!("{found} {found:?}"), "postgres://h:1/d postgres://h:1/d");
        for url in [
            "postgres://u:geheim@h:x/d",
            "postgres://u:geheim@h/",
            "postgres://u:geheim@h/d?geheim=1",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!error.contains("geheim") || url.contains('?'), "{error}");
        }
        assert!(parse("postgres://h/d?nonsense=1").unwrap_err().contains("nonsense"));
    }
}
