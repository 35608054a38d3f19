use crate::error::BuildError;
use daas_model::{ByteSize, Egress, Grant, ImageName, Limits, Policy, ProjectName, Ulimit};
use daas_spec::dockerfile::{Dockerfile, Instruction, Plan, RunNetwork};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where a context's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A folder that only the platform writes: [`crate::Builder::receive`] makes one.
    Folder(PathBuf),
    /// An image.
    Image(ImageName),
}

/// What commands of a build are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuildNetwork {
    /// Nothing.
    None,
    /// A network of the build's own, with its way out.
    #[default]
    Own,
    /// The network of the host: only by a grant.
    Host,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Whose steps and caches are shared; builds without a project share theirs.
    pub project: Option<ProjectName>,
    /// How a person names the Dockerfile.
    pub file: String,
    /// Its text.
    pub dockerfile: Vec<u8>,
    /// The build's own context; nothing for an empty one.
    pub context: Option<PathBuf>,
    /// Further contexts by name.
    pub contexts: BTreeMap<String, ContextSource>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--tag`: the names of the image.
    pub names: Vec<ImageName>,
    /// `--label`: over those of the file.
    pub labels: BTreeMap<String, String>,
    /// `--secret`: contents by id. They reach commands that ask for them and nothing else.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// `--ssh`: sockets of agents on this machine by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--no-cache`: no step that was made before is used.
    pub no_cache: bool,
    /// `--pull`: base images are compared with their registries.
    pub pull: bool,
    /// What commands are connected to that do not say themselves.
    pub network: BuildNetwork,
    /// What an administrator granted to the project.
    pub policy: Policy,
    /// The way out of commands that have one.
    pub egress: Egress,
    /// The ceiling over all commands together.
    pub limits: Limits,
    /// `--platform`: only this machine's.
    pub platform: Option<String>,
    /// Lines for `/etc/hosts` of commands.
    pub extra_hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The size of `/dev/shm` of commands.
    pub shm_size: Option<ByteSize>,
    /// Resource limits of commands.
    pub ulimits: BTreeMap<String, Ulimit>,
}

impl BuildRequest {
    /// Refuses the network of the host unless it was granted; `asks` says what asks for it.
    pub(crate) fn check_host_network(&self, asks: &str) -> Result<(), BuildError> {
        let wanted = Grant::HostNamespace("network".into());
        if self.policy.allows(&wanted) {
            return Ok(());
        }
        let hint = match &self.project {
            Some(project) => {
                format!("an administrator may allow it: `daas project grant {project} {wanted}`")
            }
            None => format!(
                "only a project can be granted it: name one with `--project`, and `daas project grant PROJECT {wanted}`"
            ),
        };
        Err(BuildError::Forbidden {
            why: format!(
                "{asks} asks for the network of the host: a command there reaches everything that the host reaches, and other stands"
            ),
            hint,
        })
    }

    /// Refuses what a build must not have before anything of it is done: what its file says itself, and the stages that it needs.
    pub(crate) fn check_rights(&self, file: &Dockerfile, plan: &Plan) -> Result<(), BuildError> {
        if self.network == BuildNetwork::Host {
            self.check_host_network("the build")?;
        }
        for number in &plan.order {
            let own = file.stages.get(*number).map_or(&[][..], |s| &s.steps);
            let triggers = plan.stages.get(*number).map_or(&[][..], |s| &s.triggers);
            for step in own.iter().chain(triggers) {
                if let Instruction::Run(run) = &step.instruction
                    && run.network == RunNetwork::Host
                {
                    let asks = format!("`{}` in line {}", step.text, step.at.line);
                    self.check_host_network(&asks)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a request with nothing but defaults.
    #[must_use]
    pub fn new(dockerfile: Vec<u8>) -> Self {
        Self {
            project: None,
            file: "Dockerfile".into(),
            dockerfile,
            context: None,
            contexts: BTreeMap::new(),
            args: BTreeMap::new(),
            target: None,
            names: Vec::new(),
            labels: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            no_cache: false,
            pull: false,
            network: BuildNetwork::Own,
            policy: Policy::default(),
            egress: Egress::default(),
            limits: Limits::default(),
            platform: None,
            extra_hosts: BTreeMap::new(),
            shm_size: None,
            ulimits: BTreeMap::new(),
        }
    }
}
