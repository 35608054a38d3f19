use std::fmt;

/// What is fetched for a build instead of being sent along: the source of an `ADD`, or a context.
///
/// The forms are `BuildKit`'s (docs.docker.com, "Build context", "Remote context" and "ADD"): `git://`, `ssh://` and `git@host:path` are git, an
/// HTTP address is git if its path ends in `.git`, and everything else over HTTP is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A file: an address with `http://` or `https://`.
    File(String),
    /// A repository.
    Git(GitRemote),
}

/// A place in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRemote {
    /// The repository, as git understands it.
    pub url: String,
    /// A branch, a tag, a full name of a reference or a commit; the remote's own branch without.
    pub reference: Option<String>,
    /// The folder that is meant, without slashes around it; the whole tree without.
    pub subdir: Option<String>,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteFault {
    /// There is no host in it, or one that a program would take for an option.
    Host,
    /// It holds a name or a password.
    Secret,
    /// It holds a space or a control character.
    Character,
    /// What is behind `#` names no reference.
    Reference,
    /// The folder leads out of the repository.
    Folder,
}

impl fmt::Display for RemoteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Host => "it names no host",
            Self::Secret => "it holds a user or a password, which would stay in histories and logs",
            Self::Character => "it holds a space or a control character",
            Self::Reference => "what is behind `#` is no name of a branch, a tag or a commit",
            Self::Folder => "the folder behind `:` leads out of the repository",
        })
    }
}

impl std::error::Error for RemoteFault {}

const SCHEMES: [&str; 5] = ["http://", "https://", "git://", "ssh://", "git@"];

impl Remote {
    /// Tells whether a text means something to be fetched.
    #[must_use]
    pub fn is_remote(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// Reads a text; nothing if it is a path.
    ///
    /// # Errors
    /// [`RemoteFault`] for what cannot be fetched, or must not be handed to a program.
    pub fn parse(text: &str) -> Result<Option<Self>, RemoteFault> {
        if !Self::is_remote(text) {
            return Ok(None);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(RemoteFault::Character);
        }
        let (address, fragment) = match text.split_once('#') {
            Some((address, fragment)) => (address, Some(fragment)),
            None => (text, None),
        };
        let is_http = address.starts_with("http");
        check_host(address, is_http)?;
        let path = address.split('?').next().unwrap_or_default();
        if is_http && !path.trim_end_matches('/').ends_with(".git") {
            // A fragment is never sent (RFC 9110, section 4.2.5).
            return Ok(Some(Self::File(address.to_owned())));
        }
        let (reference, subdir) = match fragment {
            Some(fragment) => match fragment.split_once(':') {
                Some((reference, subdir)) => (reference, subdir),
                None => (fragment, ""),
            },
            None => ("", ""),
        };
        check_reference(reference)?;
        let parts: Vec<&str> = subdir
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        if parts.iter().any(|part| matches!(*part, ".." | ".git")) {
            return Err(RemoteFault::Folder);
        }
        Ok(Some(Self::Git(GitRemote {
            url: address.to_owned(),
            reference: (!reference.is_empty()).then(|| reference.to_owned()),
            subdir: (!parts.is_empty()).then(|| parts.join("/")),
        })))
    }
}

/// A host that begins with `-` once became an option of ssh (CVE-2017-1000117).
fn check_host(address: &str, is_http: bool) -> Result<(), RemoteFault> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = match rest.split_once('/') {
        Some((authority, _)) => authority,
        None => rest,
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() || host.starts_with(['-', ':', '/']) {
        return Err(RemoteFault::Host);
    }
    match user {
        // The user of ssh is part of the address and no secret; a password is.
        Some(user) if is_http || user.contains(':') => Err(RemoteFault::Secret),
        Some(user) if user.starts_with('-') => Err(RemoteFault::Host),
        _ => Ok(()),
    }
}

/// The rules of git-check-ref-format(1), as far as a name could mean another thing to a program.
fn check_reference(text: &str) -> Result<(), RemoteFault> {
    let bad = text.starts_with(['-', '/'])
        || text.ends_with(['/', '.'])
        || text.contains("..")
        || text.contains("//")
        || text.contains("@{")
        || text.contains(['~', '^', '?', '*', '[', '\\', ':']);
    if bad {
        Err(RemoteFault::Reference)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(url: &str, reference: Option<&str>, subdir: Option<&str>) -> Remote {
        Remote::Git(GitRemote {
            url: url.into(),
            reference: reference.map(str::to_owned),
            subdir: subdir.map(str::to_owned),
        })
    }

    #[test]
    fn the_forms_of_remote_sources_are_told_apart() {
        for (text, wanted) in [
            ("src/main.c", None),
            ("./http://x", None),
            (
                "https://example.test/a.tar.gz?x=1#part",
                Some(Remote::File("https://example.test/a.tar.gz?x=1".into())),
            ),
            (
                "http://example.test/app.git",
                Some(git("http://example.test/app.git", None, None)),
            ),
            (
                "https://example.test/app.git#v1.2:docs/guide/",
                Some(git(
                    "https://example.test/app.git",
                    Some("v1.2"),
                    Some("docs/guide"),
                )),
            ),
            (
                "https://example.test/app.git#:web",
                Some(git("https://example.test/app.git", None, Some("web"))),
            ),
            (
                "git@example.test:team/app.git#refs/heads/main",
                Some(git(
                    "git@example.test:team/app.git",
                    Some("refs/heads/main"),
                    None,
                )),
            ),
            (
                "ssh://dev@example.test:2222/app",
                Some(git("ssh://dev@example.test:2222/app", None, None)),
            ),
            (
                "git://example.test/app#topic",
                Some(git("git://example.test/app", Some("topic"), None)),
            ),
        ] {
            assert_eq!(Remote::parse(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_a_program_could_take_for_an_option_or_a_way_out_is_refused() {
        for (text, fault) in [
            ("ssh://-oProxyCommand=touch/x.git", RemoteFault::Host),
            ("git@-oProxyCommand=x:y", RemoteFault::Host),
            ("http:///x.git", RemoteFault::Host),
            ("https://user:word@example.test/x", RemoteFault::Secret),
            ("https://token@example.test/x.git", RemoteFault::Secret),
            ("ssh://dev:word@example.test/x", RemoteFault::Secret),
            ("https://example.test/a b", RemoteFault::Character),
            (
                "https://example.test/x.git#--upload-pack=x",
                RemoteFault::Reference,
            ),
            ("https://example.test/x.git#a..b", RemoteFault::Reference),
            (
                "https://example.test/x.git#main@{1}",
                RemoteFault::Reference,
            ),
            ("https://example.test/x.git#main:../up", RemoteFault::Folder),
            ("https://example.test/x.git#main:.git", RemoteFault::Folder),
        ] {
            assert_eq!(Remote::parse(text), Err(fault), "{text}");
        }
    }
}
