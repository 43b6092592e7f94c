//! JSON Web Tokens, as djangorestframework-simplejwt makes and takes them, and those of any other
//! backend that shares a secret or has a public key.
//!
//! The crate jsonwebtoken reads and verifies them; this file is the rules of SimpleJWT
//! (authentication.py, tokens.py, backends.py) and of PyJWT below it: one algorithm, no leeway by
//! itself, `exp` mandatory, `aud` and `iss` looked at where the site says so. An access token is
//! good until it ends: SimpleJWT keeps no list of those that were logged out.

use std::collections::HashMap;

use jsonwebtoken::errors::Error as Broken;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use md5::{Digest, Md5};
use serde_json::Value;

use super::rules::{self, Answer};
use super::signing::{self, hex};
use crate::activity::Micros;
use crate::store::{self, Directory, UserRow};

/// The longest token that is read, in bytes.
const LONGEST: usize = 8 * 1024;

const INVALID: &str = "Given token not valid for any token type";
const NO_USER: &str = "Token contained no recognizable user identification";
const NOT_FOUND: &str = "User not found";
const INACTIVE: &str = "User is inactive";
const OTHER_PASSWORD: &str = "The user's password has been changed.";

/// `SIMPLE_JWT`, or what another backend agrees on with us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ALGORITHM`, such as HS256.
    pub algorithm: String,
    /// `AUDIENCE`: one of these must be in `aud`; empty: `aud` is not looked at.
    pub audience: Vec<String>,
    /// `ISSUER`: `iss` must be one of these; empty: any.
    pub issuer: Vec<String>,
    /// `AUTH_HEADER_TYPES`, compared as they are.
    pub header: Vec<String>,
    /// `USER_ID_CLAIM`.
    pub user_claim: String,
    /// `token_type` must be this, and `jti` be there; blank: neither is looked at.
    pub token_type: String,
    /// `LEEWAY`, in seconds.
    pub leeway: u32,
    /// The claim is the user, without a look at the table of users (`JWTStatelessUserAuthentication`).
    pub stateless: bool,
    /// `CHECK_REVOKE_TOKEN`: `hash_password` must fit the user's password.
    pub check_password: bool,
}

/// Why there is no verifier; the sentence says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An algorithm that is none of ours.
    #[error(
        "jwt_algorithm: {0:?} is not known; use HS256, HS384, HS512, RS256, RS384, RS512, PS256, \
         PS384, PS512, ES256, ES384 or EdDSA"
    )]
    Algorithm(String),
    /// A key of another kind.
    #[error(
        "jwt_key_file: {0} needs its public key, in PEM (-----BEGIN PUBLIC KEY-----), of the \
         kind that the algorithm uses"
    )]
    Key(String),
}

/// Verifies tokens.
pub struct Jwt {
    /// What must hold.
    pub settings: Settings,
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt").field("settings", &self.settings).finish_non_exhaustive()
    }
}

type Claims = HashMap<String, Value>;

impl Jwt {
    /// `key`: the shared secret (HS…) or the public key in PEM.
    pub fn new(settings: Settings, key: &str) -> Result<Self, Error> {
        super::jwt_crypto::install();
        let unknown = || Error::Algorithm(settings.algorithm.clone());
        let algorithm: Algorithm = settings.algorithm.parse().map_err(|_| unknown())?;
        let pem = key.as_bytes();
        let key = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                Ok(DecodingKey::from_secret(pem))
            }
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => DecodingKey::from_rsa_pem(pem),
            _ => return Err(unknown()),
        };
        let key = key.map_err(|_: Broken| Error::Key(settings.algorithm.clone()))?;
        // Times and `aud` are judged below, with our own clock and as PyJWT does it.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Ok(Jwt { settings, key, validation })
    }

    /// Whose token it is at `now`.
    pub fn owner(
        &self,
        directory: &mut dyn Directory,
        token: &str,
        now: Micros,
    ) -> Result<Answer, store::Error> {
        let Some((claims, expires)) = self.claims(token, now) else {
            return Ok(Answer::refused(INVALID));
        };
        let id = match claims.get(&self.settings.user_claim) {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            // SimpleJWT before 5.5 wrote a number.
            Some(Value::Number(id)) => id.to_string(),
            _ => return Ok(Answer::refused(NO_USER)),
        };
        if self.settings.stateless {
            return Ok(Answer::user(id, Some(expires)));
        }
        Ok(match rules::never_is_none(directory.user(&id))? {
            None => Answer::refused(NOT_FOUND),
            Some(user) if !user.is_active => Answer::refused(INACTIVE),
            Some(user) if !self.password_fits(&claims, &user) => Answer::refused(OTHER_PASSWORD),
            Some(user) => Answer::user(user.id, Some(expires)),
        })
    }

    /// What a token says that is rightly signed and counts at `now`, and when it ends.
    fn claims(&self, token: &str, now: Micros) -> Option<(Claims, Micros)> {
        if token.len() > LONGEST {
            return None;
        }
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()?.claims;
        let leeway = Micros::from(self.settings.leeway) * 1_000_000;
        let expires = moment(claims.get("exp")?)?.checked_add(leeway)?;
        let begun = |claim: &str| match claims.get(claim) {
            None => Some(true),
            Some(value) => Some(moment(value)? <= now.checked_add(leeway)?),
        };
        let counts = expires > now
            && begun("nbf")?
            && begun("iat")?
            && self.audience_fits(&claims)
            && self.issuer_fits(&claims)
            && self.type_fits(&claims);
        counts.then_some((claims, expires))
    }

    fn audience_fits(&self, claims: &Claims) -> bool {
        let wanted = &self.settings.audience;
        let is_wanted = |value: &Value| wanted.iter().any(|one| value == one);
        wanted.is_empty()
            || match claims.get("aud") {
                Some(Value::Array(all)) => {
                    all.iter().all(Value::is_string) && all.iter().any(is_wanted)
                }
                Some(one) => is_wanted(one),
                None => false,
            }
    }

    fn issuer_fits(&self, claims: &Claims) -> bool {
        let wanted = &self.settings.issuer;
        let issuer = claims.get("iss");
        wanted.is_empty() || issuer.is_some_and(|issuer| wanted.iter().any(|one| issuer == one))
    }

    fn type_fits(&self, claims: &Claims) -> bool {
        let wanted = self.settings.token_type.as_str();
        wanted.is_empty()
            || (claims.get("token_type").is_some_and(|said| said == wanted)
                && claims.get("jti").is_some_and(Value::is_string)
                && claims.get("sub").is_none_or(Value::is_string))
    }

    /// rest_framework_simplejwt/utils.py:get_md5_hash_password.
    fn password_fits(&self, claims: &Claims, user: &UserRow) -> bool {
        if !self.settings.check_password {
            return true;
        }
        let expected = hex(&Md5::digest(&user.password)).to_uppercase();
        let said = claims.get("hash_password").and_then(Value::as_str).unwrap_or_default();
        signing::equal(said.as_bytes(), expected.as_bytes())
    }
}

/// A `NumericDate`, which PyJWT cuts to whole seconds.
fn moment(value: &Value) -> Option<Micros> {
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        None => match value.as_f64()? {
            // Larger ones are beyond every date.
            seconds if seconds.abs() < 1e12 => seconds as i64,
            _ => return None,
        },
    };
    seconds.checked_mul(1_000_000)
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
