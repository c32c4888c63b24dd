//! Hands over to the command line and turns its outcome into the exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::cli::main()
}
