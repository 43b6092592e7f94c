//! How a command fails, by what a script can do about it: exit codes.

use crate::{config, spool, store};

/// Why a command failed, by what a script can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Anything else: exit code 1.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// The disk of the spool: exit code 74 (`EX_IOERR`).
    #[error("{0}")]
    Disk(String),
    /// The configuration, or a database that is not as it must be: exit code 78 (`EX_CONFIG`).
    #[error("{0}")]
    Config(String),
}

impl Failure {
    /// Whether nobody reads on what we print (`djaffar dumpdata … | head`): no failure at all.
    pub fn is_closed_pipe(&self) -> bool {
        let Failure::Failed(error) = self else { return false };
        let mut io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        io.any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The exit code of the program.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Disk(_) => 74,
            Failure::Config(_) => 78,
        }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure::Config(error.to_string())
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        match error {
            store::Error::Schema(text) => Failure::Config(text),
            other => Failure::Failed(other.into()),
        }
    }
}

impl From<spool::Error> for Failure {
    fn from(error: spool::Error) -> Failure {
        match error {
            spool::Error::Locked { .. }
            | spool::Error::Newer { .. }
            | spool::Error::Mixed { .. } => Failure::Config(error.to_string()),
            other => Failure::Disk(other.to_string()),
        }
    }
}
