//! Keys that change while the server runs. Their files are read again every few seconds, so that a
//! new `SECRET_KEY`, a key that ceases to be a fallback, or another key of JWTs counts without a
//! restart. Knows no signal and no HTTP.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Site;
use crate::{
    auth::Auth,
    config::{Config, secret::Secrets},
};

/// How often the files are read: two looks and the cache together stay below 30 seconds.
const EVERY: Duration = Duration::from_secs(5);

/// Looks after the keys.
pub struct Keys<'a> {
    config: &'a Config,
    site: &'a Site,
    auth: &'a Auth,
    /// What counts.
    held: Secrets,
    /// What the files said at the last look.
    seen: Secrets,
    due: Instant,
    complaint: Option<String>,
}

impl<'a> Keys<'a> {
    /// The keys that the site began with count.
    pub fn new(config: &'a Config, site: &'a Site, auth: &'a Auth) -> Self {
        let (held, seen) = (site.secrets.clone(), site.secrets.clone());
        Keys { config, site, auth, held, seen, due: Instant::now() + EVERY, complaint: None }
    }

    /// Reads the files where it is time to. What they say counts once they say it twice: one may
    /// be half written.
    pub fn look(&mut self) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + EVERY;
        match self.config.secrets(false) {
            Ok(read) => {
                let settled = read == self.seen;
                self.seen = read;
                if settled {
                    self.take();
                }
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Reads the files now, and takes what they say at once.
    pub fn look_now(&mut self) {
        match self.config.secrets(false) {
            Ok(read) => {
                self.seen = read;
                self.take();
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    fn take(&mut self) {
        if self.seen == self.held {
            self.complaint = None;
            return;
        }
        match self.site.auth_settings(self.config, &self.seen) {
            Ok(settings) => {
                self.auth.renew(settings);
                self.held = self.seen.clone();
                self.complaint = None;
                info!("the keys have changed: the new ones count from now on");
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Once for each trouble, not every few seconds.
    fn complain(&mut self, error: String) {
        if self.complaint.as_ref() != Some(&error) {
            warn!(error, "the keys cannot be read again: the old ones go on counting");
            self.complaint = Some(error);
        }
    }
}
