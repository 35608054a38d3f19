//! What is legal and still unwise: the checks of `BuildKit`, by their names.

use super::desk::Desk;
use super::file::{Dockerfile, Stage, short};
use super::instruction::{CommandLine, Instruction, Spot, Step, Word};
use super::port;
use std::collections::BTreeSet;

/// Checks one instruction alone.
pub(crate) fn step(step: &Step, desk: &mut Desk) {
    match &step.instruction {
        Instruction::Maintainer(_) => desk.check(
            step.at,
            "MaintainerDeprecated",
            "`MAINTAINER` is deprecated",
            "write `LABEL org.opencontainers.image.authors=...`",
        ),
        Instruction::Arg(args) => {
            for (name, _) in args {
                secret("ARG", name, step.at, desk);
            }
        }
        Instruction::Env(pairs) => {
            for pair in pairs {
                secret("ENV", &pair.key.raw, step.at, desk);
            }
        }
        Instruction::Expose(ports) => {
            for word in ports.iter().filter(|w| !w.raw.contains(['$', '"', '\''])) {
                expose(word, desk);
            }
        }
        _ => {}
    }
}

fn expose(word: &Word, desk: &mut Desk) {
    match port::read(&word.raw) {
        Err(fault) => desk.error(
            word.at,
            "port-syntax",
            fault.to_string(),
            "write a port from 0 to 65535, a range, and a protocol: `80`, `8000-8010`, `53/udp`",
        ),
        Ok(exposed) => {
            if exposed.maps {
                desk.check(
                    word.at,
                    "ExposeInvalidFormat",
                    format!(
                        "`{}` names an address or a port of the host, which has no effect",
                        short(&word.raw)
                    ),
                    "write the image's own port alone",
                );
            }
            if exposed.shouts {
                desk.check(
                    word.at,
                    "ExposeProtoCasing",
                    format!("the protocol of `{}` has capitals", short(&word.raw)),
                    "write it in small letters",
                );
            }
        }
    }
}

/// Tells names that look like those of secrets: whoever has the image can read their values.
fn secret(keyword: &str, name: &str, at: Spot, desk: &mut Desk) {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const OPEN: [&str; 3] = ["public", "file", "version"];
    if name.len() > 256 {
        return;
    }
    let small = name.to_lowercase();
    let has = |words: &[&str]| small.split('_').any(|part| words.contains(&part));
    // `api_key` is found by its last part; `apikey` and the like are words of their own.
    if has(&SECRET) && !has(&OPEN) {
        desk.check(
            at,
            "SecretsUsedInArgOrEnv",
            format!("`{keyword} {}` looks like a secret, and stays in the image", short(name)),
            "give it to the one command that needs it: `RUN --mount=type=secret,id=NAME,env=NAME ...`",
        );
    }
}

/// Tells a line for the shell that was probably meant to be the exec form.
pub(crate) fn almost_json(text: &str, at: Spot, desk: &mut Desk) {
    let text = text.trim_end();
    let meant = text.starts_with("['")
        || text.starts_with("[\"") && text.ends_with(']')
        || text.starts_with("[ '");
    if meant {
        desk.warn(
            at,
            "exec-form-broken",
            "this is no JSON array, so it is a line for the shell",
            "the exec form has double quotes and commas: `[\"program\", \"argument\"]`",
        );
    }
}

/// Checks that `FROM` and `AS` are written alike, and the name in small letters.
pub(crate) fn from_casing(from: &str, by: &str, name: &Word, desk: &mut Desk) {
    if name.raw.to_lowercase() != name.raw {
        desk.check(
            name.at,
            "StageNameCasing",
            format!("the stage name `{}` has capitals", short(&name.raw)),
            "write it in small letters, as it is compared",
        );
    }
    let alike = if from == from.to_lowercase() {
        by == by.to_lowercase()
    } else if from == from.to_uppercase() {
        by == by.to_uppercase()
    } else {
        true
    };
    if !alike {
        desk.check(
            name.at,
            "FromAsCasing",
            format!("`{from}` and `{by}` are not written alike"),
            "write both in capitals",
        );
    }
}

/// Checks what shows only when the whole file is known.
pub(crate) fn stages(dockerfile: &Dockerfile, desk: &mut Desk) {
    let mut names = BTreeSet::new();
    for stage in &dockerfile.stages {
        if let Some(name) = stage.name.as_deref() {
            stage_name(name, stage.at, !names.insert(name), desk);
        }
        once(stage, desk);
        shell_forms(stage, desk);
        workdir(stage, desk);
    }
    casing(dockerfile, desk);
}

fn stage_name(name: &str, at: Spot, again: bool, desk: &mut Desk) {
    if again {
        desk.check(
            at,
            "DuplicateStageName",
            format!("a stage `{}` stands above already", short(name)),
            "give each stage a name of its own",
        );
    }
    if matches!(name, "context" | "scratch") {
        desk.check(
            at,
            "ReservedStageName",
            format!("`{name}` has a meaning of its own"),
            "give the stage another name",
        );
    }
}

/// Tells instructions of which only the last has an effect.
fn once(stage: &Stage, desk: &mut Desk) {
    let mut last: [Option<Spot>; 3] = [None; 3];
    for step in &stage.steps {
        let (slot, keyword) = match step.instruction {
            Instruction::Cmd(_) => (0, "CMD"),
            Instruction::Entrypoint(_) => (1, "ENTRYPOINT"),
            Instruction::Healthcheck(_) => (2, "HEALTHCHECK"),
            _ => continue,
        };
        if let Some(before) = last[slot].replace(step.at) {
            desk.check(
                before,
                "MultipleInstructionsDisallowed",
                format!("this `{keyword}` has no effect, as another one follows"),
                "keep the last one of the stage",
            );
        }
    }
}

fn shell_forms(stage: &Stage, desk: &mut Desk) {
    for step in &stage.steps {
        match &step.instruction {
            Instruction::Shell(_) => return,
            Instruction::Cmd(CommandLine::Shell(_))
            | Instruction::Entrypoint(CommandLine::Shell(_)) => desk.check(
                step.at,
                "JSONArgsRecommended",
                format!(
                    "`{}` runs below a shell, which does not hand signals on",
                    step.instruction.keyword()
                ),
                "write it as an array: `[\"program\", \"argument\"]`",
            ),
            _ => {}
        }
    }
}

fn workdir(stage: &Stage, desk: &mut Desk) {
    let first = stage.steps.iter().find_map(|s| match &s.instruction {
        Instruction::Workdir(path) => Some(path),
        _ => None,
    });
    // One that begins with a variable is known only when the stage is built.
    if let Some(path) = first.filter(|p| !p.raw.starts_with(['/', '$', '"', '\''])) {
        desk.check(
            path.at,
            "WorkdirRelativePath",
            format!(
                "`{}` is relative to a folder that the base image chooses",
                short(&path.raw)
            ),
            "begin with `/`",
        );
    }
}

fn casing(dockerfile: &Dockerfile, desk: &mut Desk) {
    let all = || {
        dockerfile.stages.iter().flat_map(|stage| {
            std::iter::once((stage.text.as_str(), stage.at))
                .chain(stage.steps.iter().map(|s| (s.text.as_str(), s.at)))
                .map(|(text, at)| (text.split_whitespace().next().unwrap_or_default(), at))
        })
    };
    let small = all().filter(|(k, _)| *k == k.to_lowercase()).count();
    let large = all().filter(|(k, _)| *k == k.to_uppercase()).count();
    for (keyword, at) in all() {
        let (wanted, name) = if small > large {
            (keyword.to_lowercase(), "small letters")
        } else {
            (keyword.to_uppercase(), "capitals")
        };
        if keyword != wanted {
            desk.check(
                at,
                "ConsistentInstructionCasing",
                format!("`{}` is not written as most others are", short(keyword)),
                format!("write it in {name}"),
            );
        }
    }
}
