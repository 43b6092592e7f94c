//! The command line, used as the README says.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::support::{DATE, Server, Site, command_of, fixture, load, wire::head};

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn fails(output: &Output, code: i32, text: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(text), "{text:?} is not in {error}");
}

#[test]
fn the_first_command_of_the_readme() {
    let site = Site::alone();
    let server = site.serve();
    for line in ["Open", "Endpoint", "Database", "Spool"] {
        assert!(server.banner.contains(line), "{}", server.banner);
    }
    for (file, mode) in
        [("djaffar.sqlite3", 0o600), ("djaffar.secret-key", 0o600), ("djaffar-spool", 0o700)]
    {
        let found = site.path(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}: {found:o}");
    }
    assert_eq!(server.post(&format!("date={DATE}&path=/first"), &[]).status, 204);
    site.wait_for(1);
    let dump = stdout(&site.djaffar(&["dumpdata", "djaffar.Activity", "--indent", "2"]));
    let rows: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(rows[0]["fields"]["path"], "/first");
    assert_eq!(rows[0]["fields"]["date"], DATE);
    let dump = stdout(&site.djaffar(&["dumpdata", "djaffar.SessionInfo"]));
    assert!(dump.contains("Firefox/50.0"), "{dump}");
    let tail = stdout(&site.djaffar(&["tail", "--no-follow"]));
    assert!(tail.contains("127.0.0.1  anonymous  /first"), "{tail}");
    assert!(server.stop().success());
}

#[test]
fn the_page_cannot_be_made_to_take_all_threads() {
    let site = Site::alone();
    let server = site.serve();
    let key = server.post(&format!("date={DATE}&path=/"), &[]).session().unwrap();
    site.wait_for(1);
    let before = server.threads("");
    let cookie = format!("sessionid={key}");
    let ask = head("GET", "/recent.json", &[("Cookie", &cookie)], 0);
    let mut wires: Vec<_> = (0..200).map(|_| server.connect()).collect();
    wires.iter_mut().for_each(|wire| wire.send(&ask));
    for wire in &mut wires {
        assert!(matches!(wire.answer().unwrap().status, 200 | 503));
        // Each of the runtimes keeps a few that are idle by now.
        assert!(server.threads("") < before + 32, "{} threads", server.threads(""));
    }
    let until = Instant::now() + Duration::from_secs(10);
    while server.connect().request("GET", "/recent.json", &[("Cookie", &cookie)], b"").status != 200
    {
        assert!(Instant::now() < until, "for ever");
    }
}

#[test]
fn the_page_of_a_server_that_runs_alone() {
    let site = Site::alone();
    let server = site.serve();
    let page = server.connect().request("GET", "/", &[], b"");
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
    assert!(page.body.contains("/djaffar/log/") && !page.body.contains("{{"));
    let mine = server.post(&format!("date={DATE}&path=/mine"), &[]).session().unwrap();
    server.post(&format!("date={DATE}&path=/theirs"), &[]);
    site.wait_for(2);
    let cookie = format!("sessionid={mine}");
    let rows = server.connect().request("GET", "/recent.json", &[("Cookie", &cookie)], b"").json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["path"], "/mine");
    let rows = server.connect().request("GET", "/recent.json", &[], b"").json();
    assert_eq!(rows, serde_json::json!([]));
    let beside = Site::beside_django();
    let server = beside.serve();
    for path in ["/", "/recent.json", "/welcome.js"] {
        assert_eq!(server.connect().request("GET", path, &[], b"").status, 404, "{path}");
    }
}

#[test]
fn tail_shows_what_comes_in() {
    let site = Site::alone();
    let server = site.serve();
    server.post(&format!("date={DATE}&path=/before"), &[]);
    site.wait_for(1);
    let mut tail = site.command().args(["tail", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("/before"));
    server.post(&format!("date={DATE}&path=/after%1b"), &[]);
    let line = lines.next().unwrap().unwrap();
    let activity: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(activity["path"], "/after\u{1b}");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a_database_that_is_not_as_it_must_be() {
    let site = Site::alone();
    let at = |name: &str| format!("sqlite:///{name}");
    let serve =
        |name: &str| site.djaffar(&["serve", "--listen=127.0.0.1:0", "--database", &at(name)]);
    fails(&serve("mistyped.sqlite3"), 78, "djaffar migrate --database");
    assert!(!site.path("mistyped.sqlite3").exists());
    let sql = fs::read_to_string(fixture("conformance/site.sql")).unwrap();
    load(&site.path("django.sqlite3"), &sql);
    let django = Connection::open(site.path("django.sqlite3")).unwrap();
    fs::write(site.path("key"), crate::support::KEY).unwrap();
    let serve_django = |arguments: &[&str]| {
        let mut all =
            vec!["serve", "--listen=127.0.0.1:0", "--database", "sqlite:///django.sqlite3"];
        all.extend(arguments);
        site.djaffar(&all)
    };
    fails(&serve_django(&[]), 78, "--secret-key-file");
    fails(&serve_django(&["--secret-key-file=key"]), 78, "djaffar migrate");
    stdout(&site.djaffar(&["migrate", "--database", &at("django.sqlite3")]));
    stdout(&site.djaffar(&["migrate", "--database", &at("django.sqlite3")]));
    django.execute_batch("ALTER TABLE djaffar_activity DROP COLUMN properties").unwrap();
    fails(&serve_django(&["--secret-key-file=key"]), 78, "properties");
    django.execute_batch("DROP TABLE django_session").unwrap();
    fails(&serve_django(&["--secret-key-file=key"]), 78, "django_session");
    fs::write(site.path("noise.sqlite3"), [7; 10_000]).unwrap();
    let output = serve("noise.sqlite3");
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a database"), "{output:?}");
}

#[test]
fn a_secret_key_that_anybody_knows() {
    let site = Site::alone();
    let insecure = "django-insecure-0123456789-abcdefghijklmnopqrstuvwxyz";
    fs::write(site.path("djaffar.secret-key"), insecure).unwrap();
    let output = site.serve_fails();
    fails(&output, 78, "startproject");
    assert!(!String::from_utf8_lossy(&output.stderr).contains(insecure), "the key is not shown");
}

#[test]
fn one_spool_has_one_owner() {
    let site = Site::alone();
    let _server = site.serve();
    fails(&site.serve_fails(), 78, "djaffar-spool");
}

#[test]
fn the_spool_of_a_server_that_is_gone() {
    let site = Site::alone();
    let server = site.serve();
    fails(&site.djaffar(&["drain"]), 78, "djaffar-spool");
    server.post(&format!("date={DATE}&path=/stored"), &[]);
    site.wait_for(1);
    // The database is held, so that what comes now is only in the spool; then the server dies.
    let lock = site.database();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for number in 0..50 {
        let answer = server.post(&format!("date={DATE}&path=/left/{number}"), &[]);
        assert_eq!(answer.status, 204);
    }
    drop(server);
    fails(&site.djaffar(&["drain"]), 1, "locked");
    lock.execute_batch("ROLLBACK").unwrap();
    assert!(stdout(&site.djaffar(&["drain"])).starts_with("50 activities are stored; nothing"));
    assert_eq!(site.count("djaffar_activity"), 51);
    // Newcomers all of them: their sessions are there too.
    assert_eq!(site.count("django_session"), 51);
    assert!(stdout(&site.djaffar(&["drain"])).starts_with("0 activities"));
    fails(&site.djaffar(&["drain", "--spool=nowhere"]), 78, "no such folder");
    assert!(!site.path("nowhere").exists());
}

#[test]
fn a_port_that_is_taken() {
    let site = Site::alone();
    let server = site.serve();
    let other = Site::alone();
    let listen = format!("--listen={}", server.address);
    fails(&other.djaffar(&["serve", &listen]), 1, "cannot listen");
}

#[test]
fn options_are_printed_and_checked() {
    let site = Site::alone();
    fs::write(site.path("djaffar.toml"), "threads = 3\nprefix = '/a/'").unwrap();
    let mut command = site.command();
    command.env("DJAFFAR_PREFIX", "/b/").args(["config", "print", "--threads=4"]);
    let printed = stdout(&command.output().unwrap());
    assert!(printed.contains("threads = 4") && printed.contains("prefix = \"/b/\""), "{printed}");
    let mut command = site.command();
    command.env("DJAFFAR_SECRET_KEY", "do-not-show-me").args(["config", "print"]);
    assert!(!stdout(&command.output().unwrap()).contains("do-not-show-me"));
    let mut command = site.command();
    command.env("DJAFFAR_PREFX", "/b/").args(["config", "print"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("DJAFFAR_PREFX") && said.contains("mean DJAFFAR_PREFIX?"), "{said}");
    assert!(stdout(&output).contains("prefix = \"/a/\""));
    let checked = stdout(&site.djaffar(&["config", "check"]));
    assert!(checked.contains("good") && checked.contains("spool: none yet"), "{checked}");
    assert!(!site.path("djaffar.sqlite3").exists(), "checking changes nothing");
    assert!(!site.path("djaffar-spool").exists(), "checking changes nothing");
    fs::create_dir(site.path("spool")).unwrap();
    let checked = stdout(&site.djaffar(&["config", "check", "--spool=spool"]));
    assert!(checked.contains("spool: can be written"), "{checked}");
    // A file is none, nor is there any room below one.
    for place in ["djaffar.toml", "djaffar.toml/spool"] {
        fails(&site.djaffar(&["config", "check", "--spool", place]), 74, "cannot");
    }
    fs::write(site.path("djaffar.toml"), "thread = 3").unwrap();
    fails(&site.djaffar(&["config", "check"]), 78, "thread");
    fails(&site.djaffar(&["config", "check", "--threads=x"]), 2, "threads");
    fails(&site.djaffar(&["nonsense"]), 2, "nonsense");
    let help = stdout(&site.djaffar(&["serve", "--help"]));
    assert!(help.contains("Ctrl-C") && help.contains("--trusted-proxy"), "{help}");
}

#[test]
fn superusers() {
    let site = Site::alone();
    drop(site.serve());
    let make = |name: &str, password: &str| {
        let mut command = site.command();
        command.args(["createsuperuser", "--username", name]).stdin(Stdio::null());
        command.env("DJANGO_SUPERUSER_PASSWORD", password).output().unwrap()
    };
    assert!(stdout(&make("admin", "correct horse")).contains("Superuser created"));
    fails(&make("admin", "correct horse"), 1, "admin");
    fails(&make("other", "short"), 1, "8 characters");
    fails(&make("", "correct horse"), 1, "username");
    let (password, staff): (String, bool) = site
        .database()
        .query_row("SELECT password, is_superuser AND is_staff FROM auth_user", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert!(password.starts_with("pbkdf2_sha256$") && staff, "{password}");
}

#[test]
fn a_start_on_an_empty_spool_is_quick() {
    let site = Site::alone();
    drop(site.serve());
    let since = Instant::now();
    drop(site.serve());
    // The figure itself is benchmarked (docs/performance.md); this only notices a blunder.
    assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
}

#[test]
fn an_address_that_cannot_be_had_says_what_to_do() {
    let site = Site::alone();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let serve = |address: &str| site.djaffar(&["serve", &format!("--listen={address}")]);
    fails(&serve(&taken), 1, "choose another with --listen");
    fails(&serve("192.0.2.1:8000"), 1, "no network of this machine has this address");
    fails(&serve("localhost:8000"), 2, "write 127.0.0.1:8000");
    fails(&serve("8000"), 2, "write 127.0.0.1:8000");
    fails(&site.djaffar(&["serve", "--connections=0"]), 78, "connections: must be at least 1");
    fs::create_dir(site.path("folder")).unwrap();
    fails(&site.djaffar(&["drain", "--spool=folder"]), 78, "this folder is no spool");
    assert_eq!(fs::read_dir(site.path("folder")).unwrap().count(), 0);
    let missing = ["migrate", "--database", "sqlite:///nowhere/db.sqlite3"];
    fails(&site.djaffar(&missing), 78, "there is no folder nowhere");
}

#[test]
fn a_server_that_cannot_answer_does_not_stay() {
    let site = Site::alone();
    // As few files as a container may allow: somewhere in between only some threads start.
    for files in 16..28 {
        for name in ["djaffar.sqlite3", "djaffar.secret-key"] {
            drop(fs::remove_file(site.path(name)));
        }
        drop(fs::remove_dir_all(site.path("djaffar-spool")));
        let program = env!("CARGO_BIN_EXE_djaffar");
        let script =
            format!("ulimit -n {files}; exec {program} serve --threads=2 --listen=127.0.0.1:0");
        let mut command = command_of("sh", site.dir.path());
        let Ok(mut server) = Server::start(command.args(["-c", &script])) else { continue };
        let until = Instant::now() + Duration::from_secs(5);
        while !server.is_gone() && server.threads("ingest-") < 2 {
            assert!(Instant::now() < until, "with {files} files it stays, and answers nobody");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_spool_that_anybody_may_write_into_is_told() {
    let site = Site::alone();
    let spool = site.path("djaffar-spool");
    fs::create_dir(&spool).unwrap();
    for (mode, told) in [(0o700, false), (0o755, false), (0o777, true)] {
        fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
        let log = site.serve().stop_and_tell();
        assert_eq!(log.contains("chmod 700"), told, "{mode:o}: {log}");
    }
}

#[test]
fn half_of_the_cores_answer_unless_their_number_is_said() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for (said, expected) in [(None, (cores / 2).max(1)), (Some("--threads=3"), 3)] {
        let mut site = Site::alone();
        if let Some(said) = said {
            site = site.with(said);
        }
        let server = site.serve();
        let until = Instant::now() + Duration::from_secs(10);
        while server.threads("spool-lane-") < expected {
            assert!(Instant::now() < until, "they do not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(server.threads("ingest-"), expected);
    }
}
