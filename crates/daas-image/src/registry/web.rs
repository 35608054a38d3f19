//! Files of the web that builds fetch: one address, its redirects, and an answer whose body arrives piece by piece.

use super::http::{Answer, Failure, Http};
use super::settings::RegistrySettings;
use super::url::Url;
use crate::ImageError;
use bytes::Bytes;
use daas_model::{Explain, Kind};
use futures_util::future::BoxFuture;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use tokio::net::TcpStream;

/// Most redirects on the way to one answer, as in Docker's client (`net/http` of Go).
const MAX_REDIRECTS: usize = 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections for somebody who may not reach everything (threat S16).
pub trait Dial: Send + Sync {
    /// Connects to `host`, a name or an address: exactly an address that was judged, and every time anew.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<TcpStream, BoxError>>;

    /// Judges an address that somebody else will connect to: the machine's own proxy.
    ///
    /// # Errors
    /// Why it may not be reached.
    fn judge(&self, address: IpAddr) -> Result<(), BoxError>;
}

/// Fetches files of the web.
pub struct Web {
    http: Http,
}

/// An answer with a file; its body still arrives.
pub struct WebAnswer {
    answer: Answer,
    /// The address that answered.
    url: Url,
}

/// Why a file of the web cannot be had.
#[derive(Debug, Error)]
pub enum WebError {
    /// The address makes no sense.
    #[error("`{url}` is no address of a file")]
    Address {
        /// The address without its query.
        url: String,
    },
    /// The way there never ends.
    #[error("{url} redirects more than {MAX_REDIRECTS} times")]
    Redirects {
        /// Where it began.
        url: String,
    },
    /// A redirect leads where it must not.
    #[error("{url} redirects to {to}, {why}")]
    Astray {
        /// Who says so.
        url: String,
        /// Where it leads.
        to: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// The server does not give it.
    #[error("{url} answers with status {status}")]
    Status {
        /// The address that answered.
        url: String,
        /// The status.
        status: u16,
    },
    /// The network broke off, or the address may not be reached.
    #[error("cannot fetch {url}")]
    Transport {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl Explain for WebError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "web-address",
            Self::Redirects { .. } | Self::Astray { .. } => "web-redirect",
            Self::Status { .. } => "web-status",
            Self::Transport { .. } => "web-unreachable",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Address { .. } | Self::Astray { .. } | Self::Redirects { .. } => Kind::Input,
            Self::Status { .. } | Self::Transport { .. } => Kind::Outside,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => Some("write `http://` or `https://`, a host and a path; user and password do not belong into it".into()),
            Self::Transport { source, .. } if is_about_certificate(source.as_ref()) => Some("the server does not show a certificate for this name by an authority that this machine knows; `builds: {certificates: FILE}` in the daemon's configuration names further ones".into()),
            Self::Transport { .. } => Some("private addresses and this machine are closed for builds; `egress: {allow: [...]}` in the daemon's configuration opens what a team has".into()),
            Self::Status {
                status: 401 | 403, ..
            } => Some("if it is not for everybody, give the build a secret by which it signs in: `--secret id=HTTP_AUTH_TOKEN_HOST,src=FILE`, with the name of the server for HOST".into()),
            _ => None,
        }
    }
}

impl Web {
    /// Reads the authorities and prepares TLS. The proxies are those of the environment.
    ///
    /// # Errors
    /// [`ImageError::Settings`] if a file of authorities makes no sense.
    pub fn new(authorities: Vec<PathBuf>, dial: Arc<dyn Dial>) -> Result<Self, ImageError> {
        let settings = RegistrySettings {
            authorities,
            ..RegistrySettings::default()
        };
        Ok(Self {
            http: Http::dialed_by(&settings, dial)?,
        })
    }

    /// Asks for the file at `url` with further headers, their names in lower case; returns once the head of the answer is here, 304 included.
    ///
    /// Redirects are followed; every address on the way is judged anew, and no way leads from TLS to none. `sign_in` says what each host on the
    /// way, without its port, is told as `Authorization`. Dropping the future ends it.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn get(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        sign_in: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<WebAnswer, WebError> {
        let begin = url;
        let mut url = Url::parse(url).ok_or_else(|| WebError::Address {
            url: without_query(url),
        })?;
        let headers: HeaderMap = headers
            .iter()
            .filter_map(|(name, value)| {
                Some((
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).ok()?,
                ))
            })
            .collect();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = headers.clone();
            if let Some(mut value) =
                sign_in(&url.host).and_then(|text| HeaderValue::try_from(text).ok())
            {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            let answer = self
                .http
                .request(Method::GET, &url, headers, None)
                .await
                .map_err(|failure| transport(&url, failure))?;
            let status = answer.status().as_u16();
            match status {
                200 | 304 => return Ok(WebAnswer { answer, url }),
                301 | 302 | 303 | 307 | 308 => url = follow(&url, answer.header(LOCATION))?,
                status => {
                    return Err(WebError::Status {
                        url: url.to_string(),
                        status,
                    });
                }
            }
        }
        Err(WebError::Redirects {
            url: without_query(begin),
        })
    }
}

/// Tells whether TLS failed because of who the other side is.
fn is_about_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        let inner = io.and_then(std::io::Error::get_ref);
        let tls = inner.map_or_else(
            || error.downcast_ref::<rustls::Error>(),
            |inner| inner.downcast_ref(),
        );
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Returns where a redirect leads.
fn follow(url: &Url, location: Option<&str>) -> Result<Url, WebError> {
    let location = location.unwrap_or_default();
    let astray = |why| WebError::Astray {
        url: url.to_string(),
        to: format!("`{}`", without_query(location)),
        why,
    };
    let next = url
        .join(location.split('#').next().unwrap_or_default())
        .ok_or_else(|| astray("which is no address"))?;
    if url.tls && !next.tls {
        return Err(astray("which gives TLS up"));
    }
    Ok(next)
}

fn without_query(url: &str) -> String {
    url.split(['?', '#'])
        .next()
        .unwrap_or_default()
        .escape_debug()
        .to_string()
}

fn transport(url: &Url, failure: Failure) -> WebError {
    let source: BoxError = match failure {
        Failure::Network(source) => source,
        Failure::NotTls => "the other side speaks no TLS".into(),
        Failure::Status(status, _) => format!("status {status}").into(),
        Failure::Answer(what) => what.into(),
    };
    WebError::Transport {
        url: url.to_string(),
        source,
    }
}

impl WebAnswer {
    /// Whether what the asker has is still what there is (304).
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.answer.status().as_u16() == 304
    }

    /// Returns a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    /// Returns the next bytes of the file, or nothing at its end. Safe to drop.
    ///
    /// # Errors
    /// [`WebError::Transport`], also if the server breaks off before the end that it announced.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, WebError> {
        self.answer
            .chunk()
            .await
            .map_err(|failure| transport(&self.url, failure))
    }
}
