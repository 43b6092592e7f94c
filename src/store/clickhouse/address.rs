//! Where a ClickHouse is: its shards, their replicas, user and database, as a URL says.
//! Connects to nothing.

use percent_encoding::percent_decode_str;

/// What the syntax is, for errors.
pub(super) const SYNTAX: &str = "a ClickHouse is clickhouse://user:password@host:8123/database; a \
    cluster is clickhouse://user@a1:8123+a2:8123~b1:8123+b2:8123/database?cluster=NAME: replicas \
    are joined by +, shards by ~";

/// The port of ClickHouse's HTTP interface.
const PORT: u16 = 8123;

/// A ClickHouse, or a cluster of them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The replicas of each shard, as `host:port`.
    pub(super) shards: Vec<Vec<String>>,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
    /// The name of the cluster in the servers' configuration; none: there is one server.
    pub(super) cluster: Option<String>,
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
        let rest = url.strip_prefix("clickhouse://").ok_or(SYNTAX)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, place) = rest.rsplit_once('@').unwrap_or(("default", rest));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, inside) = login.split_once(':').unwrap_or((login, ""));
        let shards: Option<Vec<Vec<String>>> =
            hosts.split('~').map(|shard| shard.split('+').map(host).collect()).collect();
        let database = if database.is_empty() { "default" } else { database };
        let cluster = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("cluster", name)) if is_name(name) => Some(name.to_owned()),
            _ => return Err(SYNTAX.into()),
        };
        let address = Address {
            shards: shards.ok_or(SYNTAX)?,
            user: decode(user)?,
            password: password.map_or_else(|| decode(inside), |it| Ok(it.to_owned()))?,
            database: database.to_owned(),
            cluster,
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
fn host(text: &str) -> Option<String> {
    let (name, port) = match text.rsplit_once(':') {
        // The last colon of an IPv6 address is within the brackets.
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
        _ => (text, PORT),
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
            "clickhouse://a'/db",
            "http://a/db",
        ] {
            assert!(Address::parse(url, None).is_err(), "{url}");
        }
    }
}
