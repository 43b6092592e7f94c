//! Django's SECRET_KEY: where it comes from, and keys that must not be used.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rand::RngExt;

use super::{Config, Error, Token, shown::without_password};

/// The shortest key that is taken, in bytes.
const SHORTEST: usize = 32;
/// The characters and the length that Django's `get_random_secret_key` uses
/// (`django/core/management/utils.py`).
const CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*(-_=+)";
const LENGTH: usize = 50;

/// SECRET_KEY and SECRET_KEY_FALLBACKS. No `Debug`: they are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// What is signed with.
    pub key: String,
    /// What is believed besides.
    pub fallbacks: Vec<String>,
    /// What stands in `jwt_key_file`.
    jwt: Option<String>,
}

/// The variables that have secrets: they are no options, so that no flag shows them to other users
/// of the machine.
pub const VARIABLES: [&str; 5] = [
    "DJAFFAR_SECRET_KEY",
    "DJAFFAR_DATABASE_PASSWORD",
    "DJAFFAR_ACTIVITY_PASSWORD",
    "DJAFFAR_FROM_PASSWORD",
    "DJAFFAR_TO_PASSWORD",
];

impl Secrets {
    /// What JWTs are verified with: SECRET_KEY, where no file is named.
    pub fn jwt_key(&self) -> &str {
        self.jwt.as_deref().unwrap_or(&self.key)
    }
}

impl Config {
    /// Reads the keys. `make`: make one where there is none (when no Django has one).
    pub fn secrets(&self, make: bool) -> Result<Secrets, Error> {
        #[expect(clippy::disallowed_methods, reason = "configuration is read here")]
        let said = std::env::var("DJAFFAR_SECRET_KEY").ok().filter(|key| !key.is_empty());
        let key = match said {
            Some(key) => accept(key, "DJAFFAR_SECRET_KEY")?,
            None => from_file(&self.secret_key_file, make)?,
        };
        let fallbacks = self.secret_key_fallback_file.iter().map(|file| fallbacks_of(file));
        let fallbacks = fallbacks.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Secrets { key, fallbacks, jwt: self.jwt_key()? })
    }

    /// The database's address, to be shown: without its password.
    pub fn shown_database(&self) -> String {
        without_password(&self.database)
    }

    /// The password for the database's server, where its address has none.
    pub fn database_password(&self) -> Result<Option<String>, Error> {
        password("DJAFFAR_DATABASE_PASSWORD", Some(&self.database_password_file))
    }

    /// What stands in `jwt_key_file`, where JWTs count and a file is named.
    pub fn jwt_key(&self) -> Result<Option<String>, Error> {
        let file = &self.jwt_key_file;
        if file.as_os_str().is_empty() || !self.token.contains(&Token::Jwt) {
            return Ok(None);
        }
        if self.jwt_algorithm.starts_with("HS") {
            return from_file(file, false).map(Some);
        }
        let text = fs::read_to_string(file).map_err(|error| Error::File(file.clone(), error));
        text.map(Some)
    }
}

impl Config {
    /// The password of `activity_database`, where it does not stand in the address.
    pub fn activity_password(&self) -> Result<Option<String>, Error> {
        password("DJAFFAR_ACTIVITY_PASSWORD", Some(&self.activity_password_file))
    }
}

/// A password that a variable of the environment or else a file has.
///
/// # Errors
/// A file that cannot be read.
pub fn password(variable: &str, file: Option<&Path>) -> Result<Option<String>, Error> {
    #[expect(clippy::disallowed_methods, reason = "configuration is read here")]
    let said = std::env::var(variable).ok().filter(|text| !text.is_empty());
    let named = file.filter(|file| said.is_none() && !file.as_os_str().is_empty());
    let Some(file) = named else { return Ok(said) };
    let text = fs::read_to_string(file).map_err(|error| Error::File(file.to_owned(), error))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The password of `createsuperuser` without a terminal, where Django's reads it.
pub fn superuser_password() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "configuration is read here")]
    std::env::var("DJANGO_SUPERUSER_PASSWORD").ok()
}

/// One key a line.
fn fallbacks_of(file: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(file).map_err(|error| Error::File(file.to_owned(), error))?;
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| accept_old(line.to_owned(), &file.display().to_string())).collect()
}

fn from_file(file: &Path, make: bool) -> Result<String, Error> {
    match fs::read_to_string(file) {
        Ok(text) => {
            accept(text.trim_end_matches(['\r', '\n']).to_owned(), &file.display().to_string())
        }
        Err(error) if error.kind() == ErrorKind::NotFound && make => make_file(file),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Value(format!(
            "there is no {}: write the SECRET_KEY of the Django site into a file that only this \
             server may read (mode 0600), and name it with --secret-key-file; or set \
             DJAFFAR_SECRET_KEY",
            file.display()
        ))),
        Err(error) => Err(Error::File(file.to_owned(), error)),
    }
}

/// What `startproject` puts before the key that it makes: whoever has the site's code has it.
const OF_STARTPROJECT: &str = "django-insecure-";

/// Refuses keys that anybody could know.
fn accept(key: String, source: &str) -> Result<String, Error> {
    if key.to_ascii_lowercase().starts_with(OF_STARTPROJECT) {
        return Err(weak(source, "stands in the site's code, where startproject has put it"));
    }
    accept_old(key, source)
}

/// The same of a key that is given up, for which that of `startproject` is good enough.
fn accept_old(key: String, source: &str) -> Result<String, Error> {
    let known = ["changeme", "change-me", "change_me", "secret", "your-secret"];
    let lower = key.to_ascii_lowercase();
    let rest = lower.strip_prefix(OF_STARTPROJECT).unwrap_or(&lower);
    if rest.len() < SHORTEST {
        return Err(weak(source, &format!("has fewer than {SHORTEST} bytes")));
    }
    if known.iter().any(|start| rest.starts_with(start)) {
        return Err(weak(source, "is a placeholder"));
    }
    if rest.bytes().collect::<std::collections::HashSet<_>>().len() < 5 {
        return Err(weak(source, "has fewer than five different characters"));
    }
    Ok(key)
}

fn weak(source: &str, why: &str) -> Error {
    // So `manage.py djaffar` hands over what is in the settings.
    let source = if source.starts_with("/dev/fd/") { "the settings" } else { source };
    Error::Value(format!(
        "the secret key of {source} {why}: whoever knows it is any user of the site. Make a new \
         one, for Django and for this server: python -c \"from django.core.management.utils \
         import get_random_secret_key as k; print(k())\"; with the old one in \
         SECRET_KEY_FALLBACKS nobody is logged out"
    ))
}

fn make_file(file: &Path) -> Result<String, Error> {
    let mut random = rand::rng();
    let key: String = (0..LENGTH)
        .filter_map(|_| CHARACTERS.get(random.random_range(0..CHARACTERS.len())))
        .map(|byte| char::from(*byte))
        .collect();
    let is_ours = write_whole(file, &key).map_err(|error| {
        Error::Value(format!(
            "cannot make {}: {error}: start where files may be made, or name another place with \
             --secret-key-file, --database and --spool",
            file.display()
        ))
    })?;
    if is_ours { Ok(key) } else { from_file(file, false) }
}

/// Under its name only once it is whole and on disk: a start that is killed leaves no half of a
/// key, which the next one would refuse. False: another start has made one meanwhile.
fn write_whole(file: &Path, key: &str) -> std::io::Result<bool> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::File::open(folder.unwrap_or(Path::new(".")))?;
    // Of starts at once one makes the key. A network's disk may have no locks: no reason not to start.
    drop(folder.lock());
    if file.exists() {
        return Ok(false);
    }
    let mut draft = file.as_os_str().to_owned();
    draft.push(".tmp");
    // Of such a start. What else may be there is not written over.
    drop(fs::remove_file(&draft));
    let mut handle =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(handle, "{key}")?;
    handle.sync_all()?;
    fs::rename(&draft, file)?;
    folder.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OF_A_NEW_SITE: &str = "django-insecure-k7#v!mq2z8x_w4n9c3b6t1y5r0p-e8u7i6o5";

    #[test]
    fn a_key_is_made_once_and_only_for_us_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let error = from_file(&file, false).unwrap_err().to_string();
        assert!(error.contains("--secret-key-file"), "{error}");
        let key = from_file(&file, true).unwrap();
        assert_eq!(key.len(), LENGTH);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(from_file(&file, true).unwrap(), key);
        let error = from_file(&dir.path().join("none/key"), true).unwrap_err().to_string();
        assert!(error.contains("cannot make") && error.contains("--secret-key-file"), "{error}");
    }

    #[test]
    fn a_start_that_was_killed_leaves_no_half_of_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let (file, draft) = (dir.path().join("key"), dir.path().join("key.tmp"));
        fs::write(&draft, "abc").unwrap();
        let key = from_file(&file, true).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{key}\n"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!draft.exists());
        // What lies there is not written into: it may be another name of something else.
        let kept = dir.path().join("kept");
        fs::hard_link(&file, &kept).unwrap();
        fs::rename(&file, &draft).unwrap();
        assert_ne!(from_file(&file, true).unwrap(), key);
        assert_eq!(fs::read_to_string(&kept).unwrap(), format!("{key}\n"));
    }

    #[test]
    fn of_starts_at_once_one_makes_the_key() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("key");
            let keys: Vec<String> = std::thread::scope(|scope| {
                let start = || from_file(&file, true);
                let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                starts.into_iter().map(|start| start.join().unwrap().unwrap()).collect()
            });
            let kept = from_file(&file, false).unwrap();
            assert!(keys.iter().all(|key| *key == kept), "{keys:?}");
        }
    }

    #[test]
    fn fallbacks_stand_one_a_line_and_there_may_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old-keys");
        assert!(fallbacks_of(&file).unwrap_err().to_string().contains("old-keys"));
        let [one, two] =
            ["k7#v!mq2z8x_w4n9c3b6t1y5r0p-e8u7i6o5", "another-0123456789-abcdefghijklm"];
        for (text, expected) in [
            ("", vec![]),
            ("\n\n", vec![]),
            (one, vec![one]),
            (&format!("{one}\r\n\n{two}\n"), vec![one, two]),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(fallbacks_of(&file).unwrap(), expected);
        }
        for bad in ["short", "django-insecure-short", "changeme-changeme-changeme-changeme"] {
            fs::write(&file, bad).unwrap();
            assert!(fallbacks_of(&file).is_err(), "{bad}");
        }
        // Who follows the advice has it there.
        fs::write(&file, OF_A_NEW_SITE).unwrap();
        assert_eq!(fallbacks_of(&file).unwrap(), [OF_A_NEW_SITE]);
    }

    #[test]
    fn keys_that_anybody_could_know_are_refused() {
        let good = "k7#v!mq2z8x_w4n9c3b6t1y5r0p-e8u7i6o5a4s3d2f1";
        assert!(accept(good.to_owned(), "here").is_ok());
        for bad in [
            "",
            "short",
            OF_A_NEW_SITE,
            &OF_A_NEW_SITE.to_uppercase(),
            "changeme-changeme-changeme-changeme",
            "Secret-key-0123456789-0123456789-0123456789",
            "abababababababababababababababababababab",
        ] {
            assert!(accept(bad.to_owned(), "here").is_err(), "{bad}");
        }
    }
}
