//! The `djaffar` program.

fn main() -> std::process::ExitCode {
    djaffar::cli::run()
}
