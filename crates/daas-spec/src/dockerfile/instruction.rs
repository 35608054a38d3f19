use std::time::Duration;

/// A place in a Dockerfile: line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Spot {
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the whole line is meant.
    pub column: u32,
}

/// A text as it is written: variables, quotes and escapes are still in it.
///
/// [`Scope::resolve`](super::Scope::resolve) makes the text of it that the build sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub raw: String,
    /// Where it begins.
    pub at: Spot,
}

/// One instruction and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is to be done.
    pub instruction: Instruction,
    /// The instruction as one line: continuations joined, comments and the text of here-documents left out.
    pub text: String,
    /// Where it begins.
    pub at: Spot,
    /// Its last line, here-documents included.
    pub end_line: u32,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD` or `COPY`.
    Transfer(Box<Transfer>),
    /// `ARG`: names, each with its default if it has one; a default's quotes are still in it.
    Arg(Vec<(String, Option<Word>)>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `EXPOSE`: words, of which each may become several ports when variables are put in.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`; nothing for `NONE`.
    Healthcheck(Option<HealthProbe>),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`: the trigger as text, here-documents included, as the image's configuration keeps it.
    Onbuild(String),
    /// `RUN`.
    Run(Box<Run>),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `WORKDIR`.
    Workdir(Word),
}

impl Instruction {
    /// Returns the keyword in capitals.
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Transfer(t) => t.kind.keyword(),
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A name and its value, both as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub key: Word,
    /// The value.
    pub value: Word,
}

/// The arguments of `CMD` and `ENTRYPOINT`, and of what a probe runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A line for the image's shell (`SHELL`, or `/bin/sh -c`).
    Shell(String),
    /// A program and its arguments; empty in `CMD []`.
    Exec(Vec<String>),
}

/// `HEALTHCHECK CMD`; a time of zero is the engine's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthProbe {
    /// What is run.
    pub test: CommandLine,
    /// `--interval`.
    pub interval: Duration,
    /// `--timeout`.
    pub timeout: Duration,
    /// `--start-period`.
    pub start_period: Duration,
    /// `--start-interval`.
    pub start_interval: Duration,
    /// `--retries`; 0 is the engine's default.
    pub retries: u32,
}

/// Which of the two instructions that bring files a [`Transfer`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    /// `COPY`.
    Copy,
    /// `ADD`: local archives are unpacked, and URLs and git repositories are fetched.
    Add,
}

impl TransferKind {
    /// Returns the keyword in capitals.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Copy => "COPY",
            Self::Add => "ADD",
        }
    }
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Which of the two.
    pub kind: TransferKind,
    /// What is brought, in the order of the text; here-documents are in `inline`.
    pub sources: Vec<Word>,
    /// Files whose text stands in the Dockerfile.
    pub inline: Vec<Inline>,
    /// Where it goes.
    pub dest: Word,
    /// `--from`: a stage's name or number, an image or a context; never expanded. The build's own context if absent.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--checksum` (`ADD`).
    pub checksum: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents` (`COPY`).
    pub parents: bool,
    /// `--exclude`, each a pattern of [`Ignore`](super::Ignore); never expanded.
    pub exclude: Vec<String>,
    /// `--keep-git-dir` (`ADD`).
    pub keep_git_dir: Option<bool>,
    /// `--unpack` (`ADD`); absent: local archives are unpacked and fetched ones are not.
    pub unpack: Option<bool>,
}

/// A here-document of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline {
    /// The name of the file.
    pub name: String,
    /// Its text; leading tabs of `<<-` are already gone.
    pub text: String,
    /// Whether variables are put into the text: the name was not quoted.
    pub expands: bool,
    /// Where the here-document is named.
    pub at: Spot,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: RunCommand,
    /// `--mount`, each as it is written: variables may stand in every value but that of `from`.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: RunNetwork,
}

/// What a `RUN` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// A text for the shell; here-documents that the shell itself reads are in it.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A here-document that begins with `#!`: a file to write as `/dev/pipes/<name>`, mode 0755, and to run.
    Script {
        /// The name of the file.
        name: String,
        /// Its text.
        text: String,
    },
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// What the build's policy gives.
    #[default]
    Default,
    /// No network, whatever the policy gives.
    None,
    /// The network of the host: only by a grant.
    Host,
}
