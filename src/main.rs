//! The `djaffar` program.

/// Answering allocates and frees a few dozen small pieces a request; see docs/performance.md for
/// what this allocator saves there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    djaffar::cli::run(std::env::args_os().skip(1)).into()
}
