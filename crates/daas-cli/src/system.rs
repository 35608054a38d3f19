//! `daas system <verb>`.

use crate::human;
use crate::image::tell_pruned;
use crate::install;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use clap::{Args, Subcommand};
use daas_api::{Failure, PruneRequest, SystemInfo};
use daas_model::{Kind, visible};
use daas_server::{Role, Token, Tokens};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum SystemVerb {
    /// Shows what the daemon is and where it runs.
    Info,
    /// Throws away images and leftovers that nothing needs.
    Prune(PruneArgs),
    /// Lets systemd keep the daemon running: group, unit, start.
    Install {
        /// Tells what would be done, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Undoes `install`; stands, images and records stay.
    Uninstall {
        /// Tells what would be done, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a token for the TCP door and prints it, once.
    Token(TokenArgs),
}

/// What is thrown away.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PruneArgs {
    /// Also images that have a name and that no stand uses.
    #[arg(short, long)]
    all: bool,
    /// Tells what would go, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

impl PruneArgs {
    pub(crate) fn request(self) -> PruneRequest {
        PruneRequest {
            dry_run: self.dry_run,
            all: self.all,
        }
    }
}

/// Whose token, and what for.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The name of its holder; events and logs bear it.
    #[arg(value_name = "NAME")]
    name: String,
    /// reader, operator or administrator.
    #[arg(long, value_name = "ROLE", default_value = "operator", value_parser = |text: &str| Role::parse(text).ok_or("a role is reader, operator or administrator"))]
    role: Role,
    /// The file of tokens that gets its sum; the daemon reads it when it starts.
    #[arg(long, value_name = "FILE", default_value = "/etc/daas/tokens")]
    file: PathBuf,
}

pub(crate) async fn run(verb: SystemVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        SystemVerb::Info => info(talk).await,
        SystemVerb::Prune(prune) => {
            let request = prune.request();
            let pruned = talk.client.prune(&request).await?;
            if talk.json {
                return talk.json(&pruned);
            }
            let mut all = pruned.images;
            all.removed.extend(pruned.leftovers.removed);
            all.freed_bytes += pruned.leftovers.freed_bytes;
            tell_pruned(&all, request.dry_run, talk)
        }
        SystemVerb::Install { dry_run } => install::install(dry_run, talk),
        SystemVerb::Uninstall { dry_run } => install::uninstall(dry_run, talk),
        SystemVerb::Token(args) => token(&args, talk),
    }
}

async fn info(talk: &Talk) -> Result<(), Stop> {
    let info = talk.client.info().await?;
    if talk.json {
        return talk.json(&info);
    }
    talk.data(text(&info, talk))
}

fn text(info: &SystemInfo, talk: &Talk) -> String {
    let facts = [
        ("version", info.version.clone()),
        (
            "runs for",
            format!(
                "{} (process {})",
                human::age(info.started_ms, talk.terminal.now_ms()),
                info.pid
            ),
        ),
        ("host", info.host.clone()),
        ("kernel", info.kernel.clone()),
        ("cgroups", info.cgroups.clone()),
        ("state", info.state_dir.clone()),
        (
            "disk",
            format!(
                "{} free of {}",
                human::size(info.disk_free_bytes),
                human::size(info.disk_total_bytes)
            ),
        ),
        (
            "stands",
            format!("{} with {} running nodes", info.stands, info.nodes_running),
        ),
        ("images", info.images.to_string()),
    ];
    let doors = info.doors.iter().map(|door| {
        let nowhere = door.listens.is_empty().then(|| "closed".to_owned());
        let listens = nowhere.unwrap_or_else(|| door.listens.join(", "));
        (door.door.as_str(), listens)
    });
    let mut text: String = facts
        .into_iter()
        .chain(doors)
        .map(|(name, value)| {
            format!(
                "{} {}\n",
                talk.paint.dim(&format!("{name:8}")),
                visible(&value)
            )
        })
        .collect();
    if !info.tasks.is_empty() {
        let mut table = Table::new(&["TASK", "STATE", "TURNS", "FAILURES", "ERROR"]);
        for task in &info.tasks {
            let tone = if task.error.is_some() {
                Tone::Bad
            } else {
                Tone::Plain
            };
            table.painted([
                (task.name.clone(), Tone::Plain),
                (task.state.clone(), tone),
                (task.turns.to_string(), Tone::Plain),
                (task.failures.to_string(), Tone::Plain),
                (task.error.clone().unwrap_or_default(), tone),
            ]);
        }
        text.push('\n');
        text.push_str(&table.text(talk.paint));
    }
    text
}

/// Makes a token: its sum goes to the file, the token itself to standard output and nowhere else.
fn token(args: &TokenArgs, talk: &Talk) -> Result<(), Stop> {
    let known = match std::fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Stop::io("read", args.file.display())(error)),
    };
    let token = Token::generate().map_err(|error| {
        Failure::new("token-failed", Kind::Outside, "cannot make a token")
            .because(error.to_string())
    })?;
    let line = token.line(&args.name, args.role);
    let mut text = known.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&line);
    text.push('\n');
    Tokens::parse(&text).map_err(|error| {
        Failure::new(
            "token-name",
            Kind::Input,
            format!(
                "cannot add a token named `{}` to `{}`",
                args.name.escape_debug(),
                args.file.display()
            ),
        )
        .because(error.to_string())
    })?;
    if let Some(folder) = args.file.parent() {
        std::fs::create_dir_all(folder).map_err(Stop::io("make", folder.display()))?;
    }
    // Beside it and renamed: a half-written file would lock everybody out.
    let part = PathBuf::from(format!("{}.part", args.file.display()));
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part);
    opened
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .map_err(Stop::io("write", part.display()))?;
    std::fs::rename(&part, &args.file).map_err(Stop::io("rename", part.display()))?;
    talk.data(format!("{}\n", token.reveal()))?;
    talk.say(format!(
        "its sum is in {}; the daemon reads it when it starts. The token is shown only now.",
        args.file.display()
    ));
    Ok(())
}
