use super::show::state_tone;
use crate::human;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use daas_api::StandSummary;

pub(crate) async fn run(talk: &Talk) -> Result<(), Stop> {
    let mut stands = talk.client.stands().await?;
    stands.sort_by_cached_key(|stand| human::order(stand.name.as_str()));
    talk.show(&stands, || table(&stands, talk.terminal.now_ms()))?;
    if stands.is_empty() && !talk.json {
        talk.say("there is no stand; `daas stand up` makes one of the compose file here");
    }
    Ok(())
}

fn table(stands: &[StandSummary], now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "STAND", "PROJECT", "KIND", "STATE", "NODES", "ADDRESS", "URL", "AGE", "ENDS IN", "WHY",
    ]);
    for stand in stands {
        table.painted([
            (stand.name.to_string(), Tone::Plain),
            (stand.project.to_string(), Tone::Plain),
            (stand.kind.to_string(), Tone::Plain),
            (stand.state.to_string(), state_tone(stand.state)),
            (
                format!("{}/{}", stand.nodes_ready, stand.nodes_total),
                Tone::Plain,
            ),
            (
                stand
                    .address
                    .map_or_else(|| "-".to_owned(), |address| address.to_string()),
                Tone::Plain,
            ),
            (
                stand
                    .urls
                    .first()
                    .cloned()
                    .unwrap_or_else(|| "-".to_owned()),
                Tone::Plain,
            ),
            (human::age(stand.created_ms, now_ms), Tone::Plain),
            (
                stand
                    .expires_ms
                    .map(|expires| human::age(now_ms, expires))
                    .unwrap_or_default(),
                Tone::Dim,
            ),
            (stand.reason.clone().unwrap_or_default(), Tone::Plain),
        ]);
    }
    table.without_empty(&["ENDS IN", "WHY"])
}
