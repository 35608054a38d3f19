//! `daas dns <verb>`.

use crate::human;
use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::Subcommand;
use daas_api::{
    KeyRoll, KeySeen, NewRecord, RecordQuery, RecordView, RecordsQuery, ZoneKeyList, ZoneKeyState,
    ZoneKeyView, ZoneView,
};
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
        /// Its data, as in a zone file; names are whole names. Words that begin with a dash stand behind `--`.
        #[arg(required = true, num_args = 1.., allow_negative_numbers = true)]
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
        /// The data of one record; all of the type without. Words that begin with a dash stand behind `--`.
        #[arg(num_args = 0.., allow_negative_numbers = true)]
        data: Vec<String>,
    },
    /// Lists the keys of signed zones and what the zone above shall have of them, or rolls them.
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Keys {
        /// Only those of this zone.
        #[arg(value_name = "ZONE")]
        zone: Option<String>,
        #[command(subcommand)]
        verb: Option<KeysVerb>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// Begins to roll a zone's key: a new one signs beside it, and takes its place when nobody in the world needs it any more.
    Roll {
        /// The zone.
        zone: String,
    },
    /// Says that the zone above names the new key, where the daemon cannot see it.
    Seen {
        /// The zone.
        zone: String,
        /// For how many seconds the old DS record may be remembered; a day without.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u32>,
    },
}

pub(crate) async fn run(verb: DnsVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        DnsVerb::Keys { zone, verb } => keys(zone, verb, talk).await,
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

async fn keys(zone: Option<String>, verb: Option<KeysVerb>, talk: &Talk) -> Result<(), Stop> {
    let list = match verb {
        None => talk.client.zone_keys(&RecordsQuery { zone }).await?,
        Some(KeysVerb::Roll { zone }) => talk.client.roll_key(&KeyRoll { zone }).await?,
        Some(KeysVerb::Seen { zone, ttl }) => talk.client.key_seen(&KeySeen { zone, ttl }).await?,
    };
    let now_ms = talk.terminal.now_ms();
    talk.show(&list, || key_table(&list, now_ms))?;
    if talk.json {
        return Ok(());
    }
    if list.items.is_empty() {
        talk.say(
            "no zone is signed; `sign: true` below `dns.zones` in /etc/daas/daas.yaml signs one",
        );
    }
    for key in &list.items {
        if let Some(text) = advice(key) {
            talk.say(text);
        }
    }
    Ok(())
}

/// Says what is to be done about a key, if anything.
fn advice(key: &ZoneKeyView) -> Option<String> {
    let (zone, tag, ds) = (&key.zone, key.tag, &key.ds);
    match key.state {
        ZoneKeyState::Waiting => Some(format!(
            "the zone above `{zone}` shall have `{zone}. DS {ds}` in place of the old DS record; CDS and CDNSKEY records ask it to. When it is there and the daemon does not see it: `daas dns keys seen {zone}`"
        )),
        ZoneKeyState::Publishing => Some(format!(
            "key {tag} of `{zone}` has to be known everywhere before the zone above is told of it; nothing is to be done"
        )),
        ZoneKeyState::Active | ZoneKeyState::Retiring => None,
    }
}

fn key_table(list: &ZoneKeyList, now_ms: u64) -> Table {
    let mut table = Table::new(&["ZONE", "TAG", "ALGORITHM", "STATE", "UNTIL", "DS"]);
    for key in &list.items {
        let until = match (key.until_ms, key.since_ms) {
            (Some(at), _) => format!("in {}", human::age(now_ms, at)),
            (None, Some(at)) => format!("since {}", human::age(at, now_ms)),
            (None, None) => "-".to_owned(),
        };
        table.row([
            key.zone.clone(),
            key.tag.to_string(),
            key.algorithm.to_string(),
            key.state.as_str().to_owned(),
            until,
            key.ds.clone(),
        ]);
    }
    table
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
    fn options_behind_the_data_are_options_and_data_with_a_dash_stand_behind_two() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(subcommand)]
            verb: DnsVerb,
        }
        let read = |words: &str| {
            let words = ["dns"].into_iter().chain(words.split(' '));
            match <Line as clap::Parser>::try_parse_from(words).map(|line| line.verb) {
                Ok(DnsVerb::Add { data, ttl, .. }) => Ok((data.join(" "), ttl)),
                Ok(DnsVerb::Remove { data, .. }) => Ok((data.join(" "), 0)),
                Ok(_) => Err("another verb".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        for (words, data, ttl) in [
            ("add x TXT hello --ttl 60", "hello", 60),
            ("add --ttl 60 x TXT a b", "a b", 60),
            ("add x MX -1 mail", "-1 mail", 300),
            (
                "add x TXT --ttl 60 -- v=spf1 -all --ttl",
                "v=spf1 -all --ttl",
                60,
            ),
            ("rm x TXT -- -all", "-all", 0),
            ("rm x TXT", "", 0),
        ] {
            assert_eq!(read(words), Ok((data.to_owned(), ttl)), "{words}");
        }
        assert!(read("add x TXT v=spf1 -all").unwrap_err().contains("--"));
    }

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
