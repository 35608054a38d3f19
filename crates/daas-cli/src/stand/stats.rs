use crate::completions;
use crate::human;
use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::Args;
use daas_api::{StandStats, Usage};
use daas_model::StandName;
use futures_util::TryStreamExt;

/// Shows what a stand uses.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The stand.
    #[arg(value_name = "STAND", add = completions::stands())]
    stand: StandName,
    /// Shows it once and ends; so it does anyway where standard output is no terminal.
    #[arg(long)]
    once: bool,
    /// Goes on also where standard output is no terminal.
    #[arg(short, long, conflicts_with = "once")]
    follow: bool,
}

pub(crate) async fn run(stats: Stats, talk: &Talk) -> Result<(), Stop> {
    let follow = stats.follow || (talk.terminal.out_is_terminal && !stats.once);
    if talk.json && !follow {
        return talk.json(&talk.client.stats(&stats.stand).await?);
    }
    let mut samples = talk.client.follow_stats(&stats.stand).await?;
    let mut before: Option<StandStats> = None;
    while let Some(sample) = samples.try_next().await? {
        if talk.json {
            talk.json_line(&sample)?;
        } else if let Some(before) = &before {
            let text = table(before, &sample).text(talk.paint);
            if follow && talk.terminal.out_is_terminal {
                // Home, the new lines, and nothing below them.
                talk.data(format!("\u{1b}[H\u{1b}[2J{text}"))?;
            } else {
                talk.data(text)?;
            }
            if !follow {
                return Ok(());
            }
        }
        before = Some(sample);
    }
    Ok(())
}

fn table(before: &StandStats, now: &StandStats) -> Table {
    let mut table = Table::new(&[
        "NODE",
        "CPU",
        "MEMORY",
        "LIMIT",
        "PIDS",
        "DISK R/W",
        "NET IN/OUT",
        "WAITS CPU/MEM/IO",
    ]);
    let elapsed_us = now.at_ms.saturating_sub(before.at_ms) * 1000;
    let mut add = |name: String, was: Option<&Usage>, is: &Usage| {
        let was = was.copied().unwrap_or(*is);
        let limit = is
            .memory_limit_bytes
            .map_or_else(|| "-".to_owned(), human::size);
        let pids = is.pids_limit.map_or_else(
            || {
                if is.pids == 0 {
                    "-".to_owned()
                } else {
                    is.pids.to_string()
                }
            },
            |most| format!("{}/{most}", is.pids),
        );
        let waits = is.pressure.map_or_else(
            || "-".to_owned(),
            |p| format!("{:.0}/{:.0}/{:.0} %", p.cpu, p.memory, p.io),
        );
        table.row([
            name,
            percent(is.cpu_us.saturating_sub(was.cpu_us), elapsed_us),
            // Nothing at all: the host's cgroups do not measure single nodes (v1).
            if is.memory_bytes == 0 {
                "-".to_owned()
            } else {
                human::size(is.memory_bytes)
            },
            limit,
            pids,
            format!(
                "{} / {}",
                human::size(is.io_read_bytes),
                human::size(is.io_written_bytes)
            ),
            format!(
                "{} / {}",
                human::size(is.net_received_bytes),
                human::size(is.net_sent_bytes)
            ),
            waits,
        ]);
    };
    for (name, usage) in &now.nodes {
        add(name.to_string(), before.nodes.get(name), usage);
    }
    add("(all)".into(), Some(&before.total), &now.total);
    table
}

/// Writes a share with one digit behind the point; 100 % is one CPU.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let thousandths = part.saturating_mul(1000) / whole;
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}
