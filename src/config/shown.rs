//! What is shown of options and of a file of options: never a password.

use toml::Value;

use super::OPTIONS;

/// A value as `djaffar config print` shows it: without a password in a URL, whatever option that is.
pub(super) fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(text) if text.contains("://") => Value::from(without_password(text)).to_string(),
        _ => value.to_string(),
    }
}

/// An address without its password, also one that is written wrongly (with a `/`, `?` or `@` in the
/// password): rather too much is hidden than too little.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    if scheme == "sqlite" {
        return url.to_owned();
    }
    // The last @ of all, wherever it stands: what is before it may be part of a password.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => (format!("{user}:{HIDDEN}@"), place),
            None => (format!("{login}@"), place),
        },
        None => (String::new(), rest),
    };
    let (place, query) = place.split_at(place.find('?').unwrap_or(place.len()));
    let pairs = query.split_inclusive(['?', '&']).map(|pair| match pair.split_once('=') {
        Some((name, value)) if name.contains("pass") => {
            let next = if value.ends_with('&') { "&" } else { "" };
            format!("{name}={HIDDEN}{next}")
        }
        _ => pair.to_owned(),
    });
    format!("{scheme}://{login}{place}{}", pairs.collect::<String>())
}

/// What stands where a password was.
const HIDDEN: &str = "***";

/// The line, its option and what is wrong with it; not the value, which may hold a password.
pub(super) fn where_and_why(text: &str, error: &toml::de::Error) -> String {
    let (number, name) = place(text, error);
    let name = name.map(|name| format!(", {name}")).unwrap_or_default();
    format!("line {}{name}: {}", number + 1, error.message())
}

/// The option and what is wrong with it, for who has written no file.
pub(super) fn what_and_why(text: &str, error: &toml::de::Error) -> String {
    let (_, name) = place(text, error);
    let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
    format!("{name}{}", error.message())
}

/// The number of the line, and the option that it is about.
fn place<'a>(text: &'a str, error: &toml::de::Error) -> (usize, Option<&'a str>) {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default();
    let name = line.split_once('=').map(|(name, _)| name.trim());
    (number, name.filter(|name| OPTIONS.iter().any(|(option, ..)| option == name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Error, Options};

    fn load(toml: &str) -> Result<Config, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("djaffar.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(Some(&file), Options::default())
    }

    #[test]
    fn a_password_is_not_shown() {
        for (url, expected) in [
            ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
            ("redis://u:secret@h/1", "redis://u:***@h/1"),
            ("redis://:se:cr@et@h/1", "redis://:***@h/1"),
            ("redis+unix:///r.sock?db=1&pass=secret", "redis+unix:///r.sock?db=1&pass=***"),
            ("unix://u:secret@/r.sock?pass=secret&db=1", "unix://u:***@/r.sock?pass=***&db=1"),
            ("", ""),
            ("sqlite:///db.sqlite3", "sqlite:///db.sqlite3"),
            ("sqlite:////srv/a:b@c.sqlite3", "sqlite:////srv/a:b@c.sqlite3"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            (
                "postgres://u:geheim@h:5432/d?sslmode=require",
                "postgres://u:***@h:5432/d?sslmode=require",
            ),
            ("postgres://u:ge/heim@h/d", "postgres://u:***@h/d"),
            ("postgres://u:ge?he@im@h/d", "postgres://u:***@h/d"),
            ("postgres://u:geheim@h/d?options=a@b", "postgres://u:***@b"),
            ("postgres://u:ge?heim@h/d", "postgres://u:***@h/d"),
            (
                "clickhouse://u:geheim@a1:8123+a2:8123~b1:8123/d?cluster=main",
                "clickhouse://u:***@a1:8123+a2:8123~b1:8123/d?cluster=main",
            ),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }

    #[test]
    fn a_password_in_the_file_is_never_shown() {
        for (toml, expected) in [
            ("threads = 1\ndatabase = 'postgres://u:geheim@h/d", "line 2, database: "),
            ("threads = 'x' # geheim", "line 1, threads: invalid type"),
            ("\n\ndatabase = ['postgres://u:geheim@h/d']", "line 3, database: invalid type"),
            ("nonsense = 1 # geheim", "line 1: unknown field"),
        ] {
            let error = load(toml).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
        }
        let url = |scheme: &str| Some(format!("{scheme}://u:geheim@h/1"));
        let said = Options {
            database: url("postgres"),
            activity_database: url("clickhouse"),
            session_cache: url("redis"),
            ..Options::default()
        };
        let printed = said.fill().to_toml();
        assert_eq!(printed.matches("://u:***@h/1").count(), 3, "{printed}");
        assert!(!printed.contains("geheim"), "{printed}");
    }
}
