//! A build of the server that breaks one promise on purpose, the one that it finds in its environment:
//! the harness must notice.
//!
//! It is made on demand in `target/mutants`. What the normal build compiled of other crates is
//! taken over; the program beside it, which the other tests run, is not touched.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// The program that breaks what DJAFFAR_MUTANT says.
pub(super) fn mutants() -> PathBuf {
    let normal = Path::new(env!("CARGO_BIN_EXE_djaffar")).parent().unwrap();
    let target = normal.parent().unwrap().join("mutants");
    fs::create_dir_all(&target).unwrap();
    // Tests are processes of their own.
    let lock = File::create(target.join("lock")).unwrap();
    lock.lock().unwrap();
    if normal.ends_with("debug") && !target.join("debug").exists() {
        take_over(normal, &target);
    }
    build(&target);
    target.join("debug/djaffar")
}

/// Has the build of other crates in the new folder. Without it all is compiled once more.
fn take_over(normal: &Path, target: &Path) {
    let draft = target.join("draft");
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft).unwrap();
    for (folder, how) in [("deps", "-al"), ("build", "-a"), (".fingerprint", "-a")] {
        let copied = Command::new("cp").arg(how).arg(normal.join(folder)).arg(&draft).status();
        assert!(copied.unwrap().success(), "cp {folder}");
    }
    fs::rename(&draft, target.join("debug")).unwrap();
}

fn build(target: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // With `--examples` (there are none) the other crates get the features that the tests
        // give them, and need not be compiled again.
        .args(["build", "--locked", "--offline", "--quiet", "--bin=djaffar", "--examples"])
        .arg("--features=mutants")
        .arg("--target-dir")
        .arg(target)
        // Clippy has read it.
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    // What tests are told of their package: a build script that asks for one of these would run again,
    // and all that depends on it would be compiled again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let built = command.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}
