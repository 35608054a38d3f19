use super::up::{tell_accepted, wait_and_tell};
use crate::completions;
use crate::exit;
use crate::human;
use crate::stop::Stop;
use crate::talk::Talk;
use clap::{ArgGroup, Args};
use daas_api::{Accepted, DownQuery, Failure, StandSummary};
use daas_model::{Kind, ProjectName, StandKind, StandName};
use std::io::BufRead;

/// Throws stands away.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct Down {
    /// The stands.
    #[arg(value_name = "STAND", group = "which", add = completions::stands())]
    stands: Vec<StandName>,
    /// All stands of this project.
    #[arg(long, value_name = "PROJECT", group = "which")]
    project: Option<ProjectName>,
    /// All stands.
    #[arg(long, group = "which")]
    all: bool,
    /// Does not ask before a service or production stand is thrown away.
    #[arg(short, long)]
    yes: bool,
    /// Tells what would go, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not wait until it is done.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(down: Down, talk: &Talk) -> Result<(), Stop> {
    let known = talk.client.stands().await?;
    let mut going: Vec<&StandSummary> = Vec::new();
    for name in &down.stands {
        let Some(found) = known.iter().find(|stand| stand.name == *name) else {
            return Err(absent(name, talk).await.into());
        };
        going.push(found);
    }
    going.extend(
        known
            .iter()
            .filter(|stand| down.all || down.project.as_ref() == Some(&stand.project)),
    );
    going.sort_by_cached_key(|stand| human::order(stand.name.as_str()));
    going.dedup_by(|a, b| a.name == b.name);
    if going.is_empty() {
        talk.say("there is no such stand; nothing was changed");
        return Ok(());
    }
    if down.dry_run {
        return if talk.json {
            talk.json(&going)
        } else {
            talk.data(
                going
                    .iter()
                    .map(|stand| format!("{}\n", stand.name))
                    .collect::<String>(),
            )
        };
    }
    if !down.yes {
        ask(&going, talk)?;
    }
    let mut accepted = Accepted {
        operations: Vec::new(),
        diagnostics: Vec::new(),
    };
    for stand in going {
        // The stand that was looked at, and not another one that took its name meanwhile.
        let one = talk
            .client
            .down(&stand.name, &DownQuery::default(), None)
            .await?;
        accepted.operations.extend(one.operations);
    }
    if down.no_wait {
        tell_accepted(&accepted, talk)
    } else {
        wait_and_tell(&accepted, talk).await
    }
}

/// Returns the daemon's own words about a stand that is not there: it knows which name is near.
async fn absent(name: &StandName, talk: &Talk) -> Failure {
    let failure = talk.client.stand(name).await.err();
    failure.unwrap_or_else(|| {
        let what = format!("stand `{name}` has just been made");
        Failure::new("stand-new", Kind::Conflict, what)
            .hint("say it again if you mean this one, too")
    })
}

/// Asks before what others rely on is thrown away.
fn ask(going: &[&StandSummary], talk: &Talk) -> Result<(), Stop> {
    let lasting: Vec<String> = going
        .iter()
        .filter(|stand| matches!(stand.kind, StandKind::Service | StandKind::Production))
        .map(|stand| format!("`{}` ({})", stand.name, stand.kind))
        .collect();
    if lasting.is_empty() {
        return Ok(());
    }
    let what = lasting.join(", ");
    if !talk.terminal.in_is_terminal {
        let failure = Failure::new(
            "down-unconfirmed",
            Kind::Conflict,
            format!("cannot throw away {what} without being asked to twice"),
        );
        return Err(failure.hint("say `--yes`; all volumes go with it").into());
    }
    talk.terminal
        .err(format!("throw away {what} with all volumes? [y/N] "));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Stop::io("read", "the answer"))?;
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    talk.say("nothing was changed");
    Err(Stop::Said(exit::NO))
}
