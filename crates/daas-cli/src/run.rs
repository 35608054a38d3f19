use crate::args::{Cli, Noun};
use crate::house::House;
use crate::stop::Stop;
use crate::talk::Talk;
use crate::terminal::Terminal;
use crate::{
    ban, certificate, complain, completions, dns, doctor, exit, image, man, project, registry,
    route, ssh, stand, system,
};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use daas_api::Failure;
use daas_model::Kind;
use std::ffi::OsString;
use std::process::ExitCode;

/// The width of help that goes to no terminal.
const WIDTH: usize = 100;

/// Runs the program's own command line and returns its exit code.
#[must_use]
pub fn main(house: &dyn House) -> ExitCode {
    // Ends the process if a shell asks for completions.
    completions::answer_shell();
    ExitCode::from(run(std::env::args_os(), house, &Terminal::real()))
}

/// Runs one command line; `arguments` begins with the program's name.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    house: &dyn House,
    terminal: &Terminal,
) -> u8 {
    let mut words = Cli::command();
    if !terminal.out_is_terminal {
        // A file or program has no width: always the same one.
        words = words.term_width(WIDTH);
    }
    let parsed = words
        .try_get_matches_from(arguments)
        .and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error, terminal),
    };
    if cli.version {
        return terminal
            .out(format!("daas {}\n", house.version()))
            .map_or_else(|stop| stop.code(), |()| exit::DONE);
    }
    let Some(noun) = cli.noun else {
        return exit::INPUT;
    };
    let (json, paint) = (
        cli.global.json,
        cli.global.color.paint(terminal.err_is_terminal),
    );
    let ended =
        Talk::new(&cli.global, terminal.clone()).and_then(|talk| command(noun, house, &talk));
    match ended {
        Ok(()) => exit::DONE,
        Err(stop) => {
            if let Stop::Failed(failure) = &stop {
                if json {
                    terminal.err(
                        serde_json::to_string(&failure.to_problem()).unwrap_or_default() + "\n",
                    );
                } else {
                    terminal.err(complain::failure(failure, paint));
                }
            }
            stop.code()
        }
    }
}

/// Tells what is wrong with the words; help that was asked for is data.
fn usage(error: &clap::Error, terminal: &Terminal) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = if terminal.out_is_terminal {
                error.render().ansi().to_string()
            } else {
                error.render().to_string()
            };
            terminal
                .out(text)
                .map_or_else(|stop| stop.code(), |()| exit::DONE)
        }
        _ => {
            let text = if terminal.err_is_terminal {
                error.render().ansi().to_string()
            } else {
                error.render().to_string()
            };
            terminal.err(text);
            exit::INPUT
        }
    }
}

fn command(noun: Noun, house: &dyn House, talk: &Talk) -> Result<(), Stop> {
    match noun {
        // Before any runtime: the daemon forks while it is one thread.
        Noun::Serve { config } => Ok(house.serve(config.as_deref())?),
        Noun::Completions { shell } => completions::print(&shell, talk),
        Noun::Man { dir } => man::print(dir.as_deref(), talk),
        Noun::Stand(verb) => wait(stand::run(verb, talk)),
        Noun::Project(verb) => wait(project::run(verb, talk)),
        Noun::Image(verb) => wait(image::run(verb, talk)),
        Noun::Registry(verb) => wait(registry::run(verb, talk)),
        Noun::Dns(verb) => wait(dns::run(verb, talk)),
        Noun::Route(verb) => wait(route::run(verb, talk)),
        Noun::Ban(verb) => wait(ban::run(verb, talk)),
        Noun::Ssh(verb) => wait(ssh::run(verb, talk)),
        Noun::Certificate(verb) => wait(certificate::run(verb, talk)),
        Noun::System(verb) => wait(system::run(verb, talk)),
        Noun::Doctor => wait(doctor::run(house, talk)),
    }
}

/// Runs a command to its end, or to Ctrl-C.
fn wait(command: impl Future<Output = Result<(), Stop>>) -> Result<(), Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Failure::new("runtime-failed", Kind::Outside, "cannot start the runtime")
            .because(error.to_string())
    })?;
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            ended = command => ended,
            Ok(()) = tokio::signal::ctrl_c() => Err(Stop::Said(exit::INTERRUPTED)),
        }
    });
    // A read of standard input may still block its thread; it ends with the process.
    runtime.shutdown_background();
    ended
}
