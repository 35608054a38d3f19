//! `daas project <verb>`.

use crate::complain;
use crate::exit;
use crate::project_args::{ProjectArgs, ReadProject};
use crate::shell::{Environment, Shell, environment_verb, shell};
use crate::stop::Stop;
use crate::table::Table;
use crate::talk::Talk;
use clap::{ArgGroup, Args, Subcommand};
use daas_api::{Checked, GrantList, IgnoredView, PlaceView};
use daas_model::{Grant, ProjectName};
use daas_spec::described::{Described, environment};
use daas_spec::nearest;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectVerb {
    /// Tells all faults of the project here.
    Check(ProjectArgs),
    /// Shows the Dockerfile that is made of a described service.
    Dockerfile(Dockerfile),
    /// Builds one image with all that building the project's described services needs, and prints its name.
    Environment(Environment),
    /// Opens a shell in that image, with the project's folder at `/project` and your own user.
    Shell(Shell),
    /// Shows what an administrator granted to a project.
    Grants {
        /// The project.
        #[arg(value_name = "PROJECT")]
        project: ProjectName,
    },
    /// Grants something of the host to a project.
    Grant(Grants),
    /// Takes grants away from a project.
    Revoke(Revoke),
}

/// Which service of which project.
#[derive(Debug, Args)]
pub(crate) struct Dockerfile {
    /// The service; the only described one if it is left out.
    #[arg(value_name = "SERVICE", conflicts_with = "environment")]
    service: Option<String>,
    /// The project's build environment instead: everything that building its described services needs.
    #[arg(long)]
    environment: bool,
    #[command(flatten)]
    project: ProjectArgs,
}

/// Which project, which grants.
#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// The project.
    #[arg(value_name = "PROJECT")]
    project: ProjectName,
    /// `privileged`, `unconfined`, `capability:NET_ADMIN`, `host-path:/srv/data`, `device:/dev/ttyUSB0`, `sysctl:NAME`, `host-namespace:network`.
    #[arg(value_name = "GRANT", required = true, value_parser = |text: &str| Grant::parse(text))]
    grants: Vec<Grant>,
}

/// Which project, which grants or all.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(crate) struct Revoke {
    /// The project.
    #[arg(value_name = "PROJECT")]
    project: ProjectName,
    /// The grants.
    #[arg(value_name = "GRANT", group = "what", value_parser = |text: &str| Grant::parse(text))]
    grants: Vec<Grant>,
    /// All of them.
    #[arg(long, group = "what")]
    all: bool,
}

pub(crate) async fn run(verb: ProjectVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        ProjectVerb::Check(args) => check(&args, talk).await,
        ProjectVerb::Dockerfile(wanted) => dockerfile(&wanted, talk),
        ProjectVerb::Environment(wanted) => environment_verb(&wanted, talk).await,
        ProjectVerb::Shell(wanted) => shell(wanted, talk).await,
        ProjectVerb::Grants { project } => {
            let grants = talk.client.grants(&project).await?;
            show(&grants, talk)
        }
        ProjectVerb::Grant(wanted) => {
            let mut grants = talk.client.grants(&wanted.project).await?;
            grants.grants.extend(wanted.grants);
            show(&talk.client.set_grants(&grants).await?, talk)
        }
        ProjectVerb::Revoke(wanted) if wanted.all => {
            show(&talk.client.clear_grants(&wanted.project).await?, talk)
        }
        ProjectVerb::Revoke(wanted) => {
            let mut grants = talk.client.grants(&wanted.project).await?;
            grants.grants.retain(|grant| !wanted.grants.contains(grant));
            show(&talk.client.set_grants(&grants).await?, talk)
        }
    }
}

fn show(grants: &GrantList, talk: &Talk) -> Result<(), Stop> {
    talk.show(grants, || {
        let mut table = Table::new(&["PROJECT", "GRANT"]);
        for grant in &grants.grants {
            table.row([grants.project.to_string(), grant.to_string()]);
        }
        table
    })?;
    if grants.grants.is_empty() && !talk.json {
        talk.say(format!(
            "nothing is granted to project `{}`",
            grants.project
        ));
    }
    Ok(())
}

/// Checks here, and by the daemon if it answers: it knows what was granted.
async fn check(args: &ProjectArgs, talk: &Talk) -> Result<(), Stop> {
    let read = args.read()?;
    let checked = match talk.client.check(&read.source).await {
        Ok(checked) => checked,
        Err(failure) if ["daemon-unreachable", "daemon-lost"].contains(&failure.code()) => {
            here(&read)
        }
        Err(failure) => return Err(failure.into()),
    };
    if talk.json {
        talk.json(&checked)?;
    } else {
        talk.data(complain::diagnostics(&checked.diagnostics, talk.paint))?;
        let project = checked.project.as_ref().map_or_else(
            || "the project".to_owned(),
            |name| format!("project `{name}`"),
        );
        talk.say(format!(
            "{project}: {}",
            complain::count(&checked.diagnostics)
        ));
    }
    if checked.valid {
        Ok(())
    } else {
        Err(Stop::Said(exit::INPUT))
    }
}

/// Prints what a description becomes; faults of other services are told and stand not in the way.
fn dockerfile(wanted: &Dockerfile, talk: &Talk) -> Result<(), Stop> {
    let read = wanted.project.read()?;
    let all = &read.outcome.described;
    let text = if wanted.environment {
        environment(all).map(|(text, _)| text)
    } else {
        match (&wanted.service, all.as_slice()) {
            (None, [only]) => Some(only.dockerfile()),
            (None, _) => None,
            (Some(name), _) => all
                .iter()
                .find(|d| d.service == *name)
                .map(Described::dockerfile),
        }
    };
    if let Some(text) = text {
        return if talk.json {
            talk.json(&serde_json::json!({ "dockerfile": text }))
        } else {
            talk.data(text)
        };
    }
    // With no description at all, a fault may be the reason.
    if all.is_empty() && read.outcome.has_errors() {
        wanted.project.read_or_complain(talk)?;
    }
    let names: Vec<&str> = all.iter().map(|d| d.service.as_str()).collect();
    let failure = match (&wanted.service, names.as_slice()) {
        (_, []) => Stop::input("described-none", "no service of the project is described").hint(
            "write for example `x-daas: {base: debian:bookworm, packages: [nginx]}` into a service",
        ),
        (None, _) => Stop::input("described-several", "several services are described")
            .hint(format!("name one of {}", names.join(", "))),
        (Some(name), _) => Stop::input(
            "described-unknown",
            format!("service `{}` is not described", name.escape_debug()),
        )
        .hint(match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("described are {}", names.join(", ")),
        }),
    };
    Err(failure.into())
}

fn here(read: &ReadProject) -> Checked {
    let outcome = &read.outcome;
    let ignored = outcome.ignored.iter().map(|i| IgnoredView {
        severity: i.severity,
        key: i.key.clone(),
        why: i.why.clone(),
        place: PlaceView::from(&i.place),
    });
    Checked {
        project: outcome.project.clone(),
        valid: !outcome.has_errors(),
        diagnostics: outcome.diagnostics.iter().map(Into::into).collect(),
        ignored: ignored.collect(),
    }
}
