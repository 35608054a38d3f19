//! Which stages a target needs, and what each begins with.

use super::desk::Desk;
use super::expand::Lexer;
use super::file::{Dockerfile, Stage, read_trigger, short};
use super::instruction::{Instruction, Spot, Step, Word};
use super::mount;
use super::scope::Scope;
use crate::nearest::nearest;
use daas_model::{Diagnostic, Diagnostics};
use std::collections::{BTreeMap, BTreeSet};

/// What is given to a build besides its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildInputs {
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`: a stage's name or number; the last stage if absent.
    pub target: Option<String>,
    /// The names of further contexts; one that a stage has replaces that stage.
    pub contexts: BTreeSet<String>,
    /// The machine's platform, `linux/amd64`.
    pub build_platform: String,
    /// The image's platform.
    pub target_platform: String,
}

/// Where files come from, or a stage begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Nothing: `scratch`.
    Scratch,
    /// An earlier stage, by its number.
    Stage(usize),
    /// An image, as written.
    Image(String),
    /// A further context, by its name.
    Context(String),
}

/// One stage as it is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// What it begins with.
    pub base: Origin,
    /// Whether a context of the stage's name replaces it: `base` is the context, and no step is to be taken.
    pub replaced: bool,
    /// The `ONBUILD` triggers of the stage that it begins with, to be taken before its own steps.
    pub triggers: Vec<Step>,
    /// The stages that it needs, without those that they need.
    pub needs: BTreeSet<usize>,
}

/// How a target is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every stage of the file, in its order.
    pub stages: Vec<StagePlan>,
    /// The number of the stage that becomes the image.
    pub target: usize,
    /// The numbers of all stages that the target needs and of itself; each comes after those that it needs.
    pub order: Vec<usize>,
    /// Remarks; errors make no plan.
    pub remarks: Diagnostics,
    names: Vec<Option<String>>,
    contexts: BTreeSet<String>,
    global: BTreeMap<String, String>,
    args: BTreeMap<String, String>,
    file: String,
    escape: char,
}

impl Dockerfile {
    /// Works out what a target needs.
    ///
    /// # Errors
    /// All faults at once: a target or stage that does not exist, a stage that is needed before it is built, a base
    /// without a name, a platform other than this machine's.
    pub fn plan(&self, inputs: &BuildInputs) -> Result<Plan, Diagnostics> {
        let mut desk = Desk::new(&self.file);
        let global = self.global(inputs, &mut desk);
        let mut plan = Plan {
            stages: Vec::new(),
            target: 0,
            order: Vec::new(),
            remarks: Vec::new(),
            names: self.stages.iter().map(|s| s.name.clone()).collect(),
            contexts: inputs.contexts.clone(),
            global,
            args: inputs.args.clone(),
            file: self.file.clone(),
            escape: self.escape,
        };
        for (number, stage) in self.stages.iter().enumerate() {
            let staged = plan.stage(self, number, stage, &mut desk);
            plan.stages.push(staged);
        }
        if let Some(target) = plan.find_target(inputs.target.as_deref(), &mut desk) {
            plan.target = target;
            plan.order = plan.closure([target]).into_iter().collect();
        }
        for number in &plan.order {
            if !plan.stages[*number].replaced {
                plan.platform(&self.stages[*number], inputs, &mut desk);
            }
        }
        unused_args(self, inputs, &mut desk);
        if desk.has_errors() {
            return Err(desk.finish());
        }
        plan.remarks = desk.finish();
        Ok(plan)
    }

    /// Returns the variables that `FROM` sees.
    fn global(&self, inputs: &BuildInputs, desk: &mut Desk) -> BTreeMap<String, String> {
        let mut global = platform_args(inputs);
        for step in &self.args {
            let Instruction::Arg(args) = &step.instruction else {
                continue;
            };
            for (name, default) in args {
                let value = match (inputs.args.get(name), default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(word)) => expand(word, self.escape, &global, desk),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    global.insert(name.clone(), value);
                }
            }
        }
        global
    }
}

impl Plan {
    fn stage(&self, file: &Dockerfile, number: usize, stage: &Stage, desk: &mut Desk) -> StagePlan {
        let mut planned = StagePlan {
            base: Origin::Scratch,
            replaced: false,
            triggers: Vec::new(),
            needs: BTreeSet::new(),
        };
        if let Some(name) = stage.name.as_ref().filter(|n| self.contexts.contains(*n)) {
            planned.base = Origin::Context(name.clone());
            planned.replaced = true;
            return planned;
        }
        if let Some(base) = expand(&stage.base, self.escape, &self.global, desk) {
            if base.is_empty() {
                desk.error(
                    stage.base.at,
                    "base-empty",
                    format!("the base `{}` is empty", short(&stage.base.raw)),
                    "give the variable a default with `ARG NAME=value` before the first `FROM`, or a value with `--build-arg`",
                );
            }
            planned.base = self.base(number, base);
        }
        if let Origin::Stage(base) = planned.base {
            planned.needs.insert(base);
            planned.triggers = self.triggers(file, base);
        }
        for step in planned.triggers.iter().chain(&stage.steps) {
            match self.needs(number, step) {
                Ok(needs) => planned.needs.extend(needs),
                Err(faults) => {
                    for fault in faults {
                        let at = fault.place.as_ref().map_or(step.at, |p| Spot {
                            line: p.line,
                            column: p.column,
                        });
                        desk.say(at, fault);
                    }
                }
            }
        }
        planned
    }

    /// Returns what a stage begins with: an earlier stage of that very name, a context, or an image.
    fn base(&self, number: usize, base: String) -> Origin {
        let before = self.names.iter().take(number);
        if let Some(stage) = before
            .enumerate()
            .rev()
            .find_map(|(i, n)| (n.as_ref() == Some(&base)).then_some(i))
        {
            return Origin::Stage(stage);
        }
        if base == "scratch" {
            return Origin::Scratch;
        }
        if self.contexts.contains(&base) {
            return Origin::Context(base);
        }
        Origin::Image(base)
    }

    /// Returns what the stage `base` leaves to those that begin with it.
    fn triggers(&self, file: &Dockerfile, base: usize) -> Vec<Step> {
        if self.stages.get(base).is_some_and(|s| s.replaced) {
            return Vec::new();
        }
        let steps = file.stages.get(base).map_or(&[][..], |s| &s.steps);
        steps
            .iter()
            .filter_map(|step| match &step.instruction {
                // Its faults were told where it stands.
                Instruction::Onbuild(text) => read_trigger(&self.file, text).ok().map(|t| Step {
                    at: step.at,
                    end_line: step.end_line,
                    ..t
                }),
                _ => None,
            })
            .collect()
    }

    /// Returns the stages that one instruction of stage `number` takes files from.
    ///
    /// For the triggers of base images, which are known only when the image is there: what is new among the stages
    /// needed - with all that [`Plan::closure`] adds - must be built first.
    ///
    /// # Errors
    /// All names of stages that are not built before stage `number`.
    pub fn needs(&self, number: usize, step: &Step) -> Result<BTreeSet<usize>, Diagnostics> {
        let mut needs = BTreeSet::new();
        let mut faults = Vec::new();
        for word in froms(&step.instruction) {
            match self.origin(number, &word) {
                Ok(Origin::Stage(stage)) => {
                    needs.insert(stage);
                }
                Ok(_) => {}
                Err(fault) => faults.push(*fault),
            }
        }
        if faults.is_empty() {
            Ok(needs)
        } else {
            Err(faults)
        }
    }

    /// Returns what `from` of an instruction in stage `number` names.
    ///
    /// # Errors
    /// A diagnostic if it is a stage that is not built before.
    pub fn origin(&self, number: usize, from: &Word) -> Result<Origin, Box<Diagnostic>> {
        let name = &from.raw;
        let fault = |message: String, hint: &str| {
            Err(Box::new(
                Diagnostic::error("stage-unknown", message)
                    .at(daas_model::Place {
                        file: self.file.clone(),
                        line: from.at.line,
                        column: from.at.column,
                    })
                    .hint(hint),
            ))
        };
        if let Ok(index) = name.parse::<usize>() {
            return match index.cmp(&number) {
                std::cmp::Ordering::Less => Ok(Origin::Stage(index)),
                std::cmp::Ordering::Equal => fault(
                    format!("stage {index} takes files from itself"),
                    "take them from an earlier stage",
                ),
                std::cmp::Ordering::Greater => fault(
                    format!("stage {index} does not stand before stage {number}"),
                    "stages are counted from 0, and only earlier ones can be used",
                ),
            };
        }
        let small = name.to_lowercase();
        let named = |n: &Option<String>| n.as_deref() == Some(small.as_str());
        if let Some(stage) = self.names[..number.min(self.names.len())]
            .iter()
            .rposition(named)
        {
            return Ok(Origin::Stage(stage));
        }
        if let Some(stage) = self.names.iter().position(named) {
            return if stage == number {
                fault(
                    format!("stage `{}` takes files from itself", short(name)),
                    "take them from an earlier stage",
                )
            } else {
                fault(
                    format!(
                        "stage `{}` stands below the stage that needs it",
                        short(name)
                    ),
                    "move it up",
                )
            };
        }
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        if self.contexts.contains(name) {
            return Ok(Origin::Context(name.clone()));
        }
        Ok(Origin::Image(name.clone()))
    }

    /// Returns `stages` and all that they need, in the order of the file.
    #[must_use]
    pub fn closure(&self, stages: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<usize> = stages.into_iter().collect();
        while let Some(number) = open.pop() {
            if let Some(stage) = self.stages.get(number).filter(|_| found.insert(number)) {
                open.extend(&stage.needs);
            }
        }
        found
    }

    /// Returns the variables of a stage that begins with an image whose environment is `base_env`.
    #[must_use]
    pub fn scope(&self, base_env: &[(String, String)]) -> Scope {
        Scope::new(
            &self.file,
            self.escape,
            self.args.clone(),
            self.global.clone(),
            base_env,
        )
    }

    fn find_target(&self, target: Option<&str>, desk: &mut Desk) -> Option<usize> {
        let Some(target) = target.filter(|t| !t.is_empty()) else {
            return self.names.len().checked_sub(1);
        };
        let small = target.to_lowercase();
        if let Some(found) = self.names.iter().rposition(|n| n.as_ref() == Some(&small)) {
            return Some(found);
        }
        if let Ok(index) = target.parse::<usize>()
            && index < self.names.len()
        {
            return Some(index);
        }
        let hint = match nearest(&small, self.names.iter().flatten().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a stage by what stands behind `AS`, or by its number from 0".to_owned(),
        };
        desk.error(
            Spot::default(),
            "target-unknown",
            format!("there is no stage `{}`", short(target)),
            hint,
        );
        None
    }

    /// Refuses a platform that this machine is not.
    fn platform(&self, stage: &Stage, inputs: &BuildInputs, desk: &mut Desk) {
        let Some(word) = &stage.platform else { return };
        let Some(value) = expand(word, self.escape, &self.global, desk) else {
            return;
        };
        if value.is_empty() {
            desk.error(
                word.at,
                "platform-empty",
                format!("the platform `{}` is empty", short(&word.raw)),
                "give the variable a default before the first `FROM`",
            );
        } else if !same_platform(&value, &inputs.build_platform) {
            desk.say(
                word.at,
                Diagnostic::error(
                    "platform-foreign",
                    format!("the platform `{}` is not built here", short(&value)),
                )
                .because(format!(
                    "this machine is {}, and programs of another one are not run by it",
                    inputs.build_platform
                ))
                .hint("leave `--platform` out, or build on a machine of that platform"),
            );
        }
    }
}

/// Returns every `from` of an instruction.
fn froms(instruction: &Instruction) -> Vec<Word> {
    match instruction {
        Instruction::Transfer(transfer) => transfer.from.iter().cloned().collect(),
        Instruction::Run(run) => run
            .mounts
            .iter()
            .filter_map(|m| mount::from_of(&m.raw).map(|raw| Word { raw, at: m.at }))
            .collect(),
        _ => Vec::new(),
    }
}

fn expand(
    word: &Word,
    escape: char,
    vars: &BTreeMap<String, String>,
    desk: &mut Desk,
) -> Option<String> {
    match Lexer::words(escape).lex(&word.raw, &mut |name| vars.get(name).cloned()) {
        Ok(lexed) => Some(lexed.text),
        Err(fault) => {
            desk.error(word.at, fault.code(), fault.to_string(), fault.hint());
            None
        }
    }
}

/// Returns the variables of platforms, which `--build-arg` may overwrite.
fn platform_args(inputs: &BuildInputs) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (prefix, platform) in [
        ("BUILD", &inputs.build_platform),
        ("TARGET", &inputs.target_platform),
    ] {
        let mut parts = platform.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        args.insert(format!("{prefix}OS"), part());
        args.insert(format!("{prefix}ARCH"), part());
        args.insert(format!("{prefix}VARIANT"), part());
        args.insert(format!("{prefix}OSVERSION"), String::new());
        args.insert(format!("{prefix}PLATFORM"), platform.clone());
    }
    let target = inputs.target.clone().unwrap_or_default();
    args.insert(
        "TARGETSTAGE".to_owned(),
        if target.is_empty() {
            "default".to_owned()
        } else {
            target
        },
    );
    for (name, value) in &mut args {
        if let Some(given) = inputs.args.get(name) {
            value.clone_from(given);
        }
    }
    args
}

/// Compares platforms by what they mean: `x86_64` is `linux/amd64`.
fn same_platform(a: &str, b: &str) -> bool {
    normal_platform(a) == normal_platform(b)
}

fn normal_platform(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = text.to_lowercase().split('/').map(str::to_owned).collect();
    if parts.len() == 1 {
        if parts[0] == "local" {
            return Vec::new();
        }
        if !matches!(
            parts[0].as_str(),
            "linux" | "windows" | "darwin" | "freebsd"
        ) {
            parts.insert(0, "linux".to_owned());
        }
    }
    if let Some(arch) = parts.get_mut(1) {
        match arch.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            other => other,
        }
        .to_owned()
        .clone_into(arch);
    }
    let usual = matches!(
        (
            parts.get(1).map(String::as_str),
            parts.get(2).map(String::as_str)
        ),
        (Some("arm64"), Some("v8" | "8")) | (Some("amd64"), Some("v1"))
    );
    if usual {
        parts.truncate(2);
    }
    parts
}

/// The names that `--build-arg` may give without an `ARG`.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

fn unused_args(file: &Dockerfile, inputs: &BuildInputs, desk: &mut Desk) {
    let mut known: BTreeSet<&str> = PREDEFINED.into_iter().collect();
    known.insert("SOURCE_DATE_EPOCH");
    let platform = platform_args(inputs);
    known.extend(platform.keys().map(String::as_str));
    let steps = file
        .args
        .iter()
        .chain(file.stages.iter().flat_map(|s| &s.steps));
    let mut opaque = false;
    for step in steps {
        match &step.instruction {
            Instruction::Arg(args) => known.extend(args.iter().map(|(n, _)| n.as_str())),
            Instruction::Onbuild(_) => opaque = true,
            _ => {}
        }
    }
    for name in inputs.args.keys().filter(|n| !known.contains(n.as_str())) {
        if opaque || name.starts_with("BUILDKIT_") {
            continue;
        }
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `ARG {}` to the stage that uses it", short(name)),
        };
        desk.warn(
            Spot::default(),
            "build-arg-unused",
            format!("no `ARG` takes the build argument `{}`", short(name)),
            hint,
        );
    }
}

/// Checks `FROM` with nothing given but the file's own defaults.
pub(crate) fn check_defaults(file: &Dockerfile, desk: &mut Desk) {
    let inputs = BuildInputs {
        build_platform: "linux/amd64".to_owned(),
        target_platform: "linux/amd64".to_owned(),
        ..BuildInputs::default()
    };
    let mut quiet = Desk::new(&file.file);
    let global = file.global(&inputs, &mut quiet);
    let mut declared: BTreeSet<&str> = global.keys().map(String::as_str).collect();
    for step in &file.args {
        if let Instruction::Arg(args) = &step.instruction {
            declared.extend(args.iter().map(|(n, _)| n.as_str()));
        }
    }
    for stage in &file.stages {
        for word in std::iter::once(&stage.base).chain(&stage.platform) {
            let lexed =
                Lexer::words(file.escape).lex(&word.raw, &mut |name| global.get(name).cloned());
            let lexed = match lexed {
                Ok(lexed) => lexed,
                // One that is required is given with the build.
                Err(fault) if fault.code() == "variable-required" => continue,
                Err(fault) => {
                    desk.error(word.at, fault.code(), fault.to_string(), fault.hint());
                    continue;
                }
            };
            for name in lexed
                .unmatched
                .iter()
                .filter(|n| !declared.contains(n.as_str()))
            {
                let hint = match nearest(name, declared.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("declare it before the first `FROM`: `ARG {}`", short(name)),
                };
                desk.check(
                    word.at,
                    "UndefinedArgInFrom",
                    format!(
                        "`FROM` uses `{}`, which no `ARG` before it declares",
                        short(name)
                    ),
                    hint,
                );
            }
            if std::ptr::eq(word, &raw const stage.base) && !good_reference(&lexed.text) {
                desk.check(
                    word.at,
                    "InvalidDefaultArgInFrom",
                    format!(
                        "`{}` names no image by its defaults alone",
                        short(&word.raw)
                    ),
                    "give the `ARG` a default",
                );
            }
        }
        platform_form(stage, desk);
    }
}

fn platform_form(stage: &Stage, desk: &mut Desk) {
    let Some(word) = &stage.platform else { return };
    if matches!(word.raw.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        desk.check(
            word.at,
            "RedundantTargetPlatform",
            "`$TARGETPLATFORM` is the platform anyway",
            "leave `--platform` out",
        );
    }
    let named = |name: &str| {
        normal_platform(&word.raw)
            .iter()
            .any(|p| name.contains(p.as_str()))
    };
    if !word.raw.contains('$') && !stage.name.as_deref().is_some_and(named) {
        desk.check(
            word.at,
            "FromPlatformFlagConstDisallowed",
            format!("the platform `{}` is fixed", short(&word.raw)),
            "write `--platform=$BUILDPLATFORM` for what runs during the build, or leave the flag out",
        );
    }
}

/// Tells whether a text can name an image.
fn good_reference(text: &str) -> bool {
    !text.is_empty()
        && !text.ends_with([':', '@', '/', '-', '.'])
        && !text.starts_with([':', '@', '/', '-', '.'])
        && !text.contains(":@")
}
