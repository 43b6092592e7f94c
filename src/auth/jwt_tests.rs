//! Tokens that PyJWT made, judged as SimpleJWT judged them.

use serde::Deserialize;

use super::*;
use crate::auth::rules::Owner;
use crate::store::{SessionRow, TokenKey, TokenRow};

const NOW: Micros = 1_795_000_000_000_000;
const SECOND: Micros = 1_000_000;

#[derive(Deserialize)]
struct File {
    keys: HashMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    alg: String,
    demand: String,
    token: String,
    user: Option<String>,
}

/// User 7 is there, user 8 may not log in.
struct Users;

impl Directory for Users {
    fn session(&mut self, _: &str) -> Result<Option<SessionRow>, store::Error> {
        Ok(None)
    }
    fn user(&mut self, id: &str) -> Result<Option<UserRow>, store::Error> {
        let user = UserRow { id: id.to_owned(), password: "pw".to_owned(), is_active: id == "7" };
        Ok(["7", "8"].contains(&id).then_some(user))
    }
    fn tokens(&mut self, _: TokenKey<'_>) -> Result<Vec<TokenRow>, store::Error> {
        Ok(Vec::new())
    }
}

fn settings() -> Settings {
    Settings {
        algorithm: "HS256".to_owned(),
        audience: Vec::new(),
        issuer: Vec::new(),
        header: vec!["Bearer".to_owned()],
        user_claim: "user_id".to_owned(),
        token_type: "access".to_owned(),
        leeway: 0,
        stateless: false,
        check_password: false,
    }
}

fn file() -> File {
    serde_json::from_str(include_str!("../../tests/fixtures/auth/jwt.json")).unwrap()
}

#[test]
fn tokens_of_every_algorithm_count_as_for_simplejwt() {
    let File { keys, cases } = file();
    let (mut taken, mut count) = (0, 0);
    for Case { name, alg, demand, token, user } in cases {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let (audience, issuer) = match demand.as_str() {
            "aud" => (list(&["shop"]), Vec::new()),
            "iss" => (Vec::new(), list(&["https://id.example"])),
            "both" => (list(&["shop", "pay"]), list(&["https://id.example"])),
            _ => (Vec::new(), Vec::new()),
        };
        let key = keys.get(&alg).or_else(|| keys.get(&alg[..2])).unwrap();
        let settings = Settings { algorithm: alg.clone(), audience, issuer, ..settings() };
        let jwt = Jwt::new(settings, key).unwrap();
        let answer = jwt.owner(&mut Users, &token, NOW).unwrap();
        let got = match &answer.owner {
            Owner::User(user) => Some(user.to_string()),
            _ => None,
        };
        // Python's base64 takes `=` where there is none (RFC 7515 has none); we do not.
        let user = user.filter(|_| name != "padded");
        assert_eq!(got, user, "{name} {alg} {demand}: {answer:?}");
        taken += usize::from(user.is_some());
        count += 1;
    }
    assert!(taken > 40 && count > 400, "{taken} of {count}");
}

/// A token that RS256, HS256 … made for user 7 and that ends in 2100.
fn good() -> (String, String) {
    let File { keys, cases } = file();
    let case = cases.into_iter().find(|case| case.name == "good").unwrap();
    (case.token, keys["HS"].clone())
}

#[test]
fn a_token_ends_when_it_says_so() {
    let (token, key) = good();
    let end = 4_102_444_800 * SECOND;
    for (leeway, now, counts) in [
        (0, end - 1, true),
        (0, end, false),
        (60, end, true),
        (60, end + 60 * SECOND - 1, true),
        (60, end + 60 * SECOND, false),
        // `iat` is 1,700,000,000.
        (0, 1_700_000_000 * SECOND, true),
        (0, 1_700_000_000 * SECOND - 1, false),
        (1, 1_699_999_999 * SECOND, true),
    ] {
        let jwt = Jwt::new(Settings { leeway, ..settings() }, &key).unwrap();
        let answer = jwt.owner(&mut Users, &token, now).unwrap();
        assert_eq!(matches!(answer.owner, Owner::User(_)), counts, "{leeway} {now}");
        if counts {
            assert_eq!(answer.expires, end + Micros::from(leeway) * SECOND);
        }
    }
}

#[test]
fn whose_token_it_is() {
    let (token, key) = good();
    let check = |settings: Settings, expected: Owner| {
        let jwt = Jwt::new(settings.clone(), &key).unwrap();
        assert_eq!(jwt.owner(&mut Users, &token, NOW).unwrap().owner, expected, "{settings:?}");
    };
    check(settings(), Owner::User("7".into()));
    let claim = |claim: &str| Settings { user_claim: claim.to_owned(), ..settings() };
    check(claim("sub"), Owner::Refused(NO_USER));
    // Another claim that is there, but is nobody's key.
    check(claim("jti"), Owner::Refused(NOT_FOUND));
    let stateless = Settings { stateless: true, ..claim("jti") };
    check(stateless, Owner::User("0f7ac837da42b97f613d789819ff9353".into()));
    let claim = Settings { check_password: true, ..settings() };
    check(claim, Owner::Refused(OTHER_PASSWORD));
    let other = Settings { token_type: "sliding".to_owned(), ..settings() };
    check(other, Owner::Refused(INVALID));
}

#[test]
fn the_claim_of_a_password() {
    let (_, key) = good();
    let jwt = Jwt::new(Settings { check_password: true, ..settings() }, &key).unwrap();
    // get_md5_hash_password("pw") of SimpleJWT 5.5.1.
    let right = "8FE4C11451281C094A6578E6DDBF5EED";
    for (said, fits) in [(right, true), (&right.to_lowercase(), false), ("", false)] {
        let claims = HashMap::from([("hash_password".to_owned(), Value::from(said))]);
        let user = Users.user("7").unwrap().unwrap();
        assert_eq!(jwt.password_fits(&claims, &user), fits, "{said}");
        assert!(!jwt.password_fits(&HashMap::new(), &user));
    }
}

#[test]
fn tokens_of_other_backends_need_no_type() {
    let File { keys, cases } = file();
    for (name, expected) in [("no type", true), ("no jti", true), ("no exp", false)] {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let settings = Settings { token_type: String::new(), ..settings() };
        let jwt = Jwt::new(settings, &keys["HS"]).unwrap();
        let answer = jwt.owner(&mut Users, &case.token, NOW).unwrap();
        assert_eq!(matches!(answer.owner, Owner::User(_)), expected, "{name}");
    }
}

#[test]
fn what_cannot_verify_is_refused_at_start() {
    let keys = file().keys;
    let check = |algorithm: &str, key: &str, good: bool| {
        let settings = Settings { algorithm: algorithm.to_owned(), ..settings() };
        let made = Jwt::new(settings, key);
        assert_eq!(made.is_ok(), good, "{algorithm}: {made:?}");
        let said = made.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(good || said.contains("jwt_"), "{said}");
    };
    check("RS256", &keys["RS"], true);
    check("RS256", &keys["HS"], false);
    check("RS256", &keys["ES256"], false);
    check("ES256", &keys["RS"], false);
    check("EdDSA", &keys["RS"], false);
    check("ES512", &keys["ES256"], false);
    check("none", "", false);
    check("", "", false);
}

#[test]
fn a_long_token_is_not_read() {
    let (token, key) = good();
    let jwt = Jwt::new(settings(), &key).unwrap();
    let long = format!("{}{token}", "A".repeat(LONGEST));
    assert_eq!(jwt.owner(&mut Users, &long, NOW).unwrap(), Answer::refused(INVALID));
}
