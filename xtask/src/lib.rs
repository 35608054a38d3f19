//! Chores of the repository, and what whole-machine tests share with them: `cargo xtask floors|rules|deps|vm|...`.
//!
//! Not here: anything that the product does. No crate of the product depends on this one but for its tests.

#![expect(
    clippy::print_stderr,
    reason = "a chore talks to the person at the terminal"
)]

mod bench;
pub mod census;
mod deps;
mod floors;
pub mod house;
mod licence;
pub mod programs;
mod rules;
mod seccomp;
mod soak;
pub mod trials;
pub mod vm;
pub mod workspace;

use anyhow::{Context, Result, bail, ensure};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

chores:
  floors    check that each crate depends only on smaller floors
  rules     check what code may do only in its own place
  deps      check versions, sources and licences of what others wrote
  bench stand [rounds] | quick [rounds] | alive [stands]
            measure stands against others and against the kernel's limit
  soak [check...]
            run the long checks, or some of them; `soak list` names them
  seccomp <default.json>
            compare our system call filter with Docker's default profile
  vm [--systemd] -- <program> <arguments>
            run a command on a pure cgroup v2 kernel, in a machine of its own, with systemd as its init if wanted;
            variables that begin with DAAS_ go along, DAAS_VM_KERNEL_WORDS to the kernel's line";

/// Runs the chore that the command line names.
#[must_use]
pub fn main() -> ExitCode {
    match chore() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("floors") => floors::check()?,
        Some("rules") => rules::check()?,
        Some("deps") => deps::check()?,
        Some("bench") => bench::run(&words.collect::<Vec<_>>())?,
        Some("soak") => return soak::run(&words.collect::<Vec<_>>()),
        Some("seccomp") => {
            let path = words
                .next()
                .with_context(|| format!("which profile?\n{USAGE}"))?;
            return seccomp::compare(path.as_ref());
        }
        Some("vm") => return in_machine(words.collect()),
        Some(other) => bail!("unknown chore `{other}`\n{USAGE}"),
        None => bail!("{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn in_machine(words: Vec<String>) -> Result<ExitCode> {
    let systemd = words.first().is_some_and(|word| word == "--systemd");
    let command: Vec<String> = words
        .into_iter()
        .skip(usize::from(systemd))
        .skip_while(|word| word == "--")
        .collect();
    ensure!(!command.is_empty(), "no command for the machine\n{USAGE}");
    let kernel = vm::Kernel::of_debian()?;
    let mut job = vm::Job::new(command);
    job.systemd = systemd;
    job.kernel_words = std::env::var("DAAS_VM_KERNEL_WORDS").unwrap_or_default();
    job.environment = std::env::vars()
        .filter(|(name, _)| name.starts_with("DAAS_"))
        .collect();
    let ended = job.run(&kernel, &mut std::io::stdout())?;
    eprintln!(
        "vm: kernel {}, exit code {}, {:.1} s",
        kernel.release,
        ended.code,
        ended.took.as_secs_f64()
    );
    Ok(ExitCode::from(u8::try_from(ended.code).unwrap_or(255)))
}
