//! Every input that the fuzzer's corpus holds, through what the fuzzer checks.

use std::path::Path;
use std::{fs, io};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a crate of its own for the fuzzer")]
mod oracles;

fn check(target: &str, oracle: fn(&[u8])) -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&corpus)? {
        let file = entry?.path();
        // A failure names the file, which an assertion in the oracle cannot.
        println!("{}", file.display());
        oracle(&fs::read(file)?);
        count += 1;
    }
    assert!(count > 10, "only {count} inputs in {}", corpus.display());
    Ok(())
}

#[test]
fn form() -> io::Result<()> {
    check("form", oracles::form::check)
}

#[test]
fn date() -> io::Result<()> {
    check("date", oracles::date::check)
}

#[test]
fn cookie() -> io::Result<()> {
    check("cookie", oracles::cookie::check)
}

#[test]
fn pickle() -> io::Result<()> {
    check("pickle", oracles::pickle::check)
}

#[test]
fn spool() -> io::Result<()> {
    check("spool", oracles::spool::check)
}
