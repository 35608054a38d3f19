//! The arguments of each instruction.

use super::check;
use super::desk::Desk;
use super::duration;
use super::file::{Stage, short};
use super::flags::{Flags, Known, Takes};
use super::instruction::{
    CommandLine, HealthProbe, Inline, Instruction, Pair, Run, RunCommand, RunNetwork, Spot, Step,
    Transfer, TransferKind, Word,
};
use super::json::{self, Json};
use super::line::{Line, read_heredoc};
use super::mount::{self, MountFault};
use super::split::{Parts, Piece, is_gap, plain_words, split_line, words};
use crate::nearest::nearest;
use std::time::Duration;

/// What a line is.
pub(crate) enum Parsing {
    From(Stage),
    Step(Step),
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const NONE: Known = &[];
const FROM: Known = &[("platform", Takes::One)];
const COPY: Known = &[
    ("from", Takes::One),
    ("chown", Takes::One),
    ("chmod", Takes::One),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Many),
];
const ADD: Known = &[
    ("chown", Takes::One),
    ("chmod", Takes::One),
    ("link", Takes::Bool),
    ("checksum", Takes::One),
    ("keep-git-dir", Takes::Bool),
    ("unpack", Takes::Bool),
    ("exclude", Takes::Many),
];
const RUN: Known = &[
    ("mount", Takes::Many),
    ("network", Takes::One),
    ("security", Takes::One),
    ("device", Takes::Many),
];
const HEALTH: Known = &[
    ("interval", Takes::One),
    ("timeout", Takes::One),
    ("start-period", Takes::One),
    ("start-interval", Takes::One),
    ("retries", Takes::One),
];

/// One line in the course of being read.
struct Reader<'l, 'd> {
    line: &'l Line,
    parts: &'l Parts,
    escape: char,
    desk: &'d mut Desk,
}

/// Reads one logical line; nothing if it has faults, which are told.
pub(crate) fn line(line: &Line, escape: char, desk: &mut Desk) -> Option<Parsing> {
    let reader = Reader {
        line,
        parts: &line.parts,
        escape,
        desk,
    };
    if line.parts.keyword.text.eq_ignore_ascii_case("from") {
        return reader.from().map(Parsing::From);
    }
    reader.step().map(Parsing::Step)
}

/// Tells that an instruction cannot be a trigger.
pub(crate) fn refuse_trigger(keyword: &str, at: Spot, desk: &mut Desk) {
    desk.error(
        at,
        "onbuild-trigger",
        format!("`{keyword}` cannot be a trigger"),
        "a trigger is one instruction other than FROM, MAINTAINER and ONBUILD",
    );
}

/// Tells if `step` cannot be a trigger.
pub(crate) fn check_trigger(step: &Step, desk: &mut Desk) {
    if matches!(
        step.instruction,
        Instruction::Onbuild(_) | Instruction::Maintainer(_)
    ) {
        refuse_trigger(step.instruction.keyword(), step.at, desk);
    }
}

impl Reader<'_, '_> {
    fn at(&self) -> Spot {
        self.line.spot(self.parts.keyword.offset)
    }

    fn args_at(&self) -> Spot {
        self.line.spot(self.parts.args.offset)
    }

    fn word(&self, piece: Piece) -> Word {
        Word {
            at: self.line.spot(piece.offset),
            raw: piece.text,
        }
    }

    fn error(&mut self, at: Spot, code: &str, message: String, hint: &str) {
        self.desk.error(at, code, message, hint);
    }

    fn flags(&mut self, known: Known) -> Flags {
        Flags::read(&self.parts.flags, self.line, known, self.desk)
    }

    fn keyword(&self) -> String {
        self.parts.keyword.text.to_uppercase()
    }

    /// Tells that an instruction has nothing to work on.
    fn lacks(&mut self, wants: &str) {
        let (at, keyword) = (self.at(), self.keyword());
        self.error(
            at,
            "arguments-missing",
            format!("`{keyword}` has no {wants}"),
            &example(&keyword),
        );
    }

    fn step(mut self) -> Option<Step> {
        let instruction = self.instruction()?;
        let step = Step {
            instruction,
            text: self.line.text.trim().to_owned(),
            at: self.line.start(),
            end_line: self.line.end_line,
        };
        check::step(&step, self.desk);
        Some(step)
    }

    fn instruction(&mut self) -> Option<Instruction> {
        let keyword = self.keyword();
        Some(match keyword.as_str() {
            "ADD" => self.transfer(TransferKind::Add)?,
            "COPY" => self.transfer(TransferKind::Copy)?,
            "ARG" => self.arg()?,
            "CMD" => Instruction::Cmd(self.command_only()?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command_only()?),
            "ENV" => Instruction::Env(self.pairs()?),
            "LABEL" => Instruction::Label(self.pairs()?),
            "EXPOSE" => Instruction::Expose(self.expose()?),
            "HEALTHCHECK" => self.health()?,
            "MAINTAINER" => Instruction::Maintainer(self.single("name")?.raw),
            "ONBUILD" => self.onbuild()?,
            "RUN" => self.run()?,
            "SHELL" => self.shell()?,
            "STOPSIGNAL" => Instruction::StopSignal(self.single("signal")?),
            "USER" => Instruction::User(self.single("user")?),
            "WORKDIR" => Instruction::Workdir(self.single("path")?),
            "VOLUME" => self.volume()?,
            _ => {
                self.unknown();
                return None;
            }
        })
    }

    fn unknown(&mut self) {
        let name = &self.parts.keyword.text;
        let hint = match nearest(name, KEYWORDS) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.line.start().line > 1 => {
                "does the line before it lack the escape at its end?".to_owned()
            }
            None => format!("known are {}", KEYWORDS.join(", ")),
        };
        let message = if name.is_empty() {
            "an escape stands before nothing".to_owned()
        } else {
            format!("there is no instruction `{}`", short(name))
        };
        let at = self.at();
        self.error(at, "instruction-unknown", message, &hint);
    }

    fn from(mut self) -> Option<Stage> {
        let mut flags = self.flags(FROM);
        let mut args = plain_words(&self.parts.args.text, self.parts.args.offset);
        let named = args.len() == 3 && args[1].text.eq_ignore_ascii_case("as");
        if !named && args.len() != 1 {
            let at = self.at();
            self.error(
                at,
                "from-arguments",
                "`FROM` takes an image, or an image, `AS` and a name".to_owned(),
                "write `FROM image AS name`",
            );
            return None;
        }
        let name = if named {
            let name = self.word(args.remove(2));
            check::from_casing(&self.parts.keyword.text, &args[1].text, &name, self.desk);
            Some(self.stage_name(&name)?)
        } else {
            None
        };
        let base = self.word(args.remove(0));
        Some(Stage {
            name,
            base,
            platform: flags.one("platform"),
            steps: Vec::new(),
            text: self.line.text.trim().to_owned(),
            at: self.line.start(),
        })
    }

    fn stage_name(&mut self, name: &Word) -> Option<String> {
        let small = name.raw.to_lowercase();
        let good = small.starts_with(|c: char| c.is_ascii_lowercase())
            && small
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
        if !good {
            self.error(
                name.at,
                "stage-name",
                format!("`{}` cannot name a stage", short(&name.raw)),
                "a name begins with a letter and holds letters, digits, `-`, `_` and `.`",
            );
            return None;
        }
        Some(small)
    }

    /// Reads the whole of the arguments as one text.
    fn single(&mut self, wants: &str) -> Option<Word> {
        self.flags(NONE);
        if self.parts.args.text.is_empty() {
            self.lacks(wants);
            return None;
        }
        Some(self.word(self.parts.args.clone()))
    }

    fn arg(&mut self) -> Option<Instruction> {
        self.flags(NONE);
        let mut found = Vec::new();
        for piece in words(&self.parts.args.text, self.parts.args.offset, self.escape) {
            let at = self.line.spot(piece.offset);
            match piece.text.split_once('=') {
                Some(("", _)) => self.error(
                    at,
                    "name-empty",
                    "an `ARG` has no name".to_owned(),
                    "write `ARG NAME=value`",
                ),
                Some((name, raw)) => found.push((
                    name.to_owned(),
                    Some(Word {
                        raw: raw.to_owned(),
                        at,
                    }),
                )),
                None => found.push((piece.text, None)),
            }
        }
        if self.parts.args.text.is_empty() {
            self.lacks("name");
        }
        (!found.is_empty()).then_some(Instruction::Arg(found))
    }

    /// Reads `name=value ...`, or the old form `name value`.
    fn pairs(&mut self) -> Option<Vec<Pair>> {
        self.flags(NONE);
        let args = self.parts.args.clone();
        let pieces = words(&args.text, args.offset, self.escape);
        let Some(first) = pieces.first() else {
            self.lacks("name and value");
            return None;
        };
        if !first.text.contains('=') {
            return self.old_pair(&args);
        }
        let mut found = Vec::new();
        for piece in pieces {
            let at = self.line.spot(piece.offset);
            match piece.text.split_once('=') {
                None => self.error(
                    at,
                    "value-missing",
                    format!("`{}` has no value", short(&piece.text)),
                    "write `name=value`, and quote a value with spaces",
                ),
                Some(("", _)) => self.error(
                    at,
                    "name-empty",
                    "a value has no name".to_owned(),
                    "write `name=value`",
                ),
                Some((key, value)) => found.push(Pair {
                    key: Word {
                        raw: key.to_owned(),
                        at,
                    },
                    value: Word {
                        raw: value.to_owned(),
                        at,
                    },
                }),
            }
        }
        (!found.is_empty()).then_some(found)
    }

    fn old_pair(&mut self, args: &Piece) -> Option<Vec<Pair>> {
        let at = self.line.spot(args.offset);
        let Some((key, value)) = args.text.split_once(is_gap) else {
            self.error(
                at,
                "value-missing",
                format!("`{}` has no value", short(&args.text)),
                "write `name=value`",
            );
            return None;
        };
        self.desk.check(
            self.line.start(),
            "LegacyKeyValueFormat",
            "a name and its value are parted by a space",
            "write `name=value`; the old form takes the rest of the line and one pair only",
        );
        Some(vec![Pair {
            key: Word {
                raw: key.to_owned(),
                at,
            },
            value: Word {
                raw: value.trim_start_matches(is_gap).to_owned(),
                at,
            },
        }])
    }

    fn expose(&mut self) -> Option<Vec<Word>> {
        self.flags(NONE);
        if self.parts.args.text.is_empty() {
            self.lacks("port");
            return None;
        }
        let pieces = plain_words(&self.parts.args.text, self.parts.args.offset);
        Some(pieces.into_iter().map(|p| self.word(p)).collect())
    }

    fn volume(&mut self) -> Option<Instruction> {
        self.flags(NONE);
        let found = self.list()?;
        if found.is_empty() {
            self.lacks("path");
            return None;
        }
        if let Some(empty) = found.iter().find(|w| w.raw.trim().is_empty()) {
            let at = empty.at;
            self.error(
                at,
                "volume-empty",
                "a volume has an empty path".to_owned(),
                "write `VOLUME /path`",
            );
            return None;
        }
        Some(Instruction::Volume(
            found
                .into_iter()
                .map(|w| Word {
                    raw: w.raw.trim().to_owned(),
                    at: w.at,
                })
                .collect(),
        ))
    }

    /// Reads a JSON array of strings, or plain words; nothing if the array holds something else, which is told.
    fn list(&mut self) -> Option<Vec<Word>> {
        let at = self.args_at();
        match self.json()? {
            Some(strings) => Some(strings.into_iter().map(|raw| Word { raw, at }).collect()),
            None => {
                let pieces = plain_words(&self.parts.args.text, self.parts.args.offset);
                Some(pieces.into_iter().map(|p| self.word(p)).collect())
            }
        }
    }

    /// Returns the exec form if the arguments are in it; nothing at all if it is faulty, which is told.
    #[expect(
        clippy::option_option,
        reason = "no answer because of a told fault is not the answer `no`"
    )]
    fn json(&mut self) -> Option<Option<Vec<String>>> {
        self.json_of(&self.parts.args.clone())
    }

    #[expect(
        clippy::option_option,
        reason = "no answer because of a told fault is not the answer `no`"
    )]
    fn json_of(&mut self, args: &Piece) -> Option<Option<Vec<String>>> {
        match json::read(&args.text) {
            Json::Strings(strings) => Some(Some(strings)),
            Json::No => Some(None),
            Json::Mixed => {
                let at = self.line.spot(args.offset);
                self.error(
                    at,
                    "exec-form",
                    "the array holds something that is no string".to_owned(),
                    "quote every element with double quotes",
                );
                None
            }
        }
    }

    fn command_of(&mut self, args: &Piece) -> Option<CommandLine> {
        match self.json_of(args)? {
            Some(strings) => Some(CommandLine::Exec(strings)),
            None => {
                check::almost_json(&args.text, self.line.spot(args.offset), self.desk);
                Some(CommandLine::Shell(args.text.clone()))
            }
        }
    }

    fn command_only(&mut self) -> Option<CommandLine> {
        self.flags(NONE);
        if self.parts.args.text.is_empty() {
            self.lacks("command");
            return None;
        }
        self.command_of(&self.parts.args.clone())
    }

    fn shell(&mut self) -> Option<Instruction> {
        self.flags(NONE);
        match self.json()? {
            Some(strings) if !strings.is_empty() => Some(Instruction::Shell(strings)),
            _ => {
                let at = self.at();
                self.error(
                    at,
                    "shell-form",
                    "`SHELL` takes an array of strings that is not empty".to_owned(),
                    "write `SHELL [\"/bin/bash\", \"-c\"]`",
                );
                None
            }
        }
    }

    fn health(&mut self) -> Option<Instruction> {
        let args = self.parts.args.clone();
        let end = args
            .text
            .find(char::is_whitespace)
            .unwrap_or(args.text.len());
        let (kind, rest) = args.text.split_at(end);
        let trimmed = rest.trim_start();
        let rest = Piece {
            text: trimmed.to_owned(),
            offset: args.offset + args.text.len() - trimmed.len(),
        };
        match kind.to_uppercase().as_str() {
            "NONE" if rest.text.is_empty() => Some(Instruction::Healthcheck(None)),
            "NONE" => {
                let at = self.line.spot(rest.offset);
                self.error(
                    at,
                    "healthcheck-none",
                    "`HEALTHCHECK NONE` takes no arguments".to_owned(),
                    "remove them, or write `HEALTHCHECK CMD ...`",
                );
                None
            }
            "CMD" => self.probe(&rest),
            "" => {
                self.lacks("`CMD` or `NONE`");
                None
            }
            _ => {
                let at = self.line.spot(args.offset);
                self.error(
                    at,
                    "healthcheck-kind",
                    format!("`{}` is no kind of health check", short(kind)),
                    "write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`",
                );
                None
            }
        }
    }

    fn probe(&mut self, rest: &Piece) -> Option<Instruction> {
        let mut flags = self.flags(HEALTH);
        let mut time = |name: &str, desk: &mut Desk| read_time(flags.one(name), name, desk);
        let interval = time("interval", self.desk);
        let timeout = time("timeout", self.desk);
        let start_period = time("start-period", self.desk);
        let start_interval = time("start-interval", self.desk);
        let retries = match flags.one("retries") {
            None => 0,
            Some(word) => match word
                .raw
                .parse::<u32>()
                .ok()
                .filter(|n| i32::try_from(*n).is_ok())
            {
                Some(retries) => retries,
                None => {
                    self.error(
                        word.at,
                        "healthcheck-retries",
                        format!("`{}` is no number of retries", short(&word.raw)),
                        "write a whole number, as in `--retries=3`",
                    );
                    0
                }
            },
        };
        let test = self.command_of(rest)?;
        if matches!(&test, CommandLine::Shell(text) if text.is_empty())
            || matches!(&test, CommandLine::Exec(args) if args.is_empty())
        {
            self.lacks("command behind `CMD`");
            return None;
        }
        Some(Instruction::Healthcheck(Some(HealthProbe {
            test,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        })))
    }

    fn onbuild(&mut self) -> Option<Instruction> {
        self.flags(NONE);
        let args = &self.parts.args;
        if args.text.is_empty() {
            self.lacks("trigger");
            return None;
        }
        let inner = split_line(&args.text, args.offset, self.escape);
        let keyword = inner.keyword.text.to_uppercase();
        let at = self.line.spot(inner.keyword.offset);
        if matches!(keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            refuse_trigger(&keyword, at, self.desk);
            return None;
        }
        // The trigger is read for its faults; what is kept is its text, which is read again where it fires.
        Reader {
            line: self.line,
            parts: &inner,
            escape: self.escape,
            desk: self.desk,
        }
        .instruction()?;
        let mut text = args.text.clone();
        for heredoc in &self.line.heredocs {
            text.push('\n');
            text.push_str(&heredoc.text);
            text.push_str(&heredoc.name);
        }
        Some(Instruction::Onbuild(text))
    }

    fn transfer(&mut self, kind: TransferKind) -> Option<Instruction> {
        let mut flags = self.flags(match kind {
            TransferKind::Copy => COPY,
            TransferKind::Add => ADD,
        });
        let mut list = self.list()?;
        let Some(dest) = list.pop().filter(|_| !list.is_empty()) else {
            let (at, keyword) = (self.at(), kind.keyword());
            self.error(
                at,
                "destination-missing",
                format!("`{keyword}` has no destination"),
                &format!("write `{keyword} SOURCE... DESTINATION`"),
            );
            return None;
        };
        if read_heredoc(&dest.raw).is_some() {
            self.error(
                dest.at,
                "destination-heredoc",
                "a here-document cannot be the destination".to_owned(),
                "name a path behind it",
            );
            return None;
        }
        let (mut sources, mut inline) = (Vec::new(), Vec::new());
        for word in list {
            match self.inline(&word) {
                Some(found) => inline.push(found),
                None => sources.push(word),
            }
        }
        let from = flags.one("from");
        if let Some(from) = &from {
            self.fixed_from(from);
        }
        let transfer = Transfer {
            kind,
            sources,
            inline,
            dest,
            from,
            chown: flags.one("chown"),
            chmod: flags.one("chmod"),
            checksum: flags.one("checksum"),
            link: flags.set("link").unwrap_or_default(),
            parents: flags.set("parents").unwrap_or_default(),
            exclude: flags.many("exclude").into_iter().map(|w| w.raw).collect(),
            keep_git_dir: flags.set("keep-git-dir"),
            unpack: flags.set("unpack"),
        };
        Some(Instruction::Transfer(Box::new(transfer)))
    }

    /// Returns the here-document that a source names.
    fn inline(&self, word: &Word) -> Option<Inline> {
        let named = read_heredoc(&word.raw)?;
        // Of two with one name the later counts, as in BuildKit.
        let given = self
            .line
            .heredocs
            .iter()
            .rev()
            .find(|h| h.name == named.name)?;
        Some(Inline {
            text: given.chomped(),
            name: named.name,
            expands: named.expands,
            at: word.at,
        })
    }

    /// Tells if the value of `from` has variables: stages are sorted out before there are any.
    fn fixed_from(&mut self, from: &Word) {
        if from.raw.contains('$') {
            self.error(
                from.at,
                "from-variable",
                "variables cannot stand in `from`".to_owned(),
                "give the image a stage of its own, `FROM $IMAGE AS name`, and name that",
            );
        }
    }

    fn run(&mut self) -> Option<Instruction> {
        let mut flags = self.flags(RUN);
        if self.parts.args.text.is_empty() {
            self.lacks("command");
            return None;
        }
        let network = self.network(flags.one("network"));
        self.refuse_rights(&mut flags);
        let mounts = flags.many("mount");
        for mount in &mounts {
            self.mount(mount);
        }
        let command = match self.command_of(&self.parts.args.clone())? {
            CommandLine::Exec(args) if args.is_empty() => {
                self.lacks("command");
                return None;
            }
            CommandLine::Exec(args) => RunCommand::Exec(args),
            CommandLine::Shell(text) => self.run_text(text),
        };
        Some(Instruction::Run(Box::new(Run {
            command,
            mounts,
            network: network?,
        })))
    }

    /// Puts here-documents where the shell, or the kernel, will find them.
    fn run_text(&self, text: String) -> RunCommand {
        let Some(first) = self.line.heredocs.first() else {
            return RunCommand::Shell(text);
        };
        if read_heredoc(&text).is_some() {
            // The here-document is the whole command.
            let text = first.chomped();
            return if text.starts_with("#!") {
                RunCommand::Script {
                    name: first.name.clone(),
                    text,
                }
            } else {
                RunCommand::Shell(text)
            };
        }
        let mut whole = text;
        for heredoc in &self.line.heredocs {
            whole.push('\n');
            whole.push_str(&heredoc.text);
            whole.push_str(&heredoc.name);
        }
        RunCommand::Shell(whole)
    }

    fn network(&mut self, flag: Option<Word>) -> Option<RunNetwork> {
        let Some(word) = flag else {
            return Some(RunNetwork::Default);
        };
        match word.raw.as_str() {
            "default" => Some(RunNetwork::Default),
            "none" => Some(RunNetwork::None),
            "host" => Some(RunNetwork::Host),
            other => {
                let other = short(other).into_owned();
                self.error(
                    word.at,
                    "network-unknown",
                    format!("there is no network `{other}`"),
                    "write `default`, `none` or `host`",
                );
                None
            }
        }
    }

    /// Refuses what would give a build more rights than a stand has (threat S5).
    fn refuse_rights(&mut self, flags: &mut Flags) {
        if let Some(word) = flags.one("security").filter(|w| w.raw != "sandbox") {
            let known = word.raw == "insecure";
            self.error(
                word.at,
                if known {
                    "security-insecure"
                } else {
                    "security-unknown"
                },
                if known {
                    "a build does not get more rights than any stand".to_owned()
                } else {
                    format!("there is no security `{}`", short(&word.raw))
                },
                "leave the flag out",
            );
        }
        if let Some(word) = flags.many("device").first() {
            self.error(
                word.at,
                "device-refused",
                "a build does not get devices of the host".to_owned(),
                "leave the flag out",
            );
        }
    }

    /// Looks at a mount as far as it is known before variables are.
    fn mount(&mut self, word: &Word) {
        if let Some(raw) = mount::from_of(&word.raw) {
            self.fixed_from(&Word { raw, at: word.at });
        }
        if word.raw.contains('$') {
            return;
        }
        let read: Result<_, MountFault> = mount::read(&word.raw, |value| Ok(value.to_owned()));
        if let Err(fault) = read {
            self.error(word.at, "mount-syntax", fault.message, &fault.hint);
        }
    }
}

fn read_time(flag: Option<Word>, name: &str, desk: &mut Desk) -> Duration {
    let Some(word) = flag else {
        return Duration::ZERO;
    };
    match duration::read(&word.raw) {
        Some(time) if time.is_zero() || time >= Duration::from_millis(1) => time,
        Some(_) => {
            desk.error(
                word.at,
                "healthcheck-time",
                format!("`--{name}` is shorter than a millisecond"),
                "write for example `30s`",
            );
            Duration::ZERO
        }
        None => {
            desk.error(
                word.at,
                "healthcheck-time",
                format!("`--{name}` is no duration: `{}`", short(&word.raw)),
                "write for example `30s` or `1m30s`",
            );
            Duration::ZERO
        }
    }
}

/// Returns an example of an instruction, for a hint.
fn example(keyword: &str) -> String {
    let example = match keyword {
        "ARG" => "ARG NAME=value",
        "CMD" | "ENTRYPOINT" => "CMD [\"program\", \"argument\"]` or `ENTRYPOINT [\"program\"]",
        "ENV" => "ENV NAME=value",
        "EXPOSE" => "EXPOSE 80/tcp",
        "HEALTHCHECK" => "HEALTHCHECK CMD command",
        "LABEL" => "LABEL name=value",
        "ONBUILD" => "ONBUILD RUN command",
        "RUN" => "RUN command",
        "STOPSIGNAL" => "STOPSIGNAL SIGTERM",
        "USER" => "USER name",
        "VOLUME" => "VOLUME /path",
        "WORKDIR" => "WORKDIR /path",
        _ => "MAINTAINER name",
    };
    format!("write `{example}`")
}
