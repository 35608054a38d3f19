use crate::birth::ChildFailure;
use crate::disk::DiskError;
use crate::protocol::{FROZEN, Failure, NO_PATH, NO_PROGRAM, NOT_RUNNING};
use daas_model::{Explain, Kind, NodeName, render_chain};
use daas_sys::Fault;
use std::fmt;
use std::io;

/// Why a keeper did not do something.
#[derive(Debug)]
pub enum KeeperError {
    /// The kernel refused.
    Kernel(Fault),
    /// The disk could not be made.
    Disk(DiskError),
    /// A child gave up before its program ran.
    Child {
        /// Whose it is.
        node: String,
        /// What it attempted.
        step: String,
        /// The kernel's answer, or why else it is not possible.
        source: Option<io::Error>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// No stand was adopted yet.
    NoStand,
    /// Another stand was adopted before.
    OtherStand(String),
    /// There is no such node.
    NoNode(NodeName),
    /// The node does not run.
    NotRunning(NodeName),
    /// The node is frozen.
    Frozen(NodeName),
    /// The node runs from another description.
    OtherDigest(NodeName),
    /// There is no such exec.
    NoExec(u64),
    /// A request names something that the stand does not have, or is against its rules.
    Wrong {
        /// What is wrong.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The launch took too long.
    TooLong(NodeName),
    /// A step was made to fail by `DAAS_FAIL_AT`.
    Injected(String),
    /// The keeper is about to end.
    Ending,
}

impl KeeperError {
    pub(crate) fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong {
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn child(node: &str, failure: ChildFailure) -> Self {
        let source = match (failure.errno, failure.cause) {
            (0, cause) => cause.map(io::Error::other),
            (errno, _) => Some(io::Error::from_raw_os_error(errno)),
        };
        Self::Child {
            node: node.to_owned(),
            step: failure.step,
            source,
            hint: failure.hint,
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        Failure {
            code: self.code().to_owned(),
            message: plain(&render_chain(self)),
            hint: self.hint(),
        }
    }
}

/// Takes ` (os error 1)` away and makes the kernel's words begin small, for people.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(" (os error ") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, tail)| tail);
    }
    out.push_str(rest);
    // Only the words behind a colon: names of files keep their letters.
    let mut chars: Vec<char> = out.chars().collect();
    for at in 2..chars.len() {
        if chars[at - 2] == ':'
            && chars[at - 1] == ' '
            && chars.get(at + 1).is_some_and(|c| c.is_lowercase())
        {
            chars[at] = chars[at].to_ascii_lowercase();
        }
    }
    chars.into_iter().collect()
}

impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(fault) => fault.fmt(f),
            Self::Disk(error) => error.fmt(f),
            Self::Child { node, step, .. } => write!(f, "cannot {step} in node {node}"),
            Self::NoStand => f.write_str("the keeper holds no stand yet"),
            Self::OtherStand(name) => write!(f, "the keeper holds stand {name} already"),
            Self::NoNode(node) => write!(f, "there is no node {node}"),
            Self::NotRunning(node) => write!(f, "node {node} does not run"),
            Self::Frozen(node) => write!(f, "node {node} is paused"),
            Self::OtherDigest(node) => write!(f, "node {node} runs from another description"),
            Self::NoExec(exec) => write!(f, "there is no exec {exec}"),
            Self::Wrong { what, .. } => f.write_str(what),
            Self::TooLong(node) => write!(f, "node {node} was not ready in time and was killed"),
            Self::Injected(step) => write!(f, "step {step} was made to fail"),
            Self::Ending => f.write_str("the keeper is about to end"),
        }
    }
}

impl std::error::Error for KeeperError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Kernel(fault) => Some(&fault.source),
            Self::Disk(error) => error.source(),
            Self::Child { source, .. } => source
                .as_ref()
                .map(|e| -> &(dyn std::error::Error + 'static) { e }),
            _ => None,
        }
    }
}

impl Explain for KeeperError {
    fn code(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "keeper-kernel",
            Self::Disk(error) => error.code(),
            Self::Child { step, source, .. }
                if step.starts_with("run `")
                    && source.as_ref().and_then(io::Error::raw_os_error) == Some(2) =>
            {
                NO_PROGRAM
            }
            Self::Child { step, source, .. }
                if (step.starts_with("copy ") || step.starts_with("start in "))
                    && source.as_ref().and_then(io::Error::raw_os_error) == Some(2) =>
            {
                NO_PATH
            }
            Self::Child { .. } => "keeper-node-failed",
            Self::NoStand => "keeper-no-stand",
            Self::OtherStand(_) => "keeper-other-stand",
            Self::NoNode(_) => "keeper-no-node",
            Self::NotRunning(_) => NOT_RUNNING,
            Self::Frozen(_) => FROZEN,
            Self::OtherDigest(_) => "keeper-other-digest",
            Self::NoExec(_) => "keeper-no-exec",
            Self::Wrong { .. } => "keeper-wrong-request",
            Self::TooLong(_) => "keeper-too-long",
            Self::Injected(_) => "keeper-injected",
            Self::Ending => "keeper-ending",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Kernel(_) | Self::Child { .. } | Self::Injected(_) => Kind::Outside,
            Self::Disk(error) => error.kind(),
            Self::NoNode(_) | Self::NoExec(_) => Kind::NotFound,
            Self::NoStand
            | Self::OtherStand(_)
            | Self::NotRunning(_)
            | Self::Frozen(_)
            | Self::OtherDigest(_)
            | Self::Ending => Kind::Conflict,
            Self::Wrong { .. } => Kind::Input,
            Self::TooLong(_) => Kind::Busy {
                retry_after: std::time::Duration::from_secs(1),
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel(fault) => fault.hint(),
            Self::Disk(error) => error.hint(),
            Self::Child { hint, .. } | Self::Wrong { hint, .. } => hint.clone(),
            Self::NotRunning(_) => Some("start it first".to_owned()),
            Self::Frozen(_) => Some("resume the stand first".to_owned()),
            Self::OtherDigest(_) => Some("stop and remove it first".to_owned()),
            Self::TooLong(_) => Some("the machine is overloaded, or a folder of the host that the node mounts does not answer".to_owned()),
            _ => None,
        }
    }
}

impl From<Fault> for KeeperError {
    fn from(fault: Fault) -> Self {
        Self::Kernel(fault)
    }
}

impl From<DiskError> for KeeperError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Kernel(fault) => Self::Kernel(fault),
            other => Self::Disk(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_failure_reads_as_a_sentence() {
        let failure = ChildFailure {
            step: "mount proc at /proc".to_owned(),
            errno: 1,
            cause: None,
            hint: None,
        };
        assert_eq!(
            KeeperError::child("web", failure).failure().message,
            "cannot mount proc at /proc in node web: operation not permitted"
        );
    }
}
