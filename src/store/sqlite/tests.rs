//! What is SQLite's own: locks, files that move, files of a Django, shapes of tables.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::activity::{Activity, Micros};
use crate::store::conformance::{self, activity};
use crate::store::*;

/// Long enough for every test: the folders go when the test ends.
struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("db.sqlite3")
    }

    fn sql(&self, sql: &str) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.execute_batch(sql).unwrap();
        connection
    }

    fn database(&self, settings: Settings) -> SqliteDatabase {
        SqliteDatabase::new(&self.path(), settings)
    }

    fn migrated(&self) -> SqliteDatabase {
        let database = self.database(Settings::default());
        database.migrate().unwrap();
        database
    }
}

const SESSIONS: &str = "CREATE TABLE django_session (session_key varchar(40) NOT NULL PRIMARY KEY, \
                        session_data text NOT NULL, expire_date datetime NOT NULL);";
const USERS: &str = "CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, \
                     password varchar(128) NOT NULL, is_active bool NOT NULL);";
const MIGRATIONS: &str = "CREATE TABLE django_migrations (app varchar(255), name varchar(255));";
/// As django-djaffar 0.1.10 made them.
const OLD: &str = "CREATE TABLE djaffar_activity (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, \
    ip_address varchar(45) NOT NULL, date datetime NOT NULL, path varchar(1000) NOT NULL, \
    referer varchar(160) NOT NULL, session_id varchar(40) NULL, user_id integer NULL);\
    CREATE TABLE djaffar_sessioninfo (session_id varchar(40) NOT NULL PRIMARY KEY, \
    user_agent varchar(1000) NOT NULL);";

fn batch(activities: &[Activity], position: u64) -> Batch<'_> {
    let cursor = Cursor { spool: Uuid::nil(), segment: Uuid::nil(), position };
    Batch { activities, sessions: &[], cursor }
}

#[test]
fn conforms() {
    let files = std::cell::RefCell::new(Vec::new());
    conformance::all(|| {
        let file = File::new();
        let database = file.migrated();
        files.borrow_mut().push(file);
        Box::new(database)
    });
}

#[test]
fn conforms_in_local_time() {
    let files = std::cell::RefCell::new(Vec::new());
    conformance::all(|| {
        let file = File::new();
        let time_zone = TimeZone::get("America/Chicago").unwrap();
        let settings = Settings { use_tz: false, time_zone, ..Settings::default() };
        let database = file.database(settings);
        database.migrate().unwrap();
        files.borrow_mut().push(file);
        Box::new(database)
    });
}

#[test]
fn dates_without_use_tz() {
    let file = File::new();
    let time_zone = TimeZone::get("America/Chicago").unwrap();
    let settings = Settings { use_tz: false, time_zone, ..Settings::default() };
    let database = file.database(settings);
    database.migrate().unwrap();
    database.store().write(&batch(&[activity(0)], 1)).unwrap();
    let dates = file.sql("").query_row(
        "SELECT date || ' ' || received_at FROM djaffar_activity",
        [],
        |row| row.get::<_, String>(0),
    );
    assert_eq!(dates.unwrap(), "2016-12-29 07:35:21.571006 2016-12-29 01:35:22.571006");
}

#[test]
fn locked_is_unavailable_and_then_fine() {
    let file = File::new();
    let mut store = file.migrated().store();
    let other = file.sql("BEGIN IMMEDIATE");
    for _ in 0..2 {
        assert!(matches!(store.write(&batch(&[activity(1)], 1)), Err(Error::Unavailable(_))));
    }
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.write(&batch(&[activity(1)], 1)), Ok(1));
}

#[test]
fn a_file_that_is_replaced_is_noticed() {
    let (file, other) = (File::new(), File::new());
    let mut store = file.migrated().store();
    let mut directory = file.database(Settings::default()).directory();
    assert_eq!(store.write(&batch(&[activity(1)], 1)), Ok(1));
    assert_eq!(directory.user("1"), Ok(None));
    std::fs::remove_dir_all(file.folder.path()).unwrap();
    assert!(matches!(store.write(&batch(&[activity(2)], 2)), Err(Error::Unavailable(_))));
    assert!(matches!(directory.user("1"), Err(Error::Unavailable(_))));
    other.migrated();
    std::fs::rename(other.folder.path(), file.folder.path()).unwrap();
    assert_eq!(store.write(&batch(&[activity(2)], 2)), Ok(1));
    assert_eq!(directory.user("1"), Ok(None));
    let infos = file.database(Settings::default()).history().sessions(None, 10).unwrap();
    assert_eq!(infos.len(), 1, "known from the file before");
}

#[test]
fn what_is_there_and_what_to_do() {
    let auth = "INSERT INTO django_migrations VALUES ('auth', '0001_initial');";
    let new = "INSERT INTO django_migrations VALUES \
               ('auth', '0012_alter_user_first_name_max_length');";
    let app = "INSERT INTO django_migrations VALUES ('djaffar', '0001_initial');";
    for (tables, owner, legacy, check, migrate) in [
        (vec![], Owner::Nobody, false, "djaffar migrate", ""),
        (vec![MIGRATIONS, auth], Owner::Django, true, "manage.py migrate`", "manage.py migrate`"),
        (vec![MIGRATIONS, new, USERS, SESSIONS], Owner::Django, false, "djaffar migrate", ""),
        (
            vec![MIGRATIONS, new, USERS, SESSIONS, app],
            Owner::DjangoApp,
            false,
            "manage.py migrate djaffar",
            "manage.py migrate djaffar",
        ),
        (
            vec![MIGRATIONS, auth, USERS, SESSIONS, app, OLD],
            Owner::DjangoApp,
            true,
            "has no received_at, event_id, name, properties: these are the tables of an older",
            "pip install --upgrade django-djaffar",
        ),
        (vec![USERS, SESSIONS, OLD], Owner::Nobody, false, "rename it", "rename it"),
        (vec!["CREATE TABLE auth_user (x)"], Owner::Nobody, false, "has no", "no table auth_user"),
    ] {
        let file = File::new();
        file.sql(&tables.concat());
        let database = file.database(Settings::default());
        assert_eq!(database.owner(), Ok(owner), "{tables:?}");
        assert_eq!(database.legacy_sessions(), Ok(legacy), "{tables:?}");
        let Err(Error::Schema(text)) = database.check() else { panic!("{tables:?}") };
        assert!(text.contains(check), "{text}");
        match (database.migrate(), migrate) {
            (Ok(()), "") => assert_eq!(database.check(), Ok(())),
            (Err(Error::Schema(text)), want) if !want.is_empty() => {
                assert!(text.contains(want), "{text}");
            }
            (result, want) => panic!("{tables:?}: {result:?} {want}"),
        }
        let count = "SELECT count(*) FROM sqlite_schema WHERE name = 'djaffar_schema_version'";
        let made: i64 = file.sql("").query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(made == 1, migrate.is_empty(), "all or nothing: {tables:?}");
    }
}

#[test]
fn no_file() {
    let file = File::new();
    let database = file.database(Settings::default());
    assert_eq!(database.owner(), Ok(Owner::Nobody));
    assert!(matches!(database.check(), Err(Error::Schema(_))));
    assert!(matches!(database.store().cursors(Uuid::nil()), Err(Error::Unavailable(_))));
    assert!(!file.path().exists(), "looking makes nothing");
}

#[test]
fn the_journal_of_a_django_is_left_alone() {
    for (tables, mode) in [("", "wal"), (MIGRATIONS, "delete")] {
        let file = File::new();
        file.sql(&[tables, USERS, SESSIONS].concat());
        let database = file.migrated();
        database.store().write(&batch(&[activity(1)], 1)).unwrap();
        let got: String =
            file.sql("").query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(got, mode);
    }
}

#[test]
fn only_a_new_file_has_larger_pages() {
    for (tables, size) in [("", 8_192), (USERS, 4_096)] {
        let file = File::new();
        file.sql(tables);
        file.migrated();
        let got: i64 = file.sql("").query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
        assert_eq!(got, size);
    }
}

#[test]
fn missing_tables_say_what_to_run() {
    let file = File::new();
    let mut store = file.migrated().store();
    let mut directory = file.database(Settings::default()).directory();
    store.write(&batch(&[], 1)).unwrap();
    directory.user("1").unwrap();
    file.sql("ALTER TABLE djaffar_activity RENAME TO x; ALTER TABLE auth_user RENAME TO y;");
    for result in [
        store.write(&batch(&[activity(1)], 2)).map(|_| ()),
        directory.user("1").map(|_| ()),
        file.database(Settings::default()).store().write(&batch(&[], 2)).map(|_| ()),
    ] {
        assert!(
            matches!(&result, Err(Error::Schema(text)) if text.contains("migrate")),
            "{result:?}"
        );
    }
}

#[test]
fn users_of_another_model() {
    let id = Uuid::from_u128(0xabc);
    let users = Users { table: "people \"x\"".into(), id: "uid".into(), ..Users::default() };
    let settings = Settings { users, ..Settings::default() };
    let file = File::new();
    file.sql(&format!(
        "{MIGRATIONS}{SESSIONS}CREATE TABLE \"people \"\"x\"\"\" (uid char(32) PRIMARY KEY, \
         password text); INSERT INTO \"people \"\"x\"\"\" VALUES ('{0}', 'hash'); \
         CREATE TABLE authtoken_token (key varchar(40), user_id char(32)); \
         INSERT INTO authtoken_token VALUES ('t', '{0}');",
        id.simple()
    ));
    let database = file.database(settings);
    database.migrate().unwrap();
    let row = UserRow { id: id.to_string(), password: "hash".into(), is_active: true };
    let mut directory = database.directory();
    for text in [id.to_string(), id.simple().to_string()] {
        assert_eq!(directory.user(&text), Ok(Some(row.clone())));
    }
    let token = TokenRow {
        user: Some(row),
        expires: None,
        digest: String::new(),
        salt: None,
        restricted: false,
    };
    assert_eq!(directory.tokens(TokenKey::Drf("t")), Ok(vec![token]));
    assert_eq!(directory.tokens(TokenKey::Drf("u")), Ok(Vec::new()));
    let by = Activity { user: Some(id.to_string()), ..activity(1) };
    database.store().write(&batch(&[by], 1)).unwrap();
    let kept: String = file
        .sql("")
        .query_row("SELECT user_id FROM djaffar_activity", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, id.simple().to_string());
    let read = database.history().last(1).unwrap().remove(0).user;
    assert_eq!(read, Some(Key::Text(id.to_string())));
    assert!(matches!(
        database.create_superuser(&Superuser { username: "a", email: "", password: "", now: 0 }),
        Err(Error::Schema(_))
    ));
}

#[test]
fn inactive_users_and_odd_expiry() {
    let file = File::new();
    let database = file.migrated();
    file.sql(
        "INSERT INTO auth_user VALUES (1, 'p', NULL, 0, 'a', '', '', 0, 0, '', '');\
         INSERT INTO django_session VALUES ('k', 'd', 'nonsense');",
    );
    let mut directory = database.directory();
    assert_eq!(directory.user("1").unwrap().map(|user| user.is_active), Some(false));
    assert_eq!(directory.session("k").unwrap().map(|row| row.expires), Some(Micros::MIN));
}

#[test]
fn activities_of_a_user_or_a_session_are_found_without_reading_the_table() {
    let file = File::new();
    let database = file.migrated();
    let mut store = database.store();
    store.write(&batch(&[activity(1), activity(2)], 1)).unwrap();
    // Far enough for the next rows to be in other parts of the indexes.
    let connection = file.sql("UPDATE sqlite_sequence SET seq = 200000");
    store.write(&batch(&[activity(3), activity(4)], 2)).unwrap();
    for (index, column, key) in [
        ("djaffar_activity_user", "user_id", "7".to_owned()),
        ("djaffar_activity_session", "session_id", "a".repeat(32)),
    ] {
        let sql = format!(
            "SELECT id, path FROM djaffar_activity WHERE {column} = '{key}' ORDER BY id DESC"
        );
        let plan: String = connection
            .query_row(&format!("EXPLAIN QUERY PLAN {sql}"), [], |row| row.get(3))
            .unwrap();
        let want = format!("USING INDEX {index} (ANY(<expr>) AND {column}=?)");
        assert!(plan.contains(&want), "{plan}");
        let mut statement = connection.prepare(&sql).unwrap();
        let ids = statement.query_map([], |row| row.get(0)).unwrap();
        let ids: Vec<i64> = ids.collect::<Result<_, _>>().unwrap();
        assert_eq!(ids, [200_002, 200_001, 2, 1]);
    }
    let recent = database.history().recent(&"a".repeat(32), 3).unwrap();
    let recent: Vec<_> = recent.into_iter().map(|row| row.path).collect();
    assert_eq!(recent, ["/path/4/", "/path/3/", "/path/2/"]);
}

#[test]
fn tokens_of_every_age() {
    let file = File::new();
    let database = file.migrated();
    file.sql(
        "INSERT INTO auth_user VALUES (1, 'p', NULL, 0, 'a', '', '', 0, 1, '', '');\
         CREATE TABLE old_knox (digest text, salt text, token_key text, user_id int, expires text);\
         INSERT INTO old_knox VALUES ('d', 's', '12345678', 1, NULL);\
         CREATE TABLE knox_authtoken (digest text, token_key text, user_id int, expiry text);\
         INSERT INTO knox_authtoken VALUES ('d', '123456789012345', 1, '2016-12-29 07:35:22.571006'),\
           ('e', '12345678', 1, NULL), ('f', '12345678', 2, NULL), ('g', '1', 1, NULL);\
         CREATE TABLE old_oauth (token text, user_id int, expires text);\
         INSERT INTO old_oauth VALUES ('t', 1, '2016-12-29 07:35:22');\
         CREATE TABLE oauth2_provider_accesstoken (token text, token_checksum text, user_id int,\
           expires text, resource text);\
         INSERT INTO oauth2_provider_accesstoken VALUES\
           ('', 'c', NULL, '2016-12-29 07:35:22', '[]'), ('c', 'd', 1, NULL, '[\"https://x/\"]');",
    );
    let user = Some(UserRow { id: "1".into(), password: "p".into(), is_active: true });
    let moment = Some(1_482_996_922_571_006);
    let whole = Some(1_482_996_922_000_000);
    let row = |user: &Option<UserRow>, expires, digest: &str, salt: Option<&str>, restricted| {
        let (digest, salt) = (digest.to_owned(), salt.map(str::to_owned));
        TokenRow { user: user.clone(), expires, digest, salt, restricted }
    };
    let check = |tables: &TokenTables, key: TokenKey<'_>, expected: Vec<TokenRow>| {
        let settings = Settings { tokens: tables.clone(), ..Settings::default() };
        let found = file.database(settings).directory().tokens(key);
        assert_eq!(found, Ok(expected), "{key:?}");
    };
    let new = TokenTables::default();
    let old = TokenTables { knox: "old_knox".into(), oauth: "old_oauth".into() };
    let knox = TokenKey::Knox(["123456789012345", "12345678"]);
    let two = vec![row(&user, moment, "d", None, false), row(&user, None, "e", None, false)];
    check(&new, knox, two);
    check(&old, knox, vec![row(&user, None, "d", Some("s"), false)]);
    let oauth = TokenKey::Oauth { token: "t", checksum: "c" };
    check(&new, oauth, vec![row(&None, whole, "", None, false)]);
    check(&old, oauth, vec![row(&user, whole, "", None, false)]);
    let other = TokenKey::Oauth { token: "c", checksum: "d" };
    check(&new, other, vec![row(&user, None, "", None, true)]);
    check(&old, other, Vec::new());
    drop(database);
}
