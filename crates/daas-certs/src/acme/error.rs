use super::http::Unreachable;
use crate::pair::PairError;
use crate::record::ChallengeKind;
use crate::seal::SealError;
use daas_model::{Explain, Kind};
use daas_store::StoreError;
use instant_acme::{Error as AcmeError, Problem};
use std::time::Duration;
use thiserror::Error;

/// A certificate that was not issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// No authority is configured.
    #[error("cannot order a certificate for `{name}`: no authority is configured")]
    NoAuthority {
        /// The first name.
        name: String,
    },
    /// The authority does not answer, or not as RFC 8555 says.
    #[error("cannot {action} at `{authority}`")]
    Authority {
        /// What was tried.
        action: &'static str,
        /// The URL of the directory.
        authority: String,
        /// What came of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The authority answers with a problem.
    #[error("`{authority}` refused to {action}: {detail}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The URL of the directory.
        authority: String,
        /// The last part of the problem's type (RFC 8555, section 6.7).
        problem: String,
        /// Its words.
        detail: String,
    },
    /// The authority was not convinced that the name is ours.
    #[error("`{authority}` found no right answer for `{name}` by {challenge}: {detail}")]
    Challenge {
        /// The URL of the directory.
        authority: String,
        /// The name.
        name: String,
        /// How it looked.
        challenge: ChallengeKind,
        /// The last part of the problem's type.
        problem: String,
        /// What it says that it asked and got.
        detail: String,
        /// How often we were asked for the answer, where that can be known.
        asked: Option<u32>,
    },
    /// No challenge can be answered.
    #[error("cannot prove to `{authority}` that `{name}` is ours: {why}")]
    NoChallenge {
        /// The URL of the directory.
        authority: String,
        /// The name.
        name: String,
        /// Which are offered, and why none will do.
        why: String,
    },
    /// The answer to a challenge cannot be put in place.
    #[error("cannot put the answer for `{name}` into the DNS")]
    Answer {
        /// The name.
        name: String,
        /// What is wrong.
        #[source]
        source: daas_tasks::TaskError,
    },
    /// The authority takes too long.
    #[error("`{authority}` did not {action} within {} s", after.as_secs())]
    Slow {
        /// The URL of the directory.
        authority: String,
        /// What was waited for.
        action: &'static str,
        /// For how long.
        after: Duration,
    },
    /// This week's budget is used up.
    #[error("cannot order more certificates for `{domain}` at `{authority}` this week")]
    Budget {
        /// The URL of the directory.
        authority: String,
        /// The registered domain.
        domain: String,
        /// When one more may be ordered, in milliseconds of the Unix clock.
        until_ms: u64,
    },
    /// What the authority issued is of no use.
    #[error("cannot use what `{authority}` issued")]
    Issued {
        /// The URL of the directory.
        authority: String,
        /// What is wrong.
        #[source]
        source: PairError,
    },
    /// A certificate or request cannot be made.
    #[error("cannot make a key or a request")]
    Make(#[source] rcgen::Error),
    /// A secret cannot be opened.
    #[error("cannot open what was kept of the order")]
    Seal(#[from] SealError),
    /// The records cannot be read or written.
    #[error("cannot keep the order")]
    Store(#[from] StoreError),
}

impl IssueError {
    /// Makes an error of what the client library says.
    pub(super) fn of(action: &'static str, authority: &str, error: AcmeError) -> Self {
        let authority = authority.to_owned();
        match error {
            AcmeError::Api(problem) => Self::Refused {
                action,
                authority,
                problem: word(&problem),
                detail: words(&problem),
            },
            AcmeError::Other(source) => Self::Authority {
                action,
                authority,
                source,
            },
            other => Self::Authority {
                action,
                authority,
                source: Box::new(other),
            },
        }
    }

    /// Tells whether another authority may do better.
    pub(crate) fn is_the_authoritys(&self) -> bool {
        match self {
            Self::Authority { .. }
            | Self::Slow { .. }
            | Self::Budget { .. }
            | Self::Issued { .. } => true,
            // What it says about our answers, the next one would say as well.
            Self::Refused { problem, .. } => problem != "malformed",
            Self::NoChallenge { .. } => true,
            _ => false,
        }
    }

    /// Returns when it may be tried again at the earliest, where that is known.
    pub(crate) fn not_before_ms(&self) -> Option<u64> {
        match self {
            Self::Budget { until_ms, .. } => Some(*until_ms),
            _ => None,
        }
    }
}

/// Returns the last part of a problem's type.
pub(super) fn word(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.rsplit(':').next().unwrap_or_default().to_owned()
}

/// Returns a problem's words on one line.
pub(super) fn words(problem: &Problem) -> String {
    let own = problem.detail.clone().unwrap_or_else(|| word(problem));
    let parts = problem
        .subproblems
        .iter()
        .filter_map(|part| part.detail.clone());
    let all: Vec<String> = std::iter::once(own).chain(parts).collect();
    all.join("; ")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(600)
        .collect()
}

impl Explain for IssueError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoAuthority { .. } => "certificate-no-authority",
            Self::Authority { .. } => "certificate-authority",
            Self::Refused { .. } => "certificate-refused",
            Self::Challenge { .. } => "certificate-challenge",
            Self::NoChallenge { .. } => "certificate-no-challenge",
            Self::Answer { .. } => "certificate-dns",
            Self::Slow { .. } => "certificate-slow",
            Self::Budget { .. } => "certificate-budget",
            Self::Issued { .. } => "certificate-issued",
            Self::Make(_) => "certificate-make",
            Self::Seal(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NoAuthority { .. } | Self::NoChallenge { .. } => Kind::Input,
            Self::Make(_) => Kind::Bug,
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Budget { .. } => Kind::Busy {
                retry_after: Duration::from_secs(3600),
            },
            _ => Kind::Outside,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoAuthority { .. } => Some(
                "set `certificates.acme` in /etc/daas/daas.yaml; names below the platform's own zones have certificates of the private authority without being ordered".into(),
            ),
            Self::Authority { source, .. } if source.downcast_ref::<Unreachable>().is_some() => {
                Some("the authority is asked over https; look at the network, the proxy and `certificates.acme[].roots`".into())
            }
            Self::Refused { problem, .. } => refused_hint(problem),
            Self::Challenge { name, challenge, problem, asked, .. } => Some(challenge_hint(name, *challenge, problem, *asked)),
            Self::NoChallenge { name, .. } => Some(if name.starts_with("*.") {
                "wildcards need DNS-01: let the platform's DNS serve the zone, or point a CNAME of `_acme-challenge` to it".into()
            } else {
                "set `certificates.acme[].challenge` to one that is offered".into()
            }),
            Self::Slow { .. } => Some("it is asked again after a pause; the order is kept".into()),
            Self::Budget { .. } => Some(
                "a wildcard serves all names of one level; `certificates.weekly` is the budget".into(),
            ),
            Self::Seal(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

fn refused_hint(problem: &str) -> Option<String> {
    Some(match problem {
        "externalAccountRequired" => "the authority wants an account of its own: set `certificates.acme[].eab` to what it gave you".into(),
        "rateLimited" => "wait; the next try is planned".into(),
        "rejectedIdentifier" => "this authority does not issue for that name; names that nobody outside can reach have the private authority".into(),
        "caa" => "the domain's CAA record forbids this authority (RFC 8659)".into(),
        "userActionRequired" => "the authority has new terms; look at its site".into(),
        "accountDoesNotExist" | "unauthorized" => "the account is not known there any more".into(),
        _ => return None,
    })
}

fn challenge_hint(
    name: &str,
    challenge: ChallengeKind,
    problem: &str,
    asked: Option<u32>,
) -> String {
    let base = name.strip_prefix("*.").unwrap_or(name);
    let way = match challenge {
        ChallengeKind::Http01 => format!(
            "http://{base}/.well-known/acme-challenge/ at port 80 must lead to this machine"
        ),
        ChallengeKind::TlsAlpn01 => format!(
            "port 443 of `{base}` must lead to this machine without another TLS server between"
        ),
        ChallengeKind::Dns01 => format!(
            "`dig TXT _acme-challenge.{base}` must be answered by this machine: look at the delegation (NS) of the zone, or the CNAME"
        ),
    };
    let came = match asked {
        Some(0) => "; nobody asked here, so the question went elsewhere",
        Some(_) => "; the question came here",
        None => "",
    };
    match problem {
        "caa" => "the domain's CAA record forbids this authority (RFC 8659)".into(),
        "dns" if challenge != ChallengeKind::Dns01 => {
            format!("`{base}` has no address in the DNS; {way}")
        }
        _ => format!("{way}{came}"),
    }
}
