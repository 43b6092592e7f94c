//! Where a ClickHouse is: its shards, their replicas, user and database, as a URL says, and whom it
//! must prove to be. Connects to nothing.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::ClientConfig;

use super::super::tls;

/// What the syntax is, for errors.
pub(super) const SYNTAX: &str = "a ClickHouse is clickhouse://user:password@host:8123/database; a \
    cluster is clickhouse://user@a1:8123+a2:8123~b1:8123+b2:8123/database?cluster=NAME: replicas \
    are joined by +, shards by ~; clickhouses:// or ?secure=1 encrypts, ca_certs=FILE names its roots";

/// The port of ClickHouse's HTTP interface.
const PORT: u16 = 8123;
/// The same with TLS.
const SECURE_PORT: u16 = 8443;

/// A ClickHouse, or a cluster of them.
#[derive(Clone)]
pub(super) struct Address {
    /// The replicas of each shard, as `host:port`.
    pub(super) shards: Vec<Vec<String>>,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
    /// The name of the cluster in the servers' configuration; none: there is one server.
    pub(super) cluster: Option<String>,
    /// How to encrypt; none: not at all.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// What stands behind the question mark.
#[derive(Default)]
struct Options {
    cluster: Option<String>,
    secure: bool,
    ca_certs: Option<String>,
}

impl Options {
    fn parse(query: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("cluster", value) if is_name(value) => options.cluster = Some(value.to_owned()),
                ("secure", "" | "1" | "true" | "True" | "yes") => options.secure = true,
                ("secure", "0" | "false" | "False" | "no") => options.secure = false,
                ("ca_certs", file) if !file.is_empty() => options.ca_certs = Some(file.to_owned()),
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(options)
    }
}

/// Never the password.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shards, user, database, cluster, .. } = self;
        write!(f, "Address({user}@{shards:?}/{database}, cluster {cluster:?})")
    }
}

impl Address {
    /// Reads a URL. `password`: instead of the one in it.
    pub(super) fn parse(url: &str, password: Option<&str>) -> Result<Address, String> {
        let (scheme, rest) = url.split_once("://").ok_or(SYNTAX)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Options { cluster, secure, ca_certs } = Options::parse(query)?;
        let secure = match scheme {
            "clickhouse" => secure,
            "clickhouses" => true,
            _ => return Err(SYNTAX.into()),
        };
        let (login, place) = rest.rsplit_once('@').unwrap_or(("default", rest));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, inside) = login.split_once(':').unwrap_or((login, ""));
        let port = if secure { SECURE_PORT } else { PORT };
        let replicas = |shard: &str| shard.split('+').map(|text| host(text, port)).collect();
        let shards: Option<Vec<Vec<String>>> = hosts.split('~').map(replicas).collect();
        let database = if database.is_empty() { "default" } else { database };
        let tls = match (secure, ca_certs) {
            (true, file) => Some(tls::verifying(tls::roots(file.as_deref(), "ca_certs")?)?),
            (false, None) => None,
            (false, Some(_)) => return Err(format!("ca_certs needs clickhouses://; {SYNTAX}")),
        };
        let address = Address {
            shards: shards.ok_or(SYNTAX)?,
            user: decode(user)?,
            password: password.map_or_else(|| decode(inside), |it| Ok(it.to_owned()))?,
            database: database.to_owned(),
            cluster,
            tls: tls.map(Arc::new),
        };
        if !is_name(&address.database) {
            return Err(format!(
                "the name of the database must be letters, digits and underscores; {SYNTAX}"
            ));
        }
        if address.cluster.is_none() && address.hosts().count() > 1 {
            return Err(format!(
                "several hosts need ?cluster=NAME, the name of the cluster in the servers' \
                 remote_servers; {SYNTAX}"
            ));
        }
        Ok(address)
    }

    /// Every server.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().flatten().map(String::as_str)
    }

    /// Whether shards have several replicas.
    pub(super) fn is_replicated(&self) -> bool {
        self.shards.iter().any(|replicas| replicas.len() > 1)
    }

    /// The table that holds a server's own rows.
    pub(super) fn local(&self, table: &str) -> String {
        if self.cluster.is_some() { format!("{table}_local") } else { table.to_owned() }
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "user and password must be UTF-8".to_owned())
}

/// `host:port`; `None` where it is neither.
fn host(text: &str, usual: u16) -> Option<String> {
    let (name, port) = match text.rsplit_once(':') {
        // The last colon of an IPv6 address is within the brackets.
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
        _ => (text, usual),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"._-[]:".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_host)).then(|| format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server() {
        let address = Address::parse("clickhouse://me:s%2Fe%40c@ch.example/activity", None);
        let address = address.unwrap();
        assert_eq!(address.shards, [["ch.example:8123"]]);
        assert_eq!((&*address.user, &*address.password), ("me", "s/e@c"));
        assert_eq!(address.local("t"), "t");
        let address = Address::parse("clickhouse://[::1]:81", Some("x")).unwrap();
        assert_eq!(address.shards, [["[::1]:81"]]);
        assert_eq!((&*address.user, &*address.password), ("default", "x"));
        assert_eq!(address.database, "default");
        assert!(!format!("{address:?}").contains('x'));
    }

    #[test]
    fn a_cluster() {
        let address = Address::parse("clickhouse://u@a1+a2:9~b1/db?cluster=main", None).unwrap();
        assert_eq!(address.shards, [vec!["a1:8123", "a2:9"], vec!["b1:8123"]]);
        assert!(address.is_replicated());
        assert_eq!(address.local("t"), "t_local");
    }

    #[test]
    fn encrypted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let certificate = include_bytes!("../../../tests/fixtures/tls/root.pem");
        std::fs::write(&file, certificate).unwrap();
        let roots = format!("ca_certs={}", file.path().display());
        for (url, host) in [
            (format!("clickhouses://h/db?{roots}"), "h:8443"),
            (format!("clickhouse://h/db?secure=1&{roots}"), "h:8443"),
            (format!("clickhouse://h:9443/db?{roots}&secure"), "h:9443"),
            (format!("clickhouses://h~i/db?cluster=main&{roots}"), "h:8443"),
        ] {
            let address = Address::parse(&url, None).unwrap();
            assert!(address.tls.is_some() && address.shards[0] == [host], "{url}");
        }
        assert!(Address::parse("clickhouse://h/db?secure=0", None).unwrap().tls.is_none());
        let refused = |url: &str| Address::parse(url, None).unwrap_err();
        assert!(refused(&format!("clickhouse://h/db?{roots}")).contains("clickhouses://"));
        assert!(refused("clickhouses://h/db?ca_certs=/nowhere.pem").contains("/nowhere.pem"));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(refused(&format!("clickhouses://h/db?{roots}")).contains("ca_certs"));
    }

    #[test]
    fn what_is_none() {
        for url in [
            "clickhouse://",
            "clickhouse:///db",
            "clickhouse://a:port/db",
            "clickhouse://a+b/db",
            "clickhouse://a/d-b",
            "clickhouse://a/d'b",
            "clickhouse://a/db?tls=1",
            "clickhouse://a/db?cluster=",
            "clickhouse://a/db?secure=perhaps",
            "clickhouse://a'/db",
            "http://a/db",
        ] {
            assert!(Address::parse(url, None).is_err(), "{url}");
        }
    }
}
