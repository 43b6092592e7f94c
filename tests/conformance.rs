//! The recorded behaviour of django-djaffar 0.1.10, replayed over a socket.
//!
//! `fixtures/conformance/django-djaffar-0.1.10.json` is what the published original answered and
//! stored. Where we mean to be better, [`DIFFERENCES`] names the case and what is expected
//! instead; every other case must be the same in status, body, headers and rows.

use std::{collections::HashMap, fs};

use serde_json::{Value, json};

use crate::support::{Server, Site, fixture};

const FORBIDDEN_TO_STORED: &str = "a logged-in user needs no CSRF token";

/// What is different, and why.
enum Difference {
    /// 4xx, but without making a session and setting a cookie.
    NoSession,
    /// Another answer; nothing stored.
    Refused(u16, Value),
    /// 204, stored with these fields (others as usual).
    Stored(Value),
}

fn difference(name: &str) -> Option<(&'static str, Difference)> {
    use Difference::{Refused, Stored};
    let unauthorized = |text: &str| Refused(401, json!({ "detail": text }));
    let row = |fields: Value| Stored(fields);
    let sql = "';DROP TABLE djaffar_activity;--";
    Some(match name {
        "user-session-readme-snippet" => {
            (FORBIDDEN_TO_STORED, row(json!({ "user": "jeff", "session": "sent", "path": "/" })))
        }
        "user-session-csrf-then-token" => {
            (FORBIDDEN_TO_STORED, row(json!({ "user": "jeff", "session": "sent", "path": "/" })))
        }
        "token-unknown" => ("a bad token is 401", unauthorized("Invalid token.")),
        "token-inactive-user" => ("a bad token is 401", unauthorized("User inactive or deleted.")),
        "token-empty" => {
            ("a bad token is 401", unauthorized("Invalid token header. No credentials provided."))
        }
        "token-with-spaces" => (
            "a bad token is 401",
            unauthorized("Invalid token header. Token string should not contain spaces."),
        ),
        "path-1001" => ("2,000 characters", row(json!({ "path": "p".repeat(1001) }))),
        "referer-161" => {
            ("2,000 characters", row(json!({ "path": "/", "referer": "r".repeat(161) })))
        }
        "user-agent-1001" => (
            "the first 1,000 characters",
            row(json!({ "path": "/", "session_info_user_agent": "u".repeat(1000) })),
        ),
        "nul-in-path" => (
            "NUL is refused",
            Refused(400, json!({ "errors": { "path": ["Null characters are not allowed."] } })),
        ),
        "no-trailing-slash" => ("no redirect that loses the body", row(json!({ "path": "/" }))),
        "no-content-type-with-body" => {
            ("text/plain holds JSON", Refused(400, json!({ "detail": "JSON parse error" })))
        }
        "sql-in-path" => ("; is part of the value", row(json!({ "path": sql }))),
        "semicolon-separator" => (
            "; is part of the value",
            Refused(
                400,
                json!({ "errors": { "date": [WRONG_DATE],
                "path": ["This field may not be blank."] } }),
            ),
        ),
        "json-malformed" => {
            ("our own words", Refused(400, json!({ "detail": "JSON parse error" })))
        }
        name if name.starts_with("date: ") && !name.is_ascii() => {
            ("ASCII digits only", Refused(400, json!({ "errors": { "date": [WRONG_DATE] } })))
        }
        "date: 2016-12-29T07:35:22+24:00" => (
            "an offset of a day is 400, not 500",
            Refused(400, json!({ "errors": { "date": [WRONG_DATE] } })),
        ),
        name => newer_date(name)?,
    })
}

const WRONG_DATE: &str = "Datetime has wrong format. Use one of these formats instead: \
     YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].";

/// Dates that Django took only after 1.10: we take what any Django takes (the table's `date`).
fn newer_date(name: &str) -> Option<(&'static str, Difference)> {
    let stored = match name.strip_prefix("date: ")? {
        "2016-12-29T07:35:22 Z" | "2016-12-29T07:35:22   Z" => "2016-12-29 07:35:22",
        "2016-12-29T073522Z" | "20161229T07:35:22Z" | "20161229T073522Z" => "2016-12-29 07:35:22",
        "2016-12-29T07:35:22,571Z" => "2016-12-29 07:35:22.571000",
        "2016-12-29T07:35:22.1234567890123Z" => "2016-12-29 07:35:22.123456",
        "2016-12-29T07Z" => "2016-12-29 07:00:00",
        "2016-12-29T07:35:22.571 +01:00" => "2016-12-29 06:35:22.571000",
        "2016-W52-4T07:35:22Z" => "2016-12-29 07:35:22",
        "2016-12-29T07:35:22+01:00:30" | "2016-12-29T07:35:22+010030" => "2016-12-29 06:34:52",
        // Without an offset: in the recorded site's America/Chicago.
        "2016-12-29T07" => "2016-12-29 13:00:00",
        "20161229T073522" | "2016W524T073522" => "2016-12-29 13:35:22",
        "20161229T0735" => "2016-12-29 13:35:00",
        "20161229" | "2016-12-29" | "2016-W52-4" => "2016-12-29 06:00:00",
        "2016-W52" => "2016-12-26 06:00:00",
        _ => return None,
    };
    Some((
        "a date that a newer Django takes",
        Difference::Stored(json!({ "path": "/", "date": stored })),
    ))
}

#[test]
fn every_recorded_case_is_answered_as_recorded() {
    let site = Site::beside_django().with("--time-zone=America/Chicago");
    let server = site.serve();
    let keys = keys();
    let file = fs::read_to_string(fixture("conformance/django-djaffar-0.1.10.json")).unwrap();
    let recorded: Value = serde_json::from_str(&file).unwrap();
    let (mut stored, mut failures) = (0, Vec::new());
    let cases = recorded["cases"].as_array().unwrap();
    for case in cases {
        let replay = Replay { site: &site, server: &server, keys: &keys, stored_before: stored };
        match replay.case(case) {
            Ok(now) => stored = now,
            Err(text) => {
                failures.push(format!("{}: {text}", case["name"]));
                stored = site.count("djaffar_activity");
            }
        }
    }
    assert_eq!(cases.len(), 130);
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

fn keys() -> HashMap<String, String> {
    let sql = fs::read_to_string(fixture("conformance/site.sql")).unwrap();
    let lines = sql.lines().map_while(|line| line.strip_prefix("-- "));
    lines.filter_map(|line| line.split_once(" = ")).map(|(k, v)| (k.into(), v.into())).collect()
}

struct Replay<'a> {
    site: &'a Site,
    server: &'a Server,
    keys: &'a HashMap<String, String>,
    stored_before: i64,
}

impl Replay<'_> {
    /// Sends one case; returns how many activities are stored afterwards.
    fn case(&self, case: &Value) -> Result<i64, String> {
        let name = case["name"].as_str().unwrap();
        let request = &case["request"];
        let mut expected = case["response"].clone();
        let differs = difference(name);
        if let Some((_, difference)) = differs {
            change(&mut expected, difference);
        } else if expected["status"].as_u64() >= Some(400)
            && expected["status"].as_u64() < Some(500)
        {
            change(&mut expected, Difference::NoSession);
        }
        let sent = self.session(request);
        let sessions_before = self.site.count("django_session");
        let answer = self.send(request, sent.as_deref());
        let activities = expected["activities"].as_array().unwrap().len() as i64;
        self.site.wait_for(self.stored_before + activities);
        let same = |what: &str, found: Value, expected: &Value| {
            if found == *expected { Ok(()) } else { Err(format!("{what}: {found} not {expected}")) }
        };
        same("status", json!(answer.status), &expected["status"])?;
        let body = if answer.body.is_empty() { Value::Null } else { shortened(answer.json()) };
        same("body", body, &shortened(expected["body"].clone()))?;
        same("Allow", json!(answer.header("allow")), &json!("POST, OPTIONS"))?;
        same("Vary", json!(answer.header("vary")), &json!("Accept, Cookie"))?;
        let authenticate = if answer.status == 401 { json!("Token") } else { Value::Null };
        same("WWW-Authenticate", json!(answer.header("www-authenticate")), &authenticate)?;
        let session = answer.session();
        same("cookie", json!(session.is_some()), &expected["sets_session_cookie"])?;
        let added = self.site.count("django_session") - sessions_before;
        same("session rows", json!(added), &expected["session_rows_added"])?;
        for row in expected["activities"].as_array().unwrap() {
            let found = self.last_activity(sent.as_deref(), session.as_deref());
            same("activity", found, row)?;
        }
        Ok(self.stored_before + activities)
    }

    fn session(&self, request: &Value) -> Option<String> {
        let name = request["session"].as_str()?;
        Some(match name.strip_prefix('=') {
            Some(text) => text.to_owned(),
            None => self.keys[name].clone(),
        })
    }

    fn send(&self, request: &Value, session: Option<&str>) -> crate::support::Answer {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in request["headers"].as_object().unwrap() {
            headers.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
        if let Some(session) = session {
            headers.push(("Cookie".into(), format!("sessionid={session}")));
        }
        if let Some(text) = request["authorization"].as_str() {
            let text = text.replace("$t_user", &self.keys["$t_user"]);
            let text = text.replace("$t_inactive", &self.keys["$t_inactive"]);
            headers.push(("Authorization".into(), text));
        }
        let pairs: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut wire = self.server.connect();
        let (method, path) =
            (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let body = request["body"].as_str().unwrap_or_default().as_bytes();
        // The original's client sent no Content-Type where the recording has none.
        let mut head = crate::support::wire::head(method, path, &pairs, body.len());
        if request["headers"].get("Content-Type").is_none() {
            head = head.replace("Content-Type: application/x-www-form-urlencoded\r\n", "");
        }
        wire.send(head);
        wire.send(body);
        if method == "HEAD" { wire.head_answer() } else { wire.answer().unwrap() }
    }

    /// The newest row, in the recording's terms.
    fn last_activity(&self, sent: Option<&str>, new: Option<&str>) -> Value {
        let sql = "SELECT u.username, a.session_id, a.ip_address, a.date, a.path, a.referer, \
                   i.user_agent FROM djaffar_activity a LEFT JOIN auth_user u ON u.id = a.user_id \
                   LEFT JOIN djaffar_sessioninfo i ON i.session_id = a.session_id \
                   ORDER BY a.id DESC LIMIT 1";
        let columns: Vec<Option<String>> = self
            .site
            .database()
            .query_row(sql, [], |row| (0..7).map(|column| row.get(column)).collect())
            .unwrap();
        let session = match columns[1].as_deref() {
            key if key.is_some() && key == new => "new",
            key if key.is_some() && key == sent => "sent",
            _ => "another",
        };
        json!({
            "user": columns[0], "session": session, "ip_address": columns[2], "date": columns[3],
            "path": columns[4], "referer": columns[5], "session_info_user_agent": columns[6],
        })
    }
}

/// The parser's own words after "JSON parse error" are its own.
fn shortened(mut body: Value) -> Value {
    let detail = body.get("detail").and_then(Value::as_str).unwrap_or_default();
    if detail.starts_with("JSON parse error") {
        body["detail"] = json!("JSON parse error");
    }
    body
}

fn change(expected: &mut Value, difference: Difference) {
    match difference {
        Difference::NoSession => {
            expected["sets_session_cookie"] = json!(false);
            expected["session_rows_added"] = json!(0);
        }
        Difference::Refused(status, body) => {
            expected["status"] = json!(status);
            expected["body"] = body;
            expected["activities"] = json!([]);
            change(expected, Difference::NoSession);
        }
        Difference::Stored(fields) => {
            let mut row = json!({
                "user": null, "session": "new", "ip_address": "127.0.0.1",
                "date": "2016-12-29 07:35:22.571000", "path": "", "referer": "",
                "session_info_user_agent":
                    "Mozilla/5.0 (X11; Linux x86_64; rv:50.0) Gecko/20100101 Firefox/50.0",
            });
            for (name, value) in fields.as_object().unwrap() {
                row[name] = value.clone();
            }
            let new = row["session"] == "new";
            expected["status"] = json!(204);
            expected["body"] = Value::Null;
            expected["sets_session_cookie"] = json!(new);
            expected["session_rows_added"] = json!(i64::from(new));
            expected["activities"] = json!([row]);
        }
    }
}
