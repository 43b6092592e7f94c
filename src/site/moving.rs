//! The two databases of `djaffar move`, as their addresses name them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    config::{Config, without_password},
    failure::Failure,
    moving::{self, Parties, Side},
    spool::{Claim, Frozen},
    store::{self, Database, WithClickHouse},
};

use super::settings;

/// What was said about one of the two.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its address.
    pub url: String,
    /// Its password, where the address has none.
    pub password: Option<String>,
}

impl Place {
    fn is_clickhouse(&self) -> bool {
        kind(&self.url) == "clickhouse"
    }

    fn sql(&self, config: &Config) -> Result<Box<dyn Database>, Failure> {
        let settings = settings(config, self.password.clone().map(store::Password))?;
        store::open(&self.url, settings).map_err(|text| {
            Failure::Config(self.told(&format!("{text}; or clickhouse://user@host:8123/database")))
        })
    }

    fn told(&self, text: &str) -> String {
        format!("{}: {text}", without_password(&self.url))
    }
}

/// Both, and the folder for batches under way, which is claimed as long as the claim lives.
///
/// # Errors
/// An address that is none; a folder that another process has.
pub fn parties(
    config: &Config,
    [from, to]: [&Place; 2],
    folder: &Path,
) -> Result<(Parties, Option<Claim>), Failure> {
    let (id, back) = (id_of(&from.url, &to.url), id_of(&to.url, &from.url));
    if id == back {
        return Err(Failure::Config(moving::SAME.into()));
    }
    let folder = folder.join(id.simple().to_string());
    // What is beside a ClickHouse: the other one, or the site's database.
    let site = match (from.is_clickhouse(), to.is_clickhouse()) {
        (true, true) => {
            let password = config.database_password()?;
            Place { url: config.database.clone(), password }
        }
        (true, false) => to.clone(),
        (false, _) => from.clone(),
    };
    let claim = to.is_clickhouse().then(|| Claim::take(&folder)).transpose()?;
    let side = |place: &Place| -> Result<Side, Failure> {
        let database = match place.is_clickhouse() {
            true => clickhouse(place, site.sql(config)?, &folder)?,
            false => place.sql(config)?,
        };
        let name = without_password(&place.url);
        Ok(Side { name, database, is_clickhouse: place.is_clickhouse() })
    };
    let folder = claim.as_ref().map(|claim| claim.name);
    Ok((Parties { from: side(from)?, to: side(to)?, id, back, folder }, claim))
}

fn clickhouse(
    place: &Place,
    site: Box<dyn Database>,
    folder: &Path,
) -> Result<Box<dyn Database>, Failure> {
    let folder = folder.to_owned();
    let freezer = Arc::new(move || Box::new(Freezer(Frozen::new(&folder))) as Box<_>);
    let database = WithClickHouse::new(site, &place.url, place.password.as_deref(), freezer);
    Ok(Box::new(database.map_err(|text| Failure::Config(place.told(&text)))?))
}

/// Keeps the batch that is under way; nothing is parked: a move has time.
struct Freezer(Frozen);

impl store::Freezer for Freezer {
    fn load(&mut self) -> Result<Option<Vec<u8>>, store::Error> {
        self.0.load().map_err(|error| store::Error::Unavailable(error.to_string()))
    }

    fn freeze(&mut self, pieces: &[Bytes]) -> Result<(), store::Error> {
        self.0.keep(pieces).map_err(|error| store::Error::Unavailable(error.to_string()))
    }
}

/// What a move between these is remembered under.
fn id_of(from: &str, to: &str) -> Uuid {
    let mut hash = Sha256::new();
    for url in [from, to] {
        hash.update(identity(url).as_bytes());
        hash.update([0]);
    }
    let mut bytes = [0; 16];
    for (byte, found) in bytes.iter_mut().zip(hash.finalize()) {
        *byte = found;
    }
    // Of a version that MariaDB takes.
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// What kind of server an address names; encrypted or not is the same.
fn kind(url: &str) -> &'static str {
    match url.split_once("://").map_or("", |(scheme, _)| scheme) {
        "sqlite" => "sqlite",
        "clickhouse" | "clickhouses" => "clickhouse",
        scheme if scheme.starts_with("mysql") || scheme == "mariadb" => "mysql",
        _ => "postgres",
    }
}

/// Which database it is, whoever asks and however.
fn identity(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if kind(url) == "sqlite" {
        let path = PathBuf::from(rest.strip_prefix('/').unwrap_or(rest));
        let path = std::path::absolute(&path).unwrap_or(path);
        // The file need not be there yet.
        let folder = path.parent().and_then(|parent| parent.canonicalize().ok());
        let name = path.file_name().unwrap_or_default();
        let whole = folder.map_or_else(|| path.clone(), |folder| folder.join(name));
        return format!("sqlite:{}", whole.display());
    }
    let kind = kind(url);
    let rest = rest.split('?').next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let (hosts, name) = place.split_once('/').unwrap_or((place, ""));
    let port = match kind {
        "postgres" => ":5432",
        "mysql" => ":3306",
        _ => "",
    };
    let hosts = hosts.to_ascii_lowercase();
    let hosts = hosts.strip_suffix(port).unwrap_or(&hosts);
    format!("{kind}:{hosts}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_database_however_it_is_written() {
        for (one, other, same) in [
            ("postgres://u:p@h/d?sslmode=require", "postgresql://x@h/d", true),
            ("postgres://u@h/d", "postgres://u@h/e", false),
            ("postgres://u@h/d", "mysql://u@h/d", false),
            ("mysql://u@h/d", "mariadb://h/d", true),
            ("sqlite:///a.sqlite3", "sqlite:///./a.sqlite3", true),
            ("sqlite:///a.sqlite3", "sqlite:///b.sqlite3", false),
            ("postgres://h/d", "postgres://x@H:5432/d", true),
            ("postgres://h/d", "postgres://h:5433/d", false),
            ("postgres://h/d", "postgres://h/D", false),
            ("mysql://h:3306/d", "mysql://h/d", true),
            ("clickhouse://u@a:1+b:1/d?cluster=c", "clickhouse://v:p@a:1+b:1/d", true),
            ("clickhouses://a:1/d", "clickhouse://a:1/d?secure=1", true),
            ("clickhouses://a:1/d", "postgres://a:1/d", false),
        ] {
            assert_eq!(identity(one) == identity(other), same, "{one} {other}");
        }
        for (url, is_clickhouse) in [
            ("clickhouse://h/d", true),
            ("clickhouses://h/d", true),
            ("mysql://h/d", false),
            ("sqlite:///clickhouse", false),
        ] {
            let place = Place { url: url.into(), password: None };
            assert_eq!(place.is_clickhouse(), is_clickhouse, "{url}");
        }
        let id = id_of("sqlite:///a", "sqlite:///b");
        assert_ne!(id, id_of("sqlite:///b", "sqlite:///a"));
        assert_eq!(id.get_version_num(), 4);
    }
}
