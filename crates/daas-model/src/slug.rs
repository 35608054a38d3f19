/// Returns any text as a DNS label (RFC 1123 section 2.1): lower case, `-` for all but letters and digits, none at the
/// ends, 63 octets at most. It is what GitLab makes of a branch's name, too (`CI_COMMIT_REF_SLUG`).
#[must_use]
pub fn slug(text: &str) -> String {
    let text: String = text
        .chars()
        .take(63)
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    text.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_label() {
        assert_eq!(slug("Feature/Über_x."), "feature--ber-x");
        assert_eq!(slug("--"), "");
        assert_eq!(slug(&"a".repeat(80)).len(), 63);
    }
}
