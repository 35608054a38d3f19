//! Variables of a stage while it is built, and instructions with variables put in.

use super::expand::{ExpandFault, Lexed, Lexer};
use super::file::short;
use super::instruction::{
    CommandLine, HealthProbe, Instruction, Pair, Run, RunCommand, RunNetwork, Spot, Step, Transfer,
    TransferKind, Word,
};
use super::mode::Chmod;
use super::mount::{self, Mount, MountFault};
use super::port::{self, PortRange};
use super::remote::Remote;
use crate::nearest::nearest;
use daas_model::{Diagnostic, Diagnostics, Explain, Place, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// The most bytes of all variables of a stage: a program's arguments and environment cannot have more (`execve(2)`).
const MAX_ENVIRONMENT: usize = 6 << 20;
/// The most ports of one `EXPOSE`: every port with every protocol.
const MAX_PORTS: usize = 3 * 65_536;

/// An instruction with everything put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `ADD` or `COPY`.
    Transfer(Box<TransferAction>),
    /// `ARG`: names and the values that they have now.
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<(String, String)>),
    /// `EXPOSE`.
    Expose(Vec<PortRange>),
    /// `HEALTHCHECK`; nothing for `NONE`.
    Healthcheck(Option<HealthProbe>),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`: the trigger as text.
    Onbuild(String),
    /// `RUN`.
    Run(Box<RunAction>),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`; relative to the one before it unless it begins with `/`.
    Workdir(String),
}

/// `COPY` or `ADD` with everything put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferAction {
    /// Which of the two.
    pub kind: TransferKind,
    /// What is brought.
    pub sources: Vec<String>,
    /// Files whose text stands in the Dockerfile.
    pub inline: Vec<InlineFile>,
    /// Where it goes; relative to the working directory unless it begins with `/`.
    pub dest: String,
    /// `--from`, for [`Plan::origin`](super::Plan::origin).
    pub from: Option<Word>,
    /// `--chown`: `user`, `user:group` or `:group`, by name or number.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// A file whose text stands in the Dockerfile; mode 0644 unless `--chmod` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// `RUN` with everything put in; the command itself is expanded by its shell, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAction {
    /// What is run.
    pub command: RunCommand,
    /// `--mount`.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: RunNetwork,
}

/// The variables of one stage, as they stand before its next instruction.
///
/// A stage that begins with another one begins with a copy of its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    file: String,
    escape: char,
    given: BTreeMap<String, String>,
    global: BTreeMap<String, String>,
    /// What `ENV` set, the base image's included: the image's own.
    image: Variables,
    /// What instructions see, `ARG` included.
    seen: Variables,
    declared: BTreeSet<String>,
    remarks: Diagnostics,
}

/// Names and values in the order of their coming.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Variables {
    /// Each with the number of its coming, which a new value does not change.
    values: BTreeMap<String, (usize, String)>,
    bytes: usize,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        let number = self.values.len();
        match self.values.get_mut(name) {
            Some((_, old)) => {
                self.bytes = self.bytes + value.len() - old.len();
                value.clone_into(old);
            }
            None => {
                self.bytes += name.len() + value.len();
                self.values
                    .insert(name.to_owned(), (number, value.to_owned()));
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    fn in_order(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.values.iter().collect();
        all.sort_by_key(|(_, (number, _))| *number);
        all.into_iter()
            .map(|(name, (_, value))| (name.clone(), value.clone()))
            .collect()
    }
}

impl Scope {
    pub(crate) fn new(
        file: &str,
        escape: char,
        given: BTreeMap<String, String>,
        global: BTreeMap<String, String>,
        base_env: &[(String, String)],
    ) -> Self {
        let mut scope = Self {
            file: file.to_owned(),
            escape,
            given,
            global,
            image: Variables::default(),
            seen: Variables::default(),
            declared: BTreeSet::new(),
            remarks: Vec::new(),
        };
        for (name, value) in base_env {
            scope.set_env(name, value);
        }
        scope
    }

    /// Returns the image's environment: what `ENV` set here and below.
    #[must_use]
    pub fn image_env(&self) -> Vec<(String, String)> {
        self.image.in_order()
    }

    /// Returns the environment of a `RUN`: the image's, and `ARG`s that have a value.
    ///
    /// Of an `ARG` and an `ENV` of one name the later counts, as in `BuildKit`.
    #[must_use]
    pub fn run_env(&self) -> Vec<(String, String)> {
        self.seen.in_order()
    }

    /// Returns the proxies among the build arguments that no `ARG` declares.
    ///
    /// A `RUN` gets them in both spellings; they are no part of the image, of its history, or of what a cache compares.
    #[must_use]
    pub fn proxy_env(&self) -> Vec<(String, String)> {
        let mut found = BTreeMap::new();
        for (name, value) in &self.given {
            let large = name.to_uppercase();
            let proxy = ["HTTP", "HTTPS", "FTP", "NO", "ALL"]
                .iter()
                .any(|kind| large == format!("{kind}_PROXY"));
            if proxy {
                for name in [large.clone(), large.to_lowercase()] {
                    if self.seen.get(&name).is_none() {
                        found.insert(name, value.clone());
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    /// Takes the remarks that instructions led to since they were last taken.
    pub fn take_remarks(&mut self) -> Diagnostics {
        std::mem::take(&mut self.remarks)
    }

    /// Puts variables into the next instruction; `ENV` and `ARG` are in effect behind it.
    ///
    /// # Errors
    /// All that is wrong with it, with places.
    pub fn resolve(&mut self, step: &Step) -> Result<Action, Diagnostics> {
        self.action(step).map_err(|fault| vec![*fault])
    }

    fn action(&mut self, step: &Step) -> Result<Action, Box<Diagnostic>> {
        Ok(match &step.instruction {
            Instruction::Transfer(transfer) => {
                Action::Transfer(Box::new(self.transfer(transfer, step.at)?))
            }
            Instruction::Arg(args) => Action::Arg(self.args(args, step.at)?),
            Instruction::Cmd(command) => Action::Cmd(command.clone()),
            Instruction::Entrypoint(command) => Action::Entrypoint(command.clone()),
            Instruction::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                for (name, value) in &pairs {
                    if name.is_empty() || name.contains(['=', '\0']) {
                        return Err(self.fault(
                            step.at,
                            "name-syntax",
                            format!("`{}` cannot name a variable", short(name)),
                            "write `ENV NAME=value`",
                        ));
                    }
                    self.set_env(name, value);
                }
                self.check_size(step.at)?;
                Action::Env(pairs)
            }
            Instruction::Label(pairs) => Action::Label(self.pairs(pairs)?),
            Instruction::Expose(words) => Action::Expose(self.expose(words)?),
            Instruction::Healthcheck(probe) => Action::Healthcheck(probe.clone()),
            Instruction::Maintainer(name) => Action::Maintainer(name.clone()),
            Instruction::Onbuild(text) => Action::Onbuild(text.clone()),
            Instruction::Run(run) => Action::Run(Box::new(self.run(run)?)),
            Instruction::Shell(shell) => Action::Shell(shell.clone()),
            Instruction::StopSignal(word) => Action::StopSignal(self.signal(word)?),
            Instruction::User(word) => Action::User(self.full(word, "a user")?),
            Instruction::Workdir(word) => Action::Workdir(self.full(word, "a folder")?),
            Instruction::Volume(words) => Action::Volume(
                words
                    .iter()
                    .map(|w| self.full(w, "a volume"))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    fn fault(
        &self,
        at: Spot,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Box<Diagnostic> {
        Box::new(
            Diagnostic::error(code, message)
                .at(self.place(at))
                .hint(hint),
        )
    }

    fn place(&self, at: Spot) -> Place {
        Place {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
        }
    }

    fn expand_fault(&self, at: Spot, fault: &ExpandFault) -> Box<Diagnostic> {
        self.fault(at, fault.code(), fault.to_string(), fault.hint())
    }

    fn lex(&mut self, lexer: Lexer, text: &str, at: Spot) -> Result<Lexed, Box<Diagnostic>> {
        let seen = &self.seen;
        let lexed = lexer
            .lex(text, &mut |name| seen.get(name).map(str::to_owned))
            .map_err(|fault| self.expand_fault(at, &fault))?;
        for name in &lexed.unmatched {
            self.undefined(name, at);
        }
        Ok(lexed)
    }

    fn undefined(&mut self, name: &str, at: Spot) {
        if self.declared.contains(name) || self.remarks.len() >= 100 {
            return;
        }
        let hint = if self.global.contains_key(name) {
            format!(
                "it is known before the first `FROM` only; add `ARG {}` to the stage",
                short(name)
            )
        } else {
            match nearest(name, self.seen.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `ARG {0}` or `ENV {0}=value` above", short(name)),
            }
        };
        self.remarks.push(
            Diagnostic::new(
                Severity::Warning,
                "undefined-var",
                format!("variable `{}` is not set and reads as empty", short(name)),
            )
            .at(self.place(at))
            .hint(hint),
        );
    }

    fn word(&mut self, word: &Word) -> Result<String, Box<Diagnostic>> {
        Ok(self
            .lex(Lexer::words(self.escape), &word.raw, word.at)?
            .text)
    }

    /// Works out a word that may not be empty.
    fn full(&mut self, word: &Word, what: &str) -> Result<String, Box<Diagnostic>> {
        let text = self.word(word)?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.fault(
                word.at,
                "value-empty",
                format!("`{}` is empty as {what}", short(&word.raw)),
                "give the variable a value, or a default: `${NAME:-value}`",
            ));
        }
        Ok(text)
    }

    /// Works out a flag's value; one that becomes empty is as if it were absent.
    fn flag(&mut self, word: Option<&Word>) -> Result<Option<String>, Box<Diagnostic>> {
        word.map(|w| self.word(w))
            .transpose()
            .map(|v| v.filter(|v| !v.is_empty()))
    }

    fn pairs(&mut self, pairs: &[Pair]) -> Result<Vec<(String, String)>, Box<Diagnostic>> {
        pairs
            .iter()
            .map(|pair| Ok((self.word(&pair.key)?, self.word(&pair.value)?)))
            .collect()
    }

    fn args(
        &mut self,
        args: &[(String, Option<Word>)],
        at: Spot,
    ) -> Result<Vec<(String, Option<String>)>, Box<Diagnostic>> {
        let mut found = Vec::with_capacity(args.len());
        for (name, default) in args {
            let value = match (self.given.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(word)) => Some(self.word(word)?),
                (None, None) => self.global.get(name).cloned(),
            };
            if let Some(value) = &value {
                self.seen.set(name, value);
            }
            self.declared.insert(name.clone());
            found.push((name.clone(), value));
        }
        self.check_size(at)?;
        Ok(found)
    }

    fn set_env(&mut self, name: &str, value: &str) {
        self.seen.set(name, value);
        self.image.set(name, value);
    }

    fn check_size(&self, at: Spot) -> Result<(), Box<Diagnostic>> {
        if self.seen.bytes <= MAX_ENVIRONMENT {
            return Ok(());
        }
        Err(self.fault(
            at,
            "environment-too-big",
            "the variables of the stage have more than 6 MiB",
            "the kernel gives no program so many; put the values into a file",
        ))
    }

    fn expose(&mut self, words: &[Word]) -> Result<Vec<PortRange>, Box<Diagnostic>> {
        let mut ports = Vec::new();
        let mut count = 0;
        for word in words {
            let lexed = self.lex(Lexer::words(self.escape), &word.raw, word.at)?;
            for text in lexed.words {
                let exposed = port::read(&text).map_err(|fault| {
                    self.fault(
                        word.at,
                        "port-syntax",
                        fault.to_string(),
                        "write a port from 0 to 65535, a range, and a protocol: `80`, `8000-8010`, `53/udp`",
                    )
                })?;
                count += exposed.ports.count();
                ports.push(exposed.ports);
            }
            if count > MAX_PORTS {
                return Err(self.fault(
                    word.at,
                    "port-budget",
                    "more ports are exposed than there are",
                    "name each once",
                ));
            }
        }
        Ok(ports)
    }

    fn signal(&mut self, word: &Word) -> Result<String, Box<Diagnostic>> {
        let text = self.word(word)?;
        if is_signal(&text) {
            return Ok(text);
        }
        Err(self.fault(
            word.at,
            "signal-unknown",
            format!("there is no signal `{}`", short(&text)),
            "write a name such as `SIGTERM`, or a number from 1 to 64",
        ))
    }

    fn transfer(
        &mut self,
        transfer: &Transfer,
        at: Spot,
    ) -> Result<TransferAction, Box<Diagnostic>> {
        let sources = transfer
            .sources
            .iter()
            .map(|w| self.full(w, "a source"))
            .collect::<Result<Vec<_>, _>>()?;
        let mut inline = Vec::with_capacity(transfer.inline.len());
        for file in &transfer.inline {
            let text = if file.expands {
                self.lex(Lexer::text(), &file.text, file.at)?.text
            } else {
                file.text.clone()
            };
            inline.push(InlineFile {
                name: file.name.clone(),
                text,
            });
        }
        let chmod = match self.flag(transfer.chmod.as_ref())? {
            None => None,
            Some(text) => Some(Chmod::parse(&text).map_err(|fault| {
                self.fault(
                    transfer.chmod.as_ref().map_or(at, |w| w.at),
                    fault.code(),
                    fault.to_string(),
                    fault.hint().unwrap_or_default(),
                )
            })?),
        };
        let checksum = self.flag(transfer.checksum.as_ref())?;
        self.check_fetches(transfer, &sources, checksum.is_some(), at)?;
        Ok(TransferAction {
            kind: transfer.kind,
            sources,
            inline,
            dest: self.word(&transfer.dest)?,
            from: transfer.from.clone(),
            chown: self.flag(transfer.chown.as_ref())?,
            chmod,
            checksum,
            link: transfer.link,
            parents: transfer.parents,
            exclude: transfer.exclude.clone(),
            keep_git_dir: transfer.keep_git_dir,
            unpack: transfer.unpack,
        })
    }

    fn check_fetches(
        &self,
        transfer: &Transfer,
        sources: &[String],
        checksum: bool,
        at: Spot,
    ) -> Result<(), Box<Diagnostic>> {
        let fetched = sources.iter().filter(|s| Remote::is_remote(s)).count();
        if transfer.kind == TransferKind::Copy && fetched > 0 {
            return Err(self.fault(
                at,
                "copy-url",
                "`COPY` fetches nothing",
                "write `ADD` for URLs and git repositories",
            ));
        }
        if checksum && (sources.len() != 1 || fetched != 1 || !transfer.inline.is_empty()) {
            return Err(self.fault(
                transfer.checksum.as_ref().map_or(at, |w| w.at),
                "checksum-source",
                "`--checksum` goes with exactly one URL or git repository",
                "write one `ADD` for each source that has a checksum",
            ));
        }
        Ok(())
    }

    fn run(&mut self, run: &Run) -> Result<RunAction, Box<Diagnostic>> {
        let mut mounts = Vec::with_capacity(run.mounts.len());
        for word in &run.mounts {
            mounts.push(self.mount(word)?);
        }
        Ok(RunAction {
            command: run.command.clone(),
            mounts,
            network: run.network,
        })
    }

    fn mount(&mut self, word: &Word) -> Result<Mount, Box<Diagnostic>> {
        let lexer = Lexer::words(self.escape);
        let read = mount::read(&word.raw, |value| {
            self.lex(lexer, value, word.at)
                .map(|l| l.text)
                .map_err(Trouble::Told)
        });
        read.map_err(|trouble| match trouble {
            Trouble::Told(diagnostic) => diagnostic,
            Trouble::Mount(fault) => self.fault(word.at, "mount-syntax", fault.message, fault.hint),
        })
    }
}

/// Why a mount cannot be read.
enum Trouble {
    Told(Box<Diagnostic>),
    Mount(MountFault),
}

impl From<MountFault> for Trouble {
    fn from(fault: MountFault) -> Self {
        Self::Mount(fault)
    }
}

/// Tells whether a text names a signal of Linux, as moby's `signal` package does.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 35] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN",
    ];
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let large = text.to_uppercase();
    let name = large.strip_prefix("SIG").unwrap_or(&large);
    let real_time = |sign: &str, most: u8| {
        name.strip_prefix(sign)
            .and_then(|n| n.parse::<u8>().ok())
            .is_some_and(|n| (1..=most).contains(&n))
    };
    NAMES.contains(&name) || name == "RTMAX" || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}
