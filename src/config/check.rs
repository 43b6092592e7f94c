//! Options whose values cannot work, alone or together: each refused with a sentence that says what
//! to write instead. What concerns the cookie and credentials is beside their options.

use super::{Config, Error, SameSite};

/// The most threads: each has a listener and files of its own.
const THREADS: usize = 1_024;

impl Config {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.zone()?;
        self.check_names()?;
        self.check_limits()?;
        self.check_cookie()?;
        self.check_credentials()
    }

    /// What can be served with and is hardly meant.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        // Of a site's ALLOWED_HOSTS, where Django does not mind it either.
        for host in self.allowed_host.iter().filter(|host| !is_host(host)) {
            doubts.push(format!(
                "allowed_host: {host:?} is no host: write it without scheme and port, such as \
                 www.example.com"
            ));
        }
        for origin in self.allowed_origin.iter().filter(|origin| !is_sent(origin)) {
            doubts.push(format!(
                "allowed_origin: no browser sends {origin:?}: write it in small letters of ASCII, \
                 and without the usual port, such as https://shop.example"
            ));
        }
        let cookie = &self.session_cookie_name;
        let host_only = self.session_cookie_path == "/" && self.session_cookie_domain.is_empty();
        if !self.session_cookie_secure
            && (self.session_cookie_samesite == SameSite::None || cookie.starts_with("__"))
        {
            doubts.push(
                "session_cookie_secure: browsers refuse a cookie without it that has \
                 session_cookie_samesite None, or a name that begins with __Secure- or __Host-"
                    .to_owned(),
            );
        }
        if cookie.starts_with("__Host-") && !host_only {
            doubts.push(format!(
                "session_cookie_name: browsers refuse {cookie:?} with a session_cookie_domain, or \
                 with another session_cookie_path than /"
            ));
        }
        if self.trusted_proxy.is_empty() && !self.listen.0.ip().is_loopback() {
            doubts.push(
                "trusted_proxy: none; behind a proxy every activity has the proxy's address"
                    .to_owned(),
            );
        }
        doubts
    }

    fn check_names(&self) -> Result<(), Error> {
        // As it stands in a request: what is none of these comes percent-encoded.
        let of_a_path = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
        let prefix = &self.prefix;
        let ends = prefix.starts_with('/') && prefix.ends_with('/');
        if !ends || prefix.contains("//") || !prefix.chars().all(of_a_path) {
            return refuse(format!(
                "prefix: {prefix:?} must begin and end with a slash, and be a path as browsers send \
                 it, such as /djaffar/"
            ));
        }
        let name = &self.tracker_name;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let taken = ["log", "health", "more.js", ".", ".."];
        if name.is_empty() || !name.chars().all(plain) || taken.contains(&name.as_str()) {
            return refuse(format!(
                "tracker_name: {name:?} must be a name of its own of letters, digits, - _ and ., \
                 such as djaffar.js"
            ));
        }
        for origin in &self.allowed_origin {
            let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '*'])) {
                return refuse(format!(
                    "allowed_origin: {origin:?} must be scheme and host, such as \
                     https://shop.example, without path or wildcard"
                ));
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Error> {
        if self.threads > THREADS {
            return refuse(format!("threads: must be at most {THREADS}; 0 is one for two cores"));
        }
        for (name, number) in [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
        ] {
            if number == 0 {
                let text = "with none, nobody is answered; the number is always limited";
                return refuse(format!("{name}: must be at least 1: {text}"));
            }
        }
        if self.spool.as_os_str().is_empty() {
            return refuse("spool: must name a folder, such as djaffar-spool".to_owned());
        }
        if self.spool_limit_mib < 32 {
            return refuse("spool_limit_mib: must be at least 32".to_owned());
        }
        Ok(())
    }
}

fn refuse(sentence: String) -> Result<(), Error> {
    Err(Error::Value(sentence))
}

/// Whether a Host header could be this, its port apart.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.is_empty() && !text.contains([':', '/', ' ']),
    }
}

/// Whether an Origin header could be this.
fn is_sent(origin: &str) -> bool {
    let usual = [("https://", ":443"), ("http://", ":80")];
    let with_port =
        |(scheme, port): &(&str, &str)| origin.starts_with(scheme) && origin.ends_with(port);
    let odd = |c: char| !c.is_ascii() || c.is_ascii_uppercase() || "@?# ".contains(c);
    !origin.contains(odd) && !usual.iter().any(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hardly_meant_is_said() {
        let (secure, host) = ("session_cookie_secure = true", "session_cookie_name = '__Host-s'");
        for (toml, expected) in [
            ("listen = '127.0.0.1:1'", ""),
            ("allowed_host = ['*', '.a.example', 'a.example', '127.0.0.1', '[::1]']", ""),
            ("allowed_host = ['https://a.example']", "allowed_host"),
            ("allowed_host = ['a.example:80']", "allowed_host"),
            ("allowed_host = ['[::1]:80']", "allowed_host"),
            ("allowed_host = ['']", "allowed_host"),
            ("allowed_origin = ['https://a.example:8443', 'http://[::1]:8000']", ""),
            ("allowed_origin = ['https://A.example']", "allowed_origin"),
            ("allowed_origin = ['https://a.example:443']", "allowed_origin"),
            ("allowed_origin = ['http://a.example:80']", "allowed_origin"),
            ("allowed_origin = ['https://é.example']", "allowed_origin"),
            ("session_cookie_samesite = 'None'", "session_cookie_secure"),
            (&format!("session_cookie_samesite = 'None'\n{secure}"), ""),
            (host, "session_cookie_secure"),
            (&format!("{host}\n{secure}"), ""),
            (&format!("{host}\n{secure}\nsession_cookie_path = '/a/'"), "session_cookie_name"),
            (&format!("{host}\n{secure}\nsession_cookie_domain = 'a'"), "session_cookie_name"),
            ("listen = '0.0.0.0:1'", "trusted_proxy"),
            ("listen = '[::]:1'\ntrusted_proxy = ['10.0.0.0/8']", ""),
        ] {
            let doubts = Config::parse(toml).unwrap().doubts();
            let found = doubts.iter().map(|doubt| doubt.split(':').next().unwrap());
            assert_eq!(found.collect::<Vec<_>>().concat(), expected, "{toml}");
        }
    }
}
