//! The rules of the house that a test can hold: the order of the modules, who may know what.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The modules in the order of lib.rs, each with its files.
fn modules() -> Vec<(String, Vec<PathBuf>)> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let names = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names
        .map(|name| {
            let file = root().join(format!("src/{name}.rs"));
            let files =
                if file.exists() { vec![file] } else { sources(&root().join("src").join(name)) };
            (name.to_owned(), files)
        })
        .collect()
}

/// Code without tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(file: &Path) -> bool {
    let path = file.to_string_lossy();
    ["test", "conformance", "vectors", "model"].iter().any(|word| path.contains(word))
}

#[test]
fn a_module_uses_only_those_below_it() {
    let modules = modules();
    assert!(modules.len() >= 9, "{modules:?}");
    for (place, (name, files)) in modules.iter().enumerate() {
        for file in files.iter().filter(|file| !is_test(file)) {
            let code = code(file);
            // `use crate::{a, b::c}` and `crate::a::b` alike: what stands behind `crate::`.
            let uses = code.replace(char::is_whitespace, "");
            for (above, _) in &modules[..place] {
                let named = uses.contains(&format!("crate::{above}::"));
                let listed = uses.split("usecrate::{").skip(1).any(|list| {
                    let list = list.split(';').next().unwrap();
                    top_level(list).iter().any(|item| item.split("::").next() == Some(above))
                });
                assert!(!named && !listed, "{name} ({}) uses {above}", file.display());
            }
        }
    }
}

/// The items of `a::{b,c},d}` at the top: `a::{b,c}` and `d`.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => (),
        }
        items.last_mut().unwrap().push(c);
    }
    items
}

#[test]
fn each_knows_only_what_it_must() {
    let secrets: &[(&str, &[&str])] = &[
        ("rusqlite", &["store"]),
        ("tokio_postgres", &["store"]),
        ("mysql::", &["store"]),
        ("StatusCode", &["http"]),
        ("fdatasync", &["spool"]),
        ("hmac", &["auth"]),
        ("clap", &["cli", "config"]),
        ("hyper", &["http", "store"]),
        ("redis::", &["engine"]),
        ("jsonwebtoken", &["auth"]),
    ];
    for (name, files) in modules() {
        for file in files.iter().filter(|file| !is_test(file)) {
            let code = code(file);
            for (word, allowed) in secrets {
                let knows = code.contains(word);
                assert!(
                    !knows || allowed.contains(&name.as_str()),
                    "{} knows {word}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_not_too_long() {
    let mut files = sources(&root().join("src"));
    files.extend(sources(&root().join("tests")));
    files.extend(sources(&root().join("benches")));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what it is for", file.display());
        let lines = text.lines().count();
        assert!(lines <= 400, "{} has {lines} lines", file.display());
    }
}

#[test]
fn no_placeholder_is_left() {
    for file in sources(&root().join("src")) {
        let code = code(&file);
        for word in ["todo!(", "unimplemented!(", "dbg!("] {
            assert!(!code.contains(word), "{} has {word}", file.display());
        }
    }
}
