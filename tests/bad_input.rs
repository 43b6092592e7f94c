//! Bad input, row by row: what the endpoint answers, and what is stored.
//!
//! The rows are those of docs/reliability.md, "What each bad input gets".

use std::time::Instant;

use serde_json::json;

use crate::support::{Answer, DATE, Server, Site};

/// Posts `form` and compares status and, of a 400, the errors or the detail.
#[track_caller]
fn check(server: &Server, form: &str, headers: &[(&str, &str)], status: u16, text: &str) -> Answer {
    let answer = server.post(form, headers);
    let shown = &form[..form.len().min(100)];
    assert_eq!(answer.status, status, "{shown} {headers:?}: {answer:?}");
    assert!(answer.body.contains(text), "{shown} {headers:?}: {answer:?}");
    if status == 204 {
        assert_eq!(answer.body, "");
    } else {
        let fresh = status == 200 && answer.body.contains("accepted");
        assert!(fresh || answer.header("set-cookie").is_none(), "{shown}");
    }
    answer
}

fn valid(more: &str) -> String {
    format!("date={DATE}&path=/{more}")
}

fn last(site: &Site, column: &str) -> String {
    let sql = format!("SELECT {column} FROM djaffar_activity ORDER BY id DESC LIMIT 1");
    site.database().query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn fields_that_are_wrong_store_nothing() {
    let site = Site::alone();
    let server = site.serve();
    let wrong_date = "Datetime has wrong format.";
    for date in [
        "",
        "x",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2016-12-31T24:00:00Z",
        "2016-12-29T07:35:22%2B24:00",
        "0001-01-01T00:00:00%2B01:00",
        "9999-12-31T23:59:59-01:00",
        &format!("{DATE}{}", "0".repeat(64)),
    ] {
        check(&server, &format!("date={date}&path=/"), &[], 400, wrong_date);
    }
    let long = "x".repeat(2_001);
    let many = "This field may not be blank.";
    let length = "Ensure this field has no more than 2000 characters.";
    check(&server, &format!("date={DATE}"), &[], 400, many);
    check(&server, &format!("date={DATE}&path={long}"), &[], 400, length);
    check(&server, &valid(&format!("&referer={long}")), &[], 400, length);
    check(&server, &format!("date={DATE}"), &[("Referer", &long)], 400, length);
    for field in ["path", "referer", "name"] {
        let form = format!("date={DATE}&path=/&{field}=a%00b");
        check(&server, &form, &[], 400, "Null characters are not allowed.");
    }
    check(&server, &valid("&event_id=1"), &[], 400, "Must be a valid UUID.");
    check(&server, &valid(&format!("&name={}", "n".repeat(101))), &[], 400, "100 characters");
    for properties in ["x", "[1]", "1", "null"] {
        check(&server, &valid(&format!("&properties={properties}")), &[], 400, "properties");
    }
    let large = format!("&properties={{\"a\":\"{}\"}}", "x".repeat(8_192));
    check(&server, &valid(&large), &[], 400, "8192 bytes");
    let deep = "&properties={\"a\":{\"a\":{\"a\":{\"a\":{}}}}}";
    check(&server, &valid(deep), &[], 400, "properties");
    check(&server, &valid("&sent_at=yesterday"), &[], 400, wrong_date);
    check(&server, &format!("{}{}", valid(""), "&a=b".repeat(63)), &[], 400, "64");
    assert_eq!((site.count("djaffar_activity"), site.count("django_session")), (0, 0));
}

#[test]
fn odd_but_harmless_input_is_stored_as_it_is() {
    let site = Site::alone();
    let server = site.serve();
    let mut stored = 0;
    let mut check = |form: &str, headers: &[(&str, &str)], column: &str, expected: &str| {
        check(&server, form, headers, 204, "");
        stored += 1;
        site.wait_for(stored);
        assert_eq!(last(&site, column), expected, "{form}");
    };
    check(&format!("date={DATE}&path={}", "%C3%A9".repeat(2_000)), &[], "path", &"é".repeat(2_000));
    check("date=2021-12-29T07:35:22Z&path=/", &[], "date", "2021-12-29 07:35:22");
    check("date=1966-12-29T07:35:22Z&path=/", &[], "date", "1966-12-29 07:35:22");
    check(&format!("date={DATE}&path=%1b[31m%0d%0a"), &[], "path", "\u{1b}[31m");
    check(&format!("date={DATE}&path=%E2%80%AEx"), &[], "path", "\u{202e}x");
    check(&format!("date={DATE}&path=%FF%C0%AF%ED%A0%80"), &[], "path", &"\u{fffd}".repeat(6));
    check(&format!("date={DATE}&path=/%F0%9F%98%80"), &[], "path", "/😀");
    check(&format!("date={DATE}&path=/a&path=/b"), &[], "path", "/b");
    check(&format!("date={DATE}&path=/a;path=/b"), &[], "path", "/a;path=/b");
    check(&valid("&unknown=1&id=7&user=9&ip_address=1.1.1.1"), &[], "ip_address", "127.0.0.1");
    check(&valid(""), &[("X-Forwarded-For", "1.1.1.1")], "ip_address", "127.0.0.1");
    check(&valid(""), &[("Forwarded", "for=1.1.1.1")], "ip_address", "127.0.0.1");
    check(&valid(""), &[("X-Real-IP", "1.1.1.1")], "ip_address", "127.0.0.1");
    check(&format!("date={DATE}"), &[("Referer", "/from")], "path", "/from");
    let long = "u".repeat(1_001);
    check(&valid("&name=agent"), &[("User-Agent", &long)], "name", "agent");
    let agent =
        "SELECT length(user_agent) FROM djaffar_sessioninfo ORDER BY created_at DESC LIMIT 1";
    let length: i64 = site.database().query_row(agent, [], |row| row.get(0)).unwrap();
    assert_eq!(length, 1_000);
    let log = server.stop_and_tell();
    assert_eq!(log.matches("--trusted-proxy 127.0.0.1").count(), 1, "told once: {log}");
}

#[test]
fn the_referer_header_may_be_latin_1() {
    let site = Site::alone();
    let server = site.serve();
    let mut wire = server.connect();
    let body = format!("date={DATE}");
    wire.send(b"POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\nReferer: /caf\xe9\r\n");
    wire.send("Content-Type: application/x-www-form-urlencoded\r\n");
    wire.send(format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(wire.answer().unwrap().status, 204);
    site.wait_for(1);
    assert_eq!(last(&site, "path"), "/café");
}

#[test]
fn bodies_of_the_wrong_kind() {
    let site = Site::alone();
    let server = site.serve();
    let kind = |kind: &'static str| [("Content-Type", kind)];
    let form = valid("");
    check(&server, &form, &kind("application/xml"), 415, "Unsupported media type");
    check(&server, &form, &kind("text/html"), 415, "Unsupported media type");
    check(&server, &form, &[("Content-Encoding", "gzip")], 415, "compressed");
    for (body, text) in [
        ("", "This field may not be blank."),
        ("{", "JSON parse error"),
        ("\"text\"", "Invalid data"),
        ("[[[[[[1]]]]]", "detail"),
        ("{\"date\":{\"a\":{\"b\":{\"c\":{}}}}}", "detail"),
    ] {
        check(&server, body, &kind("application/json"), 400, text);
        check(&server, body, &kind("text/plain;charset=UTF-8"), 400, "");
    }
    // A batch is an answer for each of its items.
    let json = kind("application/json");
    check(&server, "[[[[[[1]]]]]]", &json, 200, "levels deep");
    let part = |head: &str| {
        let head = format!("Content-Disposition: form-data; name=\"a\"{head}");
        format!("--B\r\n{head}\r\n\r\nx\r\n")
    };
    let multipart = kind("multipart/form-data; boundary=B");
    let file = format!("{}--B--\r\n", part("; filename=\"f\""));
    check(&server, &file, &multipart, 400, "detail");
    let many = format!("{}--B--\r\n", part("").repeat(17));
    check(&server, &many, &multipart, 400, "16");
    assert_eq!(site.count("djaffar_activity"), 0);
}

#[test]
fn bodies_that_are_too_large() {
    let site = Site::alone();
    let server = site.serve();
    let limit = 64 * 1024;
    let filled = |length: usize| {
        let form = valid("&x=");
        let rest = length - form.len();
        form + &"x".repeat(rest)
    };
    check(&server, &filled(limit), &[], 204, "");
    for length in [limit + 1, 2 * limit] {
        let answer = check(&server, &filled(length), &[], 413, "65536 bytes");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let mut wire = server.connect();
    wire.send("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nx");
    assert_eq!(wire.answer().unwrap().status, 413);
    let mut wire = server.connect();
    wire.send("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..70 {
        wire.send(format!("400\r\n{}\r\n", "x".repeat(1024)));
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.answer().unwrap().status, 413);
    assert!(wire.closed());
    site.wait_for(1);
}

#[test]
fn session_cookies_that_name_no_session_are_never_adopted() {
    let site = Site::alone();
    let server = site.serve();
    for cookie in [
        "sessionid=zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "sessionid=short",
        "sessionid=' OR 1=1 --",
        "sessionid=UPPERCASEUPPERCASEUPPERCASEUPPER",
        "sessionid=",
        &format!("sessionid={}", "a".repeat(300)),
    ] {
        let answer = check(&server, &valid(""), &[("Cookie", cookie)], 204, "");
        let key = answer.session().unwrap();
        assert_eq!(key.len(), 32);
        assert!(!cookie.contains(&key));
    }
    site.wait_for(6);
    let own = server.post(&valid(""), &[]).session().unwrap();
    let tossed = format!("sessionid=zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz; sessionid={own}");
    let answer = check(&server, &valid(""), &[("Cookie", &tossed)], 204, "");
    assert_eq!(answer.session(), None, "the last cookie counts, as for Django");
    site.wait_for(8);
    assert_eq!(last(&site, "session_id"), own);
}

#[test]
fn headers_that_are_too_large() {
    let site = Site::alone();
    let server = site.serve();
    let many = "a=b; ".repeat(51);
    check(&server, &valid(""), &[("Cookie", &many)], 431, "50 cookies");
    let long = format!("a={}", "b".repeat(8 * 1024));
    check(&server, &valid(""), &[("Cookie", &long)], 431, "8192 bytes");
    assert_eq!(site.count("djaffar_activity"), 0);
}

#[test]
fn wrong_credentials_are_never_silently_anonymous() {
    let site = Site::beside_django();
    let server = site.serve();
    for token in ["Token x", "Token", "Token a b", "token 0000000000000000000000000000000000000000"]
    {
        let answer = check(&server, &valid(""), &[("Authorization", token)], 401, "oken");
        assert_eq!(answer.header("www-authenticate"), Some("Token"));
    }
    assert_eq!(site.count("djaffar_activity"), 0);
}

#[test]
fn pages_of_foreign_sites_cannot_act_for_a_user() {
    let site = Site::beside_django().with("--allowed-origin=https://shop.example");
    let server = site.serve();
    let user = std::fs::read_to_string(crate::support::fixture("conformance/site.sql")).unwrap();
    let user = user.lines().find_map(|line| line.strip_prefix("-- s_user = ")).unwrap().to_owned();
    let cookie = format!("sessionid={user}");
    let mut stored = 0;
    for (origin, site_header, status) in [
        ("https://evil.com", "cross-site", 403),
        ("https://evil.com", "", 403),
        ("null", "", 403),
        ("https://shop.example.com.evil", "", 403),
        ("https://shop.example.com:8443", "", 403),
        ("https://sub.shop.example.com", "same-site", 403),
        ("https://shop.example.com", "same-origin", 204),
        ("https://shop.example.com", "", 204),
        ("https://shop.example", "cross-site", 204),
    ] {
        let mut headers = vec![("Cookie", cookie.as_str()), ("Origin", origin)];
        if !site_header.is_empty() {
            headers.push(("Sec-Fetch-Site", site_header));
        }
        let answer = check(&server, &valid(""), &headers, status, "");
        stored += i64::from(status == 204);
        let allowed = origin == "https://shop.example";
        assert_eq!(answer.header("access-control-allow-origin"), allowed.then_some(origin));
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials, allowed.then_some("true"));
    }
    // Without a cookie anybody may post; but a cookie that a foreign page makes us set would
    // replace the one that the browser withheld.
    let answer = check(&server, &valid(""), &[("Origin", "https://evil.com")], 204, "");
    assert_eq!(answer.header("set-cookie"), None);
    site.wait_for(stored + 1);
    // Rows of different lanes come in any order.
    let sql = "SELECT count(*) FROM djaffar_activity WHERE session_id IS NULL";
    let without: i64 = site.database().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(without, 1);
}

#[test]
fn preflights() {
    let site = Site::alone().with("--allowed-origin=https://shop.example");
    let server = site.serve();
    let ask = |origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        server.connect().request("OPTIONS", "/djaffar/log/", &headers, b"")
    };
    let answer = ask("https://shop.example");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));
    assert!(answer.header("vary").unwrap().contains("Origin"));
    let answer = ask("https://evil.com");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn forwarded_addresses_of_a_trusted_proxy() {
    let site = Site::alone().with("--trusted-proxy=127.0.0.0/8,10.0.0.0/8");
    let server = site.serve();
    for (stored, (value, expected)) in [
        ("1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("garbage", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        check(&server, &valid(""), &[("X-Forwarded-For", value)], 204, "");
        site.wait_for(stored as i64 + 1);
        assert_eq!(last(&site, "ip_address"), expected, "{value}");
    }
}

/// How many of them were taken.
fn taken(statuses: &[u16]) -> u64 {
    statuses.iter().map(|status| u64::from(*status == 204)).sum()
}

#[test]
fn over_the_rate_the_answer_is_429() {
    let site = Site::alone().with("--rate-limit=1").with("--session-rate-limit=0");
    let server = site.serve();
    let mut wire = server.connect();
    let since = Instant::now();
    let answers: Vec<Answer> = (0..20).map(|_| wire.post(&valid(""), &[])).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(&statuses[..11], [204; 11], "ten seconds' worth at once");
    let most = 12 + since.elapsed().as_secs();
    assert!(taken(&statuses) <= most, "one a second, not {statuses:?} in {:?}", since.elapsed());
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds));
    let log = server.stop_and_tell();
    assert_eq!(log.matches("refused with 429").count(), 1, "told, but not each time: {log}");
}

#[test]
fn new_sessions_are_limited_by_network() {
    let site = Site::alone().with("--rate-limit=0").with("--session-rate-limit=1");
    let server = site.serve();
    let mut wire = server.connect();
    let since = Instant::now();
    let key = wire.post(&valid(""), &[]).session().unwrap();
    let statuses: Vec<u16> = (0..20).map(|_| wire.post(&valid(""), &[]).status).collect();
    let most = 12 + since.elapsed().as_secs();
    assert!(taken(&statuses) <= most, "one a second, not {statuses:?} in {:?}", since.elapsed());
    let cookie = format!("sessionid={key}");
    assert_eq!(wire.post(&valid(""), &[("Cookie", &cookie)]).status, 204, "not for those we know");
}

#[test]
fn batches() {
    let site = Site::alone();
    let server = site.serve();
    let json = [("Content-Type", "application/json")];
    let id = "0190b5a0-0000-7000-8000-000000000001";
    let body = json!([
        { "date": DATE, "path": "/a", "event_id": id },
        { "date": "x", "path": "/b" },
        { "date": DATE, "path": "/a", "event_id": id },
        { "date": DATE, "path": "/c", "name": "buy", "properties": { "total": 12 } },
        7,
    ]);
    let answer = check(&server, &body.to_string(), &json, 200, "accepted");
    let found = answer.json();
    assert_eq!((&found["accepted"], &found["duplicates"]), (&json!(2), &json!(1)));
    assert_eq!(found["rejected"][0]["index"], 1);
    assert!(found["rejected"][0]["errors"]["date"].is_array());
    assert_eq!(found["rejected"][1]["index"], 4);
    site.wait_for(2);
    assert_eq!(last(&site, "properties"), "{\"total\":12}");
    // The same again, from another connection and as one: answered, not stored.
    let one = json!({ "date": DATE, "path": "/a", "event_id": id }).to_string();
    check(&server, &one, &[("Content-Type", "text/plain")], 204, "");
    let answer = check(&server, &json!([one_of(id)]).to_string(), &json, 200, "");
    assert_eq!(answer.json()["duplicates"], 1);
    let many = json!(vec![one_of(id); 101]).to_string();
    check(&server, &many, &json, 400, "100");
    site.wait_for(2);
    // After a restart only the database remembers the id.
    assert!(server.stop().success());
    let server = site.serve();
    check(&server, &one, &json, 204, "");
    check(&server, &valid(""), &[], 204, "");
    site.wait_for(3);
    assert_eq!(last(&site, "path"), "/");
}

fn one_of(id: &str) -> serde_json::Value {
    json!({ "date": DATE, "path": "/a", "event_id": id })
}
