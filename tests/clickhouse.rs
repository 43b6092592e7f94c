//! The whole way with the activities in a ClickHouse, through the command line: tables, the server,
//! the page at `/`, `tail`, `dumpdata`; and TLS. `tests/clickhouse/run` installs what is started here.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    durability::clickhouse::servers::{Server as ClickHouse, ask, ports},
    support::{DATE, Site},
};

/// Until something is stored: batches are gathered for a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the command prints, or its errors.
fn djaffar(site: &Site, arguments: &[&str], url: &str) -> Result<String, String> {
    let mut command = site.command();
    let said = command.args(arguments).args(["--activity-database", url]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if said.status.success() { Ok(text(said.stdout)) } else { Err(text(said.stderr)) }
}

/// Posts, and sees it come in on the page, in `tail` and in `dumpdata`.
fn must_be_seen(site: Site, url: &str) {
    let made = djaffar(&site, &["migrate", "--database", "sqlite:///djaffar.sqlite3"], url);
    made.unwrap();
    let site = site.with(&format!("--activity-database={url}"));
    let server = site.serve();
    let mut tail = site.command();
    tail.args(["tail", "--json", "--activity-database", url]).stdout(Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let first = server.post(&format!("date={DATE}&path=/first"), &[]);
    let cookie = format!("sessionid={}", first.session().unwrap());
    let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["path"], "/first", "{line}");
    server.post(&format!("date={DATE}&path=/second&name=buy"), &[("Cookie", &cookie)]);
    assert!(lines.next().unwrap().unwrap().contains("/second"));
    tail.kill().unwrap();
    tail.wait().unwrap();
    // The page shows the browser's own, the newest first.
    let page = |headers: &[(&str, &str)]| {
        server.connect().request("GET", "/recent.json", headers, b"").json()
    };
    let mine = page(&[("Cookie", &cookie)]);
    let paths: Vec<_> = mine.as_array().unwrap().iter().map(|it| &it["path"]).collect();
    assert_eq!(paths, ["/second", "/first"]);
    assert_eq!(page(&[]).as_array().unwrap().len(), 0, "nobody else's");
    assert_eq!(server.connect().request("GET", "/", &[], b"").status, 200);
    let tail = djaffar(&site, &["tail", "--no-follow", "--lines", "1"], url).unwrap();
    assert!(tail.contains("anonymous  /second  [buy]"), "{tail}");
    let dump = djaffar(&site, &["dumpdata", "djaffar.Activity"], url).unwrap();
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(dump.as_array().unwrap().len(), 2);
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn page_and_tail_with_todays() {
    let home = tempfile::tempdir().unwrap();
    let server = ClickHouse::start("new", home.path(), ports(1)[0], &[]);
    server.must_answer();
    must_be_seen(
        Site::alone(),
        &format!("clickhouse://djaffar:se%2Fcret@{}/site", server.address()),
    );
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn retention_as_the_docs_say_with_18_16() {
    let docs = include_str!("../docs/clickhouse.md").split("**Retention**").nth(1).unwrap();
    let job = docs.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let home = tempfile::tempdir().unwrap();
    let server = ClickHouse::start("old", home.path(), ports(1)[0], &[]);
    server.must_answer();
    let url = format!("clickhouse://djaffar:se%2Fcret@{}/djaffar", server.address());
    let site = Site::alone();
    djaffar(&site, &["migrate", "--database", "sqlite:///djaffar.sqlite3"], &url).unwrap();
    let asked = |sql: &str| ask(server.address(), sql).unwrap();
    for (id, moment) in [(1, "toDateTime('2020-01-31 12:00:00')"), (2, "now() - 86400 * 600")] {
        let into = "INSERT INTO djaffar.djaffar";
        asked(&format!("{into}_activity (id, stored_at) SELECT {id}, {moment}"));
        asked(&format!(
            "{into}_event_id (event_id, day) SELECT toFixedString('{id}', 16), toDate({moment})"
        ));
    }
    let client =
        concat!(env!("CARGO_MANIFEST_DIR"), "/.venvs/clickhouse-18.16/usr/bin/clickhouse-client");
    let login = format!("{client} --port {} --user djaffar --password se/cret", server.port + 1);
    // Once more when there is nothing left to do.
    for _ in 0..2 {
        let mut shell = Command::new("sh");
        let done =
            shell.args(["-euc", &job.replace("clickhouse-client", &login)]).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        assert_eq!(asked("SELECT groupArray(id) FROM djaffar.djaffar_activity"), "[2]\n");
        assert_eq!(asked("SELECT count() FROM djaffar.djaffar_event_id"), "1\n");
    }
}

/// A root certificate, another one, and a certificate for localhost that the first has signed.
fn make_certificates(folder: &Path) {
    let run = |arguments: &str| {
        let mut command = Command::new("openssl");
        let made = command.args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    for root in ["root", "other"] {
        run(&format!(
            "req -new -x509 -days 2 -nodes -subj /CN={root} -keyout {root}.key -out {root}.crt"
        ));
    }
    run("req -new -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    run("x509 -req -in server.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial \
         -extfile names -out server.crt");
}

#[test]
#[ignore = "tests/clickhouse/run installs the servers"]
fn tls_with_18_16() {
    let home = tempfile::tempdir().unwrap();
    let port = ports(1)[0];
    let folder = home.path().join(format!("tls-{port}"));
    std::fs::create_dir(&folder).unwrap();
    make_certificates(&folder);
    let _server = ClickHouse::start("tls", home.path(), port, &[]);
    let site = Site::alone();
    let url = |scheme: &str, host: &str, root: &str| {
        let file = folder.join(root);
        let options = match root {
            "" => String::new(),
            _ => format!("?ca_certs={}", file.display()),
        };
        format!("{scheme}://djaffar:se%2Fcret@{host}:{port}/site{options}")
    };
    let good = url("clickhouses", "localhost", "root.crt");
    let ask =
        |url: &str| djaffar(&site, &["migrate", "--database", "sqlite:///djaffar.sqlite3"], url);
    let since = Instant::now();
    while ask(&good).is_err() {
        assert!(since.elapsed() < PATIENCE, "{:?}", ask(&good));
        thread::sleep(Duration::from_millis(100));
    }
    for (bad, why) in [
        (url("clickhouses", "localhost", "other.crt"), "TLS: invalid peer certificate"),
        (url("clickhouses", "localhost", ""), "TLS: invalid peer certificate"),
        (url("clickhouses", "127.0.0.1", "root.crt"), "not valid for name"),
        (url("clickhouse", "localhost", ""), "ClickHouse at localhost"),
    ] {
        let text = ask(&bad).unwrap_err();
        assert!(text.contains(why), "{bad}: {text}");
    }
    must_be_seen(site, &good);
}
