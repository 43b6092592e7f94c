//! What is PostgreSQL's own: types, several servers, codes of errors; and that it conforms.

use jiff::tz::TimeZone;
use uuid::Uuid;

use super::*;
use crate::activity::Activity;
use crate::store::conformance::{self, activity};
use crate::store::servers::{Server as Postgres, postgres_versions};
use crate::store::{Cursor, Key, SessionRow, TokenKey, TokenRow, UserRow, Users};

fn open(server: &Postgres, name: &str, settings: Settings) -> PostgresDatabase {
    PostgresDatabase::new(&server.url(name), settings).unwrap()
}

fn migrated(server: &Postgres, settings: Settings) -> (String, PostgresDatabase) {
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
fn conforms_in_every_version() {
    let versions = postgres_versions();
    assert!(!versions.is_empty(), "run ./test databases");
    std::thread::scope(|scope| {
        for bin in versions {
            scope.spawn(move || {
                let server = Postgres::postgres_at(&bin, &["-F"]);
                println!("PostgreSQL {}", server.sql("postgres", "SHOW server_version"));
                conformance::all(|| Box::new(migrated(&server, Settings::default()).1));
                conformance::all(|| Box::new(migrated(&server, local()).1));
            });
        }
    });
}

#[test]
fn rights_that_are_enough() {
    let server = Postgres::postgres();
    let (name, database) = migrated(&server, Settings::default());
    let tables = "djaffar_activity, djaffar_sessioninfo, djaffar_spool_cursor";
    let sql = format!(
        "CREATE ROLE lean LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO lean; \
         GRANT SELECT, INSERT ON django_session TO lean; GRANT SELECT ON auth_user TO lean"
    );
    server.sql(&name, &sql);
    let url = server.url(&name).replace("site@", "lean@");
    let lean = PostgresDatabase::new(&url, Settings::default()).unwrap();
    assert_eq!(lean.check(), Ok(()));
    conformance::a_server_s_life(&lean);
    // A move needs more where it fills, and says what.
    let failed = lean.mover().reserve(1_000).unwrap_err().to_string();
    assert!(failed.contains("permission denied for sequence"), "{failed}");
    assert_eq!(database.mover().reserve(1_000), Ok(()));
}

#[test]
fn dates_without_use_tz_are_those_that_django_reads() {
    let server = Postgres::postgres();
    let (name, database) = migrated(&server, local());
    database.store().write(&batch(&[activity(0)], 1, 1)).unwrap();
    // As Django: its connection is in TIME_ZONE, and takes the digits without an offset.
    let sql = "SET TIME ZONE 'America/Chicago'; SELECT date::timestamp, received_at::timestamp \
               FROM djaffar_activity";
    let found = server.sql(&name, sql);
    assert_eq!(found, "2016-12-29 07:35:21.571006|2016-12-29 01:35:22.571006");
}

#[test]
fn two_servers_with_the_same_events_at_the_same_time() {
    let server = Postgres::postgres();
    let (name, database) = migrated(&server, Settings::default());
    conformance::several_writers_of_the_same_events(&database);
    let found =
        server.sql(&name, "SELECT count(*), count(DISTINCT event_id) FROM djaffar_activity");
    assert_eq!(found, "3050|3050");
    assert_eq!(server.sql(&name, "SELECT sum(position) FROM djaffar_spool_cursor"), "80");
}

#[test]
fn what_is_there_and_what_to_do() {
    let server = Postgres::postgres();
    let name = server.create();
    let database = open(&server, &name, Settings::default());
    assert_eq!(database.owner(), Ok(Owner::Nobody));
    let schema = |result: Result<(), Error>, want: &str| match result {
        Err(Error::Schema(text)) => assert!(text.contains(want), "{text}"),
        other => panic!("{other:?}, not {want}"),
    };
    schema(database.check(), "djaffar migrate");
    schema(open(&server, "nowhere", Settings::default()).check(), "CREATE it");
    // A Django without its tables, then with the app.
    server.sql(&name, "CREATE TABLE django_migrations (app text, name text)");
    assert_eq!((database.owner(), database.legacy_sessions()), (Ok(Owner::Django), Ok(true)));
    schema(database.migrate(), "manage.py migrate`");
    let users = "CREATE TABLE auth_user (id integer PRIMARY KEY, password text, is_active bool); \
                 CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text, \
                 expire_date timestamptz)";
    server.sql(&name, users);
    assert_eq!(database.migrate(), Ok(()));
    assert_eq!(database.check(), Ok(()));
    server.sql(&name, "ALTER TABLE djaffar_activity DROP COLUMN event_id");
    schema(database.check(), "has no event_id");
    server.sql(&name, "INSERT INTO django_migrations VALUES ('djaffar', '0001_initial')");
    assert_eq!(database.owner(), Ok(Owner::DjangoApp));
    schema(database.migrate(), "upgrade");
    server.sql(&name, "ALTER TABLE djaffar_activity ADD event_id text");
    schema(database.check(), "must be of the type uuid");
    server
        .client("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'", None)
        .unwrap();
    let latin = open(&server, "latin", Settings::default());
    schema(latin.migrate(), "UTF8");
    assert_eq!(server.sql("latin", "SELECT to_regclass('djaffar_activity') IS NULL"), "t");
}

#[test]
fn users_of_another_model_and_their_tokens() {
    let server = Postgres::postgres();
    let id = Uuid::from_u128(0xabc);
    for (kind, key) in [("uuid", id.to_string()), ("varchar(20)", "Jeff".into())] {
        let name = server.create();
        server.sql(
            &name,
            &format!(
                "CREATE TABLE django_migrations (app text, name text); \
                 CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, \
                 session_data text, expire_date timestamptz); \
                 CREATE TABLE \"people \"\"x\"\"\" (uid {kind} PRIMARY KEY, password text); \
                 INSERT INTO \"people \"\"x\"\"\" VALUES ('{key}', 'hash'); \
                 CREATE TABLE authtoken_token (key varchar(40), user_id {kind}); \
                 INSERT INTO authtoken_token VALUES ('t', '{key}'); \
                 CREATE TABLE oauth2_provider_accesstoken (token text, token_checksum text, \
                 user_id {kind}, expires timestamptz, resource jsonb); \
                 INSERT INTO oauth2_provider_accesstoken VALUES \
                 ('', 'c', NULL, '2016-12-29 07:35:22.5+00', '[]'), \
                 ('', 'd', '{key}', NULL, '[\"https://x/\"]')"
            ),
        );
        let users = Users { table: "people \"x\"".into(), id: "uid".into(), ..Users::default() };
        let database = open(&server, &name, Settings { users, ..Settings::default() });
        database.migrate().unwrap();
        let row = UserRow { id: key.clone(), password: "hash".into(), is_active: true };
        let mut directory = database.directory();
        assert_eq!(directory.user(&key), Ok(Some(row.clone())));
        assert_eq!(directory.user("a\0b"), Ok(None));
        let token = |user: Option<&UserRow>, expires, restricted| TokenRow {
            user: user.cloned(),
            expires,
            digest: String::new(),
            salt: None,
            restricted,
        };
        assert_eq!(directory.tokens(TokenKey::Drf("t")), Ok(vec![token(Some(&row), None, false)]));
        assert_eq!(directory.tokens(TokenKey::Drf("T")), Ok(Vec::new()));
        let oauth = |checksum| TokenKey::Oauth { token: "x", checksum };
        let half = Some(1_482_996_922_500_000);
        assert_eq!(directory.tokens(oauth("c")), Ok(vec![token(None, half, false)]));
        assert_eq!(directory.tokens(oauth("d")), Ok(vec![token(Some(&row), None, true)]));
        assert_eq!(directory.tokens(TokenKey::Knox(["a", "b"])), Ok(Vec::new()));
        let by = Activity { user: Some(key.clone()), ..activity(1) };
        let mut store = database.store();
        assert_eq!(store.write(&batch(&[by], 1, 1)), Ok(1));
        let read = database.history().last(1).unwrap().remove(0).user;
        assert_eq!(read, Some(Key::Text(key)));
        // A key that the column cannot hold is refused, not waited for.
        let odd = Activity { user: Some("x\0".into()), ..activity(2) };
        assert!(matches!(store.write(&batch(&[odd], 1, 2)), Err(Error::Rejected(_))));
    }
}

#[test]
fn outages_are_waited_for_and_end() {
    let mut server = Postgres::postgres();
    let (name, database) = migrated(&server, Settings::default());
    let (mut store, mut directory) = (database.store(), database.directory());
    assert_eq!(store.write(&batch(&[activity(1)], 1, 1)), Ok(1));
    assert_eq!(directory.session("a"), Ok(None));
    // Its connections are closed behind our back: nobody notices.
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND application_name = 'djaffar'";
    server.sql(&name, all);
    assert_eq!(store.write(&batch(&[activity(2)], 1, 2)), Ok(1));
    assert_eq!(directory.session("a"), Ok(None::<SessionRow>));
    // Read-only, then not.
    let read_only = |on: &str| {
        server
            .sql(&name, &format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}"));
        server.sql(&name, all);
    };
    read_only("on");
    assert!(matches!(store.write(&batch(&[activity(3)], 1, 3)), Err(Error::Unavailable(_))));
    server
        .client(&format!("ALTER DATABASE {name} RESET default_transaction_read_only"), None)
        .unwrap();
    assert_eq!(store.write(&batch(&[activity(3)], 1, 3)), Ok(1));
    // Away, then back.
    server.kill();
    assert!(matches!(store.write(&batch(&[activity(4)], 1, 4)), Err(Error::Unavailable(_))));
    assert!(matches!(directory.session("a"), Err(Error::Unavailable(_))));
    server.start();
    assert_eq!(store.write(&batch(&[activity(4)], 1, 4)), Ok(1));
    assert_eq!(server.sql(&name, "SELECT count(*) FROM djaffar_activity"), "4");
    // A row that a trigger refuses is the row's fault.
    server.sql(
        &name,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'not this one'; END $$; \
         CREATE TRIGGER picky BEFORE INSERT ON djaffar_activity FOR EACH ROW EXECUTE FUNCTION no()",
    );
    let refused = store.write(&batch(&[activity(5)], 1, 5));
    assert!(matches!(&refused, Err(Error::Rejected(text)) if text.contains("not this one")));
}

#[test]
fn passwords_and_tls() {
    let mut server = Postgres::postgres();
    let (name, _) = migrated(&server, Settings::default());
    let data = server.folder().join("data");
    server.put_certificates();
    server.sql("postgres", "ALTER USER site PASSWORD 'ge:h/eim'");
    std::fs::write(
        data.join("pg_hba.conf"),
        "hostssl all mutual 127.0.0.1/32 cert map=certificates\n\
         hostssl all site 127.0.0.1/32 scram-sha-256\nhostnossl all all 127.0.0.1/32 reject\n\
         local all all trust\n",
    )
    .unwrap();
    std::fs::write(data.join("pg_ident.conf"), "certificates site mutual\n").unwrap();
    server.sql("postgres", "CREATE ROLE mutual SUPERUSER LOGIN");
    server.kill();
    let ours = ["-c", "ssl=on", "-c", "ssl_ca_file=root.crt"];
    server.options = ours.map(str::to_owned).to_vec();
    let root = server.folder().join("root.crt");
    let socket = server.folder().to_owned();
    server.start_unasked();
    let url = |user: &str, host: &str, options: &str| {
        format!("postgres://{user}@{host}:{}/{name}{options}", server.port)
    };
    let owner = |url: &str, password: Option<&str>| {
        let password = password.map(|text| crate::store::Password(text.into()));
        let database =
            PostgresDatabase::new(url, Settings { password, ..Settings::default() }).unwrap();
        let owner = database.owner();
        assert!(!format!("{owner:?} {database:?}").contains("ge:h"), "{owner:?}");
        owner.map_err(|error| error.to_string())
    };
    let ok = Ok(Owner::Djaffar);
    let root = root.display();
    let (good, file) = ("site:ge%3Ah%2Feim", Some("ge:h/eim"));
    assert_eq!(owner(&url(good, "localhost", ""), None), ok);
    assert_eq!(owner(&url("site", "localhost", "?sslmode=require"), file), ok);
    let full = format!("?sslmode=verify-full&sslrootcert={root}");
    assert_eq!(owner(&url("site", "localhost", &full), file), ok);
    let ca = format!("?sslmode=verify-ca&sslrootcert={root}");
    assert_eq!(owner(&url("site", "127.0.0.1", &ca), file), ok);
    let refused = |url: &str, password, want: &str| {
        let error = owner(url, password).unwrap_err();
        assert!(error.contains(want), "{error}");
    };
    refused(&url("site", "127.0.0.1", &full), file, "certificate");
    let folder = socket.display();
    let other = format!("?sslmode=verify-ca&sslrootcert={folder}/other.crt");
    refused(&url("site", "localhost", &other), file, "certificate");
    // Who shows a certificate needs no password.
    let shown = format!("{full}&sslcert={folder}/client.crt&sslkey={folder}/client.key");
    assert_eq!(owner(&url("mutual", "localhost", &shown), None), ok);
    refused(&url("mutual", "localhost", &full), None, "client certificate");
    refused(&url("site", "localhost", "?sslmode=verify-full"), file, "certificate");
    refused(&url("site", "localhost", "?sslmode=disable"), file, "rejects connection");
    refused(&url("site:wrong", "localhost", ""), None, "password authentication failed");
    let host = socket.display().to_string().replace('/', "%2F");
    assert_eq!(owner(&url("site", &host, ""), None), ok);
}

#[test]
fn a_door_closes_behind_those_who_are_inside() {
    use crate::store::Door;
    use std::time::{Duration, Instant};
    let server = Postgres::postgres();
    let (name, database) = migrated(&server, Settings::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            server.sql(
                &name,
                "BEGIN; INSERT INTO djaffar_spool_cursor VALUES (gen_random_uuid(), \
                 gen_random_uuid(), 1); SELECT pg_sleep(1.5); COMMIT",
            )
        });
        std::thread::sleep(Duration::from_millis(500));
        database.mover().set_door(Door::Gone, Uuid::from_u128(1)).unwrap();
        assert!(begun.elapsed() > Duration::from_millis(1_400), "it did not wait");
        slow.join().unwrap();
    });
    assert!(database.store().write(&batch(&[activity(1)], 1, 1)).is_err());
}
