//! Git repositories for `ADD` and as contexts.
//!
//! Git runs as a node of a build's stand and never on the host: over nothing but this machine's programs, read-only, with the stand's user
//! namespace, filter, ceiling and way out. What a hostile server makes of git stays there. It reads no configuration but what is given here:
//! no hooks, no templates, no helpers, no attributes of the system, and no protocol but HTTP, SSH and git's own, for submodules too.

use crate::agent::Agent;
use crate::builder::Builder;
use crate::caches::size_of;
use crate::error::BuildError;
use crate::fetch_error::FetchError;
use crate::follow::Piece;
use crate::mounts;
use crate::sign_in::{self, Secrets};
use crate::stand::{BuildStand, Command, Network};
use crate::stubs::{self, Scratch};
use daas_engine::{Ids, ImageFacts, Over};
use daas_image::Merged;
use daas_keeper::launch::{BindOwners, MountLaunch, MountLaunchSource};
use daas_model::{ByteSize, Egress, NodeName};
use daas_spec::dockerfile::GitRemote;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const GIT: &str = "/usr/bin/git";
/// Where the work tree is inside.
const TREE: &str = "/work/tree";
/// The most that git may say: lists of references of the largest projects have some ten megabytes.
const OUTPUT: u64 = 64 << 20;
/// How often what git writes is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// The most of git's last words that is told.
const KEPT: usize = 2000;
/// Folders of programs, and links to such, at the root of a machine.
const PROGRAMS: [&str; 6] = ["usr", "bin", "sbin", "lib", "lib32", "lib64"];
/// Files that programs of this machine need to trust servers.
const TRUSTED: [&str; 3] = [
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/ssh/ssh_known_hosts",
];

/// What git is told besides its arguments. Everything else of its configuration is shut out by variables.
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "protocol.version=2",
    // Whoever asks for HTTPS gets no answer of a server that sends him to another protocol in the middle.
    "http.followRedirects=initial",
];

/// The variables of git; names of protocols as in git(1), `GIT_ALLOW_PROTOCOL`.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ALLOW_PROTOCOL", "http:https:git:ssh"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "/bin/false"),
    ("GIT_LFS_SKIP_SMUDGE", "1"),
    (
        "GIT_SSH_COMMAND",
        "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/etc/known_hosts",
    ),
    ("HOME", "/work"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
];

/// The secret that holds keys of servers (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): they are public, and come the way secrets come.
const KNOWN_HOSTS: &str = "SSH_KNOWN_HOSTS";

static NODES: AtomicU32 = AtomicU32::new(0);

/// Git in a stand.
pub(crate) struct Git<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) stand: &'a BuildStand,
    /// A folder that is there, of this one use.
    pub(crate) place: PathBuf,
    pub(crate) egress: Egress,
    /// The most that a work tree may hold, with its history.
    pub(crate) limit: ByteSize,
    /// The socket of an SSH agent.
    pub(crate) agent: Option<PathBuf>,
    /// The secrets of who asks, some of which may be for the repository's host.
    pub(crate) secrets: &'a Secrets,
    pub(crate) tell: Arc<dyn Fn(Piece) + Send + Sync>,
}

/// What a reference means now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its name: 40 or 64 hexadecimal digits.
    pub(crate) name: String,
    /// What the server calls it: a full reference, or the commit itself.
    wanted: String,
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Git<'_> {
    /// Asks the server what the reference means.
    pub(crate) async fn resolve(&self, remote: &GitRemote) -> Result<Commit, FetchError> {
        self.check(remote)?;
        let reference = remote.reference.as_deref().unwrap_or("HEAD");
        if is_commit(reference) {
            let name = reference.to_ascii_lowercase();
            return Ok(Commit {
                wanted: name.clone(),
                name,
            });
        }
        let peeled = format!("{reference}^{{}}");
        let arguments = [
            "ls-remote",
            "--quiet",
            "--",
            &remote.url,
            reference,
            &peeled,
        ];
        let list = self.run("ask", &remote.url, &arguments).await?;
        meant(&list, reference).ok_or_else(|| FetchError::NoReference {
            address: remote.url.clone(),
            reference: reference.to_owned(),
        })
    }

    /// Brings the files of a commit here, with its submodules; returns their folder.
    pub(crate) async fn checkout(
        &self,
        remote: &GitRemote,
        commit: &Commit,
        keep_git_dir: bool,
    ) -> Result<PathBuf, FetchError> {
        self.check(remote)?;
        let url = remote.url.as_str();
        self.run(
            "prepare a folder for",
            url,
            &["init", "--quiet", "--template=", TREE],
        )
        .await?;
        let add = ["-C", TREE, "remote", "add", "--", "origin", url];
        self.run("prepare a folder for", url, &add).await?;
        self.fetch(url, commit).await?;
        let checkout = [
            "-C",
            TREE,
            "checkout",
            "--quiet",
            "--force",
            "--detach",
            &commit.name,
        ];
        self.run("check out", url, &checkout).await?;
        let tree = self.place.join("work/tree");
        if fs::symlink_metadata(tree.join(".gitmodules")).is_ok_and(|meta| meta.is_file()) {
            let update = [
                "-C",
                TREE,
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--depth=1",
            ];
            self.run("fetch the submodules of", url, &update).await?;
        }
        let (subdir, address) = (remote.subdir.clone(), remote.url.clone());
        let found = self
            .builder
            .waiting("take files of a repository", move || {
                finish(&tree, subdir.as_deref(), keep_git_dir)
                    .map_err(BuildError::io("take files of a repository in", &tree))
            })
            .await?;
        found.ok_or_else(|| FetchError::NoFolder {
            address,
            folder: remote.subdir.clone().unwrap_or_default(),
        })
    }

    /// Fetches one commit without its past; from servers that do not give single commits, everything.
    async fn fetch(&self, url: &str, commit: &Commit) -> Result<(), FetchError> {
        let one = [
            "-C",
            TREE,
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--depth=1",
            "--",
            "origin",
            &commit.wanted,
        ];
        match self.run("fetch", url, &one).await {
            Ok(_) => {}
            Err(FetchError::Git { .. }) => {
                let all = [
                    "-C",
                    TREE,
                    "fetch",
                    "--quiet",
                    "--tags",
                    "--no-recurse-submodules",
                    "--",
                    "origin",
                    "+refs/heads/*:refs/remotes/origin/*",
                ];
                self.run("fetch", url, &all).await?;
            }
            Err(error) => return Err(error),
        }
        let object = format!("{}^{{commit}}", commit.name);
        match self
            .run(
                "find a commit of",
                url,
                &["-C", TREE, "cat-file", "-e", &object],
            )
            .await
        {
            Ok(_) => Ok(()),
            Err(FetchError::Git { .. }) => Err(FetchError::NoReference {
                address: url.to_owned(),
                reference: commit.name.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    fn check(&self, remote: &GitRemote) -> Result<(), FetchError> {
        sign_in::check(self.secrets)?;
        let is_http = remote.url.starts_with("http");
        let needs = match self.egress {
            Egress::Full => None,
            Egress::Proxy if is_http => None,
            Egress::Proxy => Some("full"),
            Egress::None => Some(if is_http { "proxy" } else { "full" }),
        };
        if let Some(needs) = needs {
            return Err(FetchError::NoWayOut {
                address: remote.url.clone(),
                needs,
            });
        }
        if !Path::new(GIT).is_file() {
            return Err(FetchError::NoGit {
                address: remote.url.clone(),
            });
        }
        Ok(())
    }

    /// Runs git to its end in a node of its own; returns what it wrote to standard output.
    async fn run(
        &self,
        action: &'static str,
        address: &str,
        arguments: &[&str],
    ) -> Result<String, FetchError> {
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let name = NodeName::parse(&format!("git-{number}")).expect("digits match the grammar");
        let (over, stubs, agent) = self.over(number, address, arguments).await?;
        let command = Command {
            over,
            network: Network::Stand,
            files: Vec::new(),
        };
        let said: Arc<Mutex<(Vec<u8>, Vec<u8>)>> = Arc::default();
        let (hear, tell) = (said.clone(), self.tell.clone());
        let ran = self.stand.run(&name, command, OUTPUT, move |piece: Piece| {
            let mut said = hear.lock().unwrap_or_else(PoisonError::into_inner);
            if piece.error {
                said.1.extend_from_slice(&piece.bytes);
                tell(piece);
            } else {
                said.0.extend_from_slice(&piece.bytes);
            }
        });
        let ended = tokio::select! {
            ended = ran => ended?,
            () = self.outgrown() => {
                return Err(FetchError::TooLarge {
                    address: address.to_owned(),
                    limit: self.limit,
                });
            }
        };
        self.stand.forget(&name).await?;
        drop((stubs, agent));
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.code == 0 && ended.ceiling.is_none() {
            return Ok(String::from_utf8_lossy(&said.0).into_owned());
        }
        let words = String::from_utf8_lossy(&said.1);
        let mut output: String = words
            .chars()
            .skip(words.chars().count().saturating_sub(KEPT))
            .collect();
        if let Some(ceiling) = ended.ceiling {
            output.push_str("it met the build's ceiling: ");
            output.push_str(&ceiling);
        }
        Err(FetchError::Git {
            action,
            address: address.to_owned(),
            output: output.trim().to_owned(),
        })
    }

    /// A root that holds this machine's programs and nothing else of it.
    async fn over(
        &self,
        number: u32,
        address: &str,
        arguments: &[&str],
    ) -> Result<(Over, Scratch, Option<Agent>), FetchError> {
        let place = self.place.clone();
        let agent = match &self.agent {
            Some(socket) => {
                let folder = place.join(format!("agent-{number}"));
                let agent = Agent::open(self.builder.tasks(), socket, folder, (0, 0), 0o600);
                Some(agent.map_err(BuildError::io("speak to the agent at", socket))?)
            }
            None => None,
        };
        let socket = agent.as_ref().map(Agent::path);
        let authorities = self.builder.settings().certificates.clone();
        let hosts = self.secrets.get(KNOWN_HOSTS).cloned();
        let prepared = self.builder.waiting("prepare git", move || {
            let given = Given {
                agent: socket.as_deref(),
                authorities: authorities.as_deref(),
                known_hosts: hosts.as_deref(),
            };
            prepare(&place, number, &given).map_err(BuildError::io("prepare git in", &place))
        });
        let (mounts, named, stubs, lowers) = prepared.await?;
        let mut environment: BTreeMap<String, String> = ENVIRONMENT
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.extend(named);
        let sign_in = sign_in::to_repository(self.secrets, address);
        environment.extend(sign_in.iter().flat_map(sign_in::GitSignIn::environment));
        environment.extend(self.stand.proxy().map(|proxy| ("http_proxy".into(), proxy)));
        // rules: shell here: git's own word for a setting (git(1))
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let entrypoint = [GIT]
            .into_iter()
            .chain(settings)
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect();
        let over = Over {
            facts: ImageFacts {
                digest: format!("git-{number}"),
                lowers,
                entrypoint,
                environment,
                working_dir: Some("/work".into()),
                ..ImageFacts::default()
            },
            ids: Ids {
                uid: 0,
                gid: 0,
                groups: Vec::new(),
                home: Some("/work".into()),
            },
            mounts,
        };
        Ok((over, stubs, agent))
    }

    /// Waits until what git has written is more than the build may have: it lies on the host's disk.
    async fn outgrown(&self) {
        loop {
            tokio::time::sleep(MEASURE_EVERY).await;
            let work = self.place.join("work");
            let measured = self
                .builder
                .waiting("measure a repository", move || Ok(size_of(&work)))
                .await;
            if measured.is_ok_and(|size| size > self.limit.0) {
                return;
            }
        }
    }
}

type Prepared = (
    Vec<MountLaunch>,
    BTreeMap<String, String>,
    Scratch,
    Vec<PathBuf>,
);

/// What git gets beside the machine's programs.
struct Given<'a> {
    /// The socket of an agent.
    agent: Option<&'a Path>,
    /// A file of authorities that the machine is told to trust.
    authorities: Option<&'a Path>,
    /// Keys of servers that who builds knows.
    known_hosts: Option<&'a [u8]>,
}

fn prepare(place: &Path, number: u32, given: &Given<'_>) -> io::Result<Prepared> {
    let work = place.join("work");
    if !work.exists() {
        fs::DirBuilder::new().mode(0o755).create(&work)?;
    }
    let skeleton = place.join(format!("skeleton-{number}"));
    fs::create_dir(&skeleton)?;
    let mut mounts = vec![bind(&work, "/work", false, BindOwners::AsOnHost)];
    let mut targets = vec![("/work".to_owned(), true), ("/tmp".to_owned(), true)];
    for name in PROGRAMS {
        let path = Path::new("/").join(name);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_symlink() {
            symlink(fs::read_link(&path)?, skeleton.join(name))?;
        } else if meta.is_dir() {
            mounts.push(bind(&path, &format!("/{name}"), true, BindOwners::AsOnHost));
            targets.push((format!("/{name}"), true));
        }
    }
    for path in TRUSTED.map(Path::new) {
        if let Ok(meta) = fs::metadata(path) {
            let target = path.display().to_string();
            mounts.push(bind(path, &target, true, BindOwners::AsOnHost));
            targets.push((target, meta.is_dir()));
        }
    }
    let mut named = BTreeMap::new();
    if let Some(file) = given.authorities {
        let target = mounts::AUTHORITIES.to_owned();
        mounts.push(bind(file, &target, true, BindOwners::AsOnHost));
        named.insert("GIT_SSL_CAINFO".to_owned(), target.clone());
        targets.push((target, false));
    }
    if let Some(socket) = given.agent {
        let target = "/run/agent.sock".to_owned();
        mounts.push(bind(socket, &target, false, BindOwners::AsOnHost));
        named.insert("SSH_AUTH_SOCK".to_owned(), target.clone());
        targets.push((target, false));
    }
    // ssh asks who it is.
    fs::create_dir(skeleton.join("etc"))?;
    fs::write(
        skeleton.join("etc/passwd"),
        "root:x:0:0::/work:/bin/false\n",
    )?;
    fs::write(skeleton.join("etc/group"), "root:x:0:\n")?;
    fs::write(
        skeleton.join("etc/known_hosts"),
        given.known_hosts.unwrap_or_default(),
    )?;
    let below = Merged::open([&skeleton])?;
    let stubs = stubs::layer(place.join(format!("stubs-{number}")), &below, &targets)?;
    let lowers = vec![stubs.path().to_owned(), skeleton];
    Ok((mounts, named, stubs, lowers))
}

fn bind(path: &Path, target: &str, read_only: bool, owners: BindOwners) -> MountLaunch {
    MountLaunch {
        source: MountLaunchSource::Bind {
            path: path.to_owned(),
            owners,
        },
        target: target.to_owned(),
        read_only,
    }
}

/// Chooses among what a server lists for a reference, as `git checkout` does: a branch before a tag, a tag by the commit that it means.
fn meant(list: &str, reference: &str) -> Option<Commit> {
    let lines: Vec<(&str, &str)> = list
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(name, _)| is_commit(name))
        .collect();
    let of = |wanted: &str| {
        lines
            .iter()
            .find(|(_, r)| *r == wanted)
            .map(|(name, _)| *name)
    };
    let full = match reference {
        "HEAD" => vec!["HEAD".to_owned()],
        full if full.starts_with("refs/") => vec![full.to_owned()],
        short => ["refs/heads/", "refs/tags/", "refs/"]
            .map(|prefix| format!("{prefix}{short}"))
            .to_vec(),
    };
    full.into_iter().find_map(|full| {
        let name = of(&format!("{full}^{{}}")).or_else(|| of(&full))?;
        Some(Commit {
            name: name.to_owned(),
            wanted: full,
        })
    })
}

/// Takes git's own files away and finds the folder that is meant; nothing if there is none.
fn finish(tree: &Path, subdir: Option<&str>, keep_git_dir: bool) -> io::Result<Option<PathBuf>> {
    if !keep_git_dir {
        fs::remove_dir_all(tree.join(".git"))?;
        forget_modules(tree)?;
    }
    let mut folder = tree.to_owned();
    for part in subdir
        .unwrap_or_default()
        .split('/')
        .filter(|p| !p.is_empty())
    {
        folder.push(part);
        // A link could lead anywhere: what is meant lies in the repository itself.
        match fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Some(folder))
}

/// Removes the files by which submodules point into `.git`; no tree can hold a file of that name.
fn forget_modules(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget_modules(&entry.path())?;
        } else if kind.is_file() && entry.file_name() == ".git" {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    #[test]
    fn a_branch_is_meant_before_a_tag_and_a_tag_by_its_commit() {
        let list = format!(
            "{A}\trefs/heads/x/v1\n{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n{C}\trefs/heads/v2\n{A}\trefs/tags/v2\n"
        );
        let name = |reference| meant(&list, reference).map(|c| (c.name, c.wanted));
        assert_eq!(name("v1"), Some((B.into(), "refs/tags/v1".into())));
        assert_eq!(name("v2"), Some((C.into(), "refs/heads/v2".into())));
        assert_eq!(
            name("refs/tags/v2"),
            Some((A.into(), "refs/tags/v2".into()))
        );
        assert_eq!(name("v3"), None);
        assert_eq!(name("HEAD"), None);
        assert_eq!(meant("nonsense\trefs/heads/v3\n", "v3"), None);
    }
}
