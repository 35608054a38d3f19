//! The HTTP side: OCI Distribution Specification 1.1, and the Docker token protocol before it.

mod answer;
mod blobs;
mod lists;
mod manifests;
mod token;
mod uploads;

use crate::access::{Asker, Right};
use crate::error::RegistryError;
use crate::login::{Scope, basic};
use crate::name::{Reference, Repository};
use crate::registry::Registry;
use answer::{empty, refusal};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use daas_image::Digest;
use daas_model::ProjectName;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

/// By which door a request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// From the network: who wants something logs in.
    Network {
        /// Whether it is spoken to over TLS.
        tls: bool,
    },
    /// From a stand of this project, at the gateways of its networks.
    Stand(ProjectName),
}

/// A request that is being answered.
pub(crate) struct Asked<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    asker: Asker,
    /// What the token is for; everything that its owner may without.
    scopes: Option<Vec<Scope>>,
}

/// What a path means.
enum Target<'a> {
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Manifest(&'a str, &'a str),
    Tags(&'a str),
    Referrers(&'a str, &'a str),
    Catalog,
}

impl Registry {
    /// Returns what answers requests that come by `door`.
    pub fn router(&self, door: Door) -> Router {
        let registry = self.clone();
        Router::new().fallback(serve).with_state((registry, door))
    }
}

async fn serve(
    State((registry, door)): State<(Registry, Door)>,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    let (path, host) = (head.uri.path(), host_of(&head.headers));
    if path == "/token" {
        return match token::answer(&registry, &head.method, &head.uri, &head.headers) {
            Ok(response) => response,
            Err(error) => refusal(&error, None),
        };
    }
    let rest = match path.strip_prefix("/v2") {
        Some("") => "",
        Some(rest) if rest.starts_with('/') => &rest[1..],
        _ => return empty(StatusCode::NOT_FOUND),
    };
    let mut challenge = Challenge {
        host,
        tls: matches!(door, Door::Network { tls: true }),
        scope: None,
    };
    let answered = async {
        let (asker, scopes) = registry.who(&door, &head.headers)?;
        let asked = Asked {
            registry: &registry,
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            asker,
            scopes,
        };
        if rest.is_empty() {
            let known = asked.asker != Asker::Anybody || asked.scopes.is_some();
            return if known {
                Ok(answer::json(StatusCode::OK, "{}".into()))
            } else {
                Err(RegistryError::LoginWanted)
            };
        }
        let target = target(rest).ok_or(RegistryError::NoRepository {
            repository: rest.chars().take(100).collect(),
        })?;
        asked.answer(target, body, &mut challenge).await
    };
    // Boxed: the future of an upload is large, and there are thousands of waiting connections.
    match Box::pin(answered).await {
        Ok(response) => response,
        Err(error) => {
            if error.status() >= 500 {
                tracing::warn!(method = %head.method, path, cause = %daas_model::render_chain(&error), "the registry cannot answer");
            }
            refusal(&error, Some(&challenge))
        }
    }
}

/// What is told to somebody who has to log in.
pub(crate) struct Challenge {
    pub(crate) host: Option<String>,
    pub(crate) tls: bool,
    pub(crate) scope: Option<String>,
}

/// Returns the host that the client asked for; nothing if it could be no host: it is given back in a header.
fn host_of(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let good = !host.is_empty()
        && host.len() <= 260
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    good.then(|| host.to_owned())
}

/// Finds out what a path behind `/v2/` means; the last words decide, as names of repositories have slashes.
fn target(rest: &str) -> Option<Target<'_>> {
    if rest == "_catalog" {
        return Some(Target::Catalog);
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Some(Target::Tags(name));
    }
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Some(Target::Uploads(name));
    }
    let (head, last) = rest.rsplit_once('/')?;
    if let Some(name) = head.strip_suffix("/blobs/uploads") {
        return Some(Target::Upload(name, last));
    }
    if let Some(name) = head.strip_suffix("/blobs") {
        return Some(Target::Blob(name, last));
    }
    if let Some(name) = head.strip_suffix("/manifests") {
        return Some(Target::Manifest(name, last));
    }
    head.strip_suffix("/referrers")
        .map(|name| Target::Referrers(name, last))
}

impl Registry {
    /// Finds out who asks.
    fn who(
        &self,
        door: &Door,
        headers: &HeaderMap,
    ) -> Result<(Asker, Option<Vec<Scope>>), RegistryError> {
        let Some(proof) = headers.get(AUTHORIZATION) else {
            let asker = match door {
                Door::Stand(project) => Asker::Stand(project.clone()),
                Door::Network { .. } => Asker::Anybody,
            };
            return Ok((asker, None));
        };
        let proof = proof.to_str().map_err(|_| RegistryError::LoginWanted)?;
        let (scheme, value) = proof.split_once(' ').ok_or(RegistryError::LoginWanted)?;
        if scheme.eq_ignore_ascii_case("basic") {
            let (name, secret) = basic(value).ok_or(RegistryError::LoginWanted)?;
            let login = self.inner.logins.check(&name, &secret);
            return login
                .map(|login| (Asker::Login(login), None))
                .ok_or(RegistryError::WrongLogin);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(RegistryError::LoginWanted);
        }
        match (self.inner.logins.read(value.trim()), door) {
            (None, _) => Err(RegistryError::LoginWanted),
            (Some((Some(login), scopes)), _) => Ok((Asker::Login(login), Some(scopes))),
            (Some((None, scopes)), Door::Network { .. }) => Ok((Asker::Anybody, Some(scopes))),
            (Some((None, _)), Door::Stand(project)) => Ok((Asker::Stand(project.clone()), None)),
        }
    }
}

impl Asked<'_> {
    async fn answer(
        &self,
        target: Target<'_>,
        body: Body,
        challenge: &mut Challenge,
    ) -> Result<Response, RegistryError> {
        let reads = matches!(*self.method, Method::GET | Method::HEAD);
        match target {
            Target::Catalog if reads => lists::catalog(self),
            Target::Catalog => Err(RegistryError::Unsupported),
            Target::Uploads(name) => {
                let repository = self.enter(name, Right::Push, challenge)?;
                if *self.method != Method::POST {
                    return Err(RegistryError::Unsupported);
                }
                uploads::begin(self, &repository, body).await
            }
            Target::Upload(name, id) => {
                let repository = self.enter(name, Right::Push, challenge)?;
                uploads::go_on(self, &repository, id, body).await
            }
            Target::Blob(name, digest) => {
                let right = self.right_for(&[Method::DELETE])?;
                let repository = self.enter(name, right, challenge)?;
                let digest = parse_digest(digest)?;
                if *self.method == Method::DELETE {
                    blobs::delete(self, &repository, &digest).await
                } else {
                    blobs::read(self, &repository, &digest).await
                }
            }
            Target::Manifest(name, reference) => {
                let right = self.right_for(&[Method::DELETE, Method::PUT])?;
                let repository = self.enter(name, right, challenge)?;
                manifests::answer(self, &repository, reference, body).await
            }
            Target::Tags(name) | Target::Referrers(name, _) if !reads => {
                self.enter(name, Right::Pull, challenge)?;
                Err(RegistryError::Unsupported)
            }
            Target::Tags(name) => {
                let repository = self.enter(name, Right::Pull, challenge)?;
                lists::tags(self, &repository)
            }
            Target::Referrers(name, digest) => {
                let repository = self.enter(name, Right::Pull, challenge)?;
                lists::referrers(self, &repository, &parse_digest(digest)?).await
            }
        }
    }

    /// Returns which right the method takes; `writing` are the methods beside reading that there are here.
    fn right_for(&self, writing: &[Method]) -> Result<Right, RegistryError> {
        match *self.method {
            Method::GET | Method::HEAD => Ok(Right::Pull),
            Method::DELETE if writing.contains(&Method::DELETE) => Ok(Right::Delete),
            Method::PUT if writing.contains(&Method::PUT) => Ok(Right::Push),
            _ => Err(RegistryError::Unsupported),
        }
    }

    /// Parses a repository's name and lets in only who has the right there.
    fn enter(
        &self,
        name: &str,
        right: Right,
        challenge: &mut Challenge,
    ) -> Result<Repository, RegistryError> {
        let repository = Repository::parse(name)?;
        let words = match right {
            Right::Pull => "pull",
            Right::Push => "pull,push",
            Right::Delete => "delete",
        };
        challenge.scope = Some(format!("repository:{repository}:{words}"));
        self.must(&repository, right)?;
        if right == Right::Push && self.registry.is_cache(repository.space()) {
            return Err(RegistryError::CacheOnly { repository });
        }
        Ok(repository)
    }

    /// Refuses who has not a right, in the way that tells him nothing he may not know (threat S14).
    fn must(&self, repository: &Repository, right: Right) -> Result<(), RegistryError> {
        if self.registry.may(&self.asker, repository, right)? {
            let covered = self.scopes.as_ref().is_none_or(|scopes| {
                scopes
                    .iter()
                    .any(|scope| scope.repository == *repository && scope.rights.contains(&right))
            });
            return if covered {
                Ok(())
            } else {
                Err(RegistryError::LoginWanted)
            };
        }
        match (&self.asker, right) {
            (Asker::Anybody, _) | (Asker::Stand(_), Right::Push | Right::Delete) => {
                Err(RegistryError::LoginWanted)
            }
            (_, Right::Pull) => Err(RegistryError::NoRepository {
                repository: repository.to_string(),
            }),
            (asker, _) => Err(RegistryError::Denied {
                right: right.word(),
                repository: repository.clone(),
                asker: asker.to_string(),
            }),
        }
    }

    /// Returns by what an upload is known to be the asker's.
    fn owner(&self) -> String {
        self.asker.to_string()
    }

    /// Returns the value of a query parameter, decoded.
    fn query(&self, key: &str) -> Option<String> {
        query(self.uri, key)
    }

    /// Tells whether the client has the content with this digest already (RFC 9110, section 13.1.2).
    fn has_already(&self, digest: &Digest) -> bool {
        let header = self.headers.get(hyper::header::IF_NONE_MATCH);
        let Some(text) = header.and_then(|value| value.to_str().ok()) else {
            return false;
        };
        text.trim() == "*"
            || text
                .split(',')
                .any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == digest.as_str())
    }
}

/// Returns the value of a query parameter, decoded; nothing if it cannot be.
pub(crate) fn query(uri: &Uri, key: &str) -> Option<String> {
    queries(uri, key).into_iter().next()
}

/// Returns all values of a query parameter, decoded.
pub(crate) fn queries(uri: &Uri, key: &str) -> Vec<String> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name == key)
        .filter_map(|(_, value)| decode(value))
        .collect()
}

/// Decodes `%2F` and `+` (URL Standard, "application/x-www-form-urlencoded").
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            // A media type as `artifactType` has its plus sign; clients that mean a space never send one here.
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn parse_digest(text: &str) -> Result<Digest, RegistryError> {
    Digest::parse(text).map_err(|_| RegistryError::BadDigest {
        text: text.chars().take(150).collect(),
    })
}

/// Parses a tag or digest of a path.
fn parse_reference(text: &str) -> Result<Reference, RegistryError> {
    if text.contains(':') {
        return parse_digest(text).map(Reference::Digest);
    }
    Ok(Reference::parse(text)?)
}
