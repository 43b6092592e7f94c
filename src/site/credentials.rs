//! What the options say of sessions and tokens, in the words of `auth` and `engine`.

use crate::{
    auth::{
        jwt::{self, Jwt},
        scheme::Scheme,
        session::{self, Form, Place},
        signing,
    },
    config::{Config, Error, Hashing, Serializer, SessionEngine, Token},
    engine::{Cache, Engine, Files},
    failure::Failure,
};

/// The session engine of the site. Connects to nothing yet.
pub(super) fn engine(config: &Config) -> Result<Engine, Failure> {
    Ok(match config.engine()? {
        SessionEngine::Table => Engine::Table,
        SessionEngine::Cookie => Engine::Cookie,
        SessionEngine::File => Engine::Files(Files::new(
            config.session_file_path.clone(),
            config.session_cookie_name.clone(),
            config.session_cookie_age,
        )),
        SessionEngine::Cache => {
            let cache = Cache::new(&config.session_cache, &config.session_cache_prefix);
            let failed = |text| Failure::Config(format!("session_cache: {text}"));
            Engine::Cache(Box::new(cache.map_err(failed)?))
        }
    })
}

/// What the data of sessions looks like.
pub(super) fn form(config: &Config) -> Result<Form, Error> {
    let place = match config.engine()? {
        SessionEngine::Table => Place::Table,
        SessionEngine::Cache => Place::Cache,
        SessionEngine::File => Place::File,
        SessionEngine::Cookie => Place::Cookie,
    };
    let serializer = match config.session_serializer {
        Serializer::Auto if place == Place::Cache => session::Serializer::Pickle,
        Serializer::Auto | Serializer::Json => session::Serializer::Json,
        Serializer::Pickle => session::Serializer::Pickle,
    };
    Ok(Form { place, serializer })
}

/// How the Django beside us signs. `legacy`: its migrations are those of 3.0 or older.
pub(super) fn hashing(config: &Config, legacy: bool) -> signing::Hashing {
    match config.hashing {
        Hashing::Auto if legacy => signing::Hashing::Sha1,
        Hashing::Auto | Hashing::Sha256 => signing::Hashing::Sha256,
        Hashing::Both => signing::Hashing::Both,
        Hashing::Sha1 => signing::Hashing::Sha1,
    }
}

/// The tokens that count, in the order in which they are tried.
pub(super) fn schemes(config: &Config, jwt_key: &str) -> Result<Vec<Scheme>, Failure> {
    let scheme = |token: &Token| match token {
        Token::Drf => Ok(Scheme::Drf),
        Token::Knox => Ok(Scheme::Knox(config.knox_header.clone())),
        Token::Oauth => Ok(Scheme::Oauth),
        Token::Jwt => {
            let settings = jwt::Settings {
                algorithm: config.jwt_algorithm.clone(),
                audience: config.jwt_audience.clone(),
                issuer: config.jwt_issuer.clone(),
                header: config.jwt_header.clone(),
                user_claim: config.jwt_user_claim.clone(),
                token_type: config.jwt_token_type.clone(),
                leeway: config.jwt_leeway,
                stateless: config.jwt_stateless,
                check_password: config.jwt_check_password,
            };
            let jwt = Jwt::new(settings, jwt_key);
            let jwt = jwt.map_err(|error| Failure::Config(error.to_string()))?;
            Ok(Scheme::Jwt(Box::new(jwt)))
        }
    };
    config.token.iter().map(scheme).collect()
}
