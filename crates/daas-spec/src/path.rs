//! Paths as text: this floor asks no disk.

/// Returns `path` seen from the absolute folder `base`, without `.`, `..` and doubled slashes.
///
/// `..` at the root stays at the root, as the kernel does it. Symbolic links are not known here.
pub(crate) fn join(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns the folder that holds the normalised absolute `path`.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

/// Tells whether the normalised absolute `path` is `folder` or lies below it.
pub(crate) fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns how a person in `dir` names the normalised absolute `path`.
pub(crate) fn shown(path: &str, dir: &str) -> String {
    if path != dir && is_within(path, dir) {
        path[dir.trim_end_matches('/').len() + 1..].to_owned()
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_joined_by_their_text() {
        for (base, path, wanted) in [
            ("/p", "a/b", "/p/a/b"),
            ("/p", "./a/../b/", "/p/b"),
            ("/p", "../../../x", "/x"),
            ("/p", "/etc//passwd", "/etc/passwd"),
            ("/", ".", "/"),
            ("/p", "..a", "/p/..a"),
        ] {
            assert_eq!(join(base, path), wanted, "{base} {path}");
        }
        assert_eq!(parent("/a/b"), "/a");
        assert_eq!(parent("/a"), "/");
        assert!(
            is_within("/a/b", "/a")
                && is_within("/a", "/a")
                && is_within("/a", "/")
                && !is_within("/ab", "/a")
        );
        assert_eq!(shown("/p/x/y", "/p"), "x/y");
        assert_eq!(shown("/q/x", "/p"), "/q/x");
        assert_eq!(shown("/x", "/"), "x");
    }

    proptest! {
        #[test]
        fn a_joined_path_is_absolute_and_normal(path in "[a./]{0,20}") {
            let joined = join("/p/q", &path);
            prop_assert!(joined.starts_with('/'));
            prop_assert!(joined == "/" || joined[1..].split('/').all(|p| !p.is_empty() && p != "." && p != ".."));
            prop_assert_eq!(join("/", &joined), joined);
        }
    }
}
