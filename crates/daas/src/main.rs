//! The house: reads the configuration, builds the rooms in order, runs, drains.
//!
//! Not here: anything that another crate could do.

mod certificates;
mod config;
mod dns;
mod handover;
mod ingress;
mod inside;
mod registry;
mod serve;
mod ssh;

use daas_api::{DoctorReport, Failure};
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What the command line asks of the program that it is part of.
struct House;

impl daas_cli::House for House {
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn serve(&self, config: Option<&Path>) -> Result<(), Failure> {
        write_log();
        Ok(serve::serve(config)?)
    }

    fn doctor(&self) -> DoctorReport {
        let state = config::Config::load(None)
            .map_or_else(|_| "/var/lib/daas".into(), |config| config.state);
        let existing = state
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(Path::new("/"));
        DoctorReport {
            checks: daas_control::doctor(existing),
        }
    }
}

/// Sends the daemon's log to standard error; `DAAS_LOG` chooses what (`info`, `daas_engine=debug`).
fn write_log() {
    let filter = EnvFilter::try_from_env("DAAS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}

fn main() -> ExitCode {
    daas_cli::main(&House)
}
