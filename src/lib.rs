//! Djaffar records what the users of a web site do: a page posts one small form, and the
//! activity ends in the site's own database, safely.
//!
//! The modules stand in the order in which an activity meets them, and a module uses only those
//! below it (`tests/house.rs` holds them to that). ARCHITECTURE.md tells the whole way.

pub mod cli;
pub mod serve;
pub mod site;
pub mod failure;
pub mod http;
pub mod drain;
pub mod auth;
pub mod spool;
pub mod dump;
pub mod moving;
pub mod engine;
pub mod store;
pub mod activity;
pub mod config;

/// Whether this is a build on which the durability harness must turn red, with this promise broken.
pub(crate) fn broken(promise: &str) -> bool {
    cfg!(feature = "mutants")
        && std::env::var_os("DJAFFAR_MUTANT").is_some_and(|broken| broken == promise)
}
