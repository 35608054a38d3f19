//! Patterns over names, as rules of the registry and rights of keys write them.
//!
//! Not here: the patterns of Dockerfiles, which know `?` and sets (`daas-build`).

/// Tells whether `text` fits a pattern, in which `*` stands for any characters, also none.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_fit_whole_names_and_only_a_star_is_special() {
        for (pattern, text, fit) in [
            ("*", "", true),
            ("shop-*", "shop-7", true),
            ("shop-*", "shop", false),
            ("*-7", "shop-7", true),
            ("a*a", "a", false),
            ("a*c", "ac", true),
            ("pr-*-x*", "pr-1-x", true),
            ("pr-*", "xpr-1", false),
            ("", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("shop", "shop-7", false),
            ("s?op", "shop", false),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }
}
