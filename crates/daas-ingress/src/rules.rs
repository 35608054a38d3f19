//! What is done to a request on its way, made ready from what the project file says.

use crate::limiter::Limiter;
use daas_model::{ForwardAuth, Redirect, RouteSpec, ServiceName, Subnet};
use hyper::header::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the head of an answer may take where a route does not say it: longer than any usual page, shorter than people wait.
const ANSWER: Duration = Duration::from_secs(120);

/// The sum of a secret.
pub(crate) type Sum = [u8; 32];

/// A header that is set, or taken off.
pub(crate) type Change = (HeaderName, Option<HeaderValue>);

/// What is done to a request on its way.
#[derive(Debug)]
pub struct Rules {
    /// What it was made from; equal ones are the same rules, with what they have counted.
    spec: RouteSpec,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    /// The prefix that is taken off.
    pub(crate) strip: Option<String>,
    pub(crate) add: Option<String>,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) request_headers: Vec<Change>,
    pub(crate) response_headers: Vec<Change>,
    /// Sums of `name:password`.
    pub(crate) basic_auth: Vec<Sum>,
    pub(crate) forward_auth: Option<ForwardAuth>,
    pub(crate) link: Option<Link>,
    pub(crate) allow: Vec<Subnet>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) body_limit: u64,
    pub(crate) sticky: bool,
    pub(crate) compress: bool,
}

/// The secret of a link, and the cookie that stands for it afterwards.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) secret: Sum,
    pub(crate) cookie: String,
}

impl Default for Rules {
    fn default() -> Self {
        let service = ServiceName::parse("web").expect("a literal that matches the grammar");
        Self::of(&RouteSpec::new(service))
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

/// Returns the sum of a secret. Sums are compared, so that the time of a comparison tells nothing about the secret.
pub(crate) fn sum(secret: &[u8]) -> Sum {
    Sha256::digest(secret).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a short name of a node that says nothing about it, for a cookie.
pub(crate) fn mark(node: &str) -> String {
    hex(&sum(node.as_bytes())[..6])
}

impl Rules {
    /// Makes ready what a route says. What no header can hold is left out; the project's check has told it.
    #[must_use]
    pub fn of(spec: &RouteSpec) -> Self {
        Self {
            timeout: spec.timeout.map_or(ANSWER, |span| span.0),
            retries: spec.retries,
            strip: spec
                .strip_prefix
                .then(|| spec.path.clone())
                .filter(|path| path != "/"),
            add: spec.add_prefix.clone(),
            redirect: spec.redirect.clone(),
            request_headers: changes(&spec.request_headers),
            response_headers: changes(&spec.response_headers),
            basic_auth: spec
                .basic_auth
                .iter()
                .map(|(name, password)| sum(format!("{name}:{password}").as_bytes()))
                .collect(),
            forward_auth: spec.forward_auth.clone(),
            link: spec.link_secret.as_ref().map(|secret| Link {
                secret: sum(secret.as_bytes()),
                cookie: hex(&sum(format!("cookie of {secret}").as_bytes())),
            }),
            allow: spec.allow.clone(),
            limiter: spec.rate.map(Limiter::new),
            body_limit: spec.body_limit.map_or(u64::MAX, |size| size.0),
            sticky: spec.sticky,
            compress: spec.compress,
            spec: spec.clone(),
        }
    }
}

fn changes(map: &BTreeMap<String, String>) -> Vec<Change> {
    map.iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = match value.as_str() {
                "" => None,
                value => Some(HeaderValue::from_str(value).ok()?),
            };
            Some((name, value))
        })
        .collect()
}
