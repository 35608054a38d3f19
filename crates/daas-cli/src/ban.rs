//! `daas ban <verb>`.

use crate::human;
use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::Subcommand;
use daas_api::{BanList, BanRequest, BanView};
use daas_model::{Span, Subnet, visible};

#[derive(Debug, Subcommand)]
pub(crate) enum BanVerb {
    /// Lists who is kept out, why and until when.
    #[command(visible_alias = "ls")]
    List,
    /// Keeps an address or a block out.
    Add {
        /// The address, or a block such as 192.0.2.0/24.
        #[arg(value_parser = net)]
        net: Subnet,
        /// For how long; for good if nothing is said.
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        time: Option<Span>,
        /// Why, for those who read the list.
        #[arg(long)]
        why: Option<String>,
    },
    /// Lets somebody in again; what was counted is forgotten.
    #[command(visible_alias = "rm")]
    Remove {
        /// The address or block as the list shows it.
        #[arg(value_parser = net)]
        net: Subnet,
    },
    /// Says that an address or a block is never banned, or takes that back.
    Allow {
        /// The address, or a block such as 10.0.0.0/8.
        #[arg(value_parser = net)]
        net: Subnet,
        /// Takes it back.
        #[arg(long)]
        remove: bool,
    },
}

fn net(text: &str) -> Result<Subnet, String> {
    Subnet::parse_or_address(text)
}

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(verb: BanVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        BanVerb::List => {
            let list = talk.client.bans().await?;
            talk.show(&list, || table(&list.items))?;
            if !talk.json {
                talk.say(allowed(&list));
            }
        }
        BanVerb::Add { net, time, why } => {
            let ban = talk.client.ban(&BanRequest { net, time, why }).await?;
            talk.show(&ban, || table(std::slice::from_ref(&ban)))?;
        }
        BanVerb::Remove { net } => {
            talk.client.unban(net).await?;
            talk.say(format!("{net} is let in"));
        }
        BanVerb::Allow { net, remove: true } => {
            talk.client.disallow(net).await?;
            talk.say(format!("{net} may be banned"));
        }
        BanVerb::Allow { net, remove: false } => {
            let list = talk.client.allow(net).await?;
            if talk.json {
                talk.json(&list)?;
            }
            talk.say(allowed(&list));
        }
    }
    Ok(())
}

fn allowed(list: &BanList) -> String {
    let all: Vec<String> = list.allowed.iter().map(ToString::to_string).collect();
    format!("never banned: {}", all.join(", "))
}

fn table(bans: &[BanView]) -> Table {
    let mut table = Table::new(&["WHO", "SINCE", "UNTIL", "WHY"]);
    for ban in bans {
        table.row([
            ban.net.to_string(),
            human::moment(ban.since_ms * 1000),
            ban.until_ms
                .map_or_else(|| "for good".to_owned(), |at| human::moment(at * 1000)),
            visible(&ban.why).to_string(),
        ]);
    }
    table
}
