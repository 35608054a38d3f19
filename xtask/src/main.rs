//! Chores of the repository: `cargo xtask floors|...`.
//!
//! Not here: anything that the product does.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
