//! Paths inside an image: text and bytes, and where they lead.

use daas_image::{Found, Merged};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::io;

/// The parts of a path, from the root.
pub(crate) type Parts = Vec<Vec<u8>>;

/// Splits a path; empty parts and `.` vanish, `..` goes up and stops at the root.
pub(crate) fn parts(path: &[u8]) -> Parts {
    let mut done: Parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                done.pop();
            }
            part => done.push(part.to_vec()),
        }
    }
    done
}

/// Puts parts together, without a leading slash.
pub(crate) fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.join(&b'/')
}

/// Borrows parts.
pub(crate) fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

/// A path as people read it.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

/// What a name of the tree in the making is, where the new layer has a say in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// A folder.
    Folder,
    /// A link to there.
    Link(Vec<u8>),
    /// Anything else.
    Other,
}

/// A tree below, and what a new layer has put over it so far.
pub(crate) struct Growing<'a> {
    below: &'a Merged,
    made: BTreeMap<Parts, Made>,
}

/// What is at a place of the growing tree.
pub(crate) enum There {
    /// The new layer made it.
    New(Made),
    /// It comes from below.
    Old(Found),
}

impl There {
    pub(crate) fn is_folder(&self) -> bool {
        match self {
            Self::New(made) => *made == Made::Folder,
            Self::Old(found) => found.kind() == FileType::Directory,
        }
    }
}

impl<'a> Growing<'a> {
    pub(crate) fn new(below: &'a Merged) -> Self {
        Self {
            below,
            made: BTreeMap::new(),
        }
    }

    /// Notes that the new layer has this.
    pub(crate) fn note(&mut self, at: Parts, made: Made) {
        self.made.insert(at, made);
    }

    /// Tells whether the new layer has described `at` already.
    pub(crate) fn has(&self, at: &[Vec<u8>]) -> bool {
        self.made.contains_key(at)
    }

    /// Looks at `at` itself, following no link.
    pub(crate) fn look(&self, at: &[Vec<u8>]) -> io::Result<Option<There>> {
        if let Some(made) = self.made.get(at) {
            return Ok(Some(There::New(made.clone())));
        }
        // Below something that is no folder any more there is nothing.
        for end in 1..at.len() {
            if self
                .made
                .get(&at[..end])
                .is_some_and(|made| *made != Made::Folder)
            {
                return Ok(None);
            }
        }
        Ok(self.below.find(&slices(at))?.map(There::Old))
    }

    /// Finds where `path` leads to, following links inside the tree; parts that are missing are taken as they are.
    ///
    /// # Errors
    /// More than 40 links, or what the kernel says.
    pub(crate) fn land(&self, path: &[u8]) -> io::Result<(Parts, Option<There>)> {
        let mut todo: Parts = split_reversed(path);
        let mut done: Parts = Vec::new();
        let mut links = 0;
        let mut missing = false;
        while let Some(part) = todo.pop() {
            if part == b".." {
                done.pop();
                continue;
            }
            done.push(part);
            if missing {
                continue;
            }
            let target = match self.look(&done)? {
                None => {
                    missing = true;
                    continue;
                }
                Some(There::New(Made::Link(target))) => target,
                Some(There::Old(found)) if found.kind() == FileType::Symlink => found.link()?,
                Some(_) => continue,
            };
            links += 1;
            if links > 40 {
                return Err(io::Error::other("too many links on the way"));
            }
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            todo.extend(split_reversed(&target));
        }
        let there = if missing { None } else { self.look(&done)? };
        Ok((done, there))
    }
}

fn split_reversed(path: &[u8]) -> Parts {
    path.split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_above_the_root() {
        for (path, wanted) in [
            ("../../etc", "etc"),
            ("/a/../../b//./c/", "b/c"),
            ("..", ""),
            ("", ""),
        ] {
            assert_eq!(joined(&parts(path.as_bytes())), wanted.as_bytes(), "{path}");
        }
    }
}
