use super::Asked;
use super::answer::{CONTENT_DIGEST, empty, with};
use crate::error::RegistryError;
use crate::file_body;
use crate::name::Repository;
use axum::response::Response;
use daas_image::Digest;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use hyper::{HeaderMap, Method, StatusCode};

/// Sends a blob, a part of it, or only says that it is there.
pub(super) async fn read(
    asked: &Asked<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response, RegistryError> {
    let registry = asked.registry;
    if registry.is_cache(repository.space()) && registry.blob_size(repository, digest).is_err() {
        registry.bring_part(repository, digest).await?;
    }
    let head = |status, length: u64| {
        let response = with(empty(status), CONTENT_DIGEST, digest.as_str());
        let response = with(response, ETAG, &format!("\"{digest}\""));
        let response = with(response, CONTENT_TYPE, "application/octet-stream");
        let response = with(response, ACCEPT_RANGES, "bytes");
        with(response, CONTENT_LENGTH, &length.to_string())
    };
    if *asked.method == Method::HEAD {
        return Ok(head(
            StatusCode::OK,
            registry.blob_size(repository, digest)?,
        ));
    }
    if asked.has_already(digest) {
        registry.blob_size(repository, digest)?;
        let response = with(
            empty(StatusCode::NOT_MODIFIED),
            CONTENT_DIGEST,
            digest.as_str(),
        );
        return Ok(with(response, ETAG, &format!("\"{digest}\"")));
    }
    let outgoing = registry.open_blob(repository, digest).await?;
    let size = outgoing.size;
    let (status, from, length) = match wanted(asked.headers, digest, size) {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to - from + 1),
        Wanted::Outside => {
            let response = head(StatusCode::RANGE_NOT_SATISFIABLE, 0);
            return Ok(with(response, CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let mut response = head(status, length);
    if status == StatusCode::PARTIAL_CONTENT {
        let to = from + length - 1;
        response = with(
            response,
            CONTENT_RANGE,
            &format!("bytes {from}-{to}/{size}"),
        );
    }
    *response.body_mut() = file_body::body(
        &registry.inner.tasks,
        &registry.inner.buffers,
        outgoing.file,
        from,
        length,
    );
    Ok(response)
}

/// Deletes a blob of a repository.
pub(super) async fn delete(
    asked: &Asked<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response, RegistryError> {
    asked.registry.delete_blob(repository, digest).await?;
    Ok(with(empty(StatusCode::ACCEPTED), CONTENT_LENGTH, "0"))
}

/// Which bytes are wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// First and last byte.
    Part(u64, u64),
    Outside,
}

/// Reads `Range` (RFC 9110, section 14.2): what is not understood, and several ranges at once, mean the whole.
fn wanted(headers: &HeaderMap, digest: &Digest, size: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let changed = text(IF_RANGE).is_some_and(|tag| tag.trim_matches('"') != digest.as_str());
    let Some(range) = text(RANGE).filter(|_| !changed) else {
        return Wanted::Whole;
    };
    let Some((from, to)) = range
        .strip_prefix("bytes=")
        .filter(|range| !range.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if to >= from => (from, to),
        (Ok(from), Err(_)) if to.is_empty() => (from, u64::MAX),
        (Err(_), Ok(last)) if from.is_empty() && last > 0 => (size.saturating_sub(last), u64::MAX),
        (Err(_), Ok(0)) if from.is_empty() => return Wanted::Outside,
        (Ok(_), Ok(_)) => return Wanted::Outside,
        _ => return Wanted::Whole,
    };
    if from >= size {
        return Wanted::Outside;
    }
    Wanted::Part(from, to.min(size - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        let digest = Digest::of(b"x");
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0, 0)),
            ("bytes=2-", Wanted::Part(2, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-30", Wanted::Part(0, 9)),
            ("bytes=5-100", Wanted::Part(5, 9)),
            ("bytes=10-", Wanted::Outside),
            ("bytes=5-4", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, range.parse().unwrap());
            assert_eq!(wanted(&headers, &digest, 10), expected, "{range}");
            headers.insert(IF_RANGE, "\"other\"".parse().unwrap());
            assert_eq!(wanted(&headers, &digest, 10), Wanted::Whole);
        }
    }
}
