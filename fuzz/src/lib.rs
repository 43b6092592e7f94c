//! What must hold for every input, one file per fuzz target: `check(data)` panics where it does not.
//!
//! The fuzzer calls these with what it makes up (`cargo +nightly fuzz run form`), and
//! `tests/fuzz_corpus.rs` calls them with what is kept in `corpus/`, on any compiler. A new target
//! is a file here, one in `fuzz_targets/`, a `[[bin]]` and a folder of inputs.

pub mod cookie;
pub mod date;
pub mod form;
pub mod pickle;
pub mod spool;
