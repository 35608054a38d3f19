//! Images of a project's services are built before its stands come up.

use crate::image_build::{FilesOf, Ready, carry_out, ignore_of, read_dockerfile};
use crate::pack::Part;
use crate::progress;
use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::{BuildRequest, BytesText, Failure, MakeRequest};
use daas_model::{ImageName, Kind};
use daas_spec::described::PackagesImage;
use daas_spec::{Outcome, ServiceBuild};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Builds what the store does not have, or everything if it is `asked` for. What another build begins with comes first.
pub(crate) async fn build_missing(outcome: &Outcome, asked: bool, talk: &Talk) -> Result<(), Stop> {
    let builds = outcome.builds.as_slice();
    let mut left: Vec<&ServiceBuild> = builds.iter().collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while !left.is_empty() {
        let waits = |build: &ServiceBuild| {
            services_of(build).any(|s| !done.contains(s) && builds.iter().any(|b| b.service == s))
        };
        let Some(at) = left.iter().position(|build| !waits(build)) else {
            return Err(Stop::input(
                "build-cycle",
                "services are built from each other's images in a circle",
            )
            .hint("look at `additional_contexts`")
            .into());
        };
        let build = left.remove(at);
        if asked || build.always || is_missing(&build.image, talk).await? {
            one(outcome, build, talk).await?;
        }
        done.insert(&build.service);
    }
    Ok(())
}

/// The services whose images a build begins with.
fn services_of(build: &ServiceBuild) -> impl Iterator<Item = &str> {
    build
        .additional_contexts
        .values()
        .filter_map(|place| place.strip_prefix("service:"))
}

async fn is_missing(image: &ImageName, talk: &Talk) -> Result<bool, Stop> {
    match talk.client.image(image).await {
        Ok(_) => Ok(false),
        Err(failure) if failure.kind() == Kind::NotFound => Ok(true),
        Err(failure) => Err(failure.into()),
    }
}

async fn one(outcome: &Outcome, build: &ServiceBuild, talk: &Talk) -> Result<(), Stop> {
    talk.say(format!(
        "building `{}` for service `{}`",
        build.image.familiar(),
        build.service
    ));
    let context = Path::new(&build.context);
    let (dockerfile, file) = match &build.dockerfile_inline {
        Some(text) => (text.clone(), "Dockerfile".to_owned()),
        None if build.far_context().is_some() => {
            let name = build.dockerfile.as_deref().unwrap_or("Dockerfile");
            (String::new(), name.to_owned())
        }
        None => {
            let name = build.dockerfile.as_deref().unwrap_or("Dockerfile");
            read_dockerfile(&context.join(name), context)?
        }
    };
    let mut parts = Vec::new();
    if !build.bare && build.far_context().is_none() {
        parts.push(Part {
            folder: context.to_owned(),
            name: "context".into(),
            ignore: ignore_of(context, &file)?,
        });
    }
    let mut images = BTreeMap::new();
    let remotes = build.far_contexts();
    for (name, place) in &build.additional_contexts {
        if remotes.contains_key(name) {
            continue;
        }
        match image_of(place, &outcome.builds, talk).await? {
            Some(image) => {
                images.insert(name.clone(), image);
            }
            None => parts.push(Part {
                folder: place.into(),
                name: format!("contexts/{name}"),
                ignore: ignore_of(Path::new(place), "")?,
            }),
        }
    }
    let request = BuildRequest {
        dockerfile,
        context: build.far_context().map(str::to_owned),
        remotes,
        file: Some(file),
        project: outcome.project.clone(),
        names: std::iter::once(build.image.clone())
            .chain(build.tags.iter().cloned())
            .collect(),
        args: build
            .args
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect(),
        target: build.target.clone(),
        labels: build.labels.clone(),
        secrets: secrets(build)?,
        ssh: agents(build)?,
        images,
        no_cache: build.no_cache,
        pull: build.pull,
        no_network: build.network.as_deref() == Some("none"),
        host_network: build.network.as_deref() == Some("host"),
        platform: build.platforms.first().cloned(),
        egress: outcome.spec.as_ref().map(|spec| spec.egress),
        shm_size: build.shm_size,
        extra_hosts: build.extra_hosts.clone(),
        ulimits: build.ulimits.clone(),
        ..BuildRequest::default()
    };
    let files = FilesOf::Folders(parts);
    let operation = carry_out(Ready { request, files }, true, talk).await?;
    progress::verdict(&[operation])
}

/// Returns the image that a further context is; nothing for a folder.
async fn image_of(
    place: &str,
    builds: &[ServiceBuild],
    talk: &Talk,
) -> Result<Option<ImageName>, Stop> {
    let name = |text: &str| {
        ImageName::parse(text).map_err(|e| Stop::from(Stop::input("image-name", e.to_string())))
    };
    if let Some(image) = place.strip_prefix("docker-image://") {
        return name(image).map(Some);
    }
    if let Some(service) = place.strip_prefix("service:") {
        let of = builds.iter().find(|b| b.service == service);
        return match of {
            Some(build) => Ok(Some(build.image.clone())),
            None => Err(Stop::input(
                "build-service",
                format!("service `{}` has no `build`", service.escape_debug()),
            )
            .into()),
        };
    }
    let Some(packages) = PackagesImage::parse(place) else {
        return Ok(None);
    };
    packages_image(&packages, talk).await.map(Some)
}

/// Returns an image of distribution packages; made once, and found again by its packages.
pub(crate) async fn packages_image(
    packages: &PackagesImage,
    talk: &Talk,
) -> Result<ImageName, Stop> {
    let image = packages
        .image_name()
        .map_err(|e| Failure::new("packages-image", Kind::Input, e.to_string()))?;
    if is_missing(&image, talk).await? {
        talk.say(format!("making `{}` from packages", image.familiar()));
        let request = MakeRequest {
            base: packages.base.clone(),
            name: Some(image.clone()),
            packages: packages.packages.clone(),
            ..MakeRequest::default()
        };
        let accepted = talk.client.make_image(&request).await?;
        progress::verdict(&progress::follow(talk, &accepted).await?)?;
    }
    Ok(image)
}

fn secrets(build: &ServiceBuild) -> Result<BTreeMap<String, BytesText>, Stop> {
    let mut found = BTreeMap::new();
    for secret in &build.secrets {
        let content = match (&secret.file, &secret.environment) {
            (Some(file), _) => std::fs::read(file).map_err(Stop::io("read the secret", file))?,
            (None, Some(name)) => match std::env::var_os(name) {
                Some(value) => std::os::unix::ffi::OsStringExt::into_vec(value),
                None => continue,
            },
            (None, None) => continue,
        };
        found.insert(secret.id.clone(), BytesText(content));
    }
    Ok(found)
}

fn agents(build: &ServiceBuild) -> Result<BTreeMap<String, String>, Stop> {
    build
        .ssh
        .iter()
        .map(|text| crate::image_build::agent(text))
        .collect()
}
