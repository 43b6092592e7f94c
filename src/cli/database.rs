//! The commands that work on the database: `migrate`, `createsuperuser`, `dumpdata`.

use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::{Context, anyhow};

use crate::{
    config::{self, Config},
    dump::{self, Model},
    failure::Failure,
    http,
    site::open,
    store::Superuser,
};

/// `djaffar migrate`.
pub(super) fn migrate(config: &Config) -> Result<(), Failure> {
    let database = open(config)?;
    database.migrate()?;
    database.check()?;
    say(&format!("{}: the tables are up to date", config.shown_database()))
}

/// `djaffar createsuperuser`, with the questions and the checks of Django's.
pub(super) fn create_superuser(
    config: &Config,
    username: Option<String>,
    email: Option<String>,
) -> Result<(), Failure> {
    let database = open(config)?;
    database.check()?;
    let username = answer(username, "Username: ")?;
    if !is_username(&username) {
        let text = "the username must have 1 to 150 characters: letters, digits and @ . + - _";
        return Err(anyhow!(text).into());
    }
    let email = match email {
        Some(email) => email,
        None if io::stdin().is_terminal() => answer(None, "Email address: ")?,
        None => String::new(),
    };
    if !email.is_empty() && !is_email(&email) {
        return Err(anyhow!("{email:?} is no e-mail address: leave it blank, or correct it").into());
    }
    let password = password()?;
    let hash =
        djangohashers::make_password_with_algorithm(&password, djangohashers::Algorithm::PBKDF2);
    database.create_superuser(&Superuser {
        username: &username,
        email: &email,
        password: &hash,
        now: http::now(),
    })?;
    say("Superuser created successfully.")
}

/// `UnicodeUsernameValidator` and the length of the column.
fn is_username(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "@.+-_".contains(c);
    (1..=150).contains(&text.chars().count()) && text.chars().all(fits)
}

/// What Django's `EmailValidator` takes, and a little more: the mail server knows better.
fn is_email(text: &str) -> bool {
    let plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>".contains(c));
    let parts = text.rsplit_once('@');
    plain
        && text.chars().count() <= 254
        && parts.is_some_and(|(user, host)| !user.is_empty() && host.trim_matches('.').len() > 1)
}

fn answer(given: Option<String>, question: &str) -> Result<String, Failure> {
    if let Some(given) = given {
        return Ok(given);
    }
    if !io::stdin().is_terminal() {
        return Err(anyhow!("no terminal to ask on: give --username").into());
    }
    let mut line = String::new();
    print!("{question}");
    io::stdout().flush().context("terminal")?;
    io::stdin().read_line(&mut line).context("terminal")?;
    Ok(line.trim().to_owned())
}

/// Django's minimum (`MinimumLengthValidator`).
const SHORTEST_PASSWORD: usize = 8;

fn password() -> Result<String, Failure> {
    let password = match config::secret::superuser_password() {
        Some(password) => password,
        None if io::stdin().is_terminal() => {
            let first = rpassword::prompt_password("Password: ").context("terminal")?;
            let again = rpassword::prompt_password("Password (again): ").context("terminal")?;
            if first != again {
                return Err(anyhow!("the two passwords differ").into());
            }
            first
        }
        None => return Err(anyhow!("no terminal to ask on: set DJANGO_SUPERUSER_PASSWORD").into()),
    };
    if password.chars().count() < SHORTEST_PASSWORD {
        let text = format!("the password must have at least {SHORTEST_PASSWORD} characters");
        return Err(anyhow!(text).into());
    }
    Ok(password)
}

/// `djaffar dumpdata`.
pub(super) fn dump(config: &Config, model: Model, indent: Option<usize>) -> Result<(), Failure> {
    let database = open(config)?;
    database.check()?;
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut history = database.history();
    dump::dumpdata(model, history.as_mut(), database.moments(), indent, &mut out)
        .context("dumpdata")?;
    Ok(())
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{text}").context("terminal")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_that_django_takes() {
        for (name, good) in [
            ("ada", true),
            ("Zoë.1@b+c-d_e", true),
            (&"a".repeat(150), true),
            (&"a".repeat(151), false),
            ("", false),
            ("a b", false),
            ("<script>", false),
            ("a\0", false),
            ("a\n", false),
        ] {
            assert_eq!(is_username(name), good, "{name:?}");
        }
        for (address, good) in [
            ("ada@example.com", true),
            ("a.b+c@localhost", true),
            ("not an email", false),
            ("ada", false),
            ("@example.com", false),
            ("ada@", false),
            ("ada@.", false),
            ("Ada <ada@example.com>", false),
            ("a\r\nb@example.com", false),
        ] {
            assert_eq!(is_email(address), good, "{address:?}");
        }
    }
}
