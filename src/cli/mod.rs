//! The command line: what each command is called, takes and teaches; and exit codes.
//!
//! `--help` is the manual. The work is done elsewhere.

mod database;
mod drain;
mod moving;
mod progress;
mod tail;
mod variables;

use std::{ffi::OsString, iter, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::{
    config::{self, Config, Options},
    dump::Model,
    failure::Failure,
    serve,
};

/// Records what the users of a web site do, safely, in the site's own database.
#[derive(Debug, Parser)]
#[command(name = "djaffar", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Begin with: djaffar serve
  It answers on http://127.0.0.1:8000/ and keeps everything in the current folder.
Beside a Django site:
  djaffar migrate --database sqlite:////srv/site/db.sqlite3
  djaffar serve --database sqlite:////srv/site/db.sqlite3 --secret-key-file /srv/site/secret-key";

#[derive(Debug, Subcommand)]
enum Command {
    /// Take down activities: answer on a port, and move what comes in to the database.
    ///
    /// Without options it makes djaffar.sqlite3, djaffar-spool/ and djaffar.secret-key in the
    /// current folder. Stop it with Ctrl-C or SIGTERM: it finishes what it is answering. Nothing
    /// that it answered 204 is lost, however it ends.
    Serve {
        #[command(flatten)]
        from: File,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Store what a server that is gone has left in its spool, then end.
    ///
    /// Run it on any machine that has the folder (copy it, if need be: once) and reaches the
    /// database, with the same options as the server. A spool that a server still works on is
    /// locked, and left alone. What is stored already is not stored twice.
    Drain {
        #[command(flatten)]
        from: File,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Make or upgrade the tables. Where the Django app is installed, Django does that.
    ///
    /// Running it again is harmless. Beside a Django site it makes only the djaffar_ tables;
    /// alone also Django's auth_user and django_session, so that a Django can adopt the file.
    Migrate {
        #[command(flatten)]
        at: At,
    },
    /// Make a user who may see everything (auth_user of a database without a Django).
    ///
    /// Asks for what is not given. Without a terminal the password is read from
    /// DJANGO_SUPERUSER_PASSWORD.
    Createsuperuser {
        #[command(flatten)]
        at: At,
        /// The name to log in with.
        #[arg(long)]
        username: Option<String>,
        /// The e-mail address; may be blank.
        #[arg(long)]
        email: Option<String>,
    },
    /// Print all rows of a model as Django's fixture JSON, as `manage.py dumpdata` does.
    ///
    /// Reads page by page: the memory stays small however many rows there are.
    Dumpdata {
        /// djaffar.Activity or djaffar.SessionInfo.
        model: Model,
        #[command(flatten)]
        at: At,
        /// Spaces of indentation; without it everything is one line.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=16))]
        indent: Option<u8>,
    },
    /// Print activities as they are stored, one line each, until Ctrl-C.
    Tail {
        #[command(flatten)]
        at: At,
        /// So many of the last activities first.
        #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        lines: u32,
        /// One JSON object a line instead of text.
        #[arg(long)]
        json: bool,
        /// Print what is there and end.
        #[arg(long)]
        no_follow: bool,
    },
    /// Take the whole history to another database, while activities keep coming in.
    ///
    /// Without --finish it copies until it has caught up and ends: nothing changes for the site, and
    /// run again it takes what came in since. With --finish it then closes FROM (its servers go on
    /// answering, and keep what comes in in their spools), takes the last rows, compares both sides
    /// by day, hands the spools' positions over and opens TO. Restart the servers with the new
    /// address afterwards. Killed at any moment, it goes on where it was when it is run again.
    ///
    /// An address is that of an option: sqlite:///…, `postgres://…`, mysql://… (database), or
    /// clickhouse://… (activity_database, beside the other one). docs/moving.md has the whole story.
    #[command(after_help = moving::EXAMPLES)]
    Move {
        #[command(flatten)]
        how: moving::How,
    },
    /// Show the options that hold, or check them.
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print all options as djaffar.toml, with the values that hold.
    Print {
        #[command(flatten)]
        from: File,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Check options, secret key, database and spool, and say what to mend. Changes nothing.
    Check {
        #[command(flatten)]
        from: File,
        #[command(flatten)]
        options: Box<Options>,
    },
}

/// Which configuration file.
#[derive(Debug, clap::Args)]
struct File {
    /// The configuration file [default: djaffar.toml, when it is there].
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Which database, for commands that need no more.
#[derive(Debug, clap::Args)]
struct At {
    #[command(flatten)]
    file: File,
    /// The database: sqlite:///db.sqlite3, `postgres://user@host/name` or mysql://…
    #[arg(long, env = "DJAFFAR_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// A file with the password, where the address has none (or set DJAFFAR_DATABASE_PASSWORD).
    #[arg(long, env = "DJAFFAR_DATABASE_PASSWORD_FILE")]
    database_password_file: Option<PathBuf>,
    /// A ClickHouse that has the activities: clickhouse://user@host:8123/database.
    #[arg(long, env = "DJAFFAR_ACTIVITY_DATABASE", hide_env_values = true)]
    activity_database: Option<String>,
    /// A file with the password of that.
    #[arg(long, env = "DJAFFAR_ACTIVITY_PASSWORD_FILE")]
    activity_password_file: Option<PathBuf>,
    /// Django's TIME_ZONE.
    #[arg(long, env = "DJAFFAR_TIME_ZONE")]
    time_zone: Option<String>,
    /// Django's USE_TZ.
    #[arg(long, env = "DJAFFAR_USE_TZ")]
    use_tz: Option<bool>,
}

impl At {
    fn config(self) -> Result<Config, config::Error> {
        let At {
            file,
            database,
            database_password_file,
            activity_database,
            activity_password_file,
            time_zone,
            use_tz,
        } = self;
        let said = Options {
            database,
            database_password_file,
            activity_database,
            activity_password_file,
            time_zone,
            use_tz,
            ..Options::default()
        };
        Config::load(file.config.as_deref(), said)
    }
}

/// Runs the program: its arguments, without its name. Returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> u8 {
    use std::io::Write;
    let arguments = arguments.into_iter().map(Into::into);
    let command = match Cli::try_parse_from(iter::once("djaffar".into()).chain(arguments)) {
        Ok(cli) => cli.command,
        Err(error) => {
            drop(error.print());
            return u8::try_from(error.exit_code()).unwrap_or(1);
        }
    };
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for sentence in variables::unread(variables) {
        drop(writeln!(std::io::stderr(), "djaffar: {sentence}"));
    }
    match dispatch(command) {
        Ok(()) => 0,
        Err(failure) if failure.is_closed_pipe() => 0,
        Err(failure) => {
            // Not eprintln!: a closed terminal is no reason to panic.
            drop(writeln!(std::io::stderr(), "djaffar: {failure}"));
            failure.code()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    let load = |from: &File, options: Options| Config::load(from.config.as_deref(), options);
    match command {
        Command::Serve { from, options } => serve::serve(&load(&from, *options)?),
        Command::Drain { from, options } => drain::drain(&load(&from, *options)?),
        Command::Migrate { at } => database::migrate(&at.config()?),
        Command::Createsuperuser { at, username, email } => {
            database::create_superuser(&at.config()?, username, email)
        }
        Command::Dumpdata { model, at, indent } => {
            database::dump(&at.config()?, model, indent.map(usize::from))
        }
        Command::Tail { at, lines, json, no_follow } => {
            let how = tail::How { lines: lines as usize, json, follow: !no_follow };
            tail::tail(&at.config()?, &how)
        }
        Command::Move { how } => moving::moving(how),
        Command::Config { what: ConfigCommand::Print { from, options } } => {
            use std::io::Write;
            let text = load(&from, *options)?.to_toml();
            std::io::stdout().write_all(text.as_bytes()).map_err(anyhow::Error::from)?;
            Ok(())
        }
        Command::Config { what: ConfigCommand::Check { from, options } } => {
            serve::check(&load(&from, *options)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_explains_itself() {
        let help = Cli::command().find_subcommand_mut("serve").unwrap().render_long_help();
        for (name, _, _) in config::OPTIONS {
            let flag = format!("--{}", name.replace('_', "-"));
            assert!(help.to_string().contains(&flag), "{flag}");
        }
    }
}
