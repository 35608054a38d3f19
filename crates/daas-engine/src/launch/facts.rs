use daas_model::HealthCheck;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What an image says about the nodes that run it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// The digest of its manifest.
    pub digest: String,
    /// Unpacked layers, top first.
    pub lowers: Vec<PathBuf>,
    /// Its entry point.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Its user, `user[:group]`.
    pub user: Option<String>,
    /// The folder to start in.
    pub working_dir: Option<String>,
    /// Paths that are volumes.
    pub volumes: Vec<String>,
    /// Its health check.
    pub health: Option<HealthCheck>,
    /// Its stop signal.
    pub stop_signal: Option<String>,
}

/// A user inside an image, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The home folder, if the image's `/etc/passwd` knows one.
    pub home: Option<String>,
}
