//! The one integration binary: its files mirror src/.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod support;

mod bad_input;
mod cli;
mod clickhouse;
mod conformance;
mod durability;
mod fuzz_corpus;
mod house;
mod http;
mod pages;
mod tracker;
