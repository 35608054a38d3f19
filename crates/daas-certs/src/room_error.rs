//! What can go wrong in the room.

use crate::acme::IssueError;
use crate::authority::AuthorityError;
use crate::pair::PairError;
use crate::seal::SealError;
use daas_model::{Explain, Kind};
use daas_store::StoreError;
use thiserror::Error;

/// Something that was asked of the room and cannot be.
#[derive(Debug, Error)]
pub enum CertificatesError {
    /// There is no such certificate.
    #[error("no certificate `{id}`")]
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// An order without names.
    #[error("cannot order a certificate without a name")]
    NoNames,
    /// Another certificate is good for the names.
    #[error("cannot order a certificate for `{name}`: `{by}` is good for it")]
    Covered {
        /// The first name.
        name: String,
        /// The other certificate.
        by: String,
    },
    /// There is one of this id with other names.
    #[error("cannot order another certificate `{id}`: there is one with other names")]
    Exists {
        /// The id.
        id: String,
    },
    /// The configuration wants it.
    #[error("cannot forget the certificate `{id}`: the configuration wants it")]
    Configured {
        /// The id.
        id: String,
    },
    /// An authority that is not configured.
    #[error("no authority `{authority}` is configured")]
    UnknownAuthority {
        /// What was asked for.
        authority: String,
        /// Which there are.
        known: Vec<String>,
    },
    /// A text that is no client's name.
    #[error("`{}` is no name of a client", name.escape_debug())]
    ClientName {
        /// The text.
        name: String,
    },
    /// A kept certificate is of no use.
    #[error("cannot use the kept certificate `{id}`")]
    Kept {
        /// Its id.
        id: String,
        /// What is wrong.
        #[source]
        source: PairError,
    },
    /// The private authority's roots are of no use for clients.
    #[error("cannot tell clients by the private authority's roots")]
    Verifier,
    /// An order that failed.
    #[error(transparent)]
    Issue(Box<IssueError>),
    /// The private authority cannot sign.
    #[error(transparent)]
    Authority(AuthorityError),
    /// A secret cannot be opened.
    #[error("cannot open the secrets of the certificates")]
    Seal(#[from] SealError),
    /// The records cannot be read or written.
    #[error("cannot keep certificates")]
    Store(#[from] StoreError),
}

impl Explain for CertificatesError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "certificate-not-found",
            Self::NoNames => "certificate-no-names",
            Self::Covered { .. } => "certificate-covered",
            Self::Exists { .. } => "certificate-exists",
            Self::Configured { .. } => "certificate-configured",
            Self::UnknownAuthority { .. } => "certificate-authority-unknown",
            Self::ClientName { .. } => "certificate-client-name",
            Self::Kept { .. } => "certificate-kept",
            Self::Verifier => "certificate-verifier",
            Self::Issue(error) => error.code(),
            Self::Authority(error) => error.code(),
            Self::Seal(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::NoNames | Self::UnknownAuthority { .. } | Self::ClientName { .. } => Kind::Input,
            Self::Covered { .. } | Self::Exists { .. } | Self::Configured { .. } => Kind::Conflict,
            Self::Kept { .. } => Kind::Outside,
            Self::Verifier => Kind::Bug,
            Self::Issue(error) => error.kind(),
            Self::Authority(error) => error.kind(),
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some("`daas certificate list` shows certificates".into()),
            Self::Covered { by, .. } => Some(format!(
                "it is served with `{by}` already; nothing is to be done"
            )),
            Self::Exists { id } => Some(format!("`daas certificate forget {id}` first")),
            Self::Configured { .. } => {
                Some("take it out of `certificates.names` in /etc/daas/daas.yaml".into())
            }
            Self::UnknownAuthority { known, .. } => Some(match known.as_slice() {
                [] => "set `certificates.acme` in /etc/daas/daas.yaml".into(),
                known => format!("there are {}", known.join(", ")),
            }),
            Self::ClientName { .. } => {
                Some("one label of `a-z`, `0-9` and `-`, for example `laptop-anna`".into())
            }
            Self::Issue(error) => error.hint(),
            Self::Authority(error) => error.hint(),
            Self::Seal(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}
