//! The recorded behaviour of django-djaffar 0.1.10, replayed over a socket.
//!
//! `fixtures/conformance/django-djaffar-0.1.10.json` is what the published original answered and
//! stored. Where we mean to be better, `differences.json` beside it names the case, why, and what is
//! expected instead; every other case must be the same in status, body, headers and rows. The
//! view of the Django app is held to the same two files (`python/tests/test_conformance.py`).

use std::{collections::HashMap, fs};

use serde_json::{Value, json};

use crate::support::{Server, Site, fixture};

/// What is different.
enum Difference {
    /// 4xx, but without making a session and setting a cookie.
    NoSession,
    /// Another answer; nothing stored.
    Refused(u64, Value),
    /// 204, stored with these fields (others as usual).
    Stored(Value),
}

impl Difference {
    fn read(named: &Value) -> Difference {
        assert!(named["why"].is_string(), "{named} does not say why");
        match named["status"].as_u64() {
            Some(status) => Difference::Refused(status, named["body"].clone()),
            None => Difference::Stored(named["stored"].clone()),
        }
    }
}

fn json_of(name: &str) -> Value {
    let text = fs::read_to_string(fixture(&format!("conformance/{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_recorded_case_is_answered_as_recorded() {
    let site = Site::beside_django().with("--time-zone=America/Chicago");
    let server = site.serve();
    let keys = keys();
    let (recorded, differences) = (json_of("django-djaffar-0.1.10"), json_of("differences"));
    let (mut stored, mut failures) = (0, Vec::new());
    let cases = recorded["cases"].as_array().unwrap();
    for case in cases {
        let differs = differences.get(case["name"].as_str().unwrap());
        let replay = Replay { site: &site, server: &server, keys: &keys, stored_before: stored };
        match replay.case(case, differs) {
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
    fn case(&self, case: &Value, differs: Option<&Value>) -> Result<i64, String> {
        let request = &case["request"];
        let mut expected = case["response"].clone();
        if let Some(named) = differs {
            change(&mut expected, Difference::read(named));
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
