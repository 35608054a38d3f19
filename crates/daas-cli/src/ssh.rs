//! `daas ssh <verb>`.

use crate::human;
use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::{Args, Subcommand};
use daas_api::{Failure, SshInfo, SshKeyRequest, SshKeyView};
use daas_model::{Kind, visible};
use std::io::Read;

/// The longest file that is read as a key.
const MOST_FILE: u64 = 16 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum SshVerb {
    /// Keys that may sign in.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Key(KeyVerb),
    /// Prints the lines for `~/.ssh/known_hosts`.
    KnownHosts(SeenFrom),
    /// Prints a piece for `~/.ssh/config`.
    Config(SeenFrom),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Lets a key sign in.
    Add {
        /// Its name, for people.
        name: String,
        /// The public key: a file such as `id_ed25519.pub`, `-` for standard input, or the line itself.
        key: String,
        /// Limits it to stands of this name, `*` for any characters; may be said often.
        #[arg(long = "stand", value_name = "PATTERN")]
        stands: Vec<String>,
        /// Limits it to stands of this project, `*` for any characters; may be said often.
        #[arg(long = "project", value_name = "PATTERN")]
        projects: Vec<String>,
    },
    /// Lists the keys, with what each may enter.
    #[command(visible_alias = "ls")]
    List,
    /// Takes a key away; sessions that it has opened go on.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name.
        name: String,
    },
}

/// By which name the host is known where the client is.
#[derive(Debug, Args)]
pub(crate) struct SeenFrom {
    /// The host's name or address there [default: where the door listens].
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(verb: SshVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        SshVerb::Key(verb) => key(verb, talk).await,
        SshVerb::KnownHosts(seen) => {
            let info = open(talk.client.ssh().await?)?;
            let lines: String = places(&info, seen.name.as_deref())
                .into_iter()
                .map(|(host, port)| format!("{} {}\n", known(&host, port), info.host_key))
                .collect();
            told(&info, lines, talk)
        }
        SshVerb::Config(seen) => {
            let info = open(talk.client.ssh().await?)?;
            let place = places(&info, seen.name.as_deref()).into_iter().next();
            let (host, port) = place.unwrap_or_default();
            told(
                &info,
                format!(
                    "# then: ssh <stand>-<service>@daas, scp file <stand>-<service>@daas:/tmp/\nHost daas\n    HostName {host}\n    Port {port}\n    PreferredAuthentications publickey\n    ForwardAgent no\n    ForwardX11 no\n"
                ),
                talk,
            )
        }
    }
}

fn told(info: &SshInfo, text: String, talk: &Talk) -> Result<(), Stop> {
    if talk.json {
        talk.json(info)
    } else {
        talk.data(text)
    }
}

/// Returns the door, if it is open.
fn open(info: SshInfo) -> Result<SshInfo, Failure> {
    if info.listens.is_empty() {
        return Err(Failure::new(
            "ssh-closed",
            Kind::Conflict,
            "the SSH door listens nowhere",
        )
        .hint("`ssh.listen` in the configuration names addresses; the daemon's log says if one was taken"));
    }
    Ok(info)
}

/// Returns hosts and ports by which the door is reached: those that it listens at, or `host` with their ports.
fn places(info: &SshInfo, host: Option<&str>) -> Vec<(String, u16)> {
    let mut all = Vec::new();
    for listens in &info.listens {
        let Some((address, port)) = listens.rsplit_once(':') else {
            continue;
        };
        let port = port.parse().unwrap_or(22);
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let place = (host.unwrap_or(address).to_owned(), port);
        if !all.contains(&place) {
            all.push(place);
        }
    }
    all
}

/// Returns a host as `known_hosts` names it (sshd(8), "`SSH_KNOWN_HOSTS` FILE FORMAT").
fn known(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

async fn key(verb: KeyVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        KeyVerb::Add {
            name,
            key,
            stands,
            projects,
        } => {
            let request = SshKeyRequest {
                name,
                key: line(key)?,
                projects,
                stands,
            };
            let view = talk.client.add_ssh_key(&request).await?;
            talk.show(&view, || table(std::slice::from_ref(&view)))?;
        }
        KeyVerb::List => {
            let list = talk.client.ssh_keys().await?;
            talk.show(&list, || table(&list.items))?;
        }
        KeyVerb::Remove { name } => {
            talk.client.remove_ssh_key(&name).await?;
            talk.say(format!("{} may not sign in any more", visible(&name)));
        }
    }
    Ok(())
}

/// Returns the line of a key from what was named.
fn line(text: String) -> Result<String, Stop> {
    if text.contains(' ') {
        return Ok(text);
    }
    let from: Box<dyn Read> = if text == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(&text).map_err(Stop::io("open", &text))?;
        Box::new(file)
    };
    let mut line = String::new();
    from.take(MOST_FILE)
        .read_to_string(&mut line)
        .map_err(Stop::io("read", &text))?;
    Ok(line)
}

fn table(keys: &[SshKeyView]) -> Table {
    let mut table = Table::new(&["NAME", "KIND", "FINGERPRINT", "ENTERS", "FROM", "SINCE"]);
    for key in keys {
        table.row([
            visible(&key.name),
            visible(&key.kind),
            visible(&key.fingerprint),
            enters(key),
            visible(&key.origin),
            key.added_ms
                .map_or_else(String::new, |at| human::moment(at * 1000)),
        ]);
    }
    table
}

fn enters(key: &SshKeyView) -> String {
    let stands = key.stands.iter().map(|stand| visible(stand));
    let projects = key
        .projects
        .iter()
        .map(|project| format!("project {}", visible(project)));
    let all: Vec<String> = stands.chain(projects).collect();
    if all.is_empty() {
        "all stands".into()
    } else {
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_openssh_knows_them() {
        let info = SshInfo {
            listens: vec!["127.0.0.1:2222".into(), "[::1]:2222".into()],
            host_key: String::new(),
            fingerprint: String::new(),
        };
        let words = |host| {
            let places = places(&info, host);
            let all = places.iter().map(|(host, port)| known(host, *port));
            all.collect::<Vec<_>>()
        };
        assert_eq!(words(None), ["[127.0.0.1]:2222", "[::1]:2222"]);
        assert_eq!(words(Some("dev.example.com")), ["[dev.example.com]:2222"]);
        assert_eq!(known("dev.example.com", 22), "dev.example.com");
        assert!(
            open(SshInfo {
                listens: Vec::new(),
                ..info
            })
            .is_err()
        );
    }
}
