use crate::Digest;
use std::io;

/// Why an archive of files was refused or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The bytes are no tar archive of a form that is understood, or mean different things to different readers.
    #[error("malformed archive at byte {at}: {why}")]
    Malformed {
        /// Where in the uncompressed stream.
        at: u64,
        /// What is wrong there.
        why: String,
    },
    /// More of something than the [`crate::Budget`] grants.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A name that leads out of the root, or tries to.
    #[error("`{path}` leads out of the root: {why}")]
    Escapes {
        /// The name, escaped for display.
        path: String,
        /// In what way.
        why: &'static str,
    },
    /// A well-formed entry that cannot be made as it says.
    #[error("cannot make `{path}`: {why}")]
    Impossible {
        /// The name, escaped for display.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// The bytes do not agree with their media type.
    #[error("the content is {got}, but its media type says {wanted}")]
    Compression {
        /// What the media type says.
        wanted: &'static str,
        /// What the bytes are.
        got: &'static str,
    },
    /// The uncompressed bytes are others than the image's configuration promises.
    #[error("the unpacked content is {got}, the image's configuration says {wanted}")]
    DiffId {
        /// The promised digest.
        wanted: Digest,
        /// The digest found.
        got: Digest,
    },
    /// The compressed stream broke off or is damaged.
    #[error("cannot read the compressed content")]
    Read(#[source] io::Error),
    /// The kernel refused to make an entry.
    #[error("cannot {action} `{path}`")]
    Write {
        /// What was tried.
        action: &'static str,
        /// On which name of the layer, escaped for display.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The caller went away.
    #[error("cancelled")]
    Cancelled,
}

impl LayerError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "layer-malformed",
            Self::TooMuch { .. } => "layer-too-large",
            Self::Escapes { .. } => "layer-path-escapes",
            Self::Impossible { .. } => "layer-entry-impossible",
            Self::Compression { .. } => "layer-media-type",
            Self::DiffId { .. } => "layer-diff-id-mismatch",
            Self::Read(_) => "layer-truncated",
            Self::Write { .. } => "layer-write",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Escapes a name of an archive for display (threat S28: no control character reaches a terminal).
pub(crate) fn shown(path: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(path).chars().take(300).collect();
    text.chars()
        .flat_map(|c| {
            if c.is_control() || is_bidi(c) {
                c.escape_unicode().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
