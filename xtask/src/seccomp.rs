//! Compares our system call filter with Docker's default profile: `cargo xtask seccomp <default.json>`.
//!
//! The profile is `seccomp/default.json` of github.com/moby/profiles; it is not part of this repository. Every call by number, with every
//! argument that either looks at, is asked of both, for processes without capabilities, with ours, with all and with each alone.

use crate::bench::say;
use anyhow::{Context, Result, bail};
use daas_keeper::launch::Rights;
use daas_sys::caps;
use daas_sys::seccomp::{Filter, Verdict};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

/// Where the kernel's headers name the numbers of the calls; linux-libc-dev, which build-essential brings.
const HEADER: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

/// Calls that the headers of Debian 12 do not know yet (arch/x86/entry/syscalls/syscall_64.tbl of Linux 6.16).
const NEWER: [(&str, u32); 21] = [
    ("uretprobe", 335),
    ("uprobe", 336),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// Differences that are meant: call, and why. docs/reference/security.md tells them to users.
const MEANT: [(&str, &str); 3] = [
    ("open_tree_attr", NEW),
    ("file_getattr", NEW),
    ("file_setattr", NEW),
];
const NEW: &str = "newer than the table: unknown (ENOSYS), so that programs fall back; runc makes the same of the profile when it loads it";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: u16,
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Vec<Argument>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
}

impl Rule {
    /// Whether it holds for x86-64 and these capabilities. Every kernel that we run on is newer than any `minKernel`.
    fn holds(&self, capabilities: &BTreeSet<&str>) -> bool {
        let arch = |arches: &[String]| arches.iter().any(|arch| arch == "amd64");
        let has = |cap: &String| capabilities.contains(cap.trim_start_matches("CAP_"));
        (self.includes.arches.is_empty() || arch(&self.includes.arches))
            && !arch(&self.excludes.arches)
            && self.includes.caps.iter().all(has)
            && !self.excludes.caps.iter().any(has)
    }

    fn fits(&self, argument: u64) -> Result<bool> {
        for wanted in &self.args {
            if wanted.index != 0 {
                bail!("a rule for argument {} of {:?}", wanted.index, self.names);
            }
            let fits = match wanted.op.as_str() {
                "SCMP_CMP_EQ" => argument == wanted.value,
                "SCMP_CMP_NE" => argument != wanted.value,
                "SCMP_CMP_LT" => argument < wanted.value,
                "SCMP_CMP_LE" => argument <= wanted.value,
                "SCMP_CMP_GT" => argument > wanted.value,
                "SCMP_CMP_GE" => argument >= wanted.value,
                "SCMP_CMP_MASKED_EQ" => argument & wanted.value == wanted.value_two,
                other => bail!("unknown comparison {other}"),
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Profile {
    fn verdict(&self, call: &str, argument: u64, capabilities: &BTreeSet<&str>) -> Result<Verdict> {
        let mut verdict = Verdict::Refused(self.default_errno_ret);
        for rule in &self.syscalls {
            if !rule.names.iter().any(|name| name == call)
                || !rule.holds(capabilities)
                || !rule.fits(argument)?
            {
                continue;
            }
            match rule.action.as_str() {
                "SCMP_ACT_ALLOW" => return Ok(Verdict::Allowed),
                "SCMP_ACT_ERRNO" => verdict = Verdict::Refused(rule.errno_ret.unwrap_or(1)),
                other => bail!("unknown action {other}"),
            }
        }
        Ok(verdict)
    }
}

/// The first arguments that are asked of a call.
fn arguments(call: &str) -> Vec<u64> {
    match call {
        "socket" => (0..64).chain([1000]).collect(),
        "personality" => [0, 8, 0x20000, 0x20008, 0xffff_ffff]
            .into_iter()
            .chain((0..32).map(|bit| 1 << bit))
            .collect(),
        "clone" => [0, 17]
            .into_iter()
            .chain((0..32).map(|bit| 1 << bit))
            .collect(),
        _ => vec![0],
    }
}

/// Compares with the profile in this file; prints what differs and is not meant.
///
/// # Errors
/// When the file or the kernel's header cannot be read, or holds what this does not understand.
pub(crate) fn compare(path: &Path) -> Result<ExitCode> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let profile: Profile = serde_json::from_slice(&text).context("this is no profile")?;
    if profile.default_action != "SCMP_ACT_ERRNO" {
        bail!("the profile's default is {}", profile.default_action);
    }
    let numbers = numbers()?;
    let names: Vec<&str> = caps::NAMES.to_vec();
    let ours: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| caps::bit(name).is_some_and(|bit| Rights::DEFAULT_CAPS & bit != 0))
        .collect();
    let mut cases = vec![
        ("no capability".to_owned(), Vec::new()),
        ("default capabilities".to_owned(), ours),
        ("all capabilities".to_owned(), names.clone()),
    ];
    cases.extend(names.iter().map(|name| ((*name).to_owned(), vec![*name])));
    let mut asked = 0;
    let mut differences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (case, capabilities) in cases {
        let mask = capabilities
            .iter()
            .filter_map(|name| caps::bit(name))
            .fold(0, |mask, bit| mask | bit);
        let filter = Filter::docker_default(mask);
        let set: BTreeSet<&str> = capabilities.into_iter().collect();
        for (name, number) in &numbers {
            if MEANT.iter().any(|(meant, _)| meant == name) {
                continue;
            }
            for argument in arguments(name) {
                asked += 1;
                let theirs = profile.verdict(name, argument, &set)?;
                let ours = filter.verdict(*number, argument);
                if theirs != ours {
                    differences
                        .entry(format!(
                            "{name}({argument:#x}): Docker {theirs:?}, we {ours:?}"
                        ))
                        .or_default()
                        .push(case.clone());
                }
            }
        }
    }
    for (call, why) in MEANT {
        say(&format!("{call} is meant to differ: {why}"));
    }
    for (what, cases) in &differences {
        say(&format!("{what} with {}", cases.join(", ")));
    }
    say(&format!(
        "{} calls, {asked} questions, {} differences",
        numbers.len(),
        differences.len()
    ));
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn numbers() -> Result<BTreeMap<String, u32>> {
    let header =
        std::fs::read_to_string(HEADER).with_context(|| format!("cannot read {HEADER}"))?;
    let known = header.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    });
    let newer = NEWER.map(|(name, number)| (name.to_owned(), number));
    Ok(known.chain(newer).collect())
}
