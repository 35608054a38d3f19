use super::answer::{CONTENT_DIGEST, empty, progress, with};
use super::{Asked, parse_digest};
use crate::access::Right;
use crate::error::RegistryError;
use crate::name::Repository;
use crate::upload::Room;
use axum::body::Body;
use axum::response::Response;
use daas_image::{Algorithm, Digest, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION};
use hyper::{Method, StatusCode};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// Begins an upload, takes a whole one in one request, or mounts a blob of another repository.
pub(super) async fn begin(
    asked: &Asked<'_>,
    repository: &Repository,
    body: Body,
) -> Result<Response, RegistryError> {
    if let Some(digest) = asked.query("mount") {
        let digest = parse_digest(&digest)?;
        if mount(asked, repository, &digest).await? {
            return Ok(created(repository, &digest));
        }
    }
    let algorithm = match asked.query("digest-algorithm").as_deref() {
        None | Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        Some(other) => {
            return Err(RegistryError::BadDigest {
                text: other.chars().take(150).collect(),
            });
        }
    };
    let registry = asked.registry;
    let Some(digest) = asked.query("digest") else {
        let incoming = registry.receive(algorithm).await?;
        let id = registry
            .inner
            .uploads
            .begin(repository, &asked.owner(), incoming)?;
        return Ok(progress(
            StatusCode::ACCEPTED,
            &location(repository, &id),
            0,
        ));
    };
    let digest = parse_digest(&digest)?;
    let incoming = registry.receive(digest.algorithm()).await?;
    let slot = Arc::new(tokio::sync::Mutex::new(Some(incoming)));
    let room = room(asked, repository)?;
    let slot = registry
        .append(slot.lock_owned().await, body, &room)
        .await?;
    finish(asked, repository, slot, &digest).await
}

async fn mount(
    asked: &Asked<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<bool, RegistryError> {
    let registry = asked.registry;
    let from = match asked.query("from") {
        Some(from) => Some(Repository::parse(&from)?),
        // Without a source: another repository of the same project, which the asker may read.
        None => registry.holder(repository.space(), digest),
    };
    // The login's right counts, not the token's scope: clients ask for a token of the repository that they push to
    // (oci-client) and expect to mount from what their login may read.
    match from {
        Some(from) if registry.may(&asked.asker, &from, Right::Pull)? => {
            registry.mount(&from, repository, digest).await
        }
        _ => Ok(false),
    }
}

/// Goes on with an upload, ends it, tells how far it is, or throws it away.
pub(super) async fn go_on(
    asked: &Asked<'_>,
    repository: &Repository,
    id: &str,
    body: Body,
) -> Result<Response, RegistryError> {
    let registry = asked.registry;
    let uploads = &registry.inner.uploads;
    let slot = uploads.find(id, repository, &asked.owner())?;
    let place = location(repository, id);
    // Who comes while another request writes waits for it: it knows then where it goes on.
    let slot = slot.lock_owned().await;
    let size = slot
        .as_ref()
        .map(Incoming::size)
        .ok_or(RegistryError::NoUpload)?;
    match *asked.method {
        Method::GET | Method::HEAD => Ok(progress(StatusCode::NO_CONTENT, &place, size)),
        Method::DELETE => {
            drop(slot);
            uploads.end(id);
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Method::PATCH => {
            if let Err(error) = in_order(asked, size) {
                return out_of_order(error, &place, size);
            }
            let room = room(asked, repository)?;
            let slot = append(asked, id, slot, body, &room).await?;
            let size = slot.as_ref().map_or(0, Incoming::size);
            Ok(progress(StatusCode::ACCEPTED, &place, size))
        }
        Method::PUT => {
            if let Err(error) = in_order(asked, size) {
                return out_of_order(error, &place, size);
            }
            let digest = asked
                .query("digest")
                .ok_or_else(|| RegistryError::BadDigest {
                    text: String::new(),
                })?;
            let digest = parse_digest(&digest)?;
            let room = room(asked, repository)?;
            let slot = append(asked, id, slot, body, &room).await?;
            uploads.end(id);
            finish(asked, repository, slot, &digest).await
        }
        _ => Err(RegistryError::Unsupported),
    }
}

/// Adds a body to an upload. One for which the disk or the project has no room ends, so that the room that it took is given back.
async fn append(
    asked: &Asked<'_>,
    id: &str,
    slot: OwnedMutexGuard<Option<Incoming>>,
    body: Body,
    room: &Room,
) -> Result<OwnedMutexGuard<Option<Incoming>>, RegistryError> {
    let appended = asked.registry.append(slot, body, room).await;
    let over = |error: &RegistryError| {
        matches!(
            error,
            RegistryError::Images(_) | RegistryError::OverQuota { .. }
        )
    };
    if appended.as_ref().is_err_and(over) {
        asked.registry.inner.uploads.end(id);
    }
    appended
}

async fn finish(
    asked: &Asked<'_>,
    repository: &Repository,
    mut slot: OwnedMutexGuard<Option<Incoming>>,
    digest: &Digest,
) -> Result<Response, RegistryError> {
    let incoming = slot.take().ok_or(RegistryError::NoUpload)?;
    asked
        .registry
        .finish_blob(repository, incoming, digest)
        .await?;
    Ok(created(repository, digest))
}

/// Checks that a chunk begins where the upload ends, and is as long as it says.
fn in_order(asked: &Asked<'_>, size: u64) -> Result<(), RegistryError> {
    let text = |name| {
        asked
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let Some(range) = text(CONTENT_RANGE) else {
        return Ok(());
    };
    let bad = |why: &str| RegistryError::BadUpload { why: why.into() };
    let range = range.trim().trim_start_matches("bytes ");
    let (from, to) = range
        .split_once('-')
        .ok_or_else(|| bad("its `Content-Range` is none"))?;
    let to = to.split('/').next().unwrap_or_default();
    let (Ok(from), Ok(to)) = (from.parse::<u64>(), to.parse::<u64>()) else {
        return Err(bad("its `Content-Range` is none"));
    };
    if from != size {
        return Err(RegistryError::OutOfOrder { got: from, size });
    }
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) if from.checked_add(length) != to.checked_add(1) => {
            Err(bad("its `Content-Range` and `Content-Length` do not fit"))
        }
        _ => Ok(()),
    }
}

/// An order that is wrong is answered with where the upload is.
fn out_of_order(error: RegistryError, place: &str, size: u64) -> Result<Response, RegistryError> {
    match error {
        RegistryError::OutOfOrder { .. } => {
            Ok(progress(StatusCode::RANGE_NOT_SATISFIABLE, place, size))
        }
        other => Err(other),
    }
}

/// Returns what the project may hold.
fn room(asked: &Asked<'_>, repository: &Repository) -> Result<Room, RegistryError> {
    let space = repository.space();
    Ok(Room {
        quota: asked.registry.space(space)?.quota,
        used: asked.registry.catalog().bytes_of(space),
        space: space.to_owned(),
    })
}

fn location(repository: &Repository, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn created(repository: &Repository, digest: &Digest) -> Response {
    let response = with(
        empty(StatusCode::CREATED),
        LOCATION,
        &format!("/v2/{repository}/blobs/{digest}"),
    );
    let response = with(response, CONTENT_DIGEST, digest.as_str());
    with(response, CONTENT_LENGTH, "0")
}
