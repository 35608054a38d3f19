use super::desk::Desk;
use super::instruction::{Instruction, Spot, Step, Word};
use super::line::Lines;
use super::parse::{self, Parsing};
use super::remote::Remote;
use super::{check, plan};
use daas_model::Diagnostics;

/// The most bytes that a Dockerfile may have.
///
/// 1 MiB, as for every file of a project (threat S26); the largest of BuildKit's own test files has 4 KB.
pub const MAX_DOCKERFILE: usize = 1 << 20;
/// The most instructions of one file.
const MAX_STEPS: usize = 10_000;

pub(crate) use crate::template::short;

/// A Dockerfile that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The file as a person names it, for diagnostics.
    pub file: String,
    /// The escape: `\`, or a backquote where the file says so.
    pub escape: char,
    /// What `# syntax=` names; the file is read as docker/dockerfile:1 whatever it says.
    pub syntax: Option<String>,
    /// `ARG` before the first `FROM`.
    pub args: Vec<Step>,
    /// The stages in the order of the text; at least one.
    pub stages: Vec<Stage>,
}

/// `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name behind `AS`, in small letters.
    pub name: Option<String>,
    /// What it begins with: an image, an earlier stage or `scratch`, as written.
    pub base: Word,
    /// `--platform`, as written.
    pub platform: Option<Word>,
    /// The instructions below it.
    pub steps: Vec<Step>,
    /// The `FROM` line.
    pub text: String,
    /// Where `FROM` stands.
    pub at: Spot,
}

impl Dockerfile {
    /// Tells whether an instruction takes something from the build's own context.
    ///
    /// Triggers of base images are not looked at: they are not known yet.
    #[must_use]
    pub fn needs_context(&self) -> bool {
        self.stages
            .iter()
            .flat_map(|stage| &stage.steps)
            .any(|step| match &step.instruction {
                Instruction::Transfer(transfer) => {
                    transfer.from.is_none()
                        && transfer.sources.iter().any(|s| !Remote::is_remote(&s.raw))
                }
                Instruction::Run(run) => run.mounts.iter().any(|mount| {
                    let mut fields = mount.raw.split(',');
                    let kinds = || mount.raw.split(',').filter(|f| f.starts_with("type="));
                    // A mount without a type is a bind.
                    let is_bind = kinds().next().is_none_or(|kind| kind == "type=bind");
                    is_bind && !fields.any(|field| field.starts_with("from="))
                }),
                _ => false,
            })
    }
}

/// What reading a Dockerfile led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The file, unless it has errors.
    pub dockerfile: Option<Dockerfile>,
    /// Every fault and remark, in the order of the text.
    pub diagnostics: Diagnostics,
}

/// Reads a Dockerfile: its instructions, or all its faults at once.
///
/// `file` is how a person names it. Bytes that are no UTF-8 become U+FFFD with a warning. Variables are not put in:
/// that is done by [`Scope`](super::Scope) while the stages are built. Costs grow with the text alone.
#[must_use]
pub fn read_dockerfile(file: &str, bytes: &[u8]) -> Parsed {
    let mut desk = Desk::new(file);
    let dockerfile = text_of(bytes, &mut desk).and_then(|text| read(file, &text, &mut desk));
    if let Some(dockerfile) = &dockerfile {
        check::stages(dockerfile, &mut desk);
        plan::check_defaults(dockerfile, &mut desk);
    }
    Parsed {
        dockerfile: dockerfile.filter(|_| !desk.has_errors()),
        diagnostics: desk.finish(),
    }
}

/// Reads a trigger of a base image's `ONBUILD`, which is one instruction; `origin` names it in diagnostics.
///
/// # Errors
/// All that is wrong with it.
pub fn read_trigger(origin: &str, text: &str) -> Result<Step, Diagnostics> {
    let mut desk = Desk::new(origin);
    let step = text_of(text.as_bytes(), &mut desk).and_then(|text| trigger(&text, &mut desk));
    match step {
        Some(step) if !desk.has_errors() => Ok(step),
        _ => Err(desk.finish()),
    }
}

fn text_of(bytes: &[u8], desk: &mut Desk) -> Option<String> {
    let whole = Spot::default();
    if bytes.len() > MAX_DOCKERFILE {
        desk.error(
            whole,
            "dockerfile-too-big",
            "the file has more than 1 MiB",
            "bring large texts as files with `COPY`",
        );
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(fault) => {
            let before = &bytes[..fault.valid_up_to()];
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            desk.warn(
                Spot {
                    line: u32::try_from(line).unwrap_or(u32::MAX),
                    column: 0,
                },
                "dockerfile-not-utf8",
                "the file holds bytes that are no UTF-8, which read as U+FFFD",
                "save it as UTF-8",
            );
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

fn read(file: &str, text: &str, desk: &mut Desk) -> Option<Dockerfile> {
    let mut lines = Lines::new(text);
    let mut args = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut count = 0;
    while let Some(line) = lines.next(desk) {
        count += 1;
        if count > MAX_STEPS {
            desk.error(
                line.start(),
                "dockerfile-too-long",
                format!("the file has more than {MAX_STEPS} instructions"),
                "use fewer, larger ones",
            );
            return None;
        }
        match parse::line(&line, lines.escape, desk) {
            None => {}
            Some(Parsing::From(stage)) => stages.push(stage),
            Some(Parsing::Step(step)) => match (stages.last_mut(), &step.instruction) {
                (Some(stage), _) => stage.steps.push(step),
                (None, Instruction::Arg(_)) => args.push(step),
                (None, other) => desk.error(
                    step.at,
                    "stage-missing",
                    format!("`{}` stands before the first `FROM`", other.keyword()),
                    "begin with `FROM image`; only `ARG` may stand before it",
                ),
            },
        }
    }
    if stages.is_empty() && !desk.has_errors() {
        desk.error(
            Spot::default(),
            "dockerfile-empty",
            if count == 0 {
                "the file has no instructions"
            } else {
                "the file has no stage"
            },
            "begin with `FROM image`, or `FROM scratch` for an empty image",
        );
    }
    if stages.is_empty() {
        return None;
    }
    Some(Dockerfile {
        file: file.to_owned(),
        escape: lines.escape,
        syntax: lines.directives.syntax.take(),
        args,
        stages,
    })
}

fn trigger(text: &str, desk: &mut Desk) -> Option<Step> {
    let mut lines = Lines::new(text);
    let Some(line) = lines.next(desk) else {
        desk.error(
            Spot::default(),
            "trigger-empty",
            "the trigger is empty",
            "the base image is broken; use another",
        );
        return None;
    };
    let step = match parse::line(&line, lines.escape, desk)? {
        Parsing::Step(step) => step,
        Parsing::From(_) => {
            parse::refuse_trigger("FROM", line.start(), desk);
            return None;
        }
    };
    parse::check_trigger(&step, desk);
    if lines.next(desk).is_some() {
        desk.error(
            step.at,
            "trigger-long",
            "the trigger has more than one instruction",
            "the base image is broken; use another",
        );
    }
    Some(step)
}
