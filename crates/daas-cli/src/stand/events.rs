use crate::completions;
use crate::human;
use crate::stop::Stop;
use crate::talk::Talk;
use clap::Args;
use daas_api::{EventQuery, EventView};
use daas_model::{Severity, StandName, visible};
use futures_util::TryStreamExt;

/// Shows what happened.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// The stand [default: all].
    #[arg(value_name = "STAND", add = completions::stands())]
    stand: Option<StandName>,
    /// Goes on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// Only the newest so many [default: 100].
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
}

pub(crate) async fn run(events: Events, talk: &Talk) -> Result<(), Stop> {
    let query = EventQuery {
        follow: events.follow,
        after: None,
        last: events.last,
    };
    let mut flow = talk.client.events(events.stand.as_ref(), &query).await?;
    while let Some(event) = flow.try_next().await? {
        if talk.json {
            talk.json_line(&event)?;
        } else {
            talk.data(line(&event, talk))?;
        }
    }
    Ok(())
}

fn line(event: &EventView, talk: &Talk) -> String {
    let paint = talk.paint;
    let subject = match (&event.stand, &event.node) {
        (Some(stand), Some(node)) => format!("{stand}/{node}"),
        (Some(stand), None) => stand.to_string(),
        (None, _) => "-".to_owned(),
    };
    let code = match event.severity {
        Severity::Error => paint.bad(&event.code),
        Severity::Warning => paint.warning(&event.code),
        Severity::Note => paint.dim(&event.code),
    };
    let message = visible(&event.message);
    format!(
        "{}  {subject}  {code}  {message}\n",
        paint.dim(&human::moment(event.at_ms * 1000))
    )
}
