//! What is MySQL's and MariaDB's own: types, character sets, several servers; and that both conform.
//! A test whose name ends in `on_mysql` needs a MySQL, the others a MariaDB.

use jiff::tz::TimeZone;
use uuid::Uuid;

use super::*;
use crate::store::conformance::{self, activity};
use crate::store::servers::Server as Machine;
use crate::store::{Cursor, Key, TokenKey, TokenRow, UserRow, Users};

/// Without the wait for the disk, which is the machine's.
const QUICK: &[&str] = &["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"];

fn open(server: &Machine, name: &str, settings: Settings) -> MysqlDatabase {
    MysqlDatabase::new(&server.url(name), settings).unwrap()
}

fn migrated(server: &Machine, settings: Settings) -> (String, MysqlDatabase) {
    let name = server.create();
    let database = open(server, &name, settings);
    database.migrate().unwrap();
    (name, database)
}

fn local() -> Settings {
    let time_zone = TimeZone::get("America/Chicago").unwrap();
    Settings { use_tz: false, time_zone, ..Settings::default() }
}

fn batch(activities: &[Activity], spool: u128, position: u64) -> Batch<'_> {
    let cursor = Cursor { spool: Uuid::from_u128(spool), segment: Uuid::nil(), position };
    Batch { activities, sessions: &[], cursor }
}

#[test]
fn conforms_on_maria() {
    let server = Machine::maria(QUICK);
    println!("MariaDB {}", server.client("SELECT version()", None).unwrap());
    conformance::all(|| Box::new(migrated(&server, Settings::default()).1));
    conformance::all(|| Box::new(migrated(&server, local()).1));
}

/// All in one: a new MySQL takes ten seconds.
#[test]
fn all_of_it_on_mysql() {
    let mut server = Machine::mysql(QUICK);
    println!("MySQL {}", server.client("SELECT version()", None).unwrap());
    conformance::all(|| Box::new(migrated(&server, Settings::default()).1));
    two_servers_with_the_same_events_at_the_same_time(&server);
    assert_eq!(ids_that_are_kept(&server), 64);
    what_it_is_like_and_what_to_do(&server, "MyISAM");
    let name = "Jeff".to_owned();
    let column = ("varchar(150) COLLATE utf8mb4_0900_ai_ci", name.clone(), name);
    users_of_another_model_and_their_tokens(&server, column);
    // It is killed: what it has committed must be on its disk.
    let sql = "SET GLOBAL innodb_flush_log_at_trx_commit = 1; SET GLOBAL sync_binlog = 1";
    server.client(sql, None).unwrap();
    server.options.clear();
    passwords_and_tls(&mut server);
    outages_are_waited_for_and_end(server);
}

#[test]
fn two_servers_with_the_same_events_at_the_same_time_on_maria() {
    two_servers_with_the_same_events_at_the_same_time(&Machine::maria(QUICK));
}

fn two_servers_with_the_same_events_at_the_same_time(server: &Machine) {
    let (name, database) = migrated(server, Settings::default());
    conformance::several_writers_of_the_same_events(&database);
    let found =
        server.sql(&name, "SELECT count(*), count(DISTINCT event_id) FROM djaffar_activity");
    assert_eq!(found, "3050\t3050");
    assert_eq!(server.sql(&name, "SELECT sum(position) FROM djaffar_spool_cursor"), "80");
}

#[test]
fn rights_that_are_enough_on_maria() {
    let server = Machine::maria(QUICK);
    let (name, _) = migrated(&server, Settings::default());
    server.client("CREATE USER lean@127.0.0.1", None).unwrap();
    for (rights, table) in [
        ("SELECT, INSERT, UPDATE, DELETE", "djaffar_activity"),
        ("SELECT, INSERT, UPDATE, DELETE", "djaffar_sessioninfo"),
        ("SELECT, INSERT, UPDATE, DELETE", "djaffar_spool_cursor"),
        ("SELECT, INSERT, UPDATE", "django_session"),
        ("SELECT", "auth_user"),
    ] {
        let sql = format!("GRANT {rights} ON {name}.{table} TO lean@127.0.0.1");
        server.client(&sql, None).unwrap();
    }
    let url = server.url(&name).replace("site@", "lean@");
    let lean = MysqlDatabase::new(&url, Settings::default()).unwrap();
    assert_eq!(lean.check(), Ok(()));
    conformance::a_server_s_life(&lean);
    // A move needs more where it fills, and says what.
    let failed = lean.mover().reserve(1_000).unwrap_err().to_string();
    assert!(failed.contains("ALTER command denied"), "{failed}");
}

#[test]
fn ids_that_maria_does_not_take() {
    assert_eq!(ids_that_are_kept(&Machine::maria(QUICK)), 48);
}

fn ids_that_are_kept(server: &Machine) -> usize {
    let (name, database) = migrated(server, Settings::default());
    let mut store = database.store();
    let event = |number, id| Activity { event_id: Some(id), ..activity(number) };
    // Each version with several variants.
    let ids = (0..64_u128).map(|bits| {
        let (version, variant) = (bits >> 2, [0x00_u128, 0x44, 0x80, 0x84][bits as usize & 3]);
        Uuid::from_u128(bits << 100 | version << 76 | variant << 56 | 0xabc)
    });
    let activities: Vec<_> = (0..64).zip(ids).map(|(number, id)| event(number, id)).collect();
    assert_eq!(store.write(&batch(&activities, 1, 1)), Ok(64));
    assert_eq!(store.write(&batch(&activities, 1, 2)), Ok(0));
    let stored = database.history().after(0, 100).unwrap();
    let kept = stored.iter().zip(&activities).filter(|(row, it)| row.event_id == it.event_id);
    let kept = kept.count();
    assert_eq!(server.sql(&name, "SELECT count(DISTINCT event_id) FROM djaffar_activity"), "64");
    kept
}

#[test]
fn what_maria_is_like_and_what_to_do() {
    what_it_is_like_and_what_to_do(&Machine::maria(QUICK), "Aria");
}

fn what_it_is_like_and_what_to_do(server: &Machine, engine: &str) {
    let (name, database) = migrated(server, local());
    database.store().write(&batch(&[activity(0)], 1, 1)).unwrap();
    let dates = server.sql(&name, "SELECT date, received_at FROM djaffar_activity");
    assert_eq!(dates, "2016-12-29 07:35:21.571006\t2016-12-29 01:35:22.571006");
    let schema = |result: Result<(), Error>, want: &str| match result {
        Err(Error::Schema(text)) => assert!(text.contains(want), "{text}"),
        other => panic!("{other:?}, not {want}"),
    };
    server.sql(&name, &format!("ALTER TABLE djaffar_activity ENGINE = {engine}"));
    schema(database.check(), &format!("djaffar_activity is in {engine}"));
    server.sql(&name, "ALTER TABLE djaffar_activity ENGINE = InnoDB");
    server.sql(&name, "ALTER TABLE djaffar_activity CONVERT TO CHARACTER SET utf8mb3");
    schema(database.check(), "CONVERT TO CHARACTER SET utf8mb4");
    // Altered later: the row is refused, and goes to quarantine.
    let smile = Activity { path: "/\u{1F600}".into(), ..activity(1) };
    let mut store = database.store();
    let refused = store.write(&batch(&[smile], 1, 2));
    assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
    assert_eq!(store.write(&batch(&[activity(1)], 1, 2)), Ok(1));
    schema(open(server, "nowhere", Settings::default()).check(), "CREATE it");
    let empty = server.create();
    schema(open(server, &empty, Settings::default()).check(), "djaffar migrate");
    server.sql(
        &name,
        "CREATE TRIGGER picky BEFORE INSERT ON djaffar_activity FOR EACH ROW \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'",
    );
    let refused = store.write(&batch(&[activity(5)], 1, 5));
    assert!(matches!(&refused, Err(Error::Rejected(text)) if text.contains("not this one")));
}

#[test]
fn outages_of_maria_are_waited_for_and_end() {
    outages_are_waited_for_and_end(Machine::maria(&[]));
}

fn outages_are_waited_for_and_end(mut server: Machine) {
    let (name, database) = migrated(&server, Settings::default());
    let (mut store, mut directory) = (database.store(), database.directory());
    assert_eq!(store.write(&batch(&[activity(1)], 1, 1)), Ok(1));
    assert_eq!(directory.session("a"), Ok(None));
    // Its connections are closed behind our back: nobody notices.
    close_all(&server);
    assert_eq!(store.write(&batch(&[activity(2)], 1, 2)), Ok(1));
    assert_eq!(directory.session("a"), Ok(None));
    server.kill();
    assert!(matches!(store.write(&batch(&[activity(3)], 1, 3)), Err(Error::Unavailable(_))));
    assert!(matches!(directory.session("a"), Err(Error::Unavailable(_))));
    server.start();
    assert_eq!(store.write(&batch(&[activity(3)], 1, 3)), Ok(1));
    assert_eq!(server.sql(&name, "SELECT count(*) FROM djaffar_activity"), "3");
}

/// Closes the connections of the tests' user.
fn close_all(server: &Machine) {
    let sql = "SELECT id FROM information_schema.processlist WHERE user = 'site'";
    for id in server.client(sql, None).unwrap().lines() {
        server.client(&format!("KILL {id}"), None).unwrap();
    }
}

#[test]
fn users_of_another_model_and_their_tokens_on_maria() {
    let id = Uuid::from_u128(0xabc).to_string();
    users_of_another_model_and_their_tokens(&Machine::maria(QUICK), ("uuid", id.clone(), id));
}

fn users_of_another_model_and_their_tokens(server: &Machine, its_own: (&str, String, String)) {
    let id = Uuid::from_u128(0xabc);
    for (kind, held, key) in [
        its_own,
        ("char(32)", id.simple().to_string(), id.to_string()),
        ("varchar(20)", "Jeff".into(), "Jeff".into()),
    ] {
        let name = server.create();
        server.sql(
            &name,
            &format!(
                "CREATE TABLE django_migrations (app varchar(99), name varchar(99)); \
                 CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, \
                 session_data longtext, expire_date datetime(6)); \
                 CREATE TABLE `people ``x``` (uid {kind} PRIMARY KEY, password varchar(99)); \
                 INSERT INTO `people ``x``` VALUES ('{held}', 'hash'); \
                 CREATE TABLE authtoken_token (`key` varchar(40), user_id {kind}); \
                 INSERT INTO authtoken_token VALUES ('t', '{held}'); \
                 CREATE TABLE oauth2_provider_accesstoken (token longtext, \
                 token_checksum varchar(64), user_id {kind}, expires datetime(6), resource json); \
                 INSERT INTO oauth2_provider_accesstoken VALUES \
                 ('', 'c', NULL, '2016-12-29 07:35:22.5', '[]'), \
                 ('', 'd', '{held}', NULL, '[\"https://x/\"]')"
            ),
        );
        let users = Users { table: "people `x`".into(), id: "uid".into(), ..Users::default() };
        let database = open(server, &name, Settings { users, ..Settings::default() });
        database.migrate().unwrap();
        let row = UserRow { id: key.clone(), password: "hash".into(), is_active: true };
        let mut directory = database.directory();
        assert_eq!(directory.user(&key), Ok(Some(row.clone())));
        let token = |user: Option<&UserRow>, expires, restricted| TokenRow {
            user: user.cloned(),
            expires,
            digest: String::new(),
            salt: None,
            restricted,
        };
        assert_eq!(directory.tokens(TokenKey::Drf("t")), Ok(vec![token(Some(&row), None, false)]));
        assert_eq!(directory.tokens(TokenKey::Drf("T")), Ok(Vec::new()), "letter for letter");
        let oauth = |checksum| TokenKey::Oauth { token: "x", checksum };
        let half = Some(1_482_996_922_500_000);
        assert_eq!(directory.tokens(oauth("c")), Ok(vec![token(None, half, false)]));
        assert_eq!(directory.tokens(oauth("d")), Ok(vec![token(Some(&row), None, true)]));
        assert_eq!(directory.tokens(TokenKey::Knox(["a", "b"])), Ok(Vec::new()));
        let by = Activity { user: Some(key.clone()), ..activity(1) };
        assert_eq!(database.store().write(&batch(&[by], 1, 1)), Ok(1));
        let read = database.history().last(1).unwrap().remove(0).user;
        assert_eq!(read, Some(Key::Text(key)));
    }
}

#[test]
fn a_door_closes_behind_those_who_are_inside_on_maria() {
    use crate::store::Door;
    use std::time::{Duration, Instant};
    let server = Machine::maria(&[]);
    let (name, database) = migrated(&server, Settings::default());
    database.mover().set_door(Door::Open, Uuid::from_u128(1)).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            server.sql(
                &name,
                "START TRANSACTION; INSERT INTO djaffar_spool_cursor VALUES (uuid(), uuid(), 1); \
                 SELECT position FROM djaffar_spool_cursor LOCK IN SHARE MODE; SELECT sleep(1.5); \
                 COMMIT",
            )
        });
        std::thread::sleep(Duration::from_millis(500));
        database.mover().set_door(Door::Gone, Uuid::from_u128(1)).unwrap();
        assert!(begun.elapsed() > Duration::from_millis(1_400), "it did not wait");
        slow.join().unwrap();
    });
    assert!(database.store().write(&batch(&[activity(1)], 1, 1)).is_err());
}

/// Gives the server certificates of the tests' own, and users who must encrypt.
fn secure(server: &mut Machine) {
    server.put_certificates();
    server.kill();
    server.start();
    for sql in [
        "CREATE USER secret@127.0.0.1 IDENTIFIED BY 'ge:h/eim' REQUIRE SSL",
        "CREATE USER mutual@127.0.0.1 REQUIRE X509",
        "GRANT ALL ON *.* TO secret@127.0.0.1",
        "GRANT ALL ON *.* TO mutual@127.0.0.1",
    ] {
        server.client(sql, None).unwrap();
    }
}

fn passwords_and_tls(server: &mut Machine) {
    let name = migrated(server, Settings::default()).0;
    secure(server);
    let folder = server.folder().display().to_string();
    // What the connection is encrypted with, as the server says.
    let cipher = |user: &str, host: &str, options: &str, password: Option<&str>| {
        let url = format!("mysql://{user}@{host}:{}/{name}?{options}", server.port);
        let password = password.map(|text| crate::store::Password(text.into()));
        let database = MysqlDatabase::new(&url, Settings { password, ..Settings::default() });
        let database = database.unwrap();
        let asked = Link::new(&database.server, WRITER).with(|connection| {
            let row = connection.query_first("SHOW STATUS LIKE 'Ssl_cipher'")?;
            Ok(row.map(|(_, cipher): (String, String)| cipher).unwrap_or_default())
        });
        assert!(!format!("{asked:?} {database:?}").contains("ge:h"), "{asked:?}");
        asked.map_err(|error| error.to_string())
    };
    let encrypted = |found: Result<String, String>| found.is_ok_and(|name| !name.is_empty());
    let refused = |found: Result<String, String>, want: &str| match found {
        Err(error) => assert!(error.contains(want), "{error}"),
        Ok(cipher) => panic!("taken, with {cipher:?}"),
    };
    let root = format!("ssl-ca={folder}/root.crt");
    let other = format!("ssl-ca={folder}/other.crt");
    let (good, file) = ("secret:ge%3Ah%2Feim", Some("ge:h/eim"));
    assert_eq!(cipher("site", "127.0.0.1", "ssl-mode=DISABLED", None), Ok(String::new()));
    for options in ["", "ssl-mode=PREFERRED", "ssl-mode=REQUIRED"] {
        assert!(encrypted(cipher(good, "127.0.0.1", options, None)), "{options}");
    }
    let mode = |mode: &str, ca: &str| format!("ssl-mode={mode}&{ca}");
    // A chain that is right will do, under whatever name.
    assert!(encrypted(cipher("secret", "127.0.0.1", &mode("VERIFY_CA", &root), file)));
    assert!(encrypted(cipher("secret", "localhost", &mode("VERIFY_IDENTITY", &root), file)));
    refused(cipher("secret", "127.0.0.1", &mode("VERIFY_IDENTITY", &root), file), "certificate");
    refused(cipher("secret", "localhost", &mode("VERIFY_CA", &other), file), "certificate");
    refused(cipher("secret", "localhost", &mode("VERIFY_IDENTITY", &other), file), "certificate");
    refused(cipher("secret", "localhost", "ssl-mode=VERIFY_IDENTITY", file), "certificate");
    refused(cipher("secret", "127.0.0.1", "ssl-mode=DISABLED", file), "Access denied");
    refused(cipher("secret", "127.0.0.1", "", Some("wrong")), "Access denied");
    // Who must show a certificate.
    let ours = format!("{root}&ssl-cert={folder}/client.crt&ssl-key={folder}/client.key");
    assert!(encrypted(cipher("mutual", "localhost", &mode("VERIFY_IDENTITY", &ours), None)));
    refused(cipher("mutual", "localhost", &mode("VERIFY_IDENTITY", &root), None), "Access denied");
}

#[test]
fn passwords_and_tls_on_maria() {
    passwords_and_tls(&mut Machine::maria(&[]));
}
