use super::answer::{CONTENT_DIGEST, SUBJECT, empty, with};
use super::{Asked, parse_digest, parse_reference, queries};
use crate::document::MAX_MANIFEST;
use crate::error::RegistryError;
use crate::name::{Reference, Repository, Tag};
use crate::repository::Origin;
use axum::body::Body;
use axum::response::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use hyper::{Method, StatusCode};

/// The most tags of one push.
const MOST_TAGS: usize = 100;

/// Sends, keeps or deletes a manifest.
pub(super) async fn answer(
    asked: &Asked<'_>,
    repository: &Repository,
    reference: &str,
    body: Body,
) -> Result<Response, RegistryError> {
    match *asked.method {
        Method::PUT => put(asked, repository, &parse_reference(reference)?, body).await,
        Method::DELETE => {
            let reference = parse_reference(reference)?;
            asked
                .registry
                .delete_manifest(repository, &reference)
                .await?;
            Ok(with(empty(StatusCode::ACCEPTED), CONTENT_LENGTH, "0"))
        }
        _ => read(asked, repository, &parse_reference(reference)?).await,
    }
}

async fn read(
    asked: &Asked<'_>,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, RegistryError> {
    let found = asked.registry.find_manifest(repository, reference).await?;
    let unchanged = asked.has_already(&found.digest);
    let status = if unchanged {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let response = with(empty(status), CONTENT_DIGEST, found.digest.as_str());
    let mut response = with(response, ETAG, &format!("\"{}\"", found.digest));
    if unchanged {
        return Ok(response);
    }
    response = with(response, CONTENT_TYPE, &found.media_type);
    response = with(response, CONTENT_LENGTH, &found.bytes.len().to_string());
    if *asked.method != Method::HEAD {
        *response.body_mut() = Body::from(found.bytes);
    }
    Ok(response)
}

async fn put(
    asked: &Asked<'_>,
    repository: &Repository,
    reference: &Reference,
    body: Body,
) -> Result<Response, RegistryError> {
    let claimed = asked
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split(';').next().unwrap_or_default().trim().to_owned())
        .filter(|text| !text.is_empty());
    // Several tags in one push (OCI Distribution Specification, "Pushing Manifests").
    let (by_path, tag) = reference.parts();
    let mut tags = tag.to_vec();
    for text in queries(asked.uri, "tag").iter().take(MOST_TAGS) {
        tags.push(Tag::parse(text)?);
    }
    let by_query = asked
        .query("digest")
        .map(|text| parse_digest(&text))
        .transpose()?;
    let wanted = by_path.or(by_query.as_ref());
    let bytes = axum::body::to_bytes(body, MAX_MANIFEST)
        .await
        .map_err(|_| RegistryError::BadManifest {
            why: format!("it is larger than {MAX_MANIFEST} bytes, or broke off"),
        })?;
    let (digest, subject) = asked
        .registry
        .put_manifest(
            repository,
            wanted,
            &tags,
            bytes.to_vec(),
            claimed.as_deref(),
            Origin::Pushed,
        )
        .await?;
    let place = format!("/v2/{repository}/manifests/{digest}");
    let response = with(empty(StatusCode::CREATED), LOCATION, &place);
    let response = with(response, CONTENT_DIGEST, digest.as_str());
    let mut response = with(response, CONTENT_LENGTH, "0");
    for tag in tags.iter().skip(tag.len()) {
        if let Ok(value) = hyper::header::HeaderValue::from_str(tag.as_str()) {
            response.headers_mut().append("oci-tag", value);
        }
    }
    Ok(match subject {
        Some(subject) => with(response, SUBJECT, subject.as_str()),
        None => response,
    })
}
