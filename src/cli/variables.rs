//! Variables of the environment that are named like ours and that nothing reads: most likely mistyped.

use clap::{Command, CommandFactory};

use super::Cli;
use crate::config::secret::VARIABLES;

/// How alike two names are of which one may be meant for the other: clap's own measure for flags.
const ALIKE: f64 = 0.7;

const PREFIX: &str = "DJAFFAR_";

/// A sentence about each of these names that counts for nothing.
pub(super) fn unread(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut known: Vec<String> = VARIABLES.map(str::to_owned).into();
    collect(&Cli::command(), &mut known);
    let ours = names.filter(|name| name.starts_with(PREFIX) && !is_of_kubernetes(name));
    let mut unread: Vec<String> = ours.filter(|name| !known.contains(name)).collect();
    unread.sort();
    unread.iter().map(|name| sentence(name, &known)).collect()
}

fn collect(command: &Command, names: &mut Vec<String>) {
    let variables = command.get_arguments().filter_map(|argument| argument.get_env());
    names.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| collect(command, names));
}

/// Set in each container beside a Service that is called djaffar or djaffar-…
/// (Kubernetes: Service, discovering services, environment variables).
fn is_of_kubernetes(name: &str) -> bool {
    name.contains("_SERVICE_") || name.ends_with("_PORT") || name.contains("_PORT_")
}

fn sentence(name: &str, known: &[String]) -> String {
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let alike = known.iter().map(|other| (strsim::jaro(&rest(name), &rest(other)), other));
    let nearest = alike.max_by(|one, other| one.0.total_cmp(&other.0));
    let meant = match nearest {
        Some((likeness, other)) if likeness > ALIKE => format!("did you mean {other}?"),
        _ => "`djaffar help serve` lists them".to_owned(),
    };
    format!("the variable {name} is no option and counts for nothing: {meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> Option<String> {
        unread([name.to_owned()].into_iter()).pop()
    }

    #[test]
    fn what_is_mistyped_is_said() {
        for (name, meant) in [
            ("DJAFFAR_TRUSTED_PROXIES", "did you mean DJAFFAR_TRUSTED_PROXY?"),
            ("DJAFFAR_DATABSE", "did you mean DJAFFAR_DATABASE?"),
            ("DJAFFAR_SECRET", "did you mean DJAFFAR_SECRET_KEY?"),
            ("DJAFFAR_QUUX", "lists them"),
        ] {
            let sentence = said(name).unwrap();
            assert!(sentence.contains(name) && sentence.contains(meant), "{sentence}");
        }
    }

    #[test]
    fn nothing_is_said_of_options_and_of_other_programs() {
        for name in [
            "DJAFFAR_LISTEN",
            "DJAFFAR_FROM_PASSWORD",
            "DJAFFAR_TO_PASSWORD_FILE",
            "DJAFFAR",
            "DJANGO_X",
            "DJAFFAR_SERVICE_HOST",
            "DJAFFAR_PORT",
            "DJAFFAR_PORT_8000_TCP_ADDR",
            "DJAFFAR_WEB_PORT",
        ] {
            assert_eq!(said(name), None);
        }
    }
}
