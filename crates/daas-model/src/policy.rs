use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

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

impl fmt::Display for Grant {
    /// Writes the grant as `daas project grant` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privileged => f.write_str("privileged"),
            Self::Capability(name) => write!(f, "capability:{name}"),
            Self::HostPath(path) => write!(f, "host-path:{path}"),
            Self::Device(path) => write!(f, "device:{path}"),
            Self::Sysctl(name) => write!(f, "sysctl:{name}"),
            Self::HostNamespace(name) => write!(f, "host-namespace:{name}"),
            Self::Unconfined => f.write_str("unconfined"),
        }
    }
}

impl Grant {
    /// Parses what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// A sentence that names the forms, if `text` is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path_ok = |path: &str| {
            path.starts_with('/')
                && path
                    .split('/')
                    .skip(1)
                    .all(|part| !matches!(part, "" | "." | ".."))
        };
        match text.split_once(':') {
            None if text == "privileged" => Ok(Self::Privileged),
            None if text == "unconfined" => Ok(Self::Unconfined),
            Some(("capability", name))
                if !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') =>
            {
                Ok(Self::Capability(name.to_owned()))
            }
            Some(("host-path", path)) if path_ok(path) => Ok(Self::HostPath(path.to_owned())),
            Some(("device", path)) if path_ok(path) => Ok(Self::Device(path.to_owned())),
            Some(("sysctl", name))
                if !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) =>
            {
                Ok(Self::Sysctl(name.to_owned()))
            }
            Some((
                "host-namespace",
                name @ ("network" | "pid" | "ipc" | "uts" | "user" | "cgroup"),
            )) => Ok(Self::HostNamespace(name.to_owned())),
            _ => Err(format!(
                "`{}` is no grant: write `privileged`, `unconfined`, `capability:NET_ADMIN`, `host-path:/srv/data`, `device:/dev/ttyUSB0`, `sysctl:name` or `host-namespace:network`",
                text.chars().take(80).collect::<String>().escape_debug()
            )),
        }
    }
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
    fn a_grant_parses_to_itself() {
        for text in [
            "privileged",
            "unconfined",
            "capability:NET_ADMIN",
            "host-path:/srv/data",
            "device:/dev/ttyUSB0",
            "sysctl:kernel.msgmax",
            "host-namespace:network",
        ] {
            assert_eq!(Grant::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "all",
            "capability:",
            "capability:net",
            "host-path:srv",
            "host-path:/a/../b",
            "host-path:/",
            "device:x",
            "host-namespace:mount",
            "privileged:x",
        ] {
            assert!(Grant::parse(text).is_err(), "{text}");
        }
    }

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
