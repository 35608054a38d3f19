//! Completions of shells: words by clap, names of stands and images by the daemon.

use crate::args::Cli;
use crate::stop::Stop;
use crate::talk::Talk;
use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use daas_client::{Address, Client};
use daas_model::StandName;
use std::ffi::OsStr;
use std::time::Duration;

/// How long a shell waits for names: a person who pressed Tab notices more.
const PATIENCE: Duration = Duration::from_millis(300);
/// The variable by which a shell asks this program (`clap_complete`).
const VARIABLE: &str = "COMPLETE";

/// Answers a shell that asks for completions, and ends the process; does nothing otherwise.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).complete();
}

/// Prints what a shell reads once.
pub(crate) fn print(shell: &str, talk: &Talk) -> Result<(), Stop> {
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(shell) else {
        let known: Vec<&str> = shells.names().collect();
        return Err(Stop::input(
            "shell-unknown",
            format!("cannot complete for `{}`", shell.escape_debug()),
        )
        .hint(format!("known are {}", known.join(", ")))
        .into());
    };
    let mut text = Vec::new();
    completer
        .write_registration(VARIABLE, "daas", "daas", "daas", &mut text)
        .map_err(Stop::io("write", "completions"))?;
    talk.data(text)
}

/// Completes names of stands.
pub(crate) fn stands() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask(async |client| {
            Ok(client
                .stands()
                .await?
                .into_iter()
                .map(|stand| stand.name.to_string())
                .collect())
        })
    })
}

/// Completes `stand/node`: first the stand, then its nodes.
pub(crate) fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_string_lossy().into_owned();
        let names = ask(async |client| {
            match typed
                .split_once('/')
                .and_then(|(stand, _)| StandName::parse(stand).ok())
            {
                Some(stand) => Ok(client
                    .stand(&stand)
                    .await?
                    .nodes
                    .iter()
                    .map(|node| format!("{stand}/{}", node.name))
                    .collect()),
                None => Ok(client
                    .stands()
                    .await?
                    .iter()
                    .map(|stand| format!("{}/", stand.name))
                    .collect()),
            }
        });
        names
            .into_iter()
            .filter(|name| name.get_value().to_string_lossy().starts_with(&typed))
            .collect()
    })
}

/// Completes names of images.
pub(crate) fn images() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask(async |client| {
            Ok(client
                .images()
                .await?
                .into_iter()
                .flat_map(|image| image.names)
                .map(|name| name.familiar())
                .collect())
        })
    })
}

/// Asks the daemon that the environment names; says nothing if it does not answer in time.
fn ask(
    question: impl AsyncFnOnce(Client) -> Result<Vec<String>, daas_api::Failure>,
) -> Vec<CompletionCandidate> {
    let address = match (std::env::var("DAAS_HOST"), std::env::var_os("DAAS_SOCKET")) {
        (Ok(host), _) => Address::parse(&host).unwrap_or_default(),
        (Err(_), Some(socket)) => Address::Unix(socket.into()),
        (Err(_), None) => Address::default(),
    };
    let client = Client::new(address, std::env::var("DAAS_TOKEN").ok());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return Vec::new();
    };
    let names = runtime.block_on(async { tokio::time::timeout(PATIENCE, question(client)).await });
    names
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default()
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}
