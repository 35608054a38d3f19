use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One thing of the host that an administrator may grant to a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// `privileged: true`.
    Privileged,
    /// A capability beyond the default set, `NET_ADMIN`.
    Capability(String),
    /// A bind of a host path outside of the project's folder; the path and all below it.
    HostPath(String),
    /// A device of the host, `/dev/ttyUSB0`.
    Device(String),
    /// A sysctl beyond those of the node's own namespaces.
    Sysctl(String),
    /// `network_mode: host`, `pid: host`, `ipc: host`, `uts: host`, `userns_mode: host`.
    HostNamespace(String),
    /// `security_opt: [seccomp:unconfined]`, `no-new-privileges:false`, `apparmor:unconfined`.
    Unconfined,
}

/// What a project may ask of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// What was granted.
    #[serde(default)]
    pub grants: BTreeSet<Grant>,
}

impl Policy {
    /// Tells whether `wanted` was granted: literally, or by a host path above it.
    #[must_use]
    pub fn allows(&self, wanted: &Grant) -> bool {
        if self.grants.contains(wanted) {
            return true;
        }
        let Grant::HostPath(path) = wanted else {
            return false;
        };
        self.grants.iter().any(|grant| match grant {
            Grant::HostPath(above) => path
                .strip_prefix(above.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_granted_path_covers_all_below_and_nothing_beside() {
        let policy = Policy {
            grants: [Grant::HostPath("/srv/data".into())].into(),
        };
        assert!(policy.allows(&Grant::HostPath("/srv/data".into())));
        assert!(policy.allows(&Grant::HostPath("/srv/data/x".into())));
        assert!(!policy.allows(&Grant::HostPath("/srv/database".into())));
        assert!(!policy.allows(&Grant::Privileged));
    }
}
