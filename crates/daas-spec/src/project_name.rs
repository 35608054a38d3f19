//! What a project is called.

use crate::node::At;
use crate::report::Report;
use crate::template::short;
use daas_model::{Diagnostic, ProjectName};

/// Makes a name of the strict grammar from what Compose takes as one: `_` and other signs become `-`, capitals small.
pub(crate) fn normalise(text: &str) -> Option<ProjectName> {
    let mut name = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(63);
    ProjectName::parse(name.trim_end_matches('-')).ok()
}

/// Takes a name that a person gave on purpose; `_` is allowed as Compose does, other signs are told.
pub(crate) fn given(text: &str, at: At, report: &mut Report) -> Option<ProjectName> {
    if let Ok(name) = ProjectName::parse(&text.replace('_', "-")) {
        return Some(name);
    }
    let hint = match normalise(text) {
        Some(name) => format!("write `{name}`"),
        None => "write for example `shop`".to_owned(),
    };
    report.say(
        at,
        Diagnostic::error(
            "project-name",
            format!("`{}` is no name of a project", short(text)),
        )
        .because("small letters, digits and `-`, at most 63, beginning with a letter or digit")
        .hint(hint),
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_become_project_names() {
        for (folder, name) in [
            ("shop", "shop"),
            ("My Shop_2", "my-shop-2"),
            (".hidden", "hidden"),
            ("a--b", "a-b"),
            ("x_", "x"),
            ("Größe", "gr-e"),
        ] {
            assert_eq!(normalise(folder).unwrap().as_str(), name, "{folder}");
        }
        assert!(normalise("").is_none());
        assert!(normalise("___").is_none());
        assert_eq!(normalise(&"a".repeat(200)).unwrap().as_str().len(), 63);
    }
}
