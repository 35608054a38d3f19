//! A description becomes the service's `build`, as if a person had written it there.

use super::{Described, PackagesImage, read};
use crate::node::{At, Entry, FAULTY, Map, Node, Value};
use crate::report::Report;
use crate::template::short;
use daas_model::{ImageName, ImageNameError};
use sha2::{Digest, Sha256};

/// What a further context begins with that is an image of packages: `packages://debian:bookworm/curl,nginx`.
pub const PACKAGES_SCHEME: &str = "packages://";

/// How many characters of a list of packages a name shows.
const SHOWN: usize = 100;

/// Gives every described service its `build`; returns the descriptions.
pub(crate) fn give_builds(root: &mut Map, report: &mut Report) -> Vec<Described> {
    let mut found = Vec::new();
    let services = root.entries.iter_mut().find(|e| e.key == "services");
    let Some(Value::Map(services)) = services.map(|e| &mut e.value.value) else {
        return found;
    };
    for service in &mut services.entries {
        let Value::Map(map) = &mut service.value.value else {
            continue;
        };
        let Some(node) = map.get("x-daas") else {
            continue;
        };
        let at = node.at;
        let Some(described) = read::described(report, &service.key, node) else {
            // What is wrong with the description is told; that there is no image need not be.
            if !node.is_null() && map.get("image").is_none() && map.get("build").is_none() {
                map.entries.push(Entry {
                    key: "build".to_owned(),
                    at,
                    value: Node::text(at, FAULTY),
                });
            }
            continue;
        };
        if map.get("build").is_some_and(|b| !b.is_null()) {
            report.error(
                at,
                "described-twice",
                format!(
                    "service `{}` has a `build` and is described as well",
                    short(&service.key)
                ),
                "keep one; `daas project dockerfile` writes the Dockerfile of a description",
            );
            continue;
        }
        map.take("build");
        map.entries.push(build(&described, at));
        found.push(described);
    }
    found
}

fn build(described: &Described, at: At) -> Entry {
    let entry = |key: &str, value: Node| Entry {
        key: key.to_owned(),
        at,
        value,
    };
    let mut entries = vec![
        entry("context", Node::text(at, ".")),
        entry("dockerfile_inline", Node::text(at, described.dockerfile())),
    ];
    let contexts = described.stands_in();
    if !contexts.is_empty() {
        let contexts = contexts
            .into_iter()
            .map(|(stage, image)| entry(&stage, Node::text(at, image.url())))
            .collect();
        let map = Node::new(at, Value::Map(Map { entries: contexts }));
        entries.push(entry("additional_contexts", map));
    }
    entry("build", Node::new(at, Value::Map(Map { entries })))
}

impl PackagesImage {
    /// Returns the name under which the store keeps the image: that of the base where there are no packages.
    ///
    /// The packages stand in it for people; the digest at its end tells lists apart that would read the same.
    ///
    /// # Errors
    /// If the base is no name.
    pub fn image_name(&self) -> Result<ImageName, ImageNameError> {
        if self.packages.is_empty() {
            return ImageName::parse(&self.base);
        }
        let words: String = self
            .packages
            .join("-")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                    c
                } else {
                    '_'
                }
            })
            .take(SHOWN)
            .collect();
        let digest = Sha256::digest(self.packages.join(","));
        let digest: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        let suite = self.base.replace(':', "/");
        ImageName::parse(&format!(
            "daas-packages/{suite}:{}-{digest}",
            words.trim_start_matches(['.', '-'])
        ))
    }

    /// Returns the address of the image as a further context: `packages://debian:bookworm/curl,nginx`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{PACKAGES_SCHEME}{}/{}", self.base, self.packages.join(","))
    }

    /// Reads an address; nothing if it is none, or if a name in it is none.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (base, packages) = url.strip_prefix(PACKAGES_SCHEME)?.split_once('/')?;
        if !base.starts_with("debian:") && !base.starts_with("ubuntu:") {
            return None;
        }
        let packages: Vec<String> = packages
            .split(',')
            .filter(|p| !p.is_empty())
            .map(str::to_owned)
            .collect();
        packages.iter().all(|p| read::is_package(p)).then(|| Self {
            base: base.to_owned(),
            packages,
        })
    }
}
