//! `daas ssh <verb>`.

use crate::human;
use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::{Args, Subcommand};
use daas_api::{Failure, SshInfo, SshKeyRequest, SshKeyView};
use daas_model::{Kind, visible};
use std::collections::BTreeSet;
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
    KnownHosts {
        /// Names or addresses of the host where the client is [default: those of this machine at which the door listens].
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
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
        SshVerb::KnownHosts { names } => {
            let info = open(talk.client.ssh().await?)?;
            told(&info, lines(&info, &names), talk)
        }
        SshVerb::Config(seen) => {
            let info = open(talk.client.ssh().await?)?;
            let (host, port) = place(&info, seen.name.as_deref());
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

/// Returns the lines for `known_hosts`: those that the daemon knows itself by, or `names` with its ports.
fn lines(info: &SshInfo, names: &[String]) -> String {
    let mut hosts = info.known_as.clone();
    if !names.is_empty() {
        let ports = info.listens.iter().map(|listens| split(listens).1);
        let ports: BTreeSet<u16> = ports.collect();
        let of_name = |name: &String| {
            ports
                .iter()
                .map(move |port| known(name, *port))
                .collect::<Vec<_>>()
        };
        hosts = names.iter().flat_map(of_name).collect();
    }
    let line = |host: &String| format!("{host} {}\n", info.host_key);
    hosts.iter().map(line).collect()
}

/// Returns the host and port for a client's configuration. Every address is none to go to: then it is this machine.
fn place(info: &SshInfo, name: Option<&str>) -> (String, u16) {
    let first = info.listens.first().map(|listens| split(listens));
    let (address, port) = first.unwrap_or(("localhost", 22));
    let everywhere = matches!(address, "0.0.0.0" | "::");
    let host = name.unwrap_or(if everywhere { "localhost" } else { address });
    (host.to_owned(), port)
}

/// Parts an address that is listened at.
fn split(listens: &str) -> (&str, u16) {
    let (address, port) = listens.rsplit_once(':').unwrap_or((listens, "22"));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    (address, port.parse().unwrap_or(22))
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
            listens: vec!["0.0.0.0:2222".into(), "[::1]:22".into()],
            known_as: vec!["[localhost]:2222".into(), "localhost".into()],
            host_key: "ssh-ed25519 AAAA".into(),
            fingerprint: String::new(),
        };
        assert_eq!(
            lines(&info, &[]),
            "[localhost]:2222 ssh-ed25519 AAAA\nlocalhost ssh-ed25519 AAAA\n"
        );
        assert_eq!(
            lines(&info, &["dev.example.com".into(), "10.0.0.5".into()]),
            "dev.example.com ssh-ed25519 AAAA\n[dev.example.com]:2222 ssh-ed25519 AAAA\n10.0.0.5 ssh-ed25519 AAAA\n[10.0.0.5]:2222 ssh-ed25519 AAAA\n"
        );
        assert_eq!(place(&info, None), ("localhost".into(), 2222));
        assert_eq!(place(&info, Some("dev")), ("dev".into(), 2222));
        assert_eq!(split("[::1]:2222"), ("::1", 2222));
        assert!(
            open(SshInfo {
                listens: Vec::new(),
                ..info
            })
            .is_err()
        );
    }
}
