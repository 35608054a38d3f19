use super::Wanted;
use super::logs::escaped;
use super::show::{ports_table, state_tone};
use crate::progress::{self, took};
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use clap::Args;
use daas_api::{Accepted, Failure, LogQuery, Operation, OperationState, Phase, StandView};
use daas_model::{Kind, StandName, visible};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Makes or changes stands.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    wanted: Wanted,
    /// Waits until the stands are up; so it does anyway.
    #[arg(long, overrides_with = "no_wait", hide = true)]
    wait: bool,
    /// Builds the images of services with a `build` again, also those that are there.
    #[arg(long)]
    build: bool,
    /// Does not wait until the stands are up.
    #[arg(long)]
    no_wait: bool,
}

/// How many stands are asked for at once when all are up.
const AT_ONCE: usize = 16;

pub(crate) async fn run(up: Up, talk: &Talk) -> Result<(), Stop> {
    let (request, outcome) = up.wanted.read(talk)?;
    super::build::build_missing(&outcome, up.build, talk).await?;
    let accepted = talk.client.up(&request, None).await?;
    if up.no_wait {
        return tell_accepted(&accepted, talk);
    }
    let operations = match progress::follow(talk, &accepted).await {
        Ok(operations) => operations,
        Err(stop) => {
            talk.say("the stands go on coming up; `daas stand list` shows how far they are");
            return Err(stop);
        }
    };
    let up: Vec<StandName> = operations
        .iter()
        .filter(|o| o.state == OperationState::Done)
        .filter_map(|o| o.stand.clone())
        .collect();
    let views: Vec<StandView> = stream::iter(&up)
        .map(|stand| talk.client.stand(stand))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    match (&views[..], up.first()) {
        ([view], Some(stand)) if accepted.operations.len() == 1 => {
            if talk.json {
                talk.json(view)?;
            } else {
                let took = operations.first().map(took).unwrap_or_default();
                talk.say(format!(
                    "{} {} nodes in {took}",
                    talk.words_paint.good(&format!("stand `{stand}` is up:")),
                    view.nodes.len()
                ));
                tell_stand(view, talk)?;
                tell_next(view, talk);
            }
        }
        _ if talk.json => talk.json(&views)?,
        ([], None) if accepted.operations.len() == 1 => {}
        _ => {
            talk.data(stands_table(&views).text(talk.paint))?;
            talk.say(format!(
                "{} of {} stands are up",
                views.len(),
                accepted.operations.len()
            ));
        }
    }
    tell_last_words(&operations, talk).await;
    progress::verdict(&operations)
}

/// How many lines of a node that failed are shown.
const LAST_WORDS: u64 = 10;
/// Of how many nodes.
const MOST_FAILED: usize = 3;

/// Shows the last lines that failed nodes wrote: they mostly say why.
async fn tell_last_words(operations: &[Operation], talk: &Talk) {
    let failed = operations
        .iter()
        .filter_map(|o| Some((o.stand.as_ref()?, &o.nodes)))
        .flat_map(|(stand, nodes)| {
            nodes
                .iter()
                .filter(|n| matches!(n.phase, Phase::Failed { .. }))
                .map(move |n| (stand, &n.node))
        });
    for (stand, node) in failed.take(MOST_FAILED) {
        let query = LogQuery {
            node: node.to_string(),
            tail: Some(LAST_WORDS),
            ..LogQuery::default()
        };
        let Ok(flow) = talk.client.raw_logs(stand, &query).await else {
            continue;
        };
        let Ok(pieces) = flow.try_collect::<Vec<_>>().await else {
            continue;
        };
        let text = pieces.concat();
        if !text.is_empty() {
            talk.say(format!("the last lines of `{stand}/{node}`:"));
            for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                talk.say(format!("  {}", escaped(line)));
            }
        }
    }
}

/// Tells what was recorded, for who does not wait.
pub(crate) fn tell_accepted(accepted: &Accepted, talk: &Talk) -> Result<(), Stop> {
    talk.remark(&accepted.diagnostics);
    talk.show(accepted, || {
        let mut table = Table::new(&["STAND", "OPERATION"]);
        for started in &accepted.operations {
            table.row([
                started
                    .stand
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                started.operation.to_string(),
            ]);
        }
        table
    })
}

/// Waits for operations and tells what became of each.
pub(crate) async fn wait_and_tell(accepted: &Accepted, talk: &Talk) -> Result<(), Stop> {
    let operations = progress::follow(talk, accepted).await?;
    if talk.json {
        talk.json(&operations)?;
    } else if let [operation] = &operations[..]
        && operation.state == OperationState::Done
    {
        let stand = operation.stand.as_ref().ok_or_else(|| {
            Failure::new(
                "operation-strange",
                Kind::Bug,
                "cannot tell which stand the operation was about",
            )
        })?;
        talk.say(format!(
            "stand `{stand}` {} ({})",
            progress::deed(operation.kind),
            progress::took(operation)
        ));
    }
    progress::verdict(&operations)
}

fn tell_stand(view: &StandView, talk: &Talk) -> Result<(), Stop> {
    if let Some(url) = view.summary.urls.first() {
        talk.data(format!("{}\n", visible(url)))?;
    }
    if view.ports.is_empty() {
        let mut table = Table::new(&["STAND", "ADDRESS"]);
        table.row([view.summary.name.to_string(), address(view)]);
        return talk.data(table.text(talk.paint));
    }
    talk.data(ports_table(view).text(talk.paint))
}

fn address(view: &StandView) -> String {
    view.summary
        .address
        .map_or_else(|| "-".to_owned(), |address| address.to_string())
}

fn stands_table(views: &[StandView]) -> Table {
    let mut table = Table::new(&["STAND", "STATE", "NODES", "ADDRESS", "PORTS"]);
    for view in views {
        let ports: Vec<String> = view
            .ports
            .iter()
            .map(|port| format!("{}/{}", port.published, port.protocol))
            .collect();
        let state = view.summary.state;
        table.painted([
            (view.summary.name.to_string(), Tone::Plain),
            (state.to_string(), state_tone(state)),
            (
                format!("{}/{}", view.summary.nodes_ready, view.summary.nodes_total),
                Tone::Plain,
            ),
            (address(view), Tone::Plain),
            (ports.join(" "), Tone::Plain),
        ]);
    }
    table
}

fn tell_next(view: &StandView, talk: &Talk) {
    let stand = &view.summary.name;
    let node = view
        .ports
        .first()
        .map(|port| &port.node)
        .or_else(|| view.nodes.first().map(|node| &node.name));
    let mut lines = vec![format!("  daas stand logs --follow {stand}")];
    if let Some(node) = node {
        lines.push(format!("  daas stand exec -it {stand}/{node} sh"));
    }
    lines.push(format!("  daas stand down {stand}"));
    talk.say(format!(
        "{}\n{}",
        talk.words_paint.dim("next:"),
        lines.join("\n")
    ));
}
