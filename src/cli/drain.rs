//! `djaffar drain`: finishes the spool of a server that is gone.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};

use crate::{
    config::Config,
    failure::Failure,
    serve,
    site::Site,
    spool::{self, Spool},
};

/// Stores what is in the spool, and says what became of it.
pub(super) fn drain(config: &Config) -> Result<(), Failure> {
    serve::log_to(config)?;
    let dir = &config.spool;
    if !dir.is_dir() {
        // A mistyped path must not make a spool, and say that it is empty.
        return Err(Failure::Config(format!("{}: there is no such folder", dir.display())));
    }
    if !Spool::is_in(dir) {
        let dir = dir.display();
        return Err(Failure::Config(format!(
            "{dir}: this folder is no spool: nothing was changed"
        )));
    }
    let site = Site::prepare(config)?;
    let options = spool::Options {
        database: site.database.file().map(ToOwned::to_owned),
        retain_for: Duration::ZERO,
        retain_bytes: 0,
        ..spool::Options::new(dir)
    };
    // The lock says whether a server still works on it.
    let (spool, lanes, reader) = Spool::open(options)?;
    let auth = Arc::new(site.auth(config)?);
    let mut stored = 0_usize;
    let all = site.drain_once(config, reader, auth, |activities| stored += activities.len())?;
    let (stats, dir) = (spool.stats(), dir.display());
    drop(lanes);
    if !all && stats.parked_bytes > 0 {
        return Err(anyhow!(
            "{stored} activities are taken from the spool; those for a shard that is away are parked \
             in {dir}/parked: run this again when it is back"
        )
        .into());
    }
    if !all {
        return Err(anyhow!(
            "{stored} activities are stored; then the database was away. The others are safe in \
             {dir}: run this again"
        )
        .into());
    }
    let mut text = format!("{stored} activities are stored; nothing waits in {dir} any more\n");
    if stats.quarantined > 0 {
        text += &format!(
            "{} files are in {dir}/quarantine: what the database refused, or what was damaged\n",
            stats.quarantined
        );
    }
    Ok(io::stdout().write_all(text.as_bytes()).context("terminal")?)
}
