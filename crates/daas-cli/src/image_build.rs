//! `daas image build`.

use crate::pack::{Part, Spoiled, pack_parts};
use crate::progress;
use crate::stop::Stop;
use crate::talk::Talk;
use clap::{Args, ValueEnum};
use daas_api::{Accepted, BuildRequest, BytesText, LimitsSource, Operation, OperationState};
use daas_model::{ByteSize, Cpus, Egress, ImageName, ProjectName, Ulimit, visible};
use daas_spec::dockerfile::{Ignore, Remote};
use daas_tasks::Supervisor;
use futures_util::TryStreamExt;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What is built, and of what.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The context: a folder, the address of a git repository, an archive or a Dockerfile, or `-` for an archive or a Dockerfile from
    /// standard input.
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: String,
    /// The Dockerfile [default: `Dockerfile` in the context]; `-` is standard input. Of a context that is no folder, a file in it.
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// A name of the image.
    #[arg(short, long = "tag", value_name = "IMAGE", value_parser = image_name)]
    tags: Vec<ImageName>,
    /// A value of `ARG`, `NAME=value`; without a value, the variable of that name here.
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    args: Vec<String>,
    /// The stage that becomes the image [default: the last].
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// A label of the image, `name=value`.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// A secret for commands that ask for it: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`.
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// The socket of an SSH agent on the daemon's host: `default` or `NAME=SOCKET`.
    #[arg(long = "ssh", value_name = "AGENT")]
    ssh: Vec<String>,
    /// A further context: `NAME=FOLDER`, `NAME=docker-image://IMAGE`, or `NAME=ADDRESS` of a repository or an archive.
    #[arg(long = "build-context", value_name = "NAME=PLACE", value_parser = pair)]
    contexts: Vec<(String, String)>,
    /// Makes every step anew.
    #[arg(long)]
    no_cache: bool,
    /// Compares base images with their registries.
    #[arg(long)]
    pull: bool,
    /// The network of commands: default, none, or by a grant of the project host.
    #[arg(
        long,
        value_name = "NETWORK",
        default_value = "default",
        hide_default_value = true,
        hide_possible_values = true
    )]
    network: Network,
    /// The way out of commands that have a network: none, proxy or full.
    #[arg(long, value_name = "WAY", value_parser = egress)]
    egress: Option<Egress>,
    /// The platform: only the daemon's own.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// A line for `/etc/hosts` of commands, `name:address`.
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = host)]
    hosts: Vec<(String, IpAddr)>,
    /// The size of `/dev/shm` of commands.
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| ByteSize::parse(text))]
    shm_size: Option<ByteSize>,
    /// A resource limit of commands, `NAME=SOFT:HARD` or `NAME=N`, `nofile=1024:4096`.
    #[arg(long = "ulimit", value_name = "LIMIT", value_parser = ulimit)]
    ulimits: Vec<(String, Ulimit)>,
    /// The CPUs of all commands together.
    #[arg(long, value_name = "N", value_parser = |text: &str| Cpus::parse(text))]
    cpus: Option<Cpus>,
    /// The memory of all commands together.
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| ByteSize::parse(text))]
    memory: Option<ByteSize>,
    /// The processes and threads of all commands together.
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// The disk of all commands together.
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| ByteSize::parse(text))]
    disk: Option<ByteSize>,
    /// Whose steps and caches are shared.
    #[arg(short, long, value_name = "NAME", value_parser = |text: &str| ProjectName::parse(text))]
    project: Option<ProjectName>,
    /// How the build is shown: plain tells every line, quiet none.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_default_value = true
    )]
    progress: Shown,
}

/// What commands are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// A network of the build's own.
    Default,
    /// Nothing.
    None,
    /// The network of the host.
    Host,
}

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// As `plain`.
    Auto,
    /// Every line.
    Plain,
    /// As `plain`.
    Tty,
    /// Nothing.
    Quiet,
}

fn image_name(text: &str) -> Result<ImageName, String> {
    ImageName::parse(text).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{}` holds no `=`", text.escape_debug()))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn host(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once([':', '=']).ok_or("write `name:address`")?;
    let address = address.trim_matches(['[', ']']);
    let address = address
        .parse()
        .map_err(|_| format!("`{}` is no address", address.escape_debug()))?;
    Ok((name.to_owned(), address))
}

/// Reads `name=soft:hard` or `name=both`; -1 is no limit.
fn ulimit(text: &str) -> Result<(String, Ulimit), String> {
    let (name, numbers) = text
        .split_once('=')
        .ok_or("write `name=soft:hard`, for example `nofile=1024:4096`")?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text
            .parse::<u64>()
            .map_err(|_| format!("`{}` is no number", text.escape_debug())),
    };
    let (soft, hard) = numbers.split_once(':').unwrap_or((numbers, numbers));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err("the soft limit is above the hard one".into());
    }
    Ok((name.to_owned(), Ulimit { soft, hard }))
}

fn egress(text: &str) -> Result<Egress, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| "write `none`, `proxy` or `full`".into())
}

/// A build that is ready to be sent.
pub(crate) struct Ready {
    pub(crate) request: BuildRequest,
    pub(crate) files: FilesOf,
}

/// Where the files of a build come from.
pub(crate) enum FilesOf {
    /// Folders here, packed with the names of their parts.
    Folders(Vec<Part>),
    /// Standard input, as it is.
    Input,
}

pub(crate) async fn run(build: Build, talk: &Talk) -> Result<(), Stop> {
    let shown = build.progress;
    let ready = build.ready()?;
    let operation = carry_out(ready, shown != Shown::Quiet, talk).await?;
    if talk.json {
        talk.json(&operation)?;
    } else if let Some(digest) = &operation.digest {
        talk.data(format!("{digest}\n"))?;
    }
    progress::verdict(&[operation])
}

/// Sends a build, shows what it writes, and returns how it ended.
pub(crate) async fn carry_out(ready: Ready, show: bool, talk: &Talk) -> Result<Operation, Stop> {
    let tasks = Supervisor::new();
    let (files, spoiled) = match ready.files {
        FilesOf::Folders(parts) => pack_parts(&tasks, parts),
        FilesOf::Input => (crate::image::flow(tokio::io::stdin()), Spoiled::default()),
    };
    let accepted = talk.client.build_image(&ready.request, files).await;
    let accepted = accepted.map_err(|failure| match spoiled.get() {
        Some(own) => own.clone(),
        None => failure,
    })?;
    watch(&accepted, show, talk).await
}

/// Shows the log of an operation, and returns how it ended.
pub(crate) async fn watch(accepted: &Accepted, show: bool, talk: &Talk) -> Result<Operation, Stop> {
    let Some(started) = accepted.operations.first() else {
        return Err(Stop::input("build-strange", "the daemon began no build").into());
    };
    if show {
        let mut log = talk.client.build_log(&started.operation).await?;
        let mut open = Vec::new();
        while let Some(piece) = log.try_next().await? {
            open.extend_from_slice(&piece);
            while let Some(end) = open.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = open.drain(..=end).collect();
                talk.say(visible(String::from_utf8_lossy(&line).trim_end()));
            }
        }
        if !open.is_empty() {
            talk.say(visible(&String::from_utf8_lossy(&open)));
        }
    }
    let mut flow = talk.client.follow_operation(&started.operation).await?;
    let mut last = None;
    while let Some(operation) = flow.try_next().await? {
        let over = operation.state != OperationState::Running;
        last = Some(operation);
        if over {
            break;
        }
    }
    last.ok_or_else(|| Stop::input("build-lost", "the daemon forgot the build").into())
}

impl Build {
    fn ready(self) -> Result<Ready, Stop> {
        let place = Place::of(&self.context)?;
        if let Place::Folder(folder) = &place {
            check_folder(folder, "context")?;
        }
        let (dockerfile, file) = self.dockerfile(&place)?;
        let mut parts = Vec::new();
        if let Place::Folder(folder) = &place {
            parts.push(Part {
                folder: folder.clone(),
                name: "context".into(),
                ignore: ignore_of(folder, &file)?,
            });
        }
        let (mut images, mut remotes) = (BTreeMap::new(), BTreeMap::new());
        for (name, place) in &self.contexts {
            match Further::of(name, place)? {
                Further::Image(image) => drop(images.insert(name.clone(), image)),
                Further::Far(address) => drop(remotes.insert(name.clone(), address)),
                Further::Folder(part) => parts.push(part),
            }
        }
        let (context, files) = match place {
            Place::Folder(_) => (None, FilesOf::Folders(parts)),
            Place::Far(address) => (Some(address), FilesOf::Folders(parts)),
            Place::Input if parts.is_empty() => (Some("-".to_owned()), FilesOf::Input),
            Place::Input => {
                return Err(Stop::input(
                    "context-twice",
                    "a context from standard input is all that is sent, so no further context can be a folder",
                )
                .hint("give it as an image or an address, or unpack the archive and name its folder")
                .into());
            }
        };
        let request = BuildRequest {
            dockerfile,
            context,
            remotes,
            file: Some(file),
            project: self.project,
            names: self.tags,
            args: self.args.iter().filter_map(|text| argument(text)).collect(),
            target: self.target,
            labels: self.labels.into_iter().collect(),
            secrets: self
                .secrets
                .iter()
                .map(|text| secret(text))
                .collect::<Result<_, _>>()?,
            ssh: self
                .ssh
                .iter()
                .map(|text| agent(text))
                .collect::<Result<_, _>>()?,
            images,
            no_cache: self.no_cache,
            pull: self.pull,
            no_network: self.network == Network::None,
            host_network: self.network == Network::Host,
            egress: self.egress,
            limits: LimitsSource {
                cpus_milli: self.cpus,
                memory_bytes: self.memory,
                pids: self.pids,
                disk_bytes: self.disk,
            },
            platform: self.platform,
            extra_hosts: self.hosts.into_iter().fold(
                BTreeMap::new(),
                |mut all: BTreeMap<String, Vec<IpAddr>>, (name, address)| {
                    all.entry(name).or_default().push(address);
                    all
                },
            ),
            shm_size: self.shm_size,
            ulimits: self.ulimits.into_iter().collect(),
        };
        Ok(Ready { request, files })
    }

    /// Returns the Dockerfile and its name for people; no text if the context has it, wherever that is.
    fn dockerfile(&self, place: &Place) -> Result<(String, String), Stop> {
        match (&self.file, place) {
            (Some(file), Place::Input) if file == "-" => Err(Stop::input(
                "stdin-twice",
                "standard input cannot be the context and the Dockerfile",
            )
            .hint("name one of them")
            .into()),
            (Some(file), _) if file == "-" => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .map_err(Stop::io("read", "standard input"))?;
                Ok((lossy(bytes), "Dockerfile".into()))
            }
            (Some(file), Place::Folder(folder)) => {
                let inside = folder.join(file);
                read_dockerfile(Path::new(file), folder).map_err(|stop| {
                    // As with Docker it is looked for where one is, and many a one looks for it in the context.
                    if !Path::new(file).exists() && inside.is_file() {
                        return stop.hint(format!("there is `--file {}`", visible(&inside.display().to_string())));
                    }
                    stop
                })
            }
            (None, Place::Folder(folder)) => read_dockerfile(&folder.join("Dockerfile"), folder)
                .map_err(|stop| {
                    stop.hint("`--file` names another Dockerfile, `daas project dockerfile` makes one of a description")
                }),
            (file, Place::Far(_) | Place::Input) => {
                let file = file.clone().unwrap_or_else(|| "Dockerfile".into());
                Ok((String::new(), file))
            }
        }
    }
}

/// A further context.
enum Further {
    Image(ImageName),
    /// Fetched by the daemon.
    Far(String),
    Folder(Part),
}

impl Further {
    fn of(name: &str, place: &str) -> Result<Self, Stop> {
        let bad = |code, why: String, hint: String| Err(Stop::input(code, why).hint(hint).into());
        let shown = visible(name);
        if name.is_empty() {
            let why = "a further context has no name".to_owned();
            return bad(
                "context-name",
                why,
                "write `--build-context NAME=PLACE`".into(),
            );
        }
        if let Some(image) = place.strip_prefix("docker-image://") {
            let image = image_name(image).map_err(|why| Stop::input("image-name", why))?;
            return Ok(Self::Image(image));
        }
        if let Some(layout) = place.strip_prefix("oci-layout://") {
            let why = format!("the context `{shown}` cannot be a folder of images");
            let hint = format!(
                "load it first, `daas image load {}`, and write `docker-image://IMAGE`",
                visible(layout)
            );
            return bad("context-place", why, hint);
        }
        if Remote::is_remote(place) {
            return Ok(Self::Far(place.to_owned()));
        }
        if name.contains('/') || name.starts_with('.') {
            let why = format!("a folder cannot be the context `{shown}`");
            let hint = "its name must be one without `/`; an image may stand for any name";
            return bad("context-name", why, hint.into());
        }
        let folder = PathBuf::from(place);
        check_folder(&folder, &format!("context `{shown}`"))?;
        Ok(Self::Folder(Part {
            ignore: ignore_of(&folder, "")?,
            folder,
            name: format!("contexts/{name}"),
        }))
    }
}

/// Where a context is.
enum Place {
    Folder(PathBuf),
    /// Fetched by the daemon.
    Far(String),
    /// Standard input.
    Input,
}

impl Place {
    fn of(text: &str) -> Result<Self, Stop> {
        if text == "-" {
            return Ok(Self::Input);
        }
        match Remote::parse(text) {
            Ok(Some(_)) => Ok(Self::Far(text.to_owned())),
            Ok(None) => Ok(Self::Folder(PathBuf::from(text))),
            Err(fault) => Err(Stop::input(
                "context-address",
                format!("cannot use the context `{}`: {fault}", text.escape_debug()),
            )
            .into()),
        }
    }
}

/// Asserts that a folder of a build is one.
fn check_folder(folder: &Path, what: &str) -> Result<(), Stop> {
    let place = visible(&folder.display().to_string());
    let found = std::fs::metadata(folder);
    let found = found.map_err(Stop::io(&format!("read the {what}"), &place))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(Stop::input("context-place", format!("the {what} `{place}` is no folder"))
        .hint("a context is a folder, the address of a repository or of an archive, or `-` for an archive from standard input; `--file` names a Dockerfile")
        .into())
}

/// Reads a Dockerfile; its name is below the context if it lies there.
pub(crate) fn read_dockerfile(path: &Path, context: &Path) -> Result<(String, String), Stop> {
    let bytes = std::fs::read(path).map_err(Stop::io("read", path.display()))?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (whole, root) = (real(path), real(context));
    let name = whole
        .strip_prefix(&root)
        .map_or_else(|_| path.display().to_string(), |p| p.display().to_string());
    Ok((lossy(bytes), name))
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Reads what a context leaves out: the Dockerfile's own list, or the context's.
pub(crate) fn ignore_of(context: &Path, dockerfile: &str) -> Result<Ignore, Stop> {
    let own = context.join(format!("{dockerfile}.dockerignore"));
    let path = if !dockerfile.is_empty() && own.is_file() {
        own
    } else {
        context.join(".dockerignore")
    };
    match std::fs::read(&path) {
        Ok(list) => Ignore::read(&list).map_err(|e| {
            Stop::input(
                "dockerignore",
                format!("cannot use `{}`: {e}", path.display()),
            )
            .into()
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Ignore::default()),
        Err(e) => Err(Stop::io("read", path.display())(e)),
    }
}

/// Reads `NAME=value`; a name alone takes the variable of this process, if it has one.
fn argument(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.to_owned(), std::env::var(text).ok()?)),
    }
}

/// Reads `id=NAME,src=FILE`, `id=NAME,env=VARIABLE`, or `id=NAME` alone: the variable or file of that name.
fn secret(text: &str) -> Result<(String, BytesText), Stop> {
    let bad = |why: String| {
        Stop::input("secret-syntax", why).hint("write `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`")
    };
    let (mut id, mut file, mut env) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
            Some(("env", value)) => env = Some(value.to_owned()),
            Some(("type", "file" | "env")) => {}
            _ => {
                return Err(bad(format!(
                    "cannot read `{}` of a secret",
                    field.escape_debug()
                ))
                .into());
            }
        }
    }
    let id = id
        .or_else(|| Some(file.as_ref()?.file_name()?.to_str()?.to_owned()))
        .ok_or_else(|| bad("a secret needs an `id`".into()))?;
    if file.is_none() {
        let name = env.clone().unwrap_or_else(|| id.clone());
        match std::env::var_os(&name) {
            Some(value) => {
                return Ok((
                    id,
                    BytesText(std::os::unix::ffi::OsStringExt::into_vec(value)),
                ));
            }
            None if env.is_some() => {
                return Err(bad(format!("there is no variable `{}`", name.escape_debug())).into());
            }
            None => file = Some(PathBuf::from(&id)),
        }
    }
    let path = file.unwrap_or_default();
    let content = std::fs::read(&path).map_err(Stop::io("read the secret", path.display()))?;
    Ok((id, BytesText(content)))
}

/// Reads `default` or `NAME=SOCKET`.
pub(crate) fn agent(text: &str) -> Result<(String, String), Stop> {
    match text.split_once('=') {
        Some((id, socket)) => Ok((id.to_owned(), socket.to_owned())),
        None => match std::env::var("SSH_AUTH_SOCK") {
            Ok(socket) => Ok((text.to_owned(), socket)),
            Err(_) => Err(Stop::input("ssh-agent", "there is no SSH agent here")
                .hint("start one, or name its socket: `--ssh default=/run/agent.sock`")
                .into()),
        },
    }
}
