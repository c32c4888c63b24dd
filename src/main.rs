//! Calls the command line and returns its exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::cli::main()
}
