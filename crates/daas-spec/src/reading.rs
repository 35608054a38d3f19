//! The state of one reading: what was asked, read, and found.

use crate::node::{At, FAULTY, Node, Value, Weight};
use crate::path;
use crate::report::Report;
use crate::request::{Files, MAX_FILE, ProjectRequest};
use crate::template::{Expanded, expand, has_variables};
use crate::yaml::{self, MAX_TEXT};
use daas_model::Diagnostic;
use std::collections::BTreeMap;

/// The most files of one project.
const MAX_FILES: usize = 256;
/// The most bytes of all files of one project together.
const MAX_READ: usize = 8 * MAX_FILE;
/// The most values and text of a whole project, with all that `extends`, `env_file` and `scale` copy.
const MAX_GROWN: Weight = Weight {
    nodes: 100_000,
    bytes: 8 * MAX_FILE,
};

/// Variables of environment files; those of the caller stand above them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) vars: BTreeMap<String, String>,
}

pub(crate) struct Reading<'r> {
    files: &'r dyn Files,
    pub(crate) request: &'r ProjectRequest,
    /// The project's folder, normalised.
    pub(crate) dir: String,
    pub(crate) report: Report,
    /// The project's name, once it is known.
    pub(crate) project: Option<daas_model::ProjectName>,
    /// How images of services are built.
    pub(crate) builds: Vec<crate::request::ServiceBuild>,
    pub(crate) files_read: BTreeMap<String, Vec<u8>>,
    pub(crate) env_read: BTreeMap<String, String>,
    bytes_read: usize,
    loads: usize,
    grown: Weight,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(files: &'r dyn Files, request: &'r ProjectRequest) -> Self {
        Self {
            files,
            request,
            dir: path::join("/", &request.dir),
            report: Report::default(),
            project: None,
            builds: Vec::new(),
            files_read: BTreeMap::new(),
            env_read: BTreeMap::new(),
            bytes_read: 0,
            loads: 0,
            grown: Weight::default(),
        }
    }

    /// Returns the value of a variable: the caller's, or that of an environment file.
    pub(crate) fn variable(&mut self, scope: &Scope, name: &str) -> Option<String> {
        variable(&mut self.env_read, self.request, scope, name)
    }

    /// Tells whether there is a file, without saying anything about it.
    pub(crate) fn exists(&mut self, path: &str) -> bool {
        self.files_read.contains_key(path)
            || !self.files.is_dir(path) && matches!(self.files.read(path), Ok(Some(_)))
    }

    /// Returns the bytes of the file at `path`, or says at `at` why not; `what` names its part, `the project file`.
    pub(crate) fn bytes(&mut self, path: &str, what: &str, at: At, code: &str) -> Option<Vec<u8>> {
        if let Some(bytes) = self.files_read.get(path) {
            return Some(bytes.clone());
        }
        let shown = path::shown(path, &self.dir);
        if path.contains('\0') {
            self.report.error(
                at,
                code,
                format!("the path of {what} holds a NUL"),
                "remove it",
            );
            return None;
        }
        if self.files.is_dir(path) {
            self.report.error(
                at,
                code,
                format!("{what} `{shown}` is a folder"),
                "name a file",
            );
            return None;
        }
        match self.files.read(path) {
            Ok(Some(mut bytes)) => {
                // One byte too many is enough for whoever reads it to say so.
                bytes.truncate(MAX_FILE + 1);
                self.bytes_read += bytes.len();
                if self.bytes_read > MAX_READ || self.files_read.len() >= MAX_FILES {
                    self.report.error(
                        at,
                        "project-too-big",
                        format!("the project reads more than {MAX_FILES} files or 8 MiB"),
                        "mount large files with `volumes`",
                    );
                    return None;
                }
                self.files_read.insert(path.to_owned(), bytes.clone());
                Some(bytes)
            }
            Ok(None) => {
                self.report.error(at, code, format!("{what} `{shown}` does not exist"), "check the name; a relative path begins at the folder of the file that names it");
                None
            }
            Err(why) => {
                self.report.say(
                    at,
                    Diagnostic::error(code, format!("cannot read {what} `{shown}`")).because(why),
                );
                None
            }
        }
    }

    /// Counts a load; says so and returns false beyond the limit, which stops includes that multiply.
    pub(crate) fn may_load(&mut self, at: At) -> bool {
        self.loads += 1;
        if self.loads > MAX_FILES {
            self.report.error(
                at,
                "project-too-big",
                format!("the project loads more than {MAX_FILES} files"),
                "includes of includes multiply; include each file once",
            );
        }
        self.loads <= MAX_FILES
    }

    /// Counts a copy; says so and returns false beyond the limit, which stops bases that multiply.
    pub(crate) fn may_grow(&mut self, cost: Weight, at: At) -> bool {
        self.grown.add(cost);
        let fits = self.grown.nodes <= MAX_GROWN.nodes && self.grown.bytes <= MAX_GROWN.bytes;
        if !fits {
            self.report.error(
                at,
                "project-too-big",
                "the project grows beyond 100000 values or 8 MiB of text",
                "`extends`, `include`, `env_file`, port ranges and `scale` multiply: make one of them smaller",
            );
        }
        fits
    }

    /// Puts variables into every value of the tree; keys stay as they are.
    pub(crate) fn interpolate(&mut self, node: &mut Node, scope: &Scope) {
        let mut budget = MAX_TEXT;
        self.interpolate_within(node, scope, &mut budget);
    }

    fn interpolate_within(&mut self, node: &mut Node, scope: &Scope, budget: &mut usize) {
        let at = node.at;
        match &mut node.value {
            Value::Null => {}
            Value::List(list) => {
                for node in list {
                    self.interpolate_within(node, scope, budget);
                }
            }
            Value::Map(map) => {
                for entry in &mut map.entries {
                    self.interpolate_within(&mut entry.value, scope, budget);
                }
            }
            Value::Text(text) if has_variables(&text.text) => {
                let lead = text.lead;
                let spot =
                    |offset: usize| lead.map_or(at, |lead| at.plus(usize::from(lead) + offset));
                let (env_read, request) = (&mut self.env_read, self.request);
                match expand(&text.text, &mut |name| {
                    variable(env_read, request, scope, name)
                }) {
                    Ok(Expanded {
                        text: expanded,
                        unset,
                    }) => {
                        for (name, offset) in unset {
                            self.report.unset(&name, spot(offset));
                        }
                        match budget.checked_sub(expanded.len()) {
                            Some(left) => *budget = left,
                            None => {
                                self.report.error(
                                    at,
                                    "variable-budget",
                                    "the file grows beyond 4 MiB when its variables are put in",
                                    "put large texts into files",
                                );
                                *budget = 0;
                                text.text = FAULTY.to_owned();
                                return;
                            }
                        }
                        text.text = expanded;
                        text.lead = None;
                        // An empty variable is an empty text, not nothing.
                        text.plain = false;
                    }
                    Err(fault) => {
                        self.report.error(
                            spot(fault.offset),
                            fault.kind.code(),
                            fault.kind.to_string(),
                            fault.kind.hint(),
                        );
                        text.text = FAULTY.to_owned();
                    }
                }
            }
            Value::Text(_) => {}
        }
    }

    /// Parses the YAML file at `path`, whose relative paths begin at `base`.
    pub(crate) fn load(
        &mut self,
        path: &str,
        base: &str,
        what: &str,
        named_at: At,
        code: &str,
    ) -> Option<(u16, Node)> {
        if !self.may_load(named_at) {
            return None;
        }
        let bytes = self.bytes(path, what, named_at, code)?;
        let source = self
            .report
            .add_source(path::shown(path, &self.dir), base.to_owned());
        let node = yaml::parse(&bytes, source, &mut self.report)?;
        self.may_grow(node.weight(), node.at)
            .then_some((source, node))
    }
}

fn variable(
    env_read: &mut BTreeMap<String, String>,
    request: &ProjectRequest,
    scope: &Scope,
    name: &str,
) -> Option<String> {
    if let Some(value) = request.env.get(name) {
        if !env_read.contains_key(name) {
            env_read.insert(name.to_owned(), value.clone());
        }
        return Some(value.clone());
    }
    scope.vars.get(name).cloned()
}
