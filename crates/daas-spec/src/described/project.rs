//! One image for a whole project: everything that building its nodes needs.

use super::generate::install;
use super::{Described, PackagesImage};
use daas_model::{ImageName, ImageNameError, ProjectName};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a developer's shell and a pipeline need beyond what nodes name.
// rules: shell here: the name of a package
const SHELL: [&str; 4] = ["bash", "ca-certificates", "git", "make"];

/// Writes the Dockerfile of a project's build environment: the packages of all its described nodes, those for building included.
///
/// It begins with the base that most nodes have; of several, with the first by name. Nothing if no node is described on a
/// distribution. With it comes what replaces its one stage `tools`, as in [`Described::stands_in`].
#[must_use]
pub fn environment(nodes: &[Described]) -> Option<(String, BTreeMap<String, PackagesImage>)> {
    let base = common_base(nodes)?;
    let mut packages: Vec<String> = SHELL.map(str::to_owned).to_vec();
    for node in nodes.iter().filter(|n| n.is_distribution()) {
        packages.extend(node.tools());
    }
    packages.sort();
    packages.dedup();
    let mut out = String::from(
        "# Made by DaaS of the described services of the project: everything that building them needs.\n",
    );
    let _ = writeln!(out, "\nFROM {base} AS tools");
    install(&mut out, &packages);
    out.push_str("\nFROM tools\nWORKDIR /project\nCMD [\"/bin/bash\"]\n");
    let image = PackagesImage {
        base: base.to_owned(),
        packages,
    };
    Some((out, [("tools".to_owned(), image)].into()))
}

/// Returns the name of the image of a project's build environment: `daas-environment/shop`.
///
/// # Errors
/// [`ImageNameError`] if the project's name is none for an image.
pub fn environment_name(project: &ProjectName) -> Result<ImageName, ImageNameError> {
    ImageName::parse(&format!("daas-environment/{project}"))
}

fn common_base(nodes: &[Described]) -> Option<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|n| n.is_distribution()) {
        *counts.entry(node.base.as_str()).or_default() += 1;
    }
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map(|(base, _)| base)
}
