//! Questions to one registry about one repository (OCI Distribution Specification 1.1, "Pull").

use super::auth::{Challenge, basic, fetch_token, secret};
use super::http::{Answer, Failure, Http};
use super::settings::Credential;
use super::url::Url;
use crate::ImageError;
use crate::store::locked;
use daas_tasks::Backoff;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use std::sync::Mutex;
use std::time::Duration;

/// Most redirects on the way to one answer.
const MAX_REDIRECTS: usize = 5;
/// The pause before the first repetition; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, whatever the registry asks for: longer ones are the caller's to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Returns the pauses between the tries of one request.
pub(super) fn tries() -> Backoff {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
}

pub(super) struct Client<'a> {
    pub(super) http: &'a Http,
    /// The registry or mirror; its path is a prefix without a slash at the end.
    pub(super) base: Url,
    /// Its name for people.
    pub(super) host: String,
    /// For a mirror: the registry that it stands for.
    pub(super) namespace: Option<String>,
    pub(super) repository: String,
    pub(super) credential: Option<Credential>,
    pub(super) retries: u32,
    /// The proof that was accepted last.
    authorization: Mutex<Option<HeaderValue>>,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        http: &'a Http,
        base: Url,
        host: String,
        namespace: Option<String>,
        repository: String,
        credential: Option<Credential>,
        retries: u32,
    ) -> Self {
        Self {
            http,
            base,
            host,
            namespace,
            repository,
            credential,
            retries,
            authorization: Mutex::new(None),
        }
    }

    /// Whether the registry has taken our credentials.
    pub(super) fn was_known(&self) -> bool {
        self.credential.is_some() && locked(&self.authorization).is_some()
    }

    /// Asks for `path` below `/v2/<repository>/`, again and again while that may help.
    pub(super) async fn get(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
        what: &str,
    ) -> Result<Answer, ImageError> {
        let mut tries = tries();
        loop {
            match self.attempt(&Method::GET, path, headers).await {
                Ok(answer) => match self.judge(answer, what) {
                    Err(ImageError::Status {
                        status,
                        retry_after,
                        ..
                    }) if self.may_retry(status, retry_after, tries.tries()) => {
                        self.pause(&mut tries, retry_after).await;
                    }
                    judged => return judged,
                },
                Err(failure) => self.recover(failure, &mut tries, what).await?,
            }
        }
    }

    /// Asks whether `path` is there for us, once.
    pub(super) async fn head(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
        what: &str,
    ) -> Result<(), ImageError> {
        let answer = self
            .attempt(&Method::HEAD, path, headers)
            .await
            .map_err(|f| self.explain(f, what))?;
        self.judge(answer, what).map(drop)
    }

    /// Waits before the next try after `failure`, or gives it back as an error if there is no point or no try left.
    pub(super) async fn recover(
        &self,
        failure: Failure,
        tries: &mut Backoff,
        what: &str,
    ) -> Result<(), ImageError> {
        let (again, wait) = match &failure {
            Failure::Network(_) => (tries.tries() < self.retries, None),
            Failure::Status(status, wait) => (self.may_retry(*status, *wait, tries.tries()), *wait),
            Failure::NotTls | Failure::Answer(_) => (false, None),
        };
        if !again {
            return Err(self.explain(failure, what));
        }
        tracing::debug!(registry = %self.host, ?failure, tries = tries.tries(), "a request to a registry is repeated");
        self.pause(tries, wait).await;
        Ok(())
    }

    fn may_retry(&self, status: u16, wait: Option<Duration>, tries: u32) -> bool {
        let passing = matches!(status, 408 | 429 | 500 | 502..=504);
        passing && tries < self.retries && wait.is_none_or(|w| w <= LONGEST_PAUSE)
    }

    /// Waits as long as the registry asks for, or as the backoff says.
    async fn pause(&self, tries: &mut Backoff, wait: Option<Duration>) {
        let own = tries.next_pause();
        tokio::time::sleep(wait.unwrap_or(own)).await;
    }

    /// Turns an answer's status into an error, if it is one.
    pub(super) fn judge(&self, answer: Answer, what: &str) -> Result<Answer, ImageError> {
        let status = answer.status().as_u16();
        match status {
            200..=299 => Ok(answer),
            404 => Err(ImageError::NotInRegistry {
                registry: self.host.clone(),
                what: what.to_owned(),
            }),
            401 | 403 => Err(ImageError::Denied {
                registry: self.host.clone(),
                what: what.to_owned(),
                with_credentials: self.credential.is_some(),
            }),
            _ => Err(ImageError::Status {
                action: format!("a request for {what}"),
                registry: self.host.clone(),
                status,
                retry_after: answer.retry_after(),
            }),
        }
    }

    pub(super) fn explain(&self, failure: Failure, what: &str) -> ImageError {
        let registry = self.host.clone();
        match failure {
            Failure::Network(source) => ImageError::Transport {
                action: format!("fetch {what}"),
                registry,
                source,
            },
            Failure::NotTls => ImageError::Insecure { registry },
            Failure::Status(status, retry_after) => ImageError::Status {
                action: format!("a request for {what}"),
                registry,
                status,
                retry_after,
            },
            Failure::Answer(why) => ImageError::Transport {
                action: format!("fetch {what}"),
                registry,
                source: why.into(),
            },
        }
    }

    /// One try: with what we know of ourselves, following redirects, answering one challenge.
    pub(super) async fn attempt(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, Failure> {
        let mut challenged = false;
        loop {
            let answer = self.follow(method, path, headers).await?;
            if answer.status().as_u16() != 401 || challenged {
                return Ok(answer);
            }
            challenged = true;
            let Some(proof) = self.prove(answer.headers()).await? else {
                return Ok(answer);
            };
            *locked(&self.authorization) = Some(proof);
        }
    }

    async fn prove(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
        let Some(challenge) = Challenge::of(headers) else {
            return Ok(None);
        };
        if let Some(Credential::Bearer(token)) = &self.credential {
            return Ok(secret(&format!("Bearer {token}")));
        }
        match (&challenge, &self.credential) {
            (Challenge::Basic, Some(Credential::Basic { user, password })) => {
                Ok(basic(user, password))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { .. }, credential) => {
                let token = fetch_token(
                    self.http,
                    &self.base,
                    &challenge,
                    credential.as_ref(),
                    &self.repository,
                )
                .await?;
                Ok(token.and_then(|t| secret(&format!("Bearer {t}"))))
            }
        }
    }

    async fn follow(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, Failure> {
        let mut url = self.base.clone();
        url.path = format!(
            "{}/v2/{}/{path}",
            self.base.path.trim_end_matches('/'),
            self.repository
        );
        if let Some(namespace) = &self.namespace {
            url.path = format!("{}?ns={namespace}", url.path);
        }
        for _ in 0..=MAX_REDIRECTS {
            let mut sent = HeaderMap::new();
            for (name, value) in headers {
                sent.append(
                    name,
                    HeaderValue::from_str(value)
                        .map_err(|_| Failure::Answer("a header that cannot be sent"))?,
                );
            }
            // Storage behind a registry gets a signed address and no proof of ours.
            if url.same_server(&self.base)
                && let Some(proof) = locked(&self.authorization).clone()
            {
                sent.insert(AUTHORIZATION, proof);
            }
            let answer = self.http.request(method.clone(), &url, sent, None).await?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = answer
                .header(LOCATION)
                .and_then(|l| url.join(l))
                .ok_or(Failure::Answer("a redirect to nowhere"))?;
            if url.tls && !next.tls {
                return Err(Failure::Answer("a redirect out of TLS"));
            }
            if next.is_inward() && !self.base.is_local() {
                return Err(Failure::Answer("a redirect to this machine's own services"));
            }
            url = next;
        }
        Err(Failure::Answer("more than 5 redirects"))
    }
}
