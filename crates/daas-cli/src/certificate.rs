//! `daas certificate <verb>`.

use crate::human;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use crate::trust;
use clap::{Args, Subcommand};
use daas_api::{
    CertificateFault, CertificateOrder, CertificateState, CertificateView, ClientRequest, Failure,
};
use daas_model::{Kind, Span};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often is looked what has become of an order.
const LOOK: Duration = Duration::from_millis(300);
/// How long an order is waited for; the daemon goes on with it afterwards.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Subcommand)]
pub(crate) enum CertificateVerb {
    /// Lists the certificates that are given or ordered.
    #[command(visible_alias = "ls")]
    List,
    /// Shows a certificate.
    #[command(visible_alias = "inspect")]
    Show {
        /// Its id: the first name, `given:` before it for given ones.
        #[arg(value_name = "CERTIFICATE")]
        id: String,
    },
    /// Orders a certificate at an authority of `certificates.acme` and waits for it.
    Issue {
        /// The names; `*.dev.example.com` is good for one label before it.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// The only challenge to use: http-01, tls-alpn-01 or dns-01.
        #[arg(long, value_name = "CHALLENGE")]
        challenge: Option<String>,
        /// The only authority to use, by the URL of its directory.
        #[arg(long, value_name = "URL")]
        authority: Option<String>,
    },
    /// Orders a certificate once more, now, and waits for it.
    Renew {
        /// Its id.
        #[arg(value_name = "CERTIFICATE")]
        id: String,
    },
    /// Takes a certificate back at its authority and out of service.
    Revoke {
        /// Its id.
        #[arg(value_name = "CERTIFICATE")]
        id: String,
    },
    /// Forgets a certificate that was ordered: it is served and renewed no more.
    Forget {
        /// Its id.
        #[arg(value_name = "CERTIFICATE")]
        id: String,
    },
    /// Prints the roots of the private authority as PEM.
    Root,
    /// Lets this machine trust the private authority: the system, and this user's Chromium and Firefox.
    ///
    /// The root may sign only for the platform's own zones, for reserved names such as `localhost` and for private
    /// addresses. The system's store takes root; browsers take `certutil` of the package libnss3-tools.
    Trust {
        /// Takes the roots out again.
        #[arg(long)]
        remove: bool,
    },
    /// Makes, lists and revokes certificates by which other machines and people prove who they are.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Client(ClientVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientVerb {
    /// Makes a client's certificate; an older one of this name ends at once.
    Add(ClientArgs),
    /// Lists the clients' certificates.
    #[command(visible_alias = "ls")]
    List,
    /// Takes a client's certificate back; its next handshake fails.
    Revoke {
        /// Whose.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Whose: one label of `a-z`, `0-9` and `-`.
    #[arg(value_name = "NAME")]
    name: String,
    /// How long it is good, 90 days at most.
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires_in: Option<Span>,
    /// A new file (0600) for certificate and key in place of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(verb: CertificateVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        CertificateVerb::List => list(talk).await,
        CertificateVerb::Show { id } => show(&talk.client.certificate(&id).await?, talk),
        CertificateVerb::Issue {
            names,
            challenge,
            authority,
        } => {
            let order = CertificateOrder {
                names,
                challenge,
                authority,
            };
            let first = talk.client.issue_certificate(&order).await?;
            wait_for(first, None, talk).await
        }
        CertificateVerb::Renew { id } => {
            let old = talk.client.certificate(&id).await?.serial;
            let first = talk.client.renew_certificate(&id).await?;
            wait_for(first, old, talk).await
        }
        CertificateVerb::Revoke { id } => {
            let view = talk.client.revoke_certificate(&id).await?;
            talk.say(format!("`{}` is revoked and served no more", view.id));
            show(&view, talk)
        }
        CertificateVerb::Forget { id } => Ok(talk.client.forget_certificate(&id).await?),
        CertificateVerb::Root => root(talk).await,
        CertificateVerb::Trust { remove } => {
            let roots = talk.client.root_certificates().await?;
            if remove {
                trust::remove(&roots, talk)
            } else {
                trust::add(&roots, talk)
            }
        }
        CertificateVerb::Client(verb) => client(verb, talk).await,
    }
}

async fn list(talk: &Talk) -> Result<(), Stop> {
    let items = talk.client.certificates().await?.items;
    let now_ms = talk.terminal.now_ms();
    if talk.json {
        return talk.json(&items);
    }
    let mut table = Table::new(&["CERTIFICATE", "STATE", "ENDS", "RENEWED", "FROM"]);
    for one in &items {
        table.painted([
            (one.id.clone(), Tone::Plain),
            (one.state.as_str().to_owned(), tone(one.state)),
            (ahead(one.not_after_ms, now_ms), Tone::Plain),
            (ahead(one.renew_ms, now_ms), Tone::Plain),
            (one.source.clone(), Tone::Plain),
        ]);
    }
    talk.data(table.text(talk.paint))?;
    for one in &items {
        if let Some(fault) = &one.fault {
            talk.say(format!("`{}`: {}", one.id, told(fault)));
        }
    }
    if items.is_empty() {
        talk.say("nothing was given or ordered; names of the platform's own zones have certificates of the private authority: `daas certificate trust`");
    }
    Ok(())
}

fn tone(state: CertificateState) -> Tone {
    match state {
        CertificateState::Valid => Tone::Good,
        CertificateState::Ordering => Tone::Plain,
        CertificateState::Expiring | CertificateState::Revoked => Tone::Warning,
        CertificateState::Expired | CertificateState::Failed => Tone::Bad,
    }
}

fn ahead(at: Option<u64>, now_ms: u64) -> String {
    match at {
        None => "-".to_owned(),
        Some(at) if at <= now_ms => format!("{} ago", human::age(at, now_ms)),
        Some(at) => format!("in {}", human::age(now_ms, at)),
    }
}

fn told(fault: &CertificateFault) -> String {
    let hint = fault.hint.as_ref().map(|hint| format!("; hint: {hint}"));
    format!(
        "{}{}",
        daas_model::visible(&fault.message),
        hint.unwrap_or_default()
    )
}

fn show(view: &CertificateView, talk: &Talk) -> Result<(), Stop> {
    if talk.json {
        return talk.json(view);
    }
    let date = |at: Option<u64>| at.map(|ms| human::moment(ms.saturating_mul(1000)));
    let lines = [
        ("id", Some(view.id.clone())),
        ("names", Some(view.names.join(" "))),
        ("state", Some(view.state.as_str().to_owned())),
        ("from", Some(view.source.clone())),
        ("begins", date(view.not_before_ms)),
        ("ends", date(view.not_after_ms)),
        ("renewed", date(view.renew_ms)),
        ("serial", view.serial.clone()),
        ("sha256", view.fingerprint.clone()),
        ("next try", date(view.next_try_ms)),
        ("fault", view.fault.as_ref().map(told)),
    ];
    let text: String = lines
        .iter()
        .filter_map(|(word, value)| Some((word, value.as_ref()?)))
        .map(|(word, value)| format!("{word:<9} {}\n", daas_model::visible(value)))
        .collect();
    talk.data(text)
}

/// Waits until an order has ended; `old` is the serial of the certificate that it replaces.
async fn wait_for(first: CertificateView, old: Option<String>, talk: &Talk) -> Result<(), Stop> {
    let mut view = first;
    talk.say(format!("ordering `{}`", view.id));
    let begun = tokio::time::Instant::now();
    loop {
        let new = view.serial.is_some() && view.serial != old;
        if new && view.state != CertificateState::Ordering {
            return show(&view, talk);
        }
        if let Some(fault) = &view.fault {
            let failure = Failure::new(
                "certificate-not-issued",
                Kind::Outside,
                format!("no certificate `{}`", view.id),
            )
            .because(fault.message.clone());
            let hint = fault.hint.clone();
            return Err(Stop::Failed(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }));
        }
        if begun.elapsed() > PATIENCE {
            return Err(Stop::Failed(
                Failure::new(
                    "certificate-slow",
                    Kind::Outside,
                    format!("`{}` is still being ordered", view.id),
                )
                .hint("the daemon goes on; `daas certificate show` tells what came of it"),
            ));
        }
        tokio::time::sleep(LOOK).await;
        view = talk.client.certificate(&view.id).await?;
    }
}

async fn root(talk: &Talk) -> Result<(), Stop> {
    let roots = talk.client.root_certificates().await?;
    if talk.json {
        return talk.json(&roots);
    }
    let text: String = roots.items.iter().map(|root| root.pem.as_str()).collect();
    talk.data(text)
}

async fn client(verb: ClientVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        ClientVerb::Add(args) => add_client(args, talk).await,
        ClientVerb::List => clients(talk).await,
        ClientVerb::Revoke { name } => Ok(talk.client.revoke_client_certificate(&name).await?),
    }
}

async fn add_client(args: ClientArgs, talk: &Talk) -> Result<(), Stop> {
    let request = ClientRequest {
        name: args.name,
        expires_in: args.expires_in,
    };
    let made = talk.client.add_client_certificate(&request).await?;
    let text = format!("{}{}", made.certificate, made.key);
    match &args.output {
        Some(path) => {
            write_secret(path, &text)?;
            talk.say(format!(
                "certificate and key are in `{}`; the key is kept nowhere else",
                path.display()
            ));
        }
        None if talk.json => talk.json(&made)?,
        None => {
            talk.data(text)?;
            talk.say("the key is told this once");
        }
    }
    Ok(())
}

fn write_secret(path: &Path, text: &str) -> Result<(), Stop> {
    use std::io::Write;
    let failed = || Stop::io("write", path.display());
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())
}

async fn clients(talk: &Talk) -> Result<(), Stop> {
    let items = talk.client.client_certificates().await?.items;
    let now_ms = talk.terminal.now_ms();
    talk.show(&items, || {
        let mut table = Table::new(&["NAME", "AGE", "ENDS", "STATE"]);
        for one in &items {
            let state = if one.revoked_ms.is_some() {
                "revoked"
            } else if one.not_after_ms <= now_ms {
                "expired"
            } else {
                "valid"
            };
            table.row([
                one.name.clone(),
                human::age(one.created_ms, now_ms),
                ahead(Some(one.not_after_ms), now_ms),
                state.to_owned(),
            ]);
        }
        table
    })
}
