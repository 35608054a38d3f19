//! A service that is described instead of scripted, and the Dockerfile that is made of the description.
//!
//! `x-daas: {base, packages, ...}` on a service becomes a [`Described`]; [`Described::dockerfile`] writes a file that any
//! builder understands. Its stages `packages` and `tools` hold the distribution's packages; DaaS replaces them by images
//! that it makes from the machine's own apt sources ([`Described::stands_in`]; decision 0020).
//!
//! Not here: making those images (`daas-image`), building (`daas-build`).

mod build;
mod generate;
mod project;
mod quote;
mod read;

pub use build::PACKAGES_SCHEME;
pub(crate) use build::give_builds;
pub use project::{environment, environment_name};

use serde::{Deserialize, Serialize};

/// A described service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Described {
    /// The service, for the file's first line.
    pub service: String,
    /// What the image begins with: `debian:SUITE` or `ubuntu:SUITE`, or any image.
    pub base: String,
    /// Packages of the distribution, `name` or `name=version`; sorted.
    pub packages: Vec<String>,
    /// Packages that are needed to build and not to run; sorted.
    pub build_packages: Vec<String>,
    /// Python packages as pip names them, or `-r FILE` for a list in the project's folder.
    pub pip: Vec<String>,
    /// npm packages, `name` or `name@version`.
    pub npm: Vec<String>,
    /// Programs from the Rust registry, `name` or `name@version`.
    pub cargo: Vec<String>,
    /// Files of the project's folder, or texts.
    pub files: Vec<DescribedFile>,
    /// What is run in the image once the files are there.
    pub run: Vec<DescribedRun>,
    /// The user, made if it has an id.
    pub user: Option<DescribedUser>,
    /// Variables, in the order of the text; `$NAME` in a value is put in.
    pub env: Vec<(String, String)>,
    /// The working folder.
    pub workdir: Option<String>,
    /// Ports.
    pub expose: Vec<String>,
    /// Folders that hold data.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// The program that always runs.
    pub entrypoint: Option<Vec<String>>,
    /// The program, or its arguments.
    pub command: Option<Vec<String>>,
}

impl Described {
    /// Tells whether the image needs files of the project's folder.
    #[must_use]
    pub fn needs_folder(&self) -> bool {
        self.pip.iter().any(|entry| entry.starts_with("-r "))
            || self
                .files
                .iter()
                .any(|file| matches!(file.source, FileOrigin::Path(_)))
    }
}

/// A file of a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedFile {
    /// Where it comes from.
    pub source: FileOrigin,
    /// Where it goes.
    pub target: String,
    /// `user`, `user:group`, by name or number.
    pub owner: Option<String>,
    /// Its mode.
    pub mode: Option<u32>,
}

/// Where a file of a description comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileOrigin {
    /// A path in the project's folder, maybe with `*`.
    Path(String),
    /// The text itself.
    Text(String),
}

/// One thing that is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DescribedRun {
    /// Lines for the shell, which stops at the first that fails.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// The user of a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedUser {
    /// The name, or `user:group` by name or number.
    pub name: String,
    /// The number of a user that is to be made, and of its group.
    pub id: Option<u32>,
}

/// An image that replaces a stage of the generated file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackagesImage {
    /// `debian:SUITE` or `ubuntu:SUITE`.
    pub base: String,
    /// Its packages, sorted.
    pub packages: Vec<String>,
}
