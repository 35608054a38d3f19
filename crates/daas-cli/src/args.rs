//! The words of the command line.

use crate::ban::BanVerb;
use crate::certificate::CertificateVerb;
use crate::dns::DnsVerb;
use crate::image::ImageVerb;
use crate::project::ProjectVerb;
use crate::registry::RegistryVerb;
use crate::route::RouteVerb;
use crate::ssh::SshVerb;
use crate::stand::StandVerb;
use crate::system::SystemVerb;
use crate::terminal::Color;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Runs isolated stands of your projects on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "daas",
    disable_version_flag = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    subcommand_value_name = "NOUN",
    subcommand_help_heading = "Nouns",
    after_help = "Data goes to standard output, words to standard error. Exit codes: 0 done, 1 no, 2 wrong input, 3 not found, 4 conflict, 5 busy, 6 forbidden, 7 the host failed, 8 a fault of DaaS, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Prints the version.
    #[arg(short = 'V', long)]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) noun: Option<Noun>,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Writes data as JSON: the types of the API.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// The daemon's unix socket [default: /run/daas/daas.sock].
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "DAAS_SOCKET",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) socket: Option<PathBuf>,
    /// The daemon's address over TCP, `host:port` or `https://host:port`; takes a token or a certificate.
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "DAAS_HOST",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) host: Option<String>,
    /// The token; better in the environment than on the command line, which others can read.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "DAAS_TOKEN",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) token: Option<String>,
    /// A file that holds the token.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DAAS_TOKEN_FILE",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// A file with the roots by which a daemon at `https` is trusted [default: whom this machine trusts].
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DAAS_CA",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) ca: Option<PathBuf>,
    /// A file with the certificate and key to show there.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DAAS_CERTIFICATE",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) certificate: Option<PathBuf>,
    /// Says nothing but errors.
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Everywhere", hide_possible_values = true)]
    pub(crate) color: Color,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Stands: running, isolated instances of projects.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Stand(StandVerb),
    /// Projects: what compose files say, and what they may ask of the host.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Project(ProjectVerb),
    /// Images of the daemon's store.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Image(ImageVerb),
    /// The registry of the house: what `docker push` fills and every stand can pull from.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Registry(RegistryVerb),
    /// Routes: where the services of stands answer by name.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Route(RouteVerb),
    /// Bans: who is kept out for having failed sign-ins or probed too often.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Ban(BanVerb),
    /// The SSH door: keys that may sign in to nodes, and what clients need to know.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Ssh(SshVerb),
    /// Names: the zones that the daemon answers for, and records that are kept in them.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Dns(DnsVerb),
    /// Certificates: given ones, those of authorities of the world, and the private authority.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    Certificate(CertificateVerb),
    /// The daemon and its host.
    #[command(
        subcommand,
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs"
    )]
    System(SystemVerb),
    /// Looks whether the host has what stands need.
    Doctor,
    /// Runs the daemon.
    Serve {
        /// The configuration file [default: /etc/daas/daas.yaml].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Prints the completions of a shell.
    ///
    /// For bash: `source <(daas completions bash)`.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: String,
    },
    /// Prints the manual page, or writes all of them to a folder.
    Man {
        /// The folder that gets one page per command.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}
