//! The session cookie: its attributes, and values that cannot stand in one.

use serde::{Deserialize, Serialize};

use super::{Config, Error, Options};

/// The SameSite attribute of the session cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[clap(rename_all = "verbatim")]
pub enum SameSite {
    /// Sent with requests of the same site and with links from others.
    #[default]
    Lax,
    /// Sent with requests of the same site only.
    Strict,
    /// Sent always; browsers want Secure with it.
    None,
    /// No such attribute (Django: False).
    #[serde(rename = "off")]
    #[clap(name = "off")]
    Off,
}

impl SameSite {
    /// The attribute's value, if there is to be one.
    pub fn attribute(self) -> Option<&'static str> {
        match self {
            SameSite::Lax => Some("Lax"),
            SameSite::Strict => Some("Strict"),
            SameSite::None => Some("None"),
            SameSite::Off => None,
        }
    }
}

/// The session cookie's attributes, as `http` needs them.
#[derive(Debug, Clone)]
pub struct SessionCookie {
    /// SESSION_COOKIE_NAME.
    pub name: String,
    /// SESSION_COOKIE_AGE, in seconds.
    pub age: u32,
    /// SESSION_COOKIE_DOMAIN.
    pub domain: Option<String>,
    /// SESSION_COOKIE_PATH.
    pub path: String,
    /// SESSION_COOKIE_SECURE.
    pub secure: bool,
    /// SESSION_COOKIE_HTTPONLY.
    pub httponly: bool,
    /// SESSION_COOKIE_SAMESITE.
    pub samesite: SameSite,
    /// SESSION_EXPIRE_AT_BROWSER_CLOSE.
    pub expire_at_browser_close: bool,
}

impl Default for SessionCookie {
    fn default() -> SessionCookie {
        Options::default().fill().session_cookie()
    }
}

impl Config {
    /// The attributes of the session cookie.
    pub fn session_cookie(&self) -> SessionCookie {
        SessionCookie {
            name: self.session_cookie_name.clone(),
            age: self.session_cookie_age,
            domain: Some(self.session_cookie_domain.clone()).filter(|domain| !domain.is_empty()),
            path: self.session_cookie_path.clone(),
            secure: self.session_cookie_secure,
            httponly: self.session_cookie_httponly,
            samesite: self.session_cookie_samesite,
            expire_at_browser_close: self.session_expire_at_browser_close,
        }
    }

    pub(super) fn check_cookie(&self) -> Result<(), Error> {
        let refuse = |sentence: String| Err(Error::Value(sentence));
        let token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !token(&self.session_cookie_name) || self.session_cookie_name.contains(['=', ';']) {
            return refuse("session_cookie_name: must be a name, such as sessionid".to_owned());
        }
        for (name, text) in [
            ("session_cookie_domain", &self.session_cookie_domain),
            ("session_cookie_path", &self.session_cookie_path),
        ] {
            if text.contains(';') || text.chars().any(char::is_control) {
                return refuse(format!("{name}: {text:?} cannot stand in a cookie"));
            }
        }
        Ok(())
    }
}
