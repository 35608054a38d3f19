//! `RUN --mount`: what a command gets beside its root, and what of it counts for its key.

use crate::agent::Agent;
use crate::caches::{Area, Wanted};
use crate::error::BuildError;
use crate::job::{Job, Tree, at_step};
use crate::stage::Stage;
use crate::state::State;
use crate::transfer::Transfer;
use daas_image::Digest;
use daas_keeper::launch::{BindOwners, MountLaunch, MountLaunchSource};
use daas_model::{ByteSize, FileGrant, FileName};
use daas_spec::dockerfile::{Mount, MountKind, Step};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a command gets mounted.
#[derive(Default)]
pub(crate) struct Mounts {
    pub(crate) list: Vec<MountLaunch>,
    pub(crate) files: Vec<FileGrant>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Variables that name the machine's authorities.
    pub(crate) authorities: BTreeMap<String, String>,
    /// The folder that holds them.
    trusted: Option<std::path::PathBuf>,
    /// Places that must exist, and whether as a folder.
    pub(crate) targets: Vec<(String, bool)>,
    /// Caches.
    pub(crate) caches: Vec<CacheMount>,
    /// What the sockets of agents are served by.
    pub(crate) agents: Vec<Agent>,
    /// What counts for the key.
    pub(crate) words: Vec<String>,
}

/// A cache that a command gets.
pub(crate) struct CacheMount {
    pub(crate) wanted: Wanted,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// What an empty cache begins with: a tree, and a folder in it.
    pub(crate) fill: Option<(Tree, String)>,
}

/// Where a command finds the authorities of this machine.
pub(crate) const AUTHORITIES: &str = "/run/daas/authorities.pem";

/// The same as Java reads them, behind those of the image's own Java.
const JAVA_AUTHORITIES: &str = "/run/daas/authorities.jks";

/// The variables by which programs find them: OpenSSL, curl, pip and requests, Node, cargo, git.
const NAMED_BY: [&str; 7] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
    "GIT_SSL_CAINFO",
];

/// Those that name a list beside the program's own, not in its place.
const BESIDE: [&str; 1] = ["NODE_EXTRA_CA_CERTS"];

fn bad(step: &Step, why: String, hint: &str) -> BuildError {
    BuildError::Step {
        instruction: step.text.clone(),
        line: step.at.line,
        why,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    }
}

impl Mounts {
    /// Adds one `--mount`; files of other stages wait for these.
    pub(crate) async fn add(
        &mut self,
        stage: &Stage<'_>,
        state: &State,
        step: &Step,
        mount: &Mount,
    ) -> Result<(), Arc<BuildError>> {
        let target = if mount.target.is_empty() {
            String::new()
        } else {
            state.absolute(&mount.target)
        };
        match &mount.kind {
            MountKind::Bind { from, source } => {
                let tree = tree(stage, step, from.as_deref()).await?;
                let (folder, digest) = look(stage.job, step, &tree, source).await?;
                self.words
                    .push(format!("bind {target} {} {digest}", mount.read_only));
                self.targets.push((target.clone(), folder));
                self.list.push(MountLaunch {
                    source: MountLaunchSource::Layers {
                        lowers: tree.lowers,
                        path: format!("/{}", source.trim_start_matches('/')),
                    },
                    target,
                    read_only: mount.read_only,
                });
            }
            MountKind::Cache { from, source, .. } => {
                let fill = match from {
                    Some(from) => {
                        let tree = tree(stage, step, Some(from)).await?;
                        let source = source.clone();
                        let (_, digest) = look(stage.job, step, &tree, &source).await?;
                        Some((tree, source, digest))
                    }
                    None => None,
                };
                self.cache(stage.job, mount, target, fill);
            }
            MountKind::Tmpfs { size } => {
                self.words.push(format!("tmpfs {target}"));
                self.targets.push((target.clone(), true));
                self.list.push(MountLaunch {
                    source: MountLaunchSource::Tmpfs {
                        size: size.map(ByteSize),
                        mode: None,
                    },
                    target,
                    read_only: mount.read_only,
                });
            }
            MountKind::Secret { .. } => self.secret(stage.job, step, mount, target)?,
            MountKind::Ssh { .. } => self.agent(stage.job, step, mount, target)?,
        }
        Ok(())
    }

    /// Shows the authorities that this machine trusts, where its configuration names them, and the platform's own. They count for nothing.
    pub(crate) fn trust(&mut self, job: &Job, step: &Step) -> Result<(), BuildError> {
        let mut authorities = Vec::new();
        let named: &[&str] = match &job.builder.settings().certificates {
            Some(file) => {
                let read = std::fs::read(file);
                authorities = read.map_err(BuildError::io("read the authorities of", file))?;
                authorities.push(b'\n');
                &NAMED_BY
            }
            None => &BESIDE,
        };
        // The variables stand above the image's own bundle, in which the platform's authority is.
        if let Some(own) = job.builder.trusted_inside() {
            authorities.extend_from_slice(own.as_bytes());
        }
        if authorities.is_empty() {
            return Ok(());
        }
        let folder = job.place("authorities");
        std::fs::create_dir(&folder).map_err(|e| at_step(step, e))?;
        std::fs::write(folder.join("authorities.pem"), authorities)
            .map_err(|e| at_step(step, e))?;
        self.show(folder.clone(), "/authorities.pem", AUTHORITIES);
        self.trusted = Some(folder);
        let pair = |name: &&str| ((*name).to_owned(), AUTHORITIES.to_owned());
        self.authorities.extend(named.iter().map(pair));
        Ok(())
    }

    /// Shows the same authorities to the Java of the image, if it has one: Java reads no other list than its own, in a form of its own, and
    /// changed in its place the list would be in the image. Only for what is really run; blocks.
    pub(crate) fn trust_of_java(&mut self, state: &State) -> std::io::Result<()> {
        let Some(folder) = self.trusted.clone() else {
            return Ok(());
        };
        let roots = std::fs::read(folder.join("authorities.pem"))?;
        // Words between the certificates may be in any encoding.
        let roots = String::from_utf8_lossy(&roots);
        let environment = state.scope.run_env().into_iter().collect();
        if let Some(list) = daas_engine::java_list(&state.lowers(), &environment, &roots)? {
            std::fs::write(folder.join("authorities.jks"), list)?;
            self.show(folder, "/authorities.jks", JAVA_AUTHORITIES);
            let option = format!("-Djavax.net.ssl.trustStore={JAVA_AUTHORITIES}");
            self.authorities.insert("JAVA_TOOL_OPTIONS".into(), option);
        }
        Ok(())
    }

    /// Mounts a file of the build's own.
    fn show(&mut self, folder: std::path::PathBuf, path: &str, target: &str) {
        self.targets.push((target.to_owned(), false));
        self.list.push(MountLaunch {
            source: MountLaunchSource::Layers {
                lowers: vec![folder],
                path: path.into(),
            },
            target: target.to_owned(),
            read_only: true,
        });
    }

    fn cache(
        &mut self,
        job: &Job,
        mount: &Mount,
        target: String,
        fill: Option<(Tree, String, String)>,
    ) {
        let MountKind::Cache {
            id,
            sharing,
            mode,
            uid,
            gid,
            ..
        } = &mount.kind
        else {
            return;
        };
        let mut id = id.clone().unwrap_or_else(|| target.clone());
        if let Some((_, _, digest)) = &fill {
            // As in BuildKit, a cache that begins with other files is another cache.
            id = format!("{id} {digest}");
        }
        // What a cache holds does not count for the key, only that it is there.
        self.words.push(format!("cache {target} {id}"));
        self.targets.push((target.clone(), true));
        let wanted = Wanted {
            area: Area::Mounts,
            project: job.project().to_owned(),
            id,
            sharing: *sharing,
            mode: mode.unwrap_or(0o755),
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
        };
        self.caches.push(CacheMount {
            wanted,
            target,
            read_only: mount.read_only,
            fill: fill.map(|(tree, source, _)| (tree, source)),
        });
    }

    /// Gives a secret as a variable, a file, or both. Its content counts for nothing: not for the key, the history, or the layer.
    fn secret(
        &mut self,
        job: &Job,
        step: &Step,
        mount: &Mount,
        target: String,
    ) -> Result<(), BuildError> {
        let MountKind::Secret {
            id,
            env,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Ok(());
        };
        let id = id.clone().unwrap_or_else(|| last_part(&target));
        self.words.push(format!("secret {id} {target} {env:?}"));
        let Some(content) = job.request.secrets.get(&id) else {
            let hint = format!("give it with `--secret id={id},src=FILE`");
            return if *required {
                Err(bad(step, format!("secret `{id}` was not given"), &hint))
            } else {
                Ok(())
            };
        };
        if let Some(env) = env {
            let text = std::str::from_utf8(content).map_err(|_| {
                bad(
                    step,
                    format!("secret `{id}` is no text, so no variable can hold it"),
                    "mount it as a file",
                )
            })?;
            self.environment.insert(env.clone(), text.to_owned());
            if target.is_empty() {
                return Ok(());
            }
        }
        let target = if target.is_empty() {
            format!("/run/secrets/{id}")
        } else {
            target
        };
        self.targets.push((target.clone(), false));
        self.files.push(FileGrant {
            file: secret_file(&id),
            target,
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
            mode: mode.unwrap_or(0o400),
        });
        Ok(())
    }

    /// Gives the socket of an agent of this machine.
    fn agent(
        &mut self,
        job: &Job,
        step: &Step,
        mount: &Mount,
        target: String,
    ) -> Result<(), BuildError> {
        let MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Ok(());
        };
        let id = id.clone().unwrap_or_else(|| "default".into());
        self.words.push(format!("ssh {id} {target}"));
        let Some(socket) = job.request.ssh.get(&id) else {
            let hint = format!("give it with `--ssh {id}`");
            return if *required {
                Err(bad(step, format!("agent `{id}` was not given"), &hint))
            } else {
                Ok(())
            };
        };
        let agent = Agent::open(
            job.builder.tasks(),
            socket,
            job.place("agent"),
            (uid.unwrap_or(0), gid.unwrap_or(0)),
            mode.unwrap_or(0o600),
        )
        .map_err(BuildError::io("speak to the agent at", socket))?;
        let target = if target.is_empty() {
            format!("/run/buildkit/ssh_agent.{}", self.agents.len())
        } else {
            target
        };
        self.environment
            .entry("SSH_AUTH_SOCK".into())
            .or_insert_with(|| target.clone());
        self.targets.push((target.clone(), false));
        self.list.push(MountLaunch {
            source: MountLaunchSource::Bind {
                path: agent.path(),
                owners: BindOwners::AsOnHost,
            },
            target,
            read_only: false,
        });
        self.agents.push(agent);
        Ok(())
    }
}

/// The name under which the build's stand keeps a secret; ids may have any characters.
pub(crate) fn secret_file(id: &str) -> FileName {
    FileName::parse(&format!(
        "secret.{}",
        &Digest::of(id.as_bytes()).hex()[..32]
    ))
    .expect("hexadecimal digits match the grammar")
}

fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

async fn tree(stage: &Stage<'_>, step: &Step, from: Option<&str>) -> Result<Tree, Arc<BuildError>> {
    let origin = match from {
        Some(raw) => {
            let word = daas_spec::dockerfile::Word {
                raw: raw.to_owned(),
                at: step.at,
            };
            let origin = stage.job.plan.origin(stage.number, &word);
            Some(origin.map_err(|fault| BuildError::Dockerfile {
                diagnostics: vec![*fault],
            })?)
        }
        None => None,
    };
    stage
        .job
        .tree(stage.number, origin.as_ref(), stage.earlier)
        .await
}

/// Tells whether the source of a bind is a folder, and digests it.
async fn look(
    job: &Job,
    step: &Step,
    tree: &Tree,
    source: &str,
) -> Result<(bool, String), BuildError> {
    let merged = tree.open().map_err(|e| at_step(step, e))?;
    let (keeps_owner, source, at) = (tree.keeps_owner, source.to_owned(), step.clone());
    let now = job.now;
    job.blocking("digest files of a build", move || {
        let failed = |e| at_step(&at, e);
        let transfer = Transfer {
            sources: Vec::new(),
            inline: Vec::new(),
            dest: Vec::new(),
            owner: None,
            keeps_owner,
            mode: None,
            left_out: None,
            parents: false,
            now,
            epoch: None,
        };
        let pick = transfer
            .pick_exactly(&merged, source.as_bytes())
            .map_err(failed)?;
        let folder = pick.kind() == FileType::Directory;
        let digest = transfer
            .digest(std::slice::from_ref(&merged), &[pick])
            .map_err(failed)?;
        Ok((folder, digest))
    })
    .await
}
