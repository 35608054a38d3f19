//! Which files make the project.

use crate::node::At;
use crate::path;
use crate::reading::{Reading, Scope};
use daas_model::{Diagnostic, Severity};

/// The usual names, the preferred first (Compose Specification, "Compose file").
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
/// The usual names of the file that is merged over it.
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];

/// Returns the absolute paths of the project's files, the base first; none if there is no project, which is told.
pub(crate) fn project_files(reading: &mut Reading<'_>, scope: &Scope, nowhere: At) -> Vec<String> {
    let dir = reading.dir.clone();
    if !reading.request.files.is_empty() {
        return reading
            .request
            .files
            .iter()
            .map(|f| path::join(&dir, f))
            .collect();
    }
    if let Some(list) = reading
        .variable(scope, "COMPOSE_FILE")
        .filter(|l| !l.is_empty())
    {
        let separator = reading
            .variable(scope, "COMPOSE_PATH_SEPARATOR")
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| ":".to_owned());
        return list
            .split(separator.as_str())
            .filter(|f| !f.is_empty())
            .map(|f| path::join(&dir, f))
            .collect();
    }
    let mut found = present(reading, &dir, &NAMES);
    if found.is_empty() {
        reading.report.say(
            nowhere,
            Diagnostic::error("project-missing", "there is no project file in the folder")
                .because(format!("looked for {}", NAMES.join(", ")))
                .hint("name the file with `-f`, or go to the project's folder"),
        );
        return Vec::new();
    }
    if found.len() > 1 {
        let name = path::shown(&found[0], &dir);
        reading.report.say(
            nowhere,
            Diagnostic::new(
                Severity::Warning,
                "project-ambiguous",
                format!("the folder has several project files, and `{name}` is used"),
            )
            .because(format!(
                "also there: {}",
                found[1..]
                    .iter()
                    .map(|f| path::shown(f, &dir))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .hint("remove the others, or name the right one with `-f`"),
        );
        found.truncate(1);
    }
    found.extend(present(reading, &dir, &OVERRIDES).into_iter().take(1));
    found
}

fn present(reading: &mut Reading<'_>, dir: &str, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| path::join(dir, name))
        .filter(|file| reading.exists(file))
        .collect()
}
