//! `daas dns <verb>`.

use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::Subcommand;
use daas_api::{NewRecord, RecordQuery, RecordView, RecordsQuery, ZoneView};
use daas_model::visible;

#[derive(Debug, Subcommand)]
pub(crate) enum DnsVerb {
    /// Lists the zones that the daemon answers for, and what the zone above must know of them.
    Zones,
    /// Lists the records of a zone or of all, and where each comes from.
    #[command(visible_alias = "ls")]
    Records {
        /// Only those of this zone.
        #[arg(value_name = "ZONE")]
        zone: Option<String>,
    },
    /// Keeps a record: `daas dns add www.example.com A 192.0.2.1`.
    Add {
        /// Its whole name.
        name: String,
        /// Its type: A, AAAA, CNAME, TXT, MX, SRV, CAA, ...
        #[arg(value_name = "TYPE")]
        kind: String,
        /// Its data, as in a zone file; names are whole names.
        #[arg(required = true, num_args = 1.., allow_hyphen_values = true)]
        data: Vec<String>,
        /// How long others may keep it, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        ttl: u32,
    },
    /// Forgets kept records of a name and type.
    #[command(visible_alias = "rm")]
    Remove {
        /// The whole name.
        name: String,
        /// The type.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The data of one record; all of the type without.
        #[arg(num_args = 0.., allow_hyphen_values = true)]
        data: Vec<String>,
    },
}

pub(crate) async fn run(verb: DnsVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        DnsVerb::Zones => zones(talk).await,
        DnsVerb::Records { zone } => {
            let records = talk.client.records(&RecordsQuery { zone }).await?.items;
            talk.show(&records, || table(&records))?;
            Ok(())
        }
        DnsVerb::Add {
            name,
            kind,
            data,
            ttl,
        } => {
            let data = joined(&kind, &data);
            let record = NewRecord {
                name,
                kind,
                ttl: Some(ttl),
                data,
            };
            let made = talk.client.add_record(&record).await?;
            talk.show(&made, || table(std::slice::from_ref(&made)))?;
            Ok(())
        }
        DnsVerb::Remove { name, kind, data } => {
            let data = (!data.is_empty()).then(|| joined(&kind, &data));
            let query = RecordQuery { name, kind, data };
            talk.client.remove_record(&query).await?;
            talk.say(format!(
                "{} {} is forgotten",
                visible(&query.name),
                visible(&query.kind)
            ));
            Ok(())
        }
    }
}

/// Puts the words of a shell together as a zone file has them; for texts each word is one, whatever blanks are in it.
fn joined(kind: &str, words: &[String]) -> String {
    let is_text = kind.eq_ignore_ascii_case("TXT");
    let words = words.iter().map(|word| {
        if is_text && !word.starts_with('"') {
            format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            word.clone()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn zones(talk: &Talk) -> Result<(), Stop> {
    let list = talk.client.zones().await?;
    talk.show(&list, || zone_table(&list.items))?;
    if talk.json {
        return Ok(());
    }
    if list.listens.is_empty() {
        talk.say("names are answered nowhere on this host; `dns.listen` in /etc/daas/daas.yaml names addresses");
    } else {
        talk.say(format!("answered at {}", list.listens.join(", ")));
    }
    Ok(())
}

fn zone_table(zones: &[ZoneView]) -> Table {
    let mut table = Table::new(&["ZONE", "SERIAL", "RECORDS", "STANDS", "DS"]);
    for zone in zones {
        table.row([
            zone.name.clone(),
            zone.serial.to_string(),
            zone.records.to_string(),
            if zone.stands { "yes" } else { "-" }.to_owned(),
            zone.ds.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn table(records: &[RecordView]) -> Table {
    let mut table = Table::new(&["NAME", "TYPE", "TTL", "DATA", "FROM"]);
    for record in records {
        table.row([
            record.name.clone(),
            record.kind.clone(),
            record.ttl.to_string(),
            visible(&record.data).to_string(),
            record.source.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_become_data() {
        let words = |list: &[&str]| {
            list.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            joined("MX", &words(&["10", "mail.example.com"])),
            "10 mail.example.com"
        );
        assert_eq!(
            joined("txt", &words(&["v=spf1 -all", "a\"b"])),
            "\"v=spf1 -all\" \"a\\\"b\""
        );
        assert_eq!(joined("TXT", &words(&["\"a b\""])), "\"a b\"");
    }
}
