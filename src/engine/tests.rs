//! Sessions in real files, and what django-redis compressed. A real Redis: `tests/django`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tempfile::TempDir;

use super::unpack::unpack;
use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const AGE: Micros = 60_000_000;

fn files(dir: &TempDir) -> Files {
    Files::new(dir.path().to_owned(), "sessionid".to_owned(), 60)
}

fn session(data: &str, expires: Micros) -> NewSession {
    NewSession { key: KEY.to_owned(), data: data.to_owned(), expires }
}

#[test]
fn a_session_file_is_written_once_and_read_again() {
    let dir = TempDir::new().unwrap();
    let expires = now() + AGE;
    let mut engine = Engine::Files(files(&dir));
    engine.check().unwrap();
    assert_eq!(engine.read(KEY), Ok(None));
    assert_eq!(engine.keep(vec![session("first", expires)]), Ok(Vec::new()));
    assert_eq!(engine.keep(vec![session("second", expires + AGE)]), Ok(Vec::new()));
    let row = engine.read(KEY).unwrap().unwrap();
    assert_eq!(row, SessionRow { data: b"first".to_vec(), expires });
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names, [dir.path().join(format!("sessionid{KEY}"))]);
    assert_eq!(names[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_ended_before_it_was_stored_is_not_written() {
    let dir = TempDir::new().unwrap();
    let mut engine = Engine::Files(files(&dir));
    assert_eq!(engine.keep(vec![session("late", now() - 1)]), Ok(Vec::new()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_key_names_a_file_of_sessions_only() {
    let dir = TempDir::new().unwrap();
    let files = files(&dir);
    fs::write(dir.path().join("sessionid"), "data").unwrap();
    fs::write(dir.path().join("other"), "data").unwrap();
    for key in ["/../other", "../sessionid", "A", ".", "a/b", "a\0"] {
        assert_eq!(files.read(key), Ok(None), "{key}");
    }
    assert!(files.read("").unwrap().is_some());
}

#[test]
fn odd_files() {
    let dir = TempDir::new().unwrap();
    let files = files(&dir);
    let path = dir.path().join(format!("sessionid{KEY}"));
    fs::write(&path, "").unwrap();
    let row = files.read(KEY).unwrap().unwrap();
    assert_eq!(row, SessionRow { data: Vec::new(), expires: Micros::MAX });
    fs::write(&path, vec![b'x'; LARGEST as usize]).unwrap();
    assert!(files.read(KEY).unwrap().is_some());
    fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
    assert_eq!(files.read(KEY), Ok(None));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(files.read(KEY), Ok(None));
    fs::remove_dir(&path).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    // Nobody writes into it: who waited for that would look up no other session.
    assert_eq!(files.read(KEY), Ok(None));
}

#[test]
fn a_start_that_was_killed_does_not_keep_the_next_one_from_starting() {
    let dir = TempDir::new().unwrap();
    for process in [0, std::process::id()] {
        let probe = format!("sessionid_djaffar_probe_{process}");
        fs::write(dir.path().join(probe), "").unwrap();
    }
    fs::write(dir.path().join("sessionid_djaffar_probe"), "").unwrap();
    Engine::Files(files(&dir)).check().unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_said_at_start() {
    let files = Files::new("/nowhere/at/all".into(), "sessionid".to_owned(), 60);
    let Err(Error::Schema(said)) = Engine::Files(files).check() else { panic!("taken") };
    assert!(said.contains("session_file_path") && said.contains("SESSION_FILE_PATH"), "{said}");
}

#[test]
fn a_redis_that_is_away() {
    let mut cache = Cache::new("redis://127.0.0.1:1/0", ":1:").unwrap();
    assert!(matches!(cache.read(KEY), Err(Error::Unavailable(_))));
    let error = Cache::new("nonsense://u:secret@h", ":1:").unwrap_err();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn sessions_in_a_cookie_are_written_nowhere_and_those_of_the_table_are_handed_on() {
    let all = vec![session("data", Micros::MAX)];
    assert_eq!(Engine::Cookie.keep(all.clone()), Ok(Vec::new()));
    assert_eq!(Engine::Table.keep(all.clone()), Ok(all));
}

#[derive(Deserialize)]
struct Packed {
    compressor: String,
    value: String,
    packed: String,
}

#[test]
fn what_django_redis_compressed() {
    let file = include_str!("../../tests/fixtures/auth/compressed-django-redis-7.0.0.json");
    let cases: Vec<Packed> = serde_json::from_str(file).unwrap();
    assert_eq!(cases.len(), 12);
    for Packed { compressor, value, packed } in cases {
        let (value, packed) = (STANDARD.decode(value).unwrap(), STANDARD.decode(packed).unwrap());
        let is_packed = packed != value;
        assert_eq!(unpack(packed.clone()), value, "{compressor}");
        if is_packed {
            // What is cut does not unpack, and is taken as it is.
            let cut = packed[..packed.len() / 2].to_vec();
            assert_ne!(unpack(cut), value, "{compressor}");
        }
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    use std::io::Write;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&vec![b' '; 64 << 20]).unwrap();
    let bomb = zlib.finish().unwrap();
    assert_eq!(unpack(bomb.clone()), bomb);
}
