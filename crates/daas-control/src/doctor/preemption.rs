//! Whether the kernel lets go of a processor in the middle of its own work.

use super::check;
use daas_api::{Check, CheckVerdict};
use std::fs::read_to_string;

/// Tells how the kernel gives the processor to who wakes up. Below full preemption a stand that keeps the kernel at work, by creating files
/// without end for instance, delays its neighbours by milliseconds, whatever its share is (decision 0029).
pub(super) fn preemption() -> Check {
    let text = |path| read_to_string(path).unwrap_or_default();
    let found = Preemption::of(
        &text("/sys/kernel/debug/sched/preempt"),
        &text("/proc/version"),
        &text("/proc/cmdline"),
    );
    let (verdict, fix) = match found {
        Preemption::Full => (CheckVerdict::Ok, None),
        Preemption::Chosen(_) | Preemption::Unknown => (
            CheckVerdict::Warn,
            Some(
                "boot with `preempt=full` in the kernel's line, or until then `echo full > /sys/kernel/debug/sched/preempt`: busy stands delay others less",
            ),
        ),
        Preemption::Never => (
            CheckVerdict::Warn,
            Some(
                "a kernel with PREEMPT_DYNAMIC, as Debian's, and `preempt=full`: busy stands delay others less",
            ),
        ),
    };
    check(
        "kernel-preemption",
        "preemption",
        verdict,
        found.words(),
        fix.map(Into::into),
    )
}

/// What the kernel does, as far as it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Preemption {
    /// It lets go wherever it may.
    Full,
    /// It can be told to, and has been told something else.
    Chosen(String),
    /// It can be told to, and does not say what it was told.
    Unknown,
    /// It was built without.
    Never,
}

impl Preemption {
    /// Reads the scheduler's own file (`none (voluntary) full`), what the kernel was built with (`PREEMPT_DYNAMIC` in its version), and what it was
    /// started with (kernel-parameters.txt, `preempt=`). The last word of the line counts.
    fn of(scheduler: &str, version: &str, line: &str) -> Self {
        let chosen = scheduler
            .split_once('(')
            .and_then(|(_, rest)| Some(rest.split_once(')')?.0));
        let told = || {
            line.split_whitespace()
                .filter_map(|word| word.strip_prefix("preempt="))
                .next_back()
        };
        let built = |word| version.split_whitespace().any(|part| part == word);
        match chosen {
            Some("full") => Self::Full,
            Some(other) => Self::Chosen(other.to_owned()),
            None if built("PREEMPT") || built("PREEMPT_RT") => Self::Full,
            None if built("PREEMPT_DYNAMIC") => match told() {
                Some("full") => Self::Full,
                Some(other) => Self::Chosen(other.to_owned()),
                None => Self::Unknown,
            },
            None => Self::Never,
        }
    }

    fn words(&self) -> &str {
        match self {
            Self::Full => "full",
            Self::Chosen(mode) => mode,
            Self::Unknown => "whatever the kernel was built with",
            Self::Never => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_is_believed_first_then_the_line_then_how_the_kernel_was_built() {
        let debian = "Linux version 6.1.0-56-amd64 (x@y) #1 SMP PREEMPT_DYNAMIC Debian 6.1.1";
        for (scheduler, version, line, found) in [
            (
                "none voluntary (full) \n",
                "",
                "preempt=none",
                Preemption::Full,
            ),
            (
                "none (voluntary) full\n",
                debian,
                "",
                Preemption::Chosen("voluntary".into()),
            ),
            (
                "",
                debian,
                "quiet preempt=none preempt=full",
                Preemption::Full,
            ),
            (
                "",
                debian,
                "preempt=none",
                Preemption::Chosen("none".into()),
            ),
            ("", debian, "quiet", Preemption::Unknown),
            (
                "",
                "Linux version 6.1 #1 SMP PREEMPT_RT Debian",
                "",
                Preemption::Full,
            ),
            (
                "",
                "Linux version 6.18 #1 SMP PREEMPT today",
                "",
                Preemption::Full,
            ),
            ("", "Linux version 6.18 #1 SMP today", "", Preemption::Never),
        ] {
            assert_eq!(
                Preemption::of(scheduler, version, line),
                found,
                "{scheduler} {version} {line}"
            );
        }
    }
}
