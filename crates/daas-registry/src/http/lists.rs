use super::Asked;
use super::answer::{FILTERS, json, with};
use crate::access::Right;
use crate::error::RegistryError;
use crate::name::Repository;
use crate::repository::no_repository;
use axum::response::Response;
use daas_image::Digest;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, LINK};

/// How many names one answer has at most.
const MOST: usize = 10_000;

/// Lists the tags of a repository.
pub(super) fn tags(asked: &Asked<'_>, repository: &Repository) -> Result<Response, RegistryError> {
    let names: Vec<String> = {
        let catalog = asked.registry.catalog();
        let shelf = catalog
            .shelf(repository)
            .ok_or_else(|| no_repository(repository))?;
        shelf.tags.keys().map(ToString::to_string).collect()
    };
    let (page, next) = cut(asked, names)?;
    let body = serde_json::json!({"name": repository, "tags": page});
    let path = format!("/v2/{repository}/tags/list");
    Ok(linked(json(StatusCode::OK, body.to_string()), &path, next))
}

/// Lists the repositories that the asker may read.
pub(super) fn catalog(asked: &Asked<'_>) -> Result<Response, RegistryError> {
    if asked.asker == crate::Asker::Anybody && asked.scopes.is_none() {
        return Err(RegistryError::LoginWanted);
    }
    let all: Vec<Repository> = asked
        .registry
        .catalog()
        .shelves()
        .map(|(name, _)| name.clone())
        .collect();
    let mut names = Vec::new();
    for name in all {
        if asked.registry.may(&asked.asker, &name, Right::Pull)? {
            names.push(name.to_string());
        }
    }
    let (page, next) = cut(asked, names)?;
    let body = serde_json::json!({"repositories": page});
    Ok(linked(
        json(StatusCode::OK, body.to_string()),
        "/v2/_catalog",
        next,
    ))
}

/// Lists what is about a manifest; a manifest that is not here may have documents that are.
pub(super) async fn referrers(
    asked: &Asked<'_>,
    repository: &Repository,
    subject: &Digest,
) -> Result<Response, RegistryError> {
    let mut listed = asked.registry.referrers(repository, subject).await?;
    let wanted = asked.query("artifactType");
    if let Some(wanted) = &wanted {
        listed.retain(|descriptor| descriptor["artifactType"] == **wanted);
    }
    let body = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": listed,
    });
    let response = json(StatusCode::OK, body.to_string());
    let response = with(
        response,
        CONTENT_TYPE,
        "application/vnd.oci.image.index.v1+json",
    );
    Ok(match wanted {
        Some(_) => with(response, FILTERS, "artifactType"),
        None => response,
    })
}

/// The next page: how many names, behind which one.
type Next = (usize, String);

/// Cuts a sorted list to what was asked for (`n`, `last`); returns also what the next page begins behind, if there is one.
fn cut(
    asked: &Asked<'_>,
    mut names: Vec<String>,
) -> Result<(Vec<String>, Option<Next>), RegistryError> {
    names.sort();
    if let Some(last) = asked.query("last") {
        names.retain(|name| *name > last);
    }
    let most = match asked.query("n") {
        None => MOST,
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| RegistryError::Bad {
                why: format!("`n={}` is no number", text.escape_debug()),
            })?
            .min(MOST),
    };
    let more = names.len() > most;
    names.truncate(most);
    let next = names.last().filter(|_| more).cloned();
    Ok((names, next.map(|last| (most, last))))
}

fn linked(response: Response, path: &str, next: Option<Next>) -> Response {
    match next {
        Some((n, last)) => with(
            response,
            LINK,
            &format!("<{path}?n={n}&last={last}>; rel=\"next\""),
        ),
        None => response,
    }
}
