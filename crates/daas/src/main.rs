//! The house: reads the configuration, builds the rooms in order, runs, drains.

mod config;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some("serve") {
        return ExitCode::from(2);
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let config = words.skip_while(|w| w != "--config").nth(1);
    match serve::serve(config.as_deref().map(std::path::Path::new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", daas_model::render_chain(&error));
            ExitCode::FAILURE
        }
    }
}
