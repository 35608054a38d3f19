use crate::described::{self, Described};
use crate::find::project_files;
use crate::load::{Given, load_env, load_set};
use crate::lower;
use crate::merge::settle;
use crate::node::{At, Node, Value};
use crate::path;
use crate::project_name;
use crate::reading::{Reading, Scope};
use crate::request::{Files, Outcome, ProjectRequest};
use crate::shape::check_keys;
use crate::template::expand;
use daas_model::{Diagnostic, ProjectName, StandSpec};

/// Reads a project: its files, variables, bases and includes become one [`StandSpec`] - or all faults at once.
///
/// The same request over the same files gives the same outcome; [`Outcome::files_read`] and [`Outcome::env_read`]
/// are all that another reading needs. Costs are bounded whatever the files hold: 1 MiB and 20,000 values for a file,
/// 256 files and 16 MiB for a project (threat S26).
#[must_use]
pub fn read_project(files: &dyn Files, request: &ProjectRequest) -> Outcome {
    let mut reading = Reading::new(files, request);
    let mut described = Vec::new();
    let spec = read(&mut reading, &mut described);
    let has_errors = reading.report.has_errors();
    let project = reading.project.take();
    let (diagnostics, ignored) = reading.report.finish();
    let mut builds = reading.builds;
    for build in &mut builds {
        if let Some(own) = described.iter().find(|d| d.service == build.service) {
            // Steps that did not change cost nothing, and a description says itself what the image is.
            build.always = true;
            build.bare = !own.needs_folder();
        }
    }
    Outcome {
        spec: spec.filter(|_| !has_errors),
        project,
        diagnostics,
        ignored,
        described,
        builds,
        files_read: reading.files_read,
        env_read: reading.env_read,
    }
}

fn read(reading: &mut Reading<'_>, described: &mut Vec<Described>) -> Option<StandSpec> {
    // Faults of the request itself are about the folder.
    let dir = reading.dir.clone();
    let source = reading.report.add_source(dir.clone(), dir.clone());
    let nowhere = At {
        source,
        line: 0,
        column: 0,
    };
    if !reading.request.dir.starts_with('/') {
        reading.report.error(
            nowhere,
            "project-dir",
            format!(
                "the folder `{}` is not absolute",
                crate::template::short(&reading.request.dir)
            ),
            "give an absolute path",
        );
        return None;
    }
    let mut scope = project_scope(reading, &dir, nowhere);
    let set = project_files(reading, &scope, nowhere);
    let mut parsed: Vec<Given> = Vec::new();
    for file in set {
        let node = reading
            .load(&file, &dir, "the project file", nowhere, "project-missing")
            .map(|(_, node)| node);
        if let Some(node) = node {
            parsed.push(Given {
                path: file,
                named_at: nowhere,
                parsed: Some(node),
            });
        }
    }
    let project = name_project(reading, &parsed, &mut scope, nowhere);
    reading.project.clone_from(&project);
    let mut root = load_set(reading, parsed, &dir, &scope, &mut Vec::new())?;
    settle(&mut root);
    let Value::Map(root_map) = &root.value else {
        reading.report.error(
            root.at,
            "type-wrong",
            format!("the file is {}", root.kind()),
            "a project is a map that begins with `services:`",
        );
        return None;
    };
    check_keys(root_map, &mut reading.report);
    if let Value::Map(root_map) = &mut root.value {
        *described = described::give_builds(root_map, &mut reading.report);
    }
    let Value::Map(root_map) = &root.value else {
        return None;
    };
    // A name that is told as wrong shall not hide the other faults.
    let project = project.or_else(|| ProjectName::parse("project").ok())?;
    lower::stand(reading, &scope, project, root_map)
}

/// Returns the variables of `--env-file`, or of `.env` beside the project.
fn project_scope(reading: &mut Reading<'_>, dir: &str, nowhere: At) -> Scope {
    let files = if reading.request.env_files.is_empty() {
        let usual = path::join(dir, ".env");
        if reading.exists(&usual) {
            vec![(usual, nowhere)]
        } else {
            Vec::new()
        }
    } else {
        reading
            .request
            .env_files
            .iter()
            .map(|f| (path::join(dir, f), nowhere))
            .collect()
    };
    load_env(reading, &files, &Scope::default())
}

/// Finds the project's name, and puts it into the scope as `COMPOSE_PROJECT_NAME`.
fn name_project(
    reading: &mut Reading<'_>,
    parsed: &[Given],
    scope: &mut Scope,
    nowhere: At,
) -> Option<ProjectName> {
    let wish = reading
        .request
        .project_name
        .clone()
        .filter(|n| !n.is_empty());
    let wish = wish.or_else(|| {
        reading
            .variable(scope, "COMPOSE_PROJECT_NAME")
            .filter(|n| !n.is_empty())
    });
    let (text, at) = match wish {
        Some(name) => (Some(name), nowhere),
        None => name_in_files(reading, parsed, scope, nowhere),
    };
    let project = match &text {
        Some(text) => project_name::given(text, at, &mut reading.report),
        None => {
            let folder = reading
                .dir
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            let name = project_name::normalise(&folder);
            if name.is_none() {
                reading.report.say(
                    nowhere,
                    Diagnostic::error("project-name", "the project has no name")
                        .because(format!("the folder's name `{folder}` cannot be one"))
                        .hint("write `name: shop` at the top of the file, or give one with `-p`"),
                );
            }
            name
        }
    };
    if let Some(name) = text.or_else(|| project.as_ref().map(ToString::to_string)) {
        scope.vars.insert("COMPOSE_PROJECT_NAME".to_owned(), name);
    }
    project
}

fn name_in_files(
    reading: &mut Reading<'_>,
    parsed: &[Given],
    scope: &Scope,
    nowhere: At,
) -> (Option<String>, At) {
    for given in parsed.iter().rev() {
        let Some(node) = given
            .parsed
            .as_ref()
            .and_then(Node::as_map)
            .and_then(|m| m.get("name"))
        else {
            continue;
        };
        let Some(text) = node.as_text().filter(|t| !t.is_empty()) else {
            continue;
        };
        let at = node.at;
        // A fault in it is told when the whole file is interpolated.
        let value = expand(text, &mut |name| reading.variable(scope, name))
            .ok()
            .map(|e| e.text);
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            return (Some(value), at);
        }
    }
    (None, nowhere)
}
