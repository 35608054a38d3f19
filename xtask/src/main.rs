//! Chores of the repository: `cargo xtask floors|...`.
//!
//! Not here: anything that the product does.

#![expect(
    clippy::print_stderr,
    reason = "a chore talks to the person at the terminal"
)]

mod floors;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask <chore>

chores:
  floors    check that each crate depends only on smaller floors";

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("floors") => floors::check(),
        Some(other) => bail!("unknown chore `{other}`\n{USAGE}"),
        None => bail!("{USAGE}"),
    }
}
