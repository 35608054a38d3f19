//! `daas project environment` and `daas project shell`: one image with all that building a project's services needs, and a
//! developer's shell in it.

use crate::image_build::{FilesOf, Ready, carry_out};
use crate::progress;
use crate::project_args::ProjectArgs;
use crate::stand::{build, exec};
use crate::stop::Stop;
use crate::talk::Talk;
use clap::Args;
use daas_api::{
    BuildRequest, BuildWish, BytesText, DownQuery, ExecRequest, OperationState, ProjectSource,
    UpOptions, UpRequest,
};
use daas_model::{Egress, ImageName, NodeName, Span, StandKind, StandName};
use daas_spec::Outcome;
use daas_spec::described::{environment, environment_name};
use std::collections::BTreeMap;

/// Where the project's folder is in the shell.
const FOLDER: &str = "/project";
/// The user of the shell, who has the caller's number.
const USER: &str = "dev";
/// A shell that was left by a crash of this side goes after this time.
const LONGEST: Span = Span::secs(24 * 3600);
/// The most that a user's number may be: what a stand has.
const MOST_ID: u32 = 65_535;

/// Which project.
#[derive(Debug, Args)]
pub(crate) struct Environment {
    #[command(flatten)]
    project: ProjectArgs,
}

/// Which project, and what is run.
#[derive(Debug, Args)]
pub(crate) struct Shell {
    #[command(flatten)]
    project: ProjectArgs,
    /// Runs it as root of the node, to install something for this once.
    #[arg(long)]
    root: bool,
    /// The program and its arguments [default: bash].
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

/// Builds the image and prints its name.
pub(crate) async fn environment_verb(wanted: &Environment, talk: &Talk) -> Result<(), Stop> {
    let read = wanted.project.read_or_complain(talk)?;
    let image = image(&read.outcome, talk).await?;
    if talk.json {
        talk.json(&serde_json::json!({ "image": image }))
    } else {
        talk.data(format!("{}\n", image.familiar()))
    }
}

/// Runs a program in a stand of its own, and takes that down behind it.
pub(crate) async fn shell(wanted: Shell, talk: &Talk) -> Result<(), Stop> {
    let read = wanted.project.read_or_complain(talk)?;
    let image = image(&read.outcome, talk).await?;
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if uid.max(gid) > MOST_ID {
        return Err(Stop::input(
            "shell-user",
            format!("cannot run as user {uid}: a stand has users up to {MOST_ID}"),
        )
        .into());
    }
    let project = read
        .outcome
        .project
        .as_ref()
        .map_or("project", |p| p.as_str());
    let name = StandName::parse(&format!("{project:.40}-shell-{}", std::process::id()))
        .map_err(|e| Stop::input("stand-name", e.to_string()))?;
    let egress = read.outcome.spec.as_ref().map(|spec| spec.egress);
    let source = ProjectSource {
        project_name: read.outcome.project.as_ref().map(ToString::to_string),
        ..source(&read.source, &image, egress)
    };
    let ended = in_stand(&wanted, &name, source, (uid, gid), talk).await;
    // Whatever became of it, nothing is left.
    let down = talk.client.down(&name, &DownQuery::default(), None).await;
    if let (Ok(()), Err(failure)) = (&ended, down) {
        return Err(failure.into());
    }
    ended
}

async fn in_stand(
    wanted: &Shell,
    name: &StandName,
    project: ProjectSource,
    (uid, gid): (u32, u32),
    talk: &Talk,
) -> Result<(), Stop> {
    let request = UpRequest {
        name: Some(name.clone()),
        count: None,
        project,
        options: UpOptions {
            build: BuildWish::Never,
            ..UpOptions::default()
        },
    };
    let accepted = talk.client.up(&request, None).await?;
    let operations = progress::follow(&talk.silent(), &accepted).await?;
    if operations.iter().any(|o| o.state != OperationState::Done) {
        return progress::verdict(&operations);
    }
    let node = NodeName::parse("shell").expect("a literal that matches the grammar");
    let as_root = wanted.root || uid == 0;
    if !as_root {
        make_user(name, &node, (uid, gid), talk).await?;
    }
    let home = if as_root { "/root" } else { "/home/dev" };
    let mut environment: BTreeMap<String, String> = [
        ("HOME", home),
        ("USER", if as_root { "root" } else { USER }),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    for key in ["TERM", "COLORTERM", "LANG"] {
        environment.extend(std::env::var(key).ok().map(|value| (key.to_owned(), value)));
    }
    let command = if wanted.command.is_empty() {
        // rules: shell here: a person's own, with a terminal and without a text to read
        vec!["/bin/bash".to_owned()]
    } else {
        wanted.command.clone()
    };
    let request = ExecRequest {
        command,
        user: Some(if as_root {
            "0:0".to_owned()
        } else {
            format!("{uid}:{gid}")
        }),
        working_dir: Some(FOLDER.to_owned()),
        environment,
        tty: talk.terminal.in_is_terminal,
        stdin: true,
        size: None,
    };
    exec::session(name, &node, request, talk).await
}

/// Gives the caller's numbers names inside, and a home: programs ask for them.
async fn make_user(
    stand: &StandName,
    node: &NodeName,
    (uid, gid): (u32, u32),
    talk: &Talk,
) -> Result<(), Stop> {
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let group = ["/usr/sbin/groupadd", "--non-unique", "--gid", &gid, USER];
    let user = [
        "/usr/sbin/useradd",
        "--non-unique",
        "--uid",
        &uid,
        "--gid",
        &gid,
        "--create-home",
        "--shell",
        // rules: shell here: the name of a file in passwd(5)
        "/bin/bash",
        USER,
    ];
    for words in [&group[..], &user[..]] {
        let request = ExecRequest {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            user: Some("0:0".to_owned()),
            ..ExecRequest::default()
        };
        exec::session(stand, node, request, &talk.silent()).await?;
    }
    Ok(())
}

/// Builds the project's environment, or finds it in the cache.
async fn image(outcome: &Outcome, talk: &Talk) -> Result<ImageName, Stop> {
    let Some((dockerfile, stages)) = environment(&outcome.described) else {
        return Err(Stop::input(
            "environment-none",
            "no service of the project is described on Debian or Ubuntu",
        )
        .hint("write for example `x-daas: {base: debian:bookworm, build_packages: [gcc]}` into a service")
        .into());
    };
    let nameless = || Stop::input("project-name", "the project has no name");
    let project = outcome.project.as_ref().ok_or_else(nameless)?;
    let name = environment_name(project).map_err(|e| Stop::input("image-name", e.to_string()))?;
    let mut images = BTreeMap::new();
    for (stage, packages) in stages {
        images.insert(stage, build::packages_image(&packages, talk).await?);
    }
    let request = BuildRequest {
        dockerfile,
        project: outcome.project.clone(),
        names: vec![name.clone()],
        images,
        ..BuildRequest::default()
    };
    let ready = Ready {
        request,
        files: FilesOf::Folders(Vec::new()),
    };
    progress::verdict(&[carry_out(ready, false, talk).await?])?;
    Ok(name)
}

/// Describes the stand of a shell: one node that waits, and the project's folder in it.
fn source(of: &ProjectSource, image: &ImageName, egress: Option<Egress>) -> ProjectSource {
    let path = format!("{}/compose.shell.yaml", of.dir.trim_end_matches('/'));
    let text = serde_json::json!({
        "services": {
            "shell": {
                "image": image.familiar(),
                "command": ["sleep", "infinity"],
                "init": true,
                "pull_policy": "never",
                "volumes": [{"type": "bind", "source": of.dir.replace('$', "$$"), "target": FOLDER}],
            }
        }
    });
    ProjectSource {
        dir: of.dir.clone(),
        contents: [(path.clone(), BytesText(text.to_string().into_bytes()))].into(),
        files: vec![path],
        project_name: of.project_name.clone(),
        profiles: Vec::new(),
        env: BTreeMap::new(),
        env_files: Vec::new(),
        scale: BTreeMap::new(),
        kind: StandKind::Job,
        limits: of.limits,
        egress,
        ttl: Some(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_of_a_shell_is_a_project_without_faults() {
        let of = ProjectSource {
            dir: "/srv/it's $HOME".to_owned(),
            ..ProjectSource::default()
        };
        let image = ImageName::parse("daas-environment/shop").unwrap();
        let made = source(&of, &image, Some(Egress::Proxy));
        let files: BTreeMap<String, Vec<u8>> = made
            .contents
            .iter()
            .map(|(path, text)| (path.clone(), text.0.clone()))
            .collect();
        let request = daas_spec::ProjectRequest {
            dir: made.dir.clone(),
            files: made.files.clone(),
            project_name: Some("shop".to_owned()),
            ..daas_spec::ProjectRequest::default()
        };
        let outcome = daas_spec::read_project(&files, &request);
        assert!(outcome.diagnostics.is_empty(), "{:?}", outcome.diagnostics);
        let node = &outcome.spec.unwrap().nodes["shell"];
        assert_eq!(node.mounts.len(), 1);
        let daas_model::MountSource::Bind { path, .. } = &node.mounts[0].source else {
            unreachable!()
        };
        assert_eq!(path, "/srv/it's $HOME");
    }
}
