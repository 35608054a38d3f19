//! A request for a base image, as the image room wants it.

use daas_api::{Failure, MakeRequest};
use daas_image::{ImageConfig, Variant};
use daas_model::Kind;
use std::path::{Path, PathBuf};

/// Turns a request of the API into one of the store; downloaded packages are kept below the state directory.
pub(crate) fn recipe(
    request: &MakeRequest,
    state: &Path,
) -> Result<daas_image::MakeRequest, Failure> {
    for (from, to) in &request.copies {
        if !from.starts_with('/') || !to.starts_with('/') {
            return Err(Failure::new(
                "image-copy",
                Kind::Input,
                format!("cannot copy `{from}` to `{to}`"),
            )
            .because("both paths must be absolute"));
        }
    }
    let config = ImageConfig {
        user: request.user.clone().unwrap_or_default(),
        exposed_ports: request
            .expose
            .iter()
            .map(|p| {
                if p.contains('/') {
                    p.clone()
                } else {
                    format!("{p}/tcp")
                }
            })
            .collect(),
        env: request
            .environment
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect(),
        entrypoint: request.entrypoint.clone(),
        cmd: request.command.clone(),
        working_dir: request.working_dir.clone().unwrap_or_default(),
        labels: request.labels.clone(),
        ..ImageConfig::default()
    };
    Ok(daas_image::MakeRequest {
        base: request.base.clone(),
        packages: request.packages.clone(),
        name: request.name.clone(),
        mirror: request.mirror.clone(),
        variant: Variant::default(),
        copies: request
            .copies
            .iter()
            .map(|(from, to)| (PathBuf::from(from), to.clone()))
            .collect(),
        config,
        cache: Some(state.join("cache/apt")),
        epoch: None,
        keep_docs: false,
    })
}
