//! Who a request is from, over rows that Django stored and a directory that fails on demand.

mod site;

use super::signing::Signer;
use super::*;
use site::*;

#[tokio::test]
async fn a_session_of_django_counts_as_django_counts_it() {
    let site = Site::new();
    site.memory.put_session("unreadable", "e30:1xVYTB:AAAA".to_owned());
    let model = "django.contrib.auth.backends.ModelBackend";
    site.put_data("rightlogin", &site.login("1", model));
    site.put_data("inactiveuser", &site.login("2", model));
    site.put_data("nosuchuser", &site.login("3", model));
    site.put_data("rejecteduser", &site.login("x", model));
    site.put_data("otherbackend", &site.login("1", "shop.OtherBackend"));
    let check = async |key: &str, user: Option<&str>| {
        let identity = site.cookie(key, NOW).await;
        assert_eq!(identity.session, session(key, SessionState::Known), "{key}");
        assert_eq!(identity.user.as_deref(), user, "{key}");
    };
    check("authenticated", Some("1")).await;
    check("authenticated0with0cart", Some("1")).await;
    check("anonymous0with0unicode", None).await;
    check("wrong0auth0hash", None).await;
    check("unreadable", None).await;
    check("rightlogin", Some("1")).await;
    check("inactiveuser", None).await;
    check("nosuchuser", None).await;
    check("rejecteduser", None).await;
    check("otherbackend", None).await;
}

#[tokio::test]
async fn a_cookie_without_a_live_session_is_never_adopted() {
    let site = Site::new();
    site.put_data(CART, "{}");
    let expired = NOW + 3_600 * SECOND;
    let check = async |cookie: Option<&str>, now: Micros, look_ups: usize| {
        let before = site.asked();
        let identity = site.identify(None, cookie, now).await.unwrap();
        let made = identity.session.unwrap();
        assert_eq!((made.state, made.visitor), (SessionState::Minted, None), "{cookie:?}");
        assert_ne!(Some(made.key.as_str()), cookie);
        assert!(mint::is_fresh(&SessionKey::parse(&made.key).unwrap(), &site.keys, now));
        assert_eq!(identity.user, None);
        assert_eq!(site.asked() - before, look_ups, "{cookie:?}");
        let sent = Credentials { authorization: None, session_cookie: cookie, may_mint: false };
        assert_eq!(site.auth.identify(&sent, now).await, Ok(Identity::default()), "{cookie:?}");
    };
    check(None, NOW, 0).await;
    check(Some(UNKNOWN), NOW, 1).await;
    check(Some(CART), expired, 1).await;
    check(Some(""), NOW, 0).await;
    check(Some("a"), NOW, 0).await;
    check(Some("' OR 1=1 -- "), NOW, 0).await;
    check(Some(&"a".repeat(300)), NOW, 0).await;
    check(Some(&UNKNOWN.to_uppercase()), NOW, 0).await;
}

#[tokio::test]
async fn a_key_of_ours_counts_without_its_row_for_ten_minutes() {
    let site = Site::new();
    let start = NOW - NOW.rem_euclid(60 * SECOND);
    let key = site.identify(None, None, start).await.unwrap().session.unwrap().key;
    for minute in [0, 1, 9] {
        let identity = site.cookie(&key, start + minute * 60 * SECOND).await;
        assert_eq!(identity.session, session(&key, SessionState::Minted), "{minute}");
    }
    let later = site.cookie(&key, start + mint::FRESH).await.session.unwrap();
    assert_ne!(later.key, key);
    assert_eq!(later.state, SessionState::Minted);

    let row = site.auth.session_row(&plain(key.clone(), SessionState::Minted), NOW);
    assert_eq!((&row.key, row.expires), (&key, NOW + 1_209_600 * SECOND));
    site.memory.put_session(&row.key, row.data);
    let identity = site.cookie(&key, start + 2 * mint::FRESH).await;
    assert_eq!(identity.session, session(&key, SessionState::Known));
}

#[tokio::test]
async fn a_visitor_stays_one_over_a_login() {
    let site = Site::new();
    let check = async |key: &str, json: &str, visitor: Option<&str>| {
        site.put_data(key, json);
        let session = site.cookie(key, NOW).await.session.unwrap();
        assert_eq!(session.visitor.as_deref(), visitor, "{json}");
        let row = site.auth.session_row(&session, NOW);
        let data = session::decode(row.data.as_bytes(), Form::TABLE, &site.keys).unwrap();
        assert_eq!(data.visitor, SessionKey::parse(visitor.unwrap_or(key)));
    };
    check("session1", &format!(r#"{{"djaffar_visitor":"{VISITOR}"}}"#), Some(VISITOR)).await;
    check("session2", r#"{"djaffar_visitor":"session2"}"#, None).await;
    check("session3", r#"{"djaffar_visitor":"<script>"}"#, None).await;
    check("session4", "{}", None).await;
}

#[tokio::test]
async fn a_token_decides_about_the_user_and_the_cookie_about_the_session() {
    let site = Site::new();
    let token = format!("Token {USER_TOKEN}");
    let check = async |authorization: &str, expected: Result<Option<&str>, &'static str>| {
        for cookie in ["authenticated", "anonymous0with0unicode"] {
            let identity = site.identify(Some(authorization), Some(cookie), NOW).await;
            let user = identity.as_ref().map(|identity| identity.user.as_deref());
            let expected = match expected {
                // Of another scheme: then the session says who it is.
                Ok(None) if cookie == "authenticated" => Ok(Some("1")),
                expected => expected,
            };
            let challenge = "Token".to_owned();
            let refused = |detail| Error::Invalid { detail, challenge };
            assert_eq!(user, expected.map_err(refused).as_ref().copied());
            if let Ok(identity) = identity {
                assert_eq!(identity.session, session(cookie, SessionState::Known));
            }
        }
    };
    check(&token, Ok(Some("1"))).await;
    check("Digest abc", Ok(None)).await;
    check("Token 0000000000000000000000000000000000000000", Err("Invalid token.")).await;
    check(&format!("Token {INACTIVE_TOKEN}"), Err("User inactive or deleted.")).await;
    check("Token", Err("Invalid token header. No credentials provided.")).await;

    let newcomer = site.identify(Some(&token), None, NOW).await.unwrap();
    assert_eq!(newcomer.session.unwrap().state, SessionState::Minted);

    // The token's user goes before the session's.
    site.memory.put_user("7", "pw", true);
    site.memory.edit(|rows| rows.tokens.insert("t7".to_owned(), "7".to_owned()));
    let both = site.identify(Some("Token t7"), Some("authenticated"), NOW).await.unwrap();
    assert_eq!(both.user.as_deref(), Some("7"));
}

#[tokio::test]
async fn answers_are_remembered_for_a_while() {
    let site = Site::new();
    let token = format!("Token {USER_TOKEN}");
    let check = async |now: Micros, asks: usize| {
        let before = site.asked();
        site.identify(Some(&token), Some("authenticated"), now).await.unwrap();
        site.cookie(UNKNOWN, now).await;
        assert_eq!(site.asked() - before, asks, "{}", now - NOW);
    };
    // A session (with its user), a token, an unknown session.
    check(NOW, 4).await;
    check(NOW, 0).await;
    check(NOW + 5 * SECOND - 1, 0).await;
    check(NOW + 5 * SECOND, 1).await;
    check(NOW + 30 * SECOND - 1, 1).await;
    check(NOW + 30 * SECOND, 3).await;
    check(NOW - 3_600 * SECOND, 4).await;
}

#[tokio::test]
async fn a_new_password_ends_the_login() {
    let site = Site::new();
    assert_eq!(site.cookie("authenticated", NOW).await.user.as_deref(), Some("1"));
    site.memory.put_user("1", "another", true);
    assert_eq!(site.cookie("authenticated", NOW + 30 * SECOND).await.user, None);
}

#[tokio::test]
async fn while_the_database_is_away_sessions_wait_and_tokens_are_put_off() {
    let site = Site::new();
    site.memory.edit(|rows| rows.away = true);
    for key in ["authenticated", UNKNOWN] {
        let identity = site.cookie(key, NOW).await;
        assert_eq!(
            identity,
            Identity { session: session(key, SessionState::Unverified), user: None }
        );
    }
    assert_eq!(site.identify(None, Some("a"), NOW).await.unwrap().session.unwrap().key.len(), 32);
    let token = format!("Token {USER_TOKEN}");
    assert_eq!(site.identify(Some(&token), None, NOW).await, Err(Error::Unavailable));
    // Nothing of that is remembered.
    site.memory.edit(|rows| rows.away = false);
    assert_eq!(site.cookie("authenticated", NOW).await.user.as_deref(), Some("1"));
    assert!(site.identify(Some(&token), None, NOW).await.is_ok());
}

#[tokio::test]
async fn the_drain_settles_what_was_unverified() {
    let site = Site::new();
    let visitor = format!(r#"{{"djaffar_visitor":"{VISITOR}"}}"#);
    site.put_data(CART, &visitor);
    let ours = mint::mint(&site.keys, NOW);
    let check =
        |key: &str, user: Option<&str>, at: Micros, expected: (Option<Session>, Option<&str>)| {
            let mut activity = activity(session(key, SessionState::Unverified), user, at);
            site.memory.edit(|rows| rows.away = true);
            let waiting = activity.clone();
            assert!(site.auth.resolve(&mut site.memory.clone(), &mut activity).is_err());
            assert_eq!(activity, waiting, "nothing changes before it is known");
            site.memory.edit(|rows| rows.away = false);
            site.auth.resolve(&mut site.memory.clone(), &mut activity).unwrap();
            assert_eq!((activity.session, activity.user.as_deref()), expected, "{key}");
        };
    let known = |key| session(key, SessionState::Known);
    let with_visitor = known(CART).map(|s| Session { visitor: Some(VISITOR.to_owned()), ..s });
    check("authenticated", None, NOW, (known("authenticated"), Some("1")));
    check("authenticated", Some("7"), NOW, (known("authenticated"), Some("7")));
    check("authenticated", None, NOW + 3_600 * SECOND, (None, None));
    check("wrong0auth0hash", None, NOW, (known("wrong0auth0hash"), None));
    check(CART, None, NOW, (with_visitor, None));
    check(UNKNOWN, None, NOW, (None, None));
    check(UNKNOWN, Some("7"), NOW, (None, Some("7")));
    check(&ours, None, NOW, (session(&ours, SessionState::Minted), None));
    check(&ours, None, NOW + mint::FRESH, (None, None));
}

#[tokio::test]
async fn the_drain_leaves_alone_what_is_settled() {
    let site = Site::new();
    for state in [SessionState::Known, SessionState::Minted] {
        let before = activity(session(UNKNOWN, state), Some("7"), NOW);
        let mut after = before.clone();
        site.auth.resolve(&mut site.memory.clone(), &mut after).unwrap();
        assert_eq!(after, before);
    }
    assert_eq!(site.asked(), 0);
}

const COOKIE: Form = Form { place: Place::Cookie, ..Form::TABLE };

/// A site whose sessions are their cookies.
fn cookie_site() -> Site {
    let memory = Memory::default();
    memory.put_user("1", "pw", true);
    Site::with(memory, "secret", COOKIE)
}

impl Site {
    fn signed(&self, json: &str, now: Micros) -> String {
        let salt = "django.contrib.sessions.backends.signed_cookies";
        signing::dumps(json, &Signer::new(&self.keys, salt), now / SECOND)
    }
}

#[tokio::test]
async fn a_session_that_is_its_cookie() {
    let site = cookie_site();
    let made = site.identify(None, None, NOW).await.unwrap().session.unwrap();
    assert_eq!(made.state, SessionState::Minted);
    let cookie = site.auth.cookie(&made, NOW);
    let again = site.cookie(&cookie, NOW).await;
    assert_eq!(again.session, session(&made.key, SessionState::Known));
    assert_eq!(site.asked(), 0, "there is nothing to look up");

    // Without a key of ours in it, the key is one of the cookie.
    let cart = site.signed(r#"{"cart":1}"#, NOW);
    let first = site.cookie(&cart, NOW).await.session.unwrap();
    assert_eq!((first.key.len(), first.state), (32, SessionState::Known));
    assert_eq!(site.cookie(&cart, NOW + SECOND).await.session, Some(first.clone()));
    let other = site.signed(r#"{"cart":2}"#, NOW);
    assert_ne!(site.cookie(&other, NOW).await.session, Some(first));

    for odd in ["", "e30:1:A", UNKNOWN, &cookie[1..], &cookie.replace('.', "")[..40]] {
        let newcomer = site.cookie(odd, NOW).await.session.unwrap();
        assert_eq!(newcomer.state, SessionState::Minted, "{odd}");
        assert_ne!(newcomer.key, made.key);
    }
    // As old as SESSION_COOKIE_AGE, it is over.
    let over = NOW + 1_209_600 * SECOND;
    assert_eq!(site.cookie(&cookie, over).await.session.unwrap().key, made.key);
    assert_ne!(site.cookie(&cookie, over + 1).await.session.unwrap().key, made.key);
}

#[tokio::test]
async fn a_login_in_a_cookie() {
    let site = cookie_site();
    let model = "django.contrib.auth.backends.ModelBackend";
    let mut data: serde_json::Value = serde_json::from_str(&site.login("1", model)).unwrap();
    data["djaffar_visitor"] = VISITOR.into();
    let cookie = site.signed(&data.to_string(), NOW);
    site.memory.edit(|rows| rows.away = true);
    let sent = Credentials { authorization: None, session_cookie: Some(&cookie), may_mint: true };
    assert_eq!(site.auth.identify(&sent, NOW).await, Err(Error::Unavailable));
    site.memory.edit(|rows| rows.away = false);
    let identity = site.cookie(&cookie, NOW).await;
    assert_eq!(identity.user.as_deref(), Some("1"));
    assert_eq!(identity.session, session(VISITOR, SessionState::Known));
    // A cookie is no token.
    let token = format!("Token {cookie}");
    assert!(matches!(site.identify(Some(&token), None, NOW).await, Err(Error::Invalid { .. })));

    site.memory.put_user("1", "another", true);
    let later = NOW + 30 * SECOND;
    assert_eq!(site.cookie(&cookie, NOW + 30 * SECOND - 1).await.user.as_deref(), Some("1"));
    assert_eq!(site.cookie(&cookie, later).await.user, None);
    assert_eq!(site.cookie(&cookie, later).await.session, session(VISITOR, SessionState::Known));
}

#[tokio::test]
async fn what_a_cache_holds_and_cannot_be_read_is_no_session() {
    let memory = Memory::default();
    memory.put_user("1", "pw", true);
    let form = Form { place: Place::Cache, serializer: session::Serializer::Pickle };
    let site = Site::with(memory, "secret", form);
    site.memory.put_session(CART, pickle::write("cart", "1"));
    site.memory.put_session(UNKNOWN, "{\"cart\": 1}".to_owned());
    assert_eq!(site.cookie(CART, NOW).await.session, session(CART, SessionState::Known));
    assert_ne!(site.cookie(UNKNOWN, NOW).await.session.unwrap().key, UNKNOWN);
}
